"""The driver as a whole, how it is announced, and what it is opened with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import attrs

from polyvisor._values import frozen_mapping

if TYPE_CHECKING:
    from polyvisor.driver._block import Backups, BlockJobs, Checkpoints
    from polyvisor.driver._console import Consoles, Screens
    from polyvisor.driver._debug import Debug
    from polyvisor.driver._domains import Domains
    from polyvisor.driver._guest import GuestAgent
    from polyvisor.driver._host import HostMachine, Processors
    from polyvisor.driver._migration import Migration
    from polyvisor.driver._objects import (
        Interfaces,
        Networks,
        NodeDevices,
        NwFilters,
        Secrets,
        StoragePools,
    )
    from polyvisor.driver._parts import (
        Annotations,
        Devices,
        Dumps,
        Events,
        Resources,
        Save,
        Snapshots,
    )
    from polyvisor.driver._tuning import Tuning
    from polyvisor.events import Event
    from polyvisor.host import CpuTimes, HostInfo, HostMemory
    from polyvisor.model import DomainCapabilities, DomainSpec
    from polyvisor.support import SupportTable
    from polyvisor.uri import ConnectionUri

__all__ = ["Driver", "DriverInfo", "Hooks", "OpenContext"]


@attrs.frozen
class DriverInfo:
    """Announces a driver without importing it.

    Attributes:
        name: the plugin's short name, as in ``[plugins.NAME]`` of the config.
        schemes: URI schemes it opens.
        summary: one line for ``polyvisor plugins``.
        factory: ``"module:Class"`` of a :class:`Driver`, imported on first use.
        probe: ``"module:function"`` that takes no argument and returns a
            :class:`~polyvisor.driver.Usability`; ``None`` if the driver works everywhere.
        default_uri: what ``polyvisor`` opens when only the driver is named.
        build: ``"module:function"`` that compiles for this host what the driver would compile
            on first use, and returns where it is; ``None`` if there is nothing of the kind.
        transports: what it opens after the ``+`` of a URI, whatever the scheme before it, such
            as ``"ssh"`` in ``qemu+ssh://host/system``: for drivers of other hosts' drivers.
        target: ``"module:function"`` that takes an empty folder (a ``pathlib.Path``) and returns
            the arguments of a :class:`polyvisor.testing.Target` there as a mapping, or a context
            manager with them, for ``polyvisor plugins --check``; ``None`` if only the plugin's
            own tests know.
        settings: ``"module:NAME"`` of a tuple with each :class:`Setting` that it reads,
            imported when somebody has set any; ``None`` if it does not declare them, and
            the configuration is not held against them.
    """

    name: str
    schemes: tuple[str, ...]
    summary: str
    factory: str
    probe: str | None = None
    default_uri: str | None = None
    build: str | None = None
    transports: tuple[str, ...] = ()
    target: str | None = None
    settings: str | None = None


class Hooks(Protocol):
    """What a driver calls so that other plugins can watch and steer.

    Each call costs next to nothing when no plugin listens.
    """

    def domain_starting(self, uri: str, spec: DomainSpec) -> DomainSpec:
        """Return the definition to start, as hooks changed it.

        Raises:
            Vetoed: a hook refused.
        """

    def event(self, uri: str, event: Event) -> None:
        """Tell hooks of an event; what they raise is logged, not passed on."""


@attrs.frozen
class OpenContext:
    """What the core hands a driver that is being opened.

    Attributes:
        settings: the driver's own table ``[plugins.NAME]`` of the config, merged with
            the connection's own settings.
        readonly: whether only reading is allowed (the core already refuses writing).
        root: folder under which all of the driver's files go, or ``None`` for the
            places that its URI stands for.
        hooks: see :class:`Hooks`.
    """

    hooks: Hooks
    settings: Mapping[str, Any] = attrs.field(factory=dict, converter=frozen_mapping)
    readonly: bool = False
    root: str | None = None


class Driver(ABC):
    """One open connection to one hypervisor.

    Attributes:
        api_version: the version of these interfaces that the driver was written for.
        uri: the canonical URI of what was opened; opening it again, from any process
            of this user, reaches the same host.
    """

    api_version: ClassVar[int] = 1

    uri: str
    domains: Domains
    save: Save | None = None
    migration: Migration | None = None
    snapshots: Snapshots | None = None
    devices: Devices | None = None
    resources: Resources | None = None
    tuning: Tuning | None = None
    annotations: Annotations | None = None
    dumps: Dumps | None = None
    consoles: Consoles | None = None
    screens: Screens | None = None
    agent: GuestAgent | None = None
    debug: Debug | None = None
    block: BlockJobs | None = None
    checkpoints: Checkpoints | None = None
    backups: Backups | None = None
    events: Events | None = None
    processors: Processors | None = None

    @classmethod
    @abstractmethod
    def open(cls, uri: ConnectionUri, context: OpenContext) -> Self:
        """Connect.

        Raises:
            UriError: the path or a parameter means nothing to this driver.
            ConnectError: the hypervisor cannot be reached; says why.
            PluginUnusable: something is not installed; says what.
        """

    @abstractmethod
    def close(self) -> None:
        """Release everything; guests stay as they are. A second call does nothing."""

    @abstractmethod
    def host(self) -> HostInfo:
        """Return facts about the host."""

    @abstractmethod
    def support(self) -> SupportTable:
        """Return what works on this connection."""

    def first_of_boot(self) -> bool:
        """Say whether nobody has asked this since the host was booted.

        Whoever is told so starts what is marked to start with the host, in whatever process.
        Unless a driver says something else, somebody else does that.
        """
        return False

    def host_times(self, cpu: int | None) -> CpuTimes:
        """Return for how long a CPU of the host, or all of them, did what.

        Args:
            cpu: its number; ``None``: all together.

        Raises:
            InvalidArgument: there is no such CPU.
            Unsupported: the driver does not know.
        """
        from polyvisor.errors import Unsupported

        raise Unsupported("this driver does not say what its host does", feature="host.figures")

    def host_memory(self, cell: int | None) -> HostMemory:
        """Return what is in use of the host's memory, or of a NUMA node's.

        Args:
            cell: the node's number; ``None``: all together.

        Raises:
            InvalidArgument: there is no such node.
            Unsupported: the driver does not know.
        """
        from polyvisor.errors import Unsupported

        raise Unsupported("this driver does not say what its host does", feature="host.figures")

    # The families of host objects. Properties, so that what a driver has of them is
    # imported when somebody asks for it.

    @property
    def storage_pools(self) -> StoragePools | None:
        """Storage pools and their volumes."""
        return None

    @property
    def networks(self) -> Networks | None:
        """Virtual networks."""
        return None

    @property
    def interfaces(self) -> Interfaces | None:
        """The host's own network interfaces."""
        return None

    @property
    def node_devices(self) -> NodeDevices | None:
        """The host's devices."""
        return None

    @property
    def machine(self) -> HostMachine | None:
        """The host's own hardware and memory."""
        return None

    @property
    def secrets(self) -> Secrets | None:
        """Passphrases and keys."""
        return None

    @property
    def nwfilters(self) -> NwFilters | None:
        """Rules for the traffic of domains."""
        return None

    def capabilities(self) -> str:
        """Return the host's capabilities as libvirt's ``<capabilities>`` XML."""
        from polyvisor.driver._capabilities import minimal_capabilities

        return minimal_capabilities(self.host())

    def domain_capabilities(
        self,
        *,
        emulator: str | None = None,
        arch: str | None = None,
        machine: str | None = None,
        kind: str | None = None,
    ) -> DomainCapabilities:
        """Return what a domain can have here: libvirt's ``<domainCapabilities>``.

        Args:
            emulator: path of the emulator; ``None``: that of the architecture.
            arch: the guest's architecture; ``None``: the host's.
            machine: a machine type or its alias; ``None``: the default.
            kind: the domain's type, such as ``"kvm"``; ``None``: the best there is.

        Raises:
            InvalidArgument: there is no such emulator, machine or type.
            Unsupported: the driver does not know.
        """
        from polyvisor.errors import Unsupported

        raise Unsupported("this driver does not say what a domain can have")
