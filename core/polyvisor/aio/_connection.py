"""Connections and their domains, awaitable.

Written by ``tests/house/aio_faces.py`` from the blocking handles; change those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload
from uuid import UUID

from polyvisor.aio._base import Face, Items
from polyvisor.aio._crew import Crew
from polyvisor.aio._domain import Domain
from polyvisor.aio._networks import InterfaceCollection, NetworkCollection, NwFilterCollection
from polyvisor.aio._node_devices import NodeDeviceCollection
from polyvisor.aio._secrets import SecretCollection
from polyvisor.aio._storage import StoragePoolCollection
from polyvisor.aio._stream import EventStream

if TYPE_CHECKING:
    import builtins
    import os
    from collections.abc import Awaitable, Iterable, Mapping, Sequence
    from typing import Literal, Self

    from polyvisor._sources import SpecSource as SpecSource
    from polyvisor.connection import Connection as SyncConnection
    from polyvisor.connection import DomainCollection as SyncDomainCollection
    from polyvisor.driver import Driver
    from polyvisor.events import AnyEvent, Event
    from polyvisor.handles._host import OnHost as SyncOnHost
    from polyvisor.host import CpuComparison, CpuTimes, GuestKind, HostInfo, HostMemory
    from polyvisor.jobs import ProgressCallback
    from polyvisor.model import Cpu, DomainCapabilities, DomainSpec
    from polyvisor.model.sysinfo import HostSysinfo
    from polyvisor.states import DomainSummary
    from polyvisor.support import SupportTable

__all__ = ["Connection", "DomainCollection", "OnHost"]


class OnHost(Face):
    """What a connection tells of its host and does to it."""

    __slots__ = ()

    sync: SyncOnHost

    @property
    def host(self) -> Awaitable[HostInfo]:
        """Facts about the host; to be awaited."""
        return self._get("host")

    async def host_times(self, cpu: int | None = None) -> CpuTimes:
        """Return for how long a CPU of the host, or all of them, did what."""
        return await self._run(self.sync.host_times, cpu)

    async def host_memory(self, cell: int | None = None) -> HostMemory:
        """Return what is in use of the host's memory, or of a NUMA node's; raises likewise."""
        return await self._run(self.sync.host_memory, cell)

    async def capabilities(self) -> str:
        """Return the host's capabilities as libvirt's ``<capabilities>`` XML."""
        return await self._run(self.sync.capabilities)

    async def domain_capabilities(
        self,
        *,
        emulator: str | None = None,
        arch: str | None = None,
        machine: str | None = None,
        kind: str | None = None,
    ) -> DomainCapabilities:
        """Return what a domain can have here: machines' limits, CPU models, devices."""
        return await self._run(
            self.sync.domain_capabilities, emulator=emulator, arch=arch, machine=machine, kind=kind
        )

    async def compare_cpu(self, cpu: str, *, guests: GuestKind | None = None) -> CpuComparison:
        """Compare a CPU with the host's, or with what guests can have on it."""
        return await self._run(self.sync.compare_cpu, cpu, guests=guests)

    async def baseline_cpu(
        self,
        cpus: Sequence[str],
        *,
        guests: GuestKind | None = None,
        expand: bool = False,
        migratable: bool = False,
    ) -> Cpu:
        """Return the best CPU of which all the given ones have everything."""
        return await self._run(
            self.sync.baseline_cpu, cpus, guests=guests, expand=expand, migratable=migratable
        )

    async def sysinfo(self) -> HostSysinfo:
        """Return what the host's firmware says of it: its maker, its boards, its memory."""
        return await self._run(self.sync.sysinfo)

    async def free_pages(self, cell: int | None = None) -> Mapping[int, int]:
        """Return how many pages of memory nobody uses, by their size in bytes, smallest first."""
        return await self._run(self.sync.free_pages, cell)

    async def reserve_pages(
        self, size: int, count: int, *, cell: int | None = None, add: bool = False
    ) -> None:
        """Set how many pages of a size are kept for those who ask for such: huge pages."""
        await self._run(self.sync.reserve_pages, size, count, cell=cell, add=add)

    async def memory_sharing(self) -> Mapping[str, int]:
        """Return how the kernel merges equal pages of memory, by its own names (Linux's KSM)."""
        return await self._run(self.sync.memory_sharing)

    async def set_memory_sharing(self, values: Mapping[str, int]) -> None:
        """Set ``pages_to_scan``, ``sleep_millisecs`` or ``merge_across_nodes`` of it."""
        await self._run(self.sync.set_memory_sharing, values)


class Connection(OnHost):
    """An open connection; a context manager that closes itself."""

    __slots__ = ("_own_crew", "domains")

    sync: SyncConnection

    def __init__(self, sync: SyncConnection, crew: Crew | None = None) -> None:
        super().__init__(self, sync)
        self._own_crew = Crew() if crew is None else crew
        self.domains: DomainCollection = DomainCollection(self, sync.domains)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    @property
    def name(self) -> str | None:
        """The connection's name in the configuration, or ``None``."""
        return self.sync.name

    @property
    def plugin(self) -> str:
        """Name of the plugin behind it."""
        return self.sync.plugin

    @property
    def readonly(self) -> bool:
        """Whether changes are refused."""
        return self.sync.readonly

    @property
    def uri(self) -> str:
        """The canonical URI."""
        return self.sync.uri

    async def close(self) -> None:
        """Close the connection; domains stay as they are. A second call does nothing."""
        await self._own_crew.close(self.sync.close)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self.sync.closed

    @property
    def support(self) -> Awaitable[SupportTable]:
        """What works on this connection, with reasons; to be awaited."""
        return self._get("support")

    @property
    def driver(self) -> Driver:
        """The driver itself, for what the public API does not cover."""
        return self.sync.driver

    @property
    def storage_pools(self) -> StoragePoolCollection:
        """The storage pools."""
        return StoragePoolCollection(self._host, self.sync.storage_pools)

    @property
    def networks(self) -> NetworkCollection:
        """The virtual networks."""
        return NetworkCollection(self._host, self.sync.networks)

    @property
    def interfaces(self) -> InterfaceCollection:
        """The host's own network interfaces."""
        return InterfaceCollection(self._host, self.sync.interfaces)

    @property
    def node_devices(self) -> NodeDeviceCollection:
        """The host's devices."""
        return NodeDeviceCollection(self._host, self.sync.node_devices)

    @property
    def secrets(self) -> SecretCollection:
        """Passphrases and keys."""
        return SecretCollection(self._host, self.sync.secrets)

    @property
    def nwfilters(self) -> NwFilterCollection:
        """Rules for the traffic of domains."""
        return NwFilterCollection(self._host, self.sync.nwfilters)

    @overload
    def events(self, *, timeout: float | None = ...) -> EventStream[Event]: ...

    @overload
    def events(
        self, *, timeout: float | None = ..., objects: Literal[True]
    ) -> EventStream[AnyEvent]: ...

    def events(self, *, timeout: float | None = None, objects: bool = False) -> EventStream[Any]:
        """Yield what happens on the host from now on, in order, whoever causes it."""
        stream: EventStream[Any] = EventStream(
            lambda: (
                iter(self.sync.events(timeout=timeout, objects=True))
                if objects
                else iter(self.sync.events(timeout=timeout))
            )
        )
        self._crew.add_stream(stream)
        return stream


class DomainCollection(Items[str | int | UUID, Domain]):
    """The domains of a connection."""

    __slots__ = ()

    sync: SyncDomainCollection

    def _wrap(self, sync: Any) -> Domain:
        return Domain(self._host, sync)

    async def find(self, text: str) -> Domain:
        """Return the domain that a person means by ``text``: number, UUID or name."""
        return Domain(self._host, await self._run(self.sync.find, text))

    async def list(self, *, active: bool = True, inactive: bool = True) -> builtins.list[Domain]:
        """Return handles of all domains of the wanted kinds, in no fixed order."""
        return [
            Domain(self._host, one)
            for one in await self._run(self.sync.list, active=active, inactive=inactive)
        ]

    async def summaries(
        self, *, active: bool = True, inactive: bool = True
    ) -> Sequence[DomainSummary]:
        """Return one line of facts for each domain of the wanted kinds, ordered by name."""
        return await self._run(self.sync.summaries, active=active, inactive=inactive)

    async def stats(
        self,
        *,
        active: bool = True,
        inactive: bool = True,
        groups: Iterable[str] | None = None,
        backing: bool = False,
    ) -> Sequence[tuple[DomainSummary, dict[str, Any]]]:
        """Return each domain of the wanted kinds with its figures, ordered by name."""
        return await self._run(
            self.sync.stats, active=active, inactive=inactive, groups=groups, backing=backing
        )

    async def build(self, *, name: str, memory: int | str, **words: Any) -> DomainSpec:
        """Return a definition for this host made of a few words; it is not defined yet."""
        return await self._run(self.sync.build, name=name, memory=memory, **words)

    async def define(self, source: SpecSource, *, validate: bool = False) -> Domain:
        """Keep a definition as a persistent domain, or give an old one a new definition."""
        return Domain(self._host, await self._run(self.sync.define, source, validate=validate))

    async def create(
        self,
        source: SpecSource,
        *,
        paused: bool = False,
        autodestroy: bool = False,
        validate: bool = False,
    ) -> Domain:
        """Start a transient domain, which is forgotten when it stops."""
        return Domain(
            self._host,
            await self._run(
                self.sync.create, source, paused=paused, autodestroy=autodestroy, validate=validate
            ),
        )

    async def restore(
        self,
        path: str | os.PathLike[str],
        *,
        spec: SpecSource | None = None,
        paused: bool | None = None,
        bypass_cache: bool = False,
        progress: ProgressCallback | None = None,
    ) -> Domain:
        """Start the domain saved in an image; the image stays."""
        return Domain(
            self._host,
            await self._crew.job(
                lambda control: self.sync.restore(
                    path, spec=spec, paused=paused, bypass_cache=bypass_cache, progress=control
                ),
                progress,
            ),
        )
