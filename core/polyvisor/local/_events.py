"""Events: from the journal, and from guests that do things of themselves."""

from __future__ import annotations

import os
import select
import threading
import time
import weakref
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from polyvisor.driver import Events
from polyvisor.errors import ConnectionClosed, PolyvisorError
from polyvisor.events import EventKind, ObjectEvent
from polyvisor.local._hypervisor import WatchesGuests
from polyvisor.local._keeper import LIVELY
from polyvisor.local._points import MONITOR
from polyvisor.local._recovery import SUSPENDED_DETAILS
from polyvisor.local._threads import Threads
from polyvisor.state import NewEvent
from polyvisor.states import DomainState, StateReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from polyvisor.events import AnyEvent
    from polyvisor.local._hypervisor import Guest
    from polyvisor.local._keeper import Keeper
    from polyvisor.state import Bell, Lock

__all__ = ["LocalEvents"]

#: The lock of the one process that watches the guests of a host.
WATCH = "watch"
#: Seconds to wait until the watch hears all guests that run already.
BEGINNING = 2.0
#: Seconds to wait for a thread of our own that ends. One who closes from within the watch, as a
#: hook may, would else wait for itself.
ENDING = 5.0
#: Seconds after which a lock that was not given is another process's.
CLAIMING = 0.1


class LocalEvents(Events):
    """The events of one host, whichever process causes them."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._streams: weakref.WeakSet[_Stream] = weakref.WeakSet()
        self._watch: _Watch | None = None
        self._attending = Threads()
        # Reentrant: a stream that is no longer used may be collected at any time.
        self._mutex = threading.RLock()

    def stream(self, *, timeout: float | None = None, objects: bool = False) -> Iterator[AnyEvent]:
        return self._begin(_Stream(self, self._keeper, timeout, objects=objects))

    def monitored(self, *, timeout: float | None = None) -> Iterator[AnyEvent]:
        """Yield only what hypervisors' own monitors tell, which :meth:`stream` leaves out.

        Those are events of the kind ``guest`` with the detail ``MONITOR``, which a plugin
        reports as long as it finds that somebody wants them.
        """
        return self._begin(_Stream(self, self._keeper, timeout, objects=False, monitor=True))

    def _begin(self, stream: _Stream) -> _Stream:
        with self._mutex:
            self._streams.add(stream)
            if self._watch is None and isinstance(self._keeper.hypervisor, WatchesGuests):
                self._watch = _Watch(self._keeper, self._keeper.hypervisor)
            watch = self._watch
        if watch is not None:
            # Else what a guest does right now would be heard by nobody.
            watch.hears.wait(BEGINNING)
        return stream

    def attend(self, take: Callable[[AnyEvent], bool], *, name: str, timeout: float) -> None:
        """Hear events in a thread of our own, from now on.

        Args:
            take: given each event; it ends if that returns true.
            name: of the thread.
            timeout: seconds without an event after which it ends, too.
        """
        stream = self._begin(_Stream(self, self._keeper, timeout, objects=False))

        def run() -> None:
            with suppress(PolyvisorError):
                for event in stream:
                    if take(event):
                        break
            stream.close()

        self._attending.start(name, run)

    def forget(self, stream: _Stream) -> None:
        """Stop watching guests when nobody listens any more."""
        with self._mutex:
            self._streams.discard(stream)
            watch = self._watch if not self._streams else None
            if watch is not None:
                self._watch = None
        if watch is not None:
            watch.close()

    def close(self) -> None:
        """End all streams and stop watching."""
        with self._mutex:  # Others may end just now.
            streams = list(self._streams)
        for stream in streams:
            stream.end()
        with self._mutex:
            watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()
        self._attending.join(ENDING)


class _Stream:
    """One listener's place in the journal."""

    def __init__(
        self,
        events: LocalEvents,
        keeper: Keeper,
        timeout: float | None,
        *,
        objects: bool,
        monitor: bool = False,
    ) -> None:
        self._events = events
        self._keeper = keeper
        self._timeout = timeout
        self._objects = objects
        self._monitor = monitor
        self._waiting: deque[AnyEvent] = deque()
        self._stop_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._fd_mutex = threading.Lock()
        self._using = threading.Lock()
        self._ended = False
        # The bell first: what happens from here on rings it.
        self._bell: Bell = keeper.home.bells.hang()
        self._sequence = keeper.home.store.last_sequence()

    def __iter__(self) -> _Stream:
        return self

    def __next__(self) -> AnyEvent:
        with self._using:
            event = self._next()
        if event is None:
            self.close()
            if self._ended:
                raise ConnectionClosed("the connection was closed; there are no more events")
            raise StopIteration
        if not isinstance(event, ObjectEvent):
            self._keeper.overhear(event)
        return event

    def _next(self) -> AnyEvent | None:
        """Wait for the next event; ``None`` if there is none in time, or no more."""
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        while True:
            while not self._waiting:
                if self._ended or self._stop_fd < 0:
                    return None
                self._bell.silence()
                self._waiting.extend(self._keeper.home.store.events_after(self._sequence))
                if not self._waiting and not self._wait(deadline):
                    return None
            event = self._waiting.popleft()
            self._sequence = event.sequence
            if isinstance(event, ObjectEvent):
                if self._objects:
                    return event
            elif self._monitor == (event.detail == MONITOR):
                return event

    def _wait(self, deadline: float | None) -> bool:
        """Wait for the bell; return whether it rang in time."""
        poll = select.poll()
        poll.register(self._stop_fd, select.POLLIN)
        poll.register(self._bell, select.POLLIN)
        if deadline is None:
            return bool(poll.poll())
        # Rounded up, so that the time has come when nothing has.
        return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000 + 1))

    def end(self) -> None:
        """Tell the listener that there is no more; from any thread."""
        self._ended = True
        with self._fd_mutex:
            if self._stop_fd >= 0:
                os.eventfd_write(self._stop_fd, 1)
        if self._using.acquire(blocking=False):  # Else it closes when it wakes.
            self._using.release()
            self.close()

    def close(self) -> None:
        """Stop listening. A second call does nothing."""
        with self._fd_mutex:
            fd, self._stop_fd = self._stop_fd, -1
            if fd >= 0:
                os.close(fd)
        if fd >= 0:
            self._bell.close()
            self._events.forget(self)

    def __del__(self) -> None:
        with suppress(AttributeError, OSError, PolyvisorError):
            self.close()


class _Watch:
    """Hears, for all processes, what guests do of themselves.

    One process at a time watches, the one that has the lock; the others wait for it, so
    that each event is told once and nothing is missed when the first one goes.

    Attributes:
        hears: set once the guests that run are listened to, by this process or another.
    """

    def __init__(self, keeper: Keeper, hypervisor: WatchesGuests) -> None:
        self._keeper = keeper
        self._hypervisor = hypervisor
        self._stop_fd = os.eventfd(0, os.EFD_CLOEXEC)
        self._changed_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._bell = keeper.home.bells.hang()
        self._thread = threading.Thread(target=self._run, name="polyvisor-watch", daemon=True)
        self._watcher: threading.Thread | None = None
        self.hears = threading.Event()
        self._looks = 0
        self._mutex = threading.Lock()
        self._waiting: set[UUID] = set()
        self._followers = Threads()
        self._thread.start()

    def close(self) -> None:
        """Stop watching; another process that listens takes over."""
        os.eventfd_write(self._stop_fd, 1)
        if threading.current_thread() not in (self._thread, self._watcher):
            self._thread.join()

    def _run(self) -> None:
        claim = self._keeper.home.locks.claim(WATCH, "watch")
        if not select.select([claim], [], [], CLAIMING)[0]:
            self.hears.set()  # Another process does already.
        poll = select.poll()
        for waited in (self._stop_fd, self._bell, claim):
            poll.register(waited, select.POLLIN)
        try:
            while True:
                ready = {fd for fd, _ in poll.poll()}
                if self._stop_fd in ready:
                    return
                if claim.fileno() in ready:
                    poll.unregister(claim)
                    self._watcher = threading.Thread(
                        target=self._watch, name="polyvisor-watcher", daemon=True
                    )
                    self._watcher.start()
                if self._bell.fileno() in ready:
                    self._bell.silence()
                    os.eventfd_write(self._changed_fd, 1)
        finally:
            if self._watcher is not None:
                self._watcher.join()
            self._followers.join()
            claim.close()
            if claim.granted is not None:
                claim.granted.release()
            self._bell.close()
            os.close(self._stop_fd)
            os.close(self._changed_fd)

    def _watch(self) -> None:
        keeper = self._keeper
        # What happened while nobody watched is noticed now.
        for record in keeper.home.store.records(inactive=False):
            with suppress(PolyvisorError):
                keeper.fresh(record)
        # Whoever asks for the guests a second time has begun to listen to the first ones.
        os.eventfd_write(self._changed_fd, 1)
        try:
            self._hypervisor.watch(self._guests, self._report, self._stop_fd, self._changed_fd)
        except Exception:
            import logging

            logging.getLogger("polyvisor").exception(
                "%s: watching the guests has ended; what they do of themselves is noticed "
                "when somebody looks",
                keeper.uri,
            )
        finally:
            self.hears.set()

    def _guests(self) -> list[Guest]:
        self._looks += 1
        if self._looks > 1:
            self.hears.set()
        return self._keeper.guests()

    def _report(self, guest: Guest, kind: EventKind, detail: str, data: dict[str, Any]) -> None:
        keeper = self._keeper
        with suppress(PolyvisorError):
            if kind in (EventKind.STOPPED, EventKind.CRASHED):
                with keeper.hold(guest.uuid, "watch"):
                    return  # Being held has put it right, events and all.
            if detail == "post-copy":
                self._follow(guest.uuid)
                return
            if kind is EventKind.DEVICE_REMOVED:
                # Whoever records it tells of it: an operation that waits for it, or we.
                self._notice(guest)
                return
            changed = _CHANGES.get(kind)
            if changed is None:
                told = keeper.home.store.append(
                    [NewEvent(guest.uuid, guest.name, kind, detail, data)]
                )
                keeper.home.bells.ring()
                keeper.tell(told)
                if detail in _OF_DEVICES:
                    self._notice(guest)
                return
            # While an operation holds the domain, what the guest does is that operation's.
            lock = keeper.home.locks.try_acquire(str(guest.uuid), "watch")
            if lock is not None:
                self._note(guest, lock, kind, detail, changed)

    def _follow(self, uuid: UUID) -> None:
        """Look at a guest that comes by post-copy, at the latest when nobody works on it."""
        lock = self._keeper.home.locks.try_acquire(str(uuid), "watch")
        if lock is not None:
            self._settle(uuid, lock)
            return
        with self._mutex:
            if uuid in self._waiting:
                return
            self._waiting.add(uuid)
        self._followers.start("polyvisor-follower", lambda: self._follow_later(uuid))

    def _follow_later(self, uuid: UUID) -> None:
        claim = self._keeper.home.locks.claim(str(uuid), "watch")
        try:
            poller = select.poll()
            poller.register(claim, select.POLLIN)
            poller.register(self._stop_fd, select.POLLIN)
            poller.poll()
        finally:
            with self._mutex:  # What comes from here on is not seen by this look.
                self._waiting.discard(uuid)
            claim.close()
        if claim.granted is not None:
            with suppress(PolyvisorError):
                self._settle(uuid, claim.granted)

    def _settle(self, uuid: UUID, lock: Lock) -> None:
        from polyvisor.local._hold import Hold

        with Hold(self._keeper, uuid, "watch", lock) as hold:
            hold.settle()

    def _notice(self, guest: Guest) -> None:
        """Have what the guest did to its devices recorded, unless an operation does that."""
        from polyvisor.local._devices import notice
        from polyvisor.local._hold import Hold

        lock = self._keeper.home.locks.try_acquire(str(guest.uuid), "watch")
        if lock is None:
            return
        with Hold(self._keeper, guest.uuid, "watch", lock) as hold:
            if hold.record is not None and hold.record.intent is None:
                notice(hold)

    def _note(
        self, guest: Guest, lock: Lock, kind: EventKind, detail: str, state: DomainState
    ) -> None:
        from polyvisor.local._hold import Hold

        with Hold(self._keeper, guest.uuid, "watch", lock) as hold:
            record = hold.record
            if record is None or record.id != guest.id or record.intent is not None:
                return
            if record.state is state or {record.state, state} <= LIVELY:
                return
            reason = _REASONS.get(detail, StateReason.UNKNOWN)
            if state is DomainState.RUNNING and reason is StateReason.UNKNOWN:
                reason = StateReason.UNPAUSED
            hold.change((kind, detail), state=state, reason=reason)


#: Events of the guest's own after which its devices are not what they were.
_OF_DEVICES = ("memory-device-size-change",)
#: Kinds of event that mean another state.
_CHANGES = {
    EventKind.SUSPENDED: DomainState.PAUSED,
    EventKind.RESUMED: DomainState.RUNNING,
    EventKind.SHUTDOWN: DomainState.SHUTDOWN,
    EventKind.PMSUSPENDED: DomainState.PMSUSPENDED,
}
_REASONS = {detail: reason for reason, detail in SUSPENDED_DETAILS.items()}
