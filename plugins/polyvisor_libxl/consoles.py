"""Consoles and serial ports of running guests, as the terminals at which they end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from polyvisor.driver import Consoles
from polyvisor.errors import HypervisorError, NotFound, OperationInvalid
from polyvisor.local import open_terminal
from polyvisor_libxl.completion import kind_of

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.model import DomainSpec
    from polyvisor_libxl.driver import LibxlDriver

__all__ = ["LibxlConsoles"]

#: Seconds in which xenconsoled, or the device model, gives a new guest its terminals.
_PATIENCE = 10.0
_KINDS = ("console", "serial")


class LibxlConsoles(Consoles):
    """Opens the terminals that xenconsoled and the device model have for a guest.

    A console of a running guest is known by its place: ``console0``, ``serial0``.
    """

    def __init__(self, driver: LibxlDriver) -> None:
        self._driver = driver

    def open(self, uuid: UUID, device: str | None, *, force: bool) -> int:
        """See :meth:`polyvisor.driver.Consoles.open`."""
        guest = self._driver.guest(uuid)
        domid = self._driver.hypervisor.domid(guest, "open a console of")
        number, serial = _place(guest.spec, device)
        what = f"console {device or 'console0'!r} of {guest.name!r}"
        path = self._terminal(domid, number, serial=serial)
        if path is None:
            raise HypervisorError(
                f"{what}: it has no terminal; xenconsoled, or the guest's device model, has to run",
                domain=guest.name,
            )
        return open_terminal(path, what, domain=guest.name, force=force)

    def _terminal(self, domid: int, number: int | None, *, serial: bool) -> str | None:
        context = self._driver.hypervisor.context
        deadline = time.monotonic() + _PATIENCE
        while True:
            path: str | None = context.console(domid, number, serial=serial)
            if path is not None or time.monotonic() > deadline or context.domain(domid) is None:
                return path
            time.sleep(0.05)


def _place(spec: DomainSpec, device: str | None) -> tuple[int | None, bool]:
    """Return the number of a console, ``None`` for the first, and whether it is emulated.

    Raises:
        NotFound: there is none of that name.
        OperationInvalid: it does not end at a terminal.
    """
    found: list[tuple[str, int, Any]] = [
        (f"{kind}{place}", place, one)
        for kind in _KINDS
        for place, one in enumerate(getattr(spec.devices, f"{kind}s"))
    ]
    hvm = kind_of(spec) == "hvm"
    for name, place, one in found:
        if device is not None and device not in (name, one.alias):
            continue
        if one.type not in (None, "pty"):
            raise OperationInvalid(
                f"console {name!r} of {spec.name!r}: it leads to a {one.type}, not to a terminal",
                domain=spec.name,
            )
        if device is None:
            return None, False
        kind, port = getattr(one.target, "type", None), getattr(one.target, "port", None)
        number = place if port is None else port
        return number, hvm and (name.startswith("serial") or kind in (None, "serial"))
    if device is None and not hvm:
        return None, False  # Xen gives each paravirtual guest one.
    raise NotFound(f"{spec.name!r} has no {device or 'console or serial port'}", key=device or "")
