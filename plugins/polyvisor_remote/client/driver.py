"""The driver of other hosts' drivers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Self

from polyvisor.driver import Driver
from polyvisor.host import HostInfo
from polyvisor_remote.client.domains import RemoteDomains
from polyvisor_remote.client.link import Link
from polyvisor_remote.client.login import Credentials
from polyvisor_remote.client.reaching import asked_for, reach
from polyvisor_remote.client.support import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyvisor.driver import OpenContext
    from polyvisor.host import CpuTimes, HostMemory
    from polyvisor.model import DomainCapabilities
    from polyvisor.support import SupportTable
    from polyvisor.uri import ConnectionUri

__all__ = ["RemoteDriver"]

_ARCHITECTURE = re.compile(r"<arch>([^<]+)</arch>")
_TYPES = re.compile(r"<domain type=['\"](\w+)['\"]")
#: What runs guest code, best first, by the type of a domain.
_ACCELERATORS = {"kvm": "kvm", "xen": "xen", "hvf": "hvf", "bhyve": "bhyve", "qemu": "tcg"}


class _Part:
    """A part, made when it is first asked for if the server can any of what it stands for.

    Args:
        where: ``"module:class"`` in this package; the class takes the driver.
        features: of the support table; what tells whether the part is there.
    """

    def __init__(self, where: str, *features: str) -> None:
        self._features = features
        self._module, _, self._class = where.partition(":")

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, driver: RemoteDriver | None, owner: type) -> Any:
        if driver is None:
            return self
        made = None
        if any(map(driver.server.can, self._features)):
            from importlib import import_module

            module = import_module(f"polyvisor_remote.client.{self._module}")
            made = getattr(module, self._class)(driver)
        # Found there from now on, before this is asked.
        driver.__dict__[self._name] = made
        return made


def _part(where: str, *features: str) -> Any:
    return _Part(where, *features)


class RemoteDriver(Driver):
    """One connection to a libvirtd or polyvisord.

    Args:
        uri: what was opened.
        link: the way to the server.

    Attributes:
        link: the way to the server.
        server: what it can.
    """

    save = _part("saving:RemoteSave", "save.file")
    migration = _part("migration:RemoteMigration", "migration.live")
    snapshots = _part("snapshots:RemoteSnapshots", "snapshots.memory")
    block = _part("disks:RemoteBlockJobs", "block.jobs")
    checkpoints = _part("disks:RemoteCheckpoints", "checkpoints")
    backups = _part("disks:RemoteBackups", "backup")
    devices = _part("changing:RemoteDevices", "devices.attach")
    resources = _part("changing:RemoteResources", "devices.vcpus", "devices.memory")
    annotations = _part("changing:RemoteAnnotations", "domains.metadata")
    dumps = _part("changing:RemoteDumps", "domains.dump")
    tuning = _part("tuning:RemoteTuning", "domains.tuning")
    domains: RemoteDomains
    consoles = _part("seat:RemoteConsoles", "console.serial")
    screens = _part("seat:RemoteScreens", "console.screenshot")
    debug = _part("debug:RemoteDebug", "domains.debug")
    agent = _part("seat:RemoteAgent", "guest.agent")
    storage_pools = _part("storage:RemoteStoragePools", "storage")
    networks = _part("objects:RemoteNetworks", "networks")
    interfaces = _part("objects:RemoteInterfaces", "interfaces")
    node_devices = _part("objects:RemoteNodeDevices", "node-devices")
    secrets = _part("objects:RemoteSecrets", "secrets")
    nwfilters = _part("objects:RemoteNwFilters", "nwfilters")
    events = _part("events:RemoteEvents", "events")
    machine = _part("hostmachine:RemoteMachine", "host.memory")
    processors = _part("processors:RemoteProcessors", "host.cpus")

    def __init__(self, uri: str, link: Link) -> None:
        self.uri = uri
        self.link = link
        self.server = Server(link)
        self.domains = RemoteDomains(self)

    @classmethod
    def open(cls, uri: ConnectionUri, context: OpenContext) -> Self:
        """Reach the server and have it open what the URI names there."""
        settings = context.settings
        credentials = None
        user = settings.get("user", uri.user)
        if user is not None and "password" in settings:
            credentials = Credentials(str(user), str(settings["password"]))
        link = Link(
            reach(uri, readonly=context.readonly),
            asked_for(uri),
            readonly=context.readonly,
            credentials=credentials,
            interval=float(settings.get("keepalive_interval", 5.0)),
            count=int(settings.get("keepalive_count", 5)),
            limit=float(settings["open_timeout"]) if "open_timeout" in settings else None,
        )
        return cls(str(uri), link)

    def close(self) -> None:
        """Hang up."""
        self.link.close()

    def host(self) -> HostInfo:
        """Ask for names, versions and processors."""
        hostname, kind, version, node, capabilities = self.link.answers(
            [
                ("connect_get_hostname",),
                ("connect_get_type",),
                ("connect_get_version",),
                ("node_get_info",),
                ("connect_get_capabilities",),
            ]
        )
        xml = capabilities.capabilities
        model = node.model.rstrip(b"\0").decode(errors="replace")
        found = _ARCHITECTURE.search(xml)
        architecture = found[1] if found else model
        number = version.hv_ver
        types = set(_TYPES.findall(xml))
        return HostInfo(
            hostname=hostname.hostname,
            hypervisor=kind.type,
            hypervisor_version=(
                f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}" if number else ""
            ),
            architecture=architecture,
            memory=node.memory * 1024,
            cpus=node.cpus,
            cpu_model="" if model == architecture else model,
            cpu_mhz=node.mhz,
            numa_nodes=node.nodes,
            sockets=node.sockets,
            cores=node.cores,
            threads=node.threads,
            accelerators=tuple(name for kind_, name in _ACCELERATORS.items() if kind_ in types),
        )

    def host_times(self, cpu: int | None) -> CpuTimes:
        """Ask for the times of one or all processors."""
        from polyvisor.host import CpuTimes

        found = self._figures("node_get_cpu_stats", cpu, lambda number, count: (number, count, 0))
        return CpuTimes(
            user=found.get("user", 0) / 1e9,
            system=found.get("kernel", 0) / 1e9,
            idle=found.get("idle", 0) / 1e9,
            iowait=found.get("iowait", 0) / 1e9,
        )

    def host_memory(self, cell: int | None) -> HostMemory:
        """Ask for the memory of one or all NUMA nodes."""
        from polyvisor.host import HostMemory

        told = self._figures(
            "node_get_memory_stats", cell, lambda number, count: (count, number, 0)
        )
        found = {name: value << 10 for name, value in told.items()}
        return HostMemory(
            total=found.get("total", 0),
            free=found.get("free", 0),
            buffers=found.get("buffers"),
            cached=found.get("cached"),
        )

    def _figures(
        self, procedure: str, which: int | None, words: Callable[[int, int], tuple[int, ...]]
    ) -> dict[str, int]:
        """Ask how many figures of the host there are, then for as many: no other number will do."""
        number = -1 if which is None else which
        count = self.link.call(procedure, *words(number, 0)).nparams
        answer = self.link.call(procedure, *words(number, count))
        return {one.field: one.value for one in answer.params}

    def support(self) -> SupportTable:
        """Ask the server for what was not asked yet."""
        return self.server.table()

    def capabilities(self) -> str:
        """Return what the server's host can."""
        xml: str = self.link.call("connect_get_capabilities").capabilities
        return xml

    def domain_capabilities(
        self,
        *,
        emulator: str | None = None,
        arch: str | None = None,
        machine: str | None = None,
        kind: str | None = None,
    ) -> DomainCapabilities:
        """Return what a domain can have there."""
        from polyvisor.model import DomainCapabilities

        asked = ("connect_get_domain_capabilities", emulator, arch, machine, kind, 0)
        return DomainCapabilities.from_xml(self.link.call(*asked).capabilities)
