"""All events of QEMU's monitors, for those who ask for them.

One process watches all guests and writes down what domains' listeners are told. The rest it
writes down only while somebody wants it, who holds a lock on a file that ends with him.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from polyvisor.errors import ConnectionClosed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from polyvisor.events import MonitorEvent
    from polyvisor_qemu.driver import QemuDriver

__all__ = ["Overhearing", "plain", "wanted"]

_FILE = "monitor-listeners"


def wanted(run_dir: str | None) -> bool:
    """Say whether somebody wants all events of a guest's host.

    Args:
        run_dir: the guest's run folder, beside which the file is.
    """
    try:
        fd = os.open(f"{os.path.dirname(run_dir or '')}/{_FILE}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def plain(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event of QEMU's (``{"event": …, "timestamp": …}``) as it is written down."""
    stamp = told.get("timestamp", {})
    data = told.get("data")
    return {
        "event": str(told["event"]),
        "seconds": int(stamp.get("seconds", 0)),
        "micros": int(stamp.get("microseconds", 0)),
        "details": None if data is None else json.dumps(data, separators=(",", ":")),
    }


class Overhearing:
    """The events, as long as somebody goes through them; see ``Debug.events``.

    Args:
        driver: the driver.
        timeout: seconds without an event after which there are no more; ``None``: never.
    """

    def __init__(self, driver: QemuDriver, timeout: float | None) -> None:
        folder = driver.home.run_dir(0)
        assert folder is not None
        path = f"{os.path.dirname(folder)}/{_FILE}"
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_SH)
        self._stream: Any = driver.monitored(timeout=timeout)

    def __iter__(self) -> Iterator[MonitorEvent]:
        return self

    def __next__(self) -> MonitorEvent:
        from polyvisor.events import MonitorEvent

        try:
            event = next(self._stream)
        except (StopIteration, ConnectionClosed):
            self._release()
            raise
        data = event.data
        moment = data["seconds"] + data["micros"] / 1e6
        return MonitorEvent(event.domain, data["event"], moment, data["details"])

    def end(self) -> None:
        """End it; from any thread."""
        self._stream.end()
        self._release()

    def _release(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):
            self._release()
