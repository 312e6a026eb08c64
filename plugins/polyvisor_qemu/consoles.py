"""Consoles, serial ports and channels of running guests, opened as descriptors."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from polyvisor.driver import Consoles
from polyvisor.errors import Busy, HypervisorError, NotFound, OperationInvalid, Timeout
from polyvisor_qemu.qmp import Gone, connect

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.local import Guest
    from polyvisor.model.devices.chardev import Chardev
    from polyvisor_qemu.driver import QemuDriver
    from polyvisor_qemu.hypervisor import QemuHypervisor
    from polyvisor_qemu.qmp import Monitor

__all__ = ["QemuConsoles", "chardev_of", "end_of", "open_end"]

#: Seconds to wait until QEMU lets us in at a socket.
_PATIENCE = 5.0
_KINDS = ("consoles", "serials", "parallels", "channels")


class QemuConsoles(Consoles):
    """Opens the host's end of a guest's character devices.

    A terminal is one client's at a time by its lock; QEMU itself serves one client at a socket.
    """

    def __init__(self, driver: QemuDriver) -> None:
        self._driver = driver

    def open(self, uuid: UUID, device: str | None, *, force: bool) -> int:
        """See :meth:`polyvisor.driver.Consoles.open`."""
        guest = self._driver.guest(uuid)
        return open_end(self._driver.hypervisor, guest, device, force=force)


def open_end(hypervisor: QemuHypervisor, guest: Guest, device: str | None, *, force: bool) -> int:
    """Open the host's end of a device; see :meth:`polyvisor.driver.Consoles.open`."""
    with hypervisor.monitor(guest) as monitor:
        name, end = _find(guest, device, monitor)
    kind, _, place = end.partition(":")
    if kind == "pty":
        from polyvisor.local import open_terminal

        what = f"console {name!r} of {guest.name!r}"
        return open_terminal(place, what, domain=guest.name, force=force)
    if kind == "disconnected" and place.startswith("unix:"):
        return _socket(guest, name, place.removeprefix("unix:").split(",server=")[0])
    if kind in ("unix", "fd"):
        raise Busy(f"console {name!r} of {guest.name!r}: somebody else is connected to it")
    raise OperationInvalid(
        f"console {name!r} of {guest.name!r}: it leads to {end!r}; only a pty and a unix "
        f"socket at which QEMU serves can be opened",
        domain=guest.name,
    )


def _find(guest: Guest, device: str | None, monitor: Monitor) -> tuple[str, str]:
    if device is not None:
        found = end_of(monitor, device)
        if found is not None and _device(guest, device) is not None:
            return device, found
        raise NotFound(f"{guest.name!r} has no console {device!r}", key=device)
    for name in ("serial0", "console0"):
        found = end_of(monitor, name)
        if found is not None:
            return name, found
    raise NotFound(f"{guest.name!r} has neither console nor serial port", key="console")


def chardev_of(monitor: Monitor, name: str) -> dict[str, Any] | None:
    """Return what QEMU says of the character device of a guest's device (``ChardevInfo``)."""
    told: list[dict[str, Any]] = monitor.execute("query-chardev")
    return next((one for one in told if one["label"] in (name, f"char{name}")), None)


def end_of(monitor: Monitor, name: str) -> str | None:
    """Return where on the host the character device of a guest's device ends, in QEMU's words."""
    found = chardev_of(monitor, name)
    return None if found is None else str(found["filename"])


def _device(guest: Guest, name: str) -> Chardev | None:
    """Return a device of the guest's by its alias, or by its kind and place."""
    for kind in _KINDS:
        for place, one in enumerate(getattr(guest.spec.devices, kind)):
            if name in (one.alias, f"{kind.removesuffix('s')}{place}"):
                found: Chardev = one
                return found
    if name == "serial0" and guest.spec.devices.consoles:
        # A lone console stands for the first serial port (libvirt's rule).
        return guest.spec.devices.consoles[0]
    return None


def _socket(guest: Guest, name: str, path: str) -> int:
    prefix = "/proc/self/fd/"
    if path.startswith(prefix) and guest.run_dir is not None:
        # A path that only its maker had, or as QEMU sees its run folder.
        device = _device(guest, name)
        stated = device.source.path if device is not None and device.source is not None else None
        path = stated or f"{guest.run_dir}/{path.removeprefix(prefix).partition('/')[2]}"
    made: Any = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        connect(made, path, _PATIENCE)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, bytes(16))
    except (Gone, Timeout) as error:
        made.close()
        raise HypervisorError(
            f"console {name!r} of {guest.name!r}: {error.message}", domain=guest.name
        ) from error
    return int(made.detach())
