"""The driver ``sim``: hosts of simulated guests, each shared by all processes of a user."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Self

import attrs

from polyvisor.errors import UriError
from polyvisor.local import LocalDriver
from polyvisor.state import Home, Roots
from polyvisor_sim.hypervisor import SimHypervisor
from polyvisor_sim.rack import FileRack

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.driver import (
        Dumps,
        Interfaces,
        Networks,
        NodeDevices,
        NwFilters,
        OpenContext,
        Screens,
        Secrets,
        StoragePools,
    )
    from polyvisor.host import HostInfo
    from polyvisor.support import SupportTable
    from polyvisor.uri import ConnectionUri
    from polyvisor_sim.check import MemoryCheck
    from polyvisor_sim.ports import SimConsoles

__all__ = ["SimDriver", "SimulatorDriver", "refuse_strange"]


class SimulatorDriver(LocalDriver):
    """What the drivers of the simulator have in common.

    Attributes:
        hypervisor: runs the guests.
    """

    hypervisor: SimHypervisor

    def objects_home(self) -> Home:
        """Return where host objects are kept, with those that the host began with."""
        return self.home

    @property
    def storage_pools(self) -> StoragePools:
        """Pools of sizes and names."""
        from polyvisor_sim.pools import SimPools

        return SimPools(self.objects_home())

    @property
    def networks(self) -> Networks:
        """Networks that are only written down."""
        from polyvisor_sim.hostobjects import SimNetworks

        return SimNetworks(self.objects_home())

    @property
    def interfaces(self) -> Interfaces:
        """Interfaces that are only written down."""
        from polyvisor_sim.hostobjects import SimInterfaces

        return SimInterfaces(self.objects_home())

    @property
    def node_devices(self) -> NodeDevices:
        """The devices that the host began with."""
        from polyvisor_sim.hostobjects import SimNodeDevices

        return SimNodeDevices(self.objects_home())

    @property
    def secrets(self) -> Secrets:
        """Secrets."""
        from polyvisor.local.objects import LocalSecrets

        return LocalSecrets(self.objects_home())

    @property
    def nwfilters(self) -> NwFilters:
        """Network filters, which nothing applies."""
        from polyvisor.local.objects import LocalNwFilters

        return LocalNwFilters(self.objects_home())

    @cached_property
    def consoles(self) -> SimConsoles:  # type: ignore[override]
        """The serial ports of guests."""
        from polyvisor_sim.ports import SimConsoles

        return SimConsoles(self)

    @property
    def screens(self) -> Screens:  # type: ignore[override]
        """What guests print, as pictures."""
        from polyvisor_sim.screen import SimScreens

        return SimScreens(self)

    @property
    def dumps(self) -> Dumps:  # type: ignore[override]
        """Cores of guests."""
        from polyvisor_sim.core import SimDumps

        return SimDumps(self)

    def close(self) -> None:
        """Release everything; guests stay as they are."""
        opened = vars(self).pop("consoles", None)
        if opened is not None:
            opened.close()
        super().close()

    def verify_memory(self, uuid: UUID) -> MemoryCheck:
        """Compare every byte of an active domain's memory with what its ticks made of it.

        Raises:
            NotFound: there is no such domain.
            OperationInvalid: it is not active.
        """
        with self.hold(uuid, "verify memory") as hold:
            hold.need_active()
            return self.hypervisor.verify_memory(hold.guest)

    def printed(self, uuid: UUID) -> str:
        """Return the last lines that an active domain has printed on its serial port.

        They are the same whether or not there is a file behind the port.

        Raises:
            NotFound: there is no such domain.
            OperationInvalid: it is not active.
        """
        return self.hypervisor.printed(self.guest(uuid))


class SimDriver(SimulatorDriver):
    """``sim:///NAME``: as many hosts as there are names.

    ``?root=FOLDER`` in the URI, or ``root`` of the connection, moves all files there.
    """

    @classmethod
    def open(cls, uri: ConnectionUri, context: OpenContext) -> Self:
        """Open the host that the URI names, which is made if it is new."""
        refuse_strange(uri, known=("root",))
        name = uri.path.strip("/") or "default"
        if not _is_name(name):
            raise UriError(
                f"{uri}: {name!r} cannot be the name of a simulated host; it begins with a "
                f"letter or digit, and has at most 64 letters, digits, '.', '_', '-'"
            )
        roots = Roots.of("sim", "session", name, root=uri.query.get("root") or context.root)
        home = Home.on_disk(roots)
        canonical = roots.canonical(attrs.evolve(uri, path=f"/{name}"))
        hypervisor = SimHypervisor(FileRack(home.bells), arch=os.uname().machine)
        return cls(canonical, hypervisor, home, context)

    def host(self) -> HostInfo:
        """Return facts about the machine we are on, under the simulated host's name."""
        from polyvisor import __version__
        from polyvisor.host import HostInfo

        here = os.uname()
        return HostInfo(
            hostname=self.uri.partition(":///")[2].partition("?")[0],
            hypervisor="simulator",
            hypervisor_version=__version__,
            architecture=here.machine,
            memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            cpus=os.cpu_count() or 1,
            cores=os.cpu_count() or 1,
            accelerators=("sim",),
        )

    def support(self) -> SupportTable:
        """Return what works on this connection."""
        from polyvisor_sim.support import SIM

        return SIM


def _is_name(text: str) -> bool:
    letters = text.replace(".", "").replace("_", "").replace("-", "")
    return len(text) <= 64 and letters.isascii() and letters.isalnum() and text[0].isalnum()


def refuse_strange(uri: ConnectionUri, *, known: tuple[str, ...] = ()) -> None:
    """Refuse a URI that means more than the simulator understands.

    Raises:
        UriError: it has a host, a transport or an unknown parameter.
    """
    elsewhere = uri.host or uri.user or uri.port or uri.transport
    if elsewhere or not (uri.path or "/").startswith("/"):
        raise UriError(
            f"{uri}: simulated hosts are on this machine; write {uri.scheme}:///NAME, with "
            f"three slashes"
        )
    strange = sorted(set(uri.query) - set(known))
    if strange:
        words = f"known is {', '.join(known)}" if known else "there are none"
        raise UriError(f"{uri}: unknown parameter {strange[0]!r} ({words})")
