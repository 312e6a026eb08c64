"""The driver: where its host is, what it can do."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any

from polyvisor.errors import UriError
from polyvisor.host import HostInfo
from polyvisor.local import LocalDriver
from polyvisor.support import Support, SupportStatus, SupportTable

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from polyvisor.driver import OpenContext
    from polyvisor.uri import ConnectionUri
    from polyvisor_libxl.consoles import LibxlConsoles
    from polyvisor_libxl.context import Context
    from polyvisor_libxl.dumping import LibxlDumps

__all__ = ["LibxlDriver"]

_YES = SupportStatus.SUPPORTED
_NOT_YET = "not in this first version of the driver"


class LibxlDriver(LocalDriver):
    """``xen:///system``: the guests of the Xen host in whose control domain we run."""

    hypervisor: Any

    @classmethod
    def open(cls, uri: ConnectionUri, context: OpenContext) -> Self:
        """See :meth:`polyvisor.driver.Driver.open`."""
        from polyvisor.state import Home, Roots
        from polyvisor_libxl.hypervisor import LibxlHypervisor

        if uri.transport is not None or uri.host is not None:
            raise UriError(
                f"{uri}: this driver runs guests on this machine's Xen only; remote hosts need "
                f"the remote plugin"
            )
        if uri.path.strip("/") not in ("", "system"):
            raise UriError(f"{uri}: use xen:///system")
        root = uri.query.get("root") or context.root
        if os.geteuid() != 0 and root is None:
            raise UriError(f"{uri}: Xen is root's; run polyvisor as root")
        roots = Roots.of("libxl", "system", root=root)
        settings = dict(context.settings)
        hypervisor = LibxlHypervisor(settings, cls.opener(settings, root))
        hypervisor.context.version()
        driver = cls(roots.canonical(uri), hypervisor, Home.on_disk(roots), context)
        # Memory alone would go back without the disks.
        driver.snapshots = None
        return driver

    @classmethod
    def opener(cls, settings: dict[str, Any], root: str | None) -> Callable[[], Context]:
        """Return what opens libxl.

        Args:
            settings: the plugin's settings; ``library`` is the path of a libxl to be used
                instead of the one installed in the usual place.
            root: the folder for all files of this host, if it is not the usual one.
        """
        from polyvisor_libxl.binding import load
        from polyvisor_libxl.context import Context

        library = settings.get("library")
        module = load(None if library is None else str(library))
        return lambda: Context(module)

    @property
    def consoles(self) -> LibxlConsoles:  # type: ignore[override]
        """Opens consoles and serial ports."""
        from polyvisor_libxl.consoles import LibxlConsoles

        return LibxlConsoles(self)

    @property
    def dumps(self) -> LibxlDumps:  # type: ignore[override]
        """Writes cores."""
        from polyvisor_libxl.dumping import LibxlDumps

        return LibxlDumps(self)

    def host(self) -> HostInfo:
        """Return facts about this machine and its Xen."""
        context: Context = self.hypervisor.context
        memory, cpus, cores, _ = context.physical()
        kinds = " ".join(context.hypervisor_capabilities())
        return HostInfo(
            hostname=platform.node(),
            hypervisor="Xen",
            hypervisor_version=context.version(),
            architecture=platform.machine(),
            memory=memory,
            cpus=cpus,
            cores=cores or cpus,
            accelerators=("pv", "hvm") if "hvm" in kinds else ("pv",),
        )

    def support(self) -> SupportTable:
        """Return what this driver does with Xen."""
        none = Support(SupportStatus.UNSUPPORTED, "Xen itself has nothing of the kind")
        return SupportTable(
            {
                "domains.define": _YES,
                "domains.transient": _YES,
                "domains.start": _YES,
                "domains.start-paused": _YES,
                "domains.shutdown": _YES,
                "domains.destroy": _YES,
                "domains.reboot": _YES,
                "domains.reset": "only fully virtualised guests have a reset button",
                "domains.suspend": _YES,
                "domains.autostart": _YES,
                "domains.rename": _YES,
                "domains.lifecycle": "the actions of running guests are not changed yet",
                "domains.stats": _YES,
                "domains.metadata": _YES,
                "domains.dump": _YES,
                "save.file": _YES,
                "save.managed": _YES,
                "save.edit": _YES,
                "migration.live": _YES,
                "migration.stopped": _YES,
                "migration.offline": _YES,
                "migration.peer-to-peer": _YES,
                "migration.tunnelled": _YES,
                "migration.post-copy": none,
                "migration.storage": none,
                "migration.limits": none,
                "migration.timeout": none,
                "migration.auto-converge": none,
                "migration.compression": none,
                "migration.parallel": none,
                "migration.tls": none,
                "migration.abort-on-error": none,
                "migration.steering": none,
                "snapshots.memory": "disks would not go back together with memory yet",
                "snapshots.disk": _NOT_YET,
                "snapshots.revert": "there are no snapshots to revert to yet",
                "domains.debug": _NOT_YET,
                "checkpoints": none,
                "devices.attach": _YES,
                "devices.memory": _YES,
                "devices.vcpus": _YES,
                "devices.iothreads": none,
                "block.jobs": none,
                "console.serial": _YES,
                "console.screenshot": _NOT_YET,
                "console.send-key": _NOT_YET,
                "console.graphics": _NOT_YET,
                "guest.agent": none,
                "host.figures": _NOT_YET,
                "host.cpus": _NOT_YET,
                "host.memory": _NOT_YET,
                "storage": none,
                "networks": none,
                "node-devices": _NOT_YET,
                "secrets": _NOT_YET,
                "events": _YES,
            }
        )
