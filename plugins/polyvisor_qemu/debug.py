"""Looking into running guests: QEMU's monitor, memory, what is behind disks, interrupts."""

from __future__ import annotations

import json
import os
import tempfile
from typing import TYPE_CHECKING, Any

from polyvisor.driver import Debug
from polyvisor.errors import InvalidArgument, OperationInvalid, StorageError
from polyvisor_qemu.nodes import disk_of
from polyvisor_qemu.qmp import QmpError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    from polyvisor.events import MonitorEvent
    from polyvisor_qemu.driver import QemuDriver

__all__ = ["QemuDebug"]


class QemuDebug(Debug):
    """Asks QEMU's monitor, and reads files beside it."""

    def __init__(self, driver: QemuDriver) -> None:
        self._driver = driver

    def command(self, uuid: UUID, command: str, *, human: bool, fds: Sequence[int] = ()) -> str:
        """See :meth:`polyvisor.driver.Debug.command`.

        QEMU forgets descriptors that it does not use once no monitor is connected: they stay from
        one command to the next only while somebody listens to the guest's events.
        """
        if human:
            given: dict[str, Any] = {"execute": "human-monitor-command"}
            given["arguments"] = {"command-line": command}
        else:
            given = _read(command)
        with self._driver.hold(uuid, "monitor command") as hold:
            hold.need_active()
            with self._driver.hypervisor.monitor(hold.guest) as monitor:
                asked = given["execute"], given.get("arguments", {})
                (told,) = monitor.ask(asked, fds=tuple(fds))
        if human:
            if isinstance(told, QmpError):
                raise told
            return str(told)
        answer: dict[str, Any]
        if isinstance(told, QmpError):
            answer = {"error": {"class": told.native_code, "desc": told.native_message}}
        else:
            answer = {"return": told}
        if "id" in given:
            answer["id"] = given["id"]
        return json.dumps(answer, separators=(",", ":"))

    def read_memory(self, uuid: UUID, address: int, size: int, *, physical: bool) -> bytes:
        """See :meth:`polyvisor.driver.Debug.read_memory`."""
        with self._driver.hold(uuid, "read memory") as hold:
            hold.need_active()
            guest = hold.guest
            if size == 0:
                return b""
            with tempfile.NamedTemporaryFile(dir=guest.run_dir) as file:
                # QEMU opens it by its name, and need not be root.
                owner = os.stat(f"/proc/{guest.runtime['pid']}")
                if os.geteuid() == 0:
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
                try:
                    with self._driver.hypervisor.monitor(guest) as monitor:
                        monitor.execute(
                            "pmemsave" if physical else "memsave",
                            val=address,
                            size=size,
                            filename=file.name,
                        )
                except QmpError as error:
                    raise OperationInvalid(
                        f"read memory of {guest.name!r}: {error.native_message}",
                        domain=guest.name,
                        native_message=error.native_message,
                    ) from error
                return file.read(size)

    def read_disk(self, uuid: UUID, disk: str, offset: int, size: int) -> bytes:
        """See :meth:`polyvisor.driver.Debug.read_disk`."""
        spec = self._driver.domains.spec(uuid)
        found = disk_of(spec, disk)
        path = found.source and (found.source.file or found.source.dev)
        if not path:
            raise OperationInvalid(f"read disk {disk!r} of {spec.name!r}: it is empty, or no file")
        try:
            with open(path, "rb", buffering=0) as file:
                return os.pread(file.fileno(), size, offset)
        except OSError as error:
            raise StorageError(
                f"read disk {disk!r} of {spec.name!r}: {path}: {error.strerror}", path=path
            ) from error

    def events(self, *, timeout: float | None = None) -> Iterator[MonitorEvent]:
        """See :meth:`polyvisor.driver.Debug.events`."""
        from polyvisor_qemu.overhearing import Overhearing

        return Overhearing(self._driver, timeout)

    def wakeup(self, uuid: UUID) -> None:
        """See :meth:`polyvisor.driver.Debug.wakeup`."""
        with self._driver.hold(uuid, "wake up") as hold:
            hold.need_active()
            with self._driver.hypervisor.monitor(hold.guest) as monitor:
                try:
                    monitor.execute("system_wakeup")
                except QmpError as error:
                    raise OperationInvalid(
                        f"wake up {hold.guest.name!r}: {error.native_message}",
                        domain=hold.guest.name,
                        native_message=error.native_message,
                    ) from error

    def nmi(self, uuid: UUID) -> None:
        """See :meth:`polyvisor.driver.Debug.nmi`."""
        with self._driver.hold(uuid, "inject nmi") as hold:
            hold.need_active()
            with self._driver.hypervisor.monitor(hold.guest) as monitor:
                monitor.execute("inject-nmi")


def _read(command: str) -> dict[str, Any]:
    """Return a command of the monitor's protocol."""
    try:
        given = json.loads(command)
    except ValueError as error:
        raise InvalidArgument(f"monitor command: it is no JSON text: {error}") from error
    known = {"execute", "arguments", "id"}
    if (
        not isinstance(given, dict)
        or not isinstance(given.get("execute"), str)
        or not isinstance(given.get("arguments", {}), dict)
        or given.keys() - known
    ):
        raise InvalidArgument(
            "monitor command: give an object with execute, and with arguments and id if need be"
        )
    return given
