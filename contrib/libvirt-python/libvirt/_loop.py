"""The loop in which functions are called: the one here, or one that a script brings.

Whatever thread hears of something, what is to be called for it waits in a line of its own until
the loop comes to it: a descriptor that the loop watches tells it so.
"""

from __future__ import annotations

import os
import select
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from libvirt._error import libvirtError

__all__ = [
    "post",
    "virEventAddHandle",
    "virEventAddTimeout",
    "virEventInvokeFreeCallback",
    "virEventRegisterDefaultImpl",
    "virEventRegisterImpl",
    "virEventRemoveHandle",
    "virEventRemoveTimeout",
    "virEventRunDefaultImpl",
    "virEventUpdateHandle",
    "virEventUpdateTimeout",
]

# virEventHandleType
READABLE, WRITABLE, ERROR, HANGUP = 1, 2, 4, 8
_POLLED = (
    (READABLE, select.POLLIN),
    (WRITABLE, select.POLLOUT),
    (ERROR, select.POLLERR | select.POLLNVAL),
    (HANGUP, select.POLLHUP),
)
#: What is called for a descriptor and for a timer; loops of others name these types.
_EventCB = Callable[[int, int, int, Any], None]
_TimerCB = Callable[[int, Any], None]
#: Seconds after which the loop's function returns though nothing happened.
_TURN = 60.0


class _Impl(NamedTuple):
    """What a loop is made of, in the order of ``virEventRegisterImpl``."""

    add_handle: Callable[..., int]
    update_handle: Callable[[int, int], Any]
    remove_handle: Callable[[int], Any]
    add_timeout: Callable[..., int]
    update_timeout: Callable[[int, int], Any]
    remove_timeout: Callable[[int], Any]


class _Loop:
    """The loop of ``virEventRunDefaultImpl``: descriptors and timers, by their numbers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 1
        #: Descriptor, what is waited for, what to call, and with what.
        self._handles: dict[int, list[Any]] = {}
        #: Milliseconds between two calls (-1: none), when the next is due, what to call, with what.
        self._timers: dict[int, list[Any]] = {}

    def _add(self, table: dict[int, list[Any]], entry: list[Any]) -> int:
        with self._lock:
            number = self._next
            self._next += 1
            table[number] = entry
        _wake()
        return number

    def add_handle(self, fd: int, events: int, cb: Any, opaque: Any) -> int:
        return self._add(self._handles, [fd, events, cb, opaque])

    def update_handle(self, watch: int, events: int) -> None:
        if (entry := self._handles.get(watch)) is not None:
            entry[1] = events
            _wake()

    def remove_handle(self, watch: int) -> int:
        gone = self._handles.pop(watch, None)
        _wake()
        return -1 if gone is None else 0

    def add_timeout(self, timeout: int, cb: Any, opaque: Any) -> int:
        return self._add(self._timers, [timeout, time.monotonic() + timeout / 1000, cb, opaque])

    def update_timeout(self, timer: int, timeout: int) -> None:
        if (entry := self._timers.get(timer)) is not None:
            entry[:2] = [timeout, time.monotonic() + timeout / 1000]
            _wake()

    def remove_timeout(self, timer: int) -> int:
        gone = self._timers.pop(timer, None)
        _wake()
        return -1 if gone is None else 0

    def run_once(self) -> None:
        """Wait until something happens, and call what is to be called."""
        poll, watched = select.poll(), {}
        with self._lock:
            handles = [(watch, *entry[:2]) for watch, entry in self._handles.items()]
            due = [entry[1] for entry in self._timers.values() if entry[0] >= 0]
        for watch, fd, events in handles:
            if events:
                watched.setdefault(fd, []).append(watch)
                poll.register(fd, _mask(watched[fd], handles))
        wait = max(0.0, min(due, default=time.monotonic() + _TURN) - time.monotonic())
        ready = poll.poll(min(wait, _TURN) * 1000)
        for fd, mask in ready:
            for watch in watched[fd]:
                entry = self._handles.get(watch)
                happened = sum(event for event, bits in _POLLED if mask & bits)
                if entry is not None and happened & (entry[1] | ERROR | HANGUP):
                    _safely(entry[2], watch, fd, happened & (entry[1] | ERROR | HANGUP), entry[3])
        now = time.monotonic()
        for timer, entry in list(self._timers.items()):
            if entry[0] >= 0 and entry[1] <= now and timer in self._timers:
                entry[1] = now + entry[0] / 1000
                _safely(entry[2], timer, entry[3])


def _mask(watches: list[int], handles: list[tuple[int, int, int]]) -> int:
    """Return what poll is to look for on a descriptor that several may wait for."""
    wanted = 0
    for watch, _, events in handles:
        if watch in watches:
            wanted |= sum(bits for event, bits in _POLLED[:2] if events & event)
    return wanted


def _safely(cb: Any, *arguments: Any) -> None:
    """Call a function of a script's; what it raises is printed, as the binding does."""
    try:
        cb(*arguments)
    except Exception:  # noqa: BLE001 - whatever a script's function raises
        traceback.print_exc()


_default = _Loop()
_ours = _Impl(
    _default.add_handle,
    _default.update_handle,
    _default.remove_handle,
    _default.add_timeout,
    _default.update_timeout,
    _default.remove_timeout,
)
#: The loop that is used; none until one is registered.
_used: list[_Impl] = []
_calls: deque[Callable[[], None]] = deque()
_bell: list[int] = []
_registering = threading.Lock()


def _wake() -> None:
    if _bell:
        os.eventfd_write(_bell[0], 1)


def post(call: Callable[[], None]) -> None:
    """Have the loop call something soon; from any thread."""
    _calls.append(call)
    _wake()


def _called(watch: int, fd: int, events: int, opaque: Any) -> None:
    """Call what waits; what comes meanwhile has its turn too."""
    try:
        os.eventfd_read(fd)
    except BlockingIOError:
        return
    while _calls:
        _safely(_calls.popleft())


def _register(impl: _Impl) -> None:
    with _registering:
        if _used:
            return  # The first stays, as in libvirt.
        _used.append(impl)
        _bell.append(os.eventfd(1, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
    impl.add_handle(_bell[0], READABLE, _called, None)


def virEventRegisterDefaultImpl() -> int:
    """Use the loop of :func:`virEventRunDefaultImpl`."""
    _register(_ours)
    return 0


def virEventRegisterImpl(
    addHandle: Any,
    updateHandle: Any,
    removeHandle: Any,
    addTimeout: Any,
    updateTimeout: Any,
    removeTimeout: Any,
) -> None:
    """Use a loop of the script's own.

    Args:
        addHandle: ``(fd, events, cb, opaque)``; returns a number. When something happens,
            ``cb(number, fd, events, opaque)`` is to be called.
        updateHandle: ``(number, events)``.
        removeHandle: ``(number)``.
        addTimeout: ``(milliseconds, cb, opaque)``; returns a number. When the time has come,
            ``cb(number, opaque)`` is to be called.
        updateTimeout: ``(number, milliseconds)``.
        removeTimeout: ``(number)``.
    """
    _register(
        _Impl(addHandle, updateHandle, removeHandle, addTimeout, updateTimeout, removeTimeout)
    )


def virEventRunDefaultImpl() -> int:
    """Wait for something to happen and call what is to be called."""
    if not _used:
        _register(_ours)
    if _used[0] is not _ours:
        raise libvirtError("virEventRunDefaultImpl() failed: another loop is registered")
    _default.run_once()
    return 0


def _impl() -> _Impl:
    if not _used:
        _register(_ours)
    return _used[0]


def virEventInvokeFreeCallback(opaque: Any) -> None:
    """Let go of what belonged to a descriptor or timer that was removed: nobody else has it."""


def virEventAddHandle(fd: int, events: int, cb: Any, opaque: Any) -> int:
    """Have a function called when something happens on a descriptor; return its number."""
    return int(_impl().add_handle(fd, events, cb, opaque))


def virEventUpdateHandle(watch: int, events: int) -> None:
    """Wait for something else on it."""
    _impl().update_handle(watch, events)


def virEventRemoveHandle(watch: int) -> int:
    """Forget it."""
    gone = _impl().remove_handle(watch)
    return gone if isinstance(gone, int) else 0


def virEventAddTimeout(timeout: int, cb: Any, opaque: Any) -> int:
    """Have a function called every so many milliseconds; -1: not until it is updated."""
    return int(_impl().add_timeout(timeout, cb, opaque))


def virEventUpdateTimeout(timer: int, timeout: int) -> None:
    """Give a timer another period."""
    _impl().update_timeout(timer, timeout)


def virEventRemoveTimeout(timer: int) -> int:
    """Forget a timer."""
    gone = _impl().remove_timeout(timer)
    return gone if isinstance(gone, int) else 0
