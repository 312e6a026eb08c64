"""Pictures of guests' screens, and keys for their keyboards."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from polyvisor.driver import Screens
from polyvisor.errors import InvalidArgument, NotFound, OperationInvalid, StorageError, Unsupported
from polyvisor_qemu.qmp import QmpError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from polyvisor_qemu.driver import QemuDriver

__all__ = ["QemuScreens"]

#: Keys that are pressed together at most (``VIR_DOMAIN_SEND_KEY_MAX_KEYS``).
MAX_KEYS = 16


class QemuScreens(Screens):
    """Asks QEMU for PNG pictures, and has it press keys."""

    def __init__(self, driver: QemuDriver) -> None:
        self._driver = driver

    def screenshot(self, uuid: UUID, screen: int, fd: int) -> str:
        """See :meth:`polyvisor.driver.Screens.screenshot`."""
        from tempfile import TemporaryFile

        with self._driver.hold(uuid, "screenshot") as hold:
            hold.need_active()
            guest = hold.guest
            device, head = self._screen(guest.spec.devices.videos, screen, guest.name)
            # QEMU takes no pipe, and wants a descriptor that can only be written.
            with TemporaryFile(dir=guest.run_dir) as picture:
                only = os.open(f"/proc/self/fd/{picture.fileno()}", os.O_WRONLY | os.O_CLOEXEC)
                try:
                    with self._driver.hypervisor.monitor(guest) as monitor:
                        added = monitor.execute("add-fd", fds=(only,))["fdset-id"]
                        try:
                            monitor.execute(
                                "screendump", filename=f"/dev/fdset/{added}", format="png",
                                device=device, head=head,
                            )  # fmt: skip
                        finally:
                            monitor.execute("remove-fd", fdset_id=added)
                except QmpError as error:
                    raise OperationInvalid(
                        f"screenshot of {guest.name!r}: {error.native_message}",
                        domain=guest.name,
                        native_message=error.native_message,
                    ) from error
                finally:
                    os.close(only)
                picture.seek(0)
                _copy(picture.read(), fd)
        return "image/png"

    def _screen(self, videos: Sequence[object], screen: int, name: str) -> tuple[str, int]:
        """Return the card that has a screen, and which of its screens that is."""
        before = 0
        for number, video in enumerate(videos):
            model = getattr(video, "model", None)
            if getattr(model, "type", None) == "none":
                continue
            heads = getattr(model, "heads", None) or 1
            if 0 <= screen < before + heads:
                return getattr(video, "alias", None) or f"video{number}", screen - before
            before += heads
        raise NotFound(f"{name!r} has no screen {screen}: it has {before}", key=str(screen))

    def open_graphics(self, uuid: UUID, screen: int, fd: int, *, skip_auth: bool) -> None:
        """See :meth:`polyvisor.driver.Screens.open_graphics`."""
        with self._driver.hold(uuid, "open graphics") as held:
            held.need_active()
            displays = held.guest.spec.devices.graphics
            if not 0 <= screen < len(displays):
                raise NotFound(
                    f"{held.guest.name!r} has no display {screen}: it has {len(displays)}",
                    key=str(screen),
                )
            kind = displays[screen].type
            if kind not in ("vnc", "spice"):
                raise Unsupported(
                    f"open graphics: a display of type {kind!r} takes no clients",
                    feature="console.graphics",
                )
            name = "display-client"
            with self._driver.hypervisor.monitor(held.guest) as monitor:
                monitor.execute("getfd", fds=(fd,), fdname=name)
                try:
                    monitor.execute("add_client", protocol=kind, fdname=name, skipauth=skip_auth)
                except QmpError as error:
                    with suppress(QmpError):
                        monitor.execute("closefd", fdname=name)
                    raise OperationInvalid(
                        f"open graphics of {held.guest.name!r}: {error.native_message}",
                        domain=held.guest.name,
                        native_message=error.native_message,
                    ) from error

    def reload_graphics(self, uuid: UUID, kind: str | None) -> None:
        """See :meth:`polyvisor.driver.Screens.reload_graphics`; QEMU can of VNC."""
        if kind not in ("vnc", None):
            raise Unsupported(
                f"reload graphics: QEMU reloads certificates of VNC alone, not of {kind!r}",
                feature="console.graphics",
            )
        with self._driver.hold(uuid, "reload graphics") as held:
            held.need_active()
            with self._driver.hypervisor.monitor(held.guest) as monitor:
                try:
                    monitor.execute("display-reload", **{"type": "vnc", "tls-certs": True})
                except QmpError as error:
                    raise OperationInvalid(
                        f"reload graphics of {held.guest.name!r}: {error.native_message}",
                        domain=held.guest.name,
                        native_message=error.native_message,
                    ) from error

    def send_keys(self, uuid: UUID, codes: Sequence[int], *, codeset: str, hold: float) -> None:
        """See :meth:`polyvisor.driver.Screens.send_keys`."""
        from polyvisor_qemu.keycodes import CODESETS, number_of

        if codeset not in CODESETS:
            raise Unsupported(
                f"send keys: codes of the set {codeset!r} are not known; use "
                f"{', '.join(sorted(CODESETS))}",
                feature="console.send-key",
            )
        if not 0 < len(codes) <= MAX_KEYS:
            raise InvalidArgument(f"send keys: give 1 to {MAX_KEYS} codes, not {len(codes)}")
        numbers = [number_of(codeset, code) for code in codes]
        if None in numbers:
            unknown = codes[numbers.index(None)]
            raise OperationInvalid(f"send keys: the set {codeset!r} has no code {unknown}")
        arguments: dict[str, object] = {
            "keys": [{"type": "number", "data": number} for number in numbers]
        }
        if hold:
            arguments["hold_time"] = int(hold * 1000)
        with self._driver.hold(uuid, "send keys") as held:
            held.need_active()
            with self._driver.hypervisor.monitor(held.guest) as monitor:
                monitor.execute("send-key", **arguments)


def _copy(data: bytes, fd: int) -> None:
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
    except OSError as error:
        raise StorageError(f"screenshot: cannot write the picture: {error.strerror}") from error
