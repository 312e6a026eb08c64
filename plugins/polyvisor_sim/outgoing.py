"""Live migration, the sending side: pre-copy.

Memory is sent while the guest runs; then, round by round, what it has written in the
meantime. Once what is left would go over within the downtime limit, at the throughput
measured so far, the guest's clock is stopped and the rest is sent. A guest that writes
faster than the connection carries never gets there: the timeout, if there is one, or whoever
suspends it stops its clock all the same; or somebody cancels.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from polyvisor.errors import HypervisorError
from polyvisor_sim.channel import SocketSink, connect
from polyvisor_sim.pages import PAGE_SIZE
from polyvisor_sim.stream import StreamWriter
from polyvisor_sim.transfer import state_of

if TYPE_CHECKING:
    from polyvisor.driver import MigrationOptions
    from polyvisor.jobs import Job
    from polyvisor.local import Guest
    from polyvisor_sim.hypervisor import SimHypervisor
    from polyvisor_sim.machine import Machine, Moment
    from polyvisor_sim.memory import Memory

__all__ = ["DOWNTIME", "Sender"]

#: Seconds that a guest may stand still unless something else was asked for (QEMU's default).
DOWNTIME = 0.3

# Seconds to wait for the destination, to connect to and to say that it has everything.
_CONNECT = 10.0
_ANSWER = 60.0


class Sender:
    """Sends one guest.

    Args:
        hypervisor: which runs it.
        guest: the guest.
        options: downtime, timeout, bandwidth, and whether it is to run meanwhile.
        job: for progress and cancelling.
    """

    def __init__(
        self, hypervisor: SimHypervisor, guest: Guest, options: MigrationOptions, job: Job
    ) -> None:
        self._hypervisor = hypervisor
        self._rack = hypervisor.rack
        self._guest = guest
        self._options = options
        self._job = job
        self._started = time.monotonic()
        self._round = 1
        self._remaining = 0
        self._dirty_rate: float | None = None

    def send(self, uri: str, version: int) -> dict[str, Any]:
        """Send the guest to ``uri``; its clock stands still when this returns.

        Raises:
            Cancelled: the job was cancelled; the guest is as it was.
            HypervisorError: the destination refused or is gone; the guest is as it was.
        """
        was_running = self._rack.get(self._guest).running
        try:
            with connect(uri, _CONNECT) as connection:
                sink = SocketSink(connection, self._job, self._options.bandwidth)
                return self._send(sink, version)
        except BaseException:
            machine = self._rack.find(self._guest)
            if was_running and machine is not None and not machine.running:
                self._rack.put(self._guest, machine.resume(self._hypervisor.clock()))
            raise

    def _send(self, sink: SocketSink, version: int) -> dict[str, Any]:
        guest, options = self._guest, self._options
        machine = self._rack.get(guest)
        stopped = None
        if not options.live or not machine.running:
            machine, stopped = self._stop()
        with self._rack.memory(guest, machine.memory) as memory:
            machine, moment = self._catch_up(memory)
            self._remaining = machine.memory
            writer = StreamWriter(sink, version, memory, guest.uuid, self._step)
            self._writer = writer
            writer.all_pages()
            while machine.running:
                sent = moment
                if self._near_enough(machine, sent):
                    machine, stopped = self._stop()
                    sink.bandwidth = None  # the guest stands still: as fast as it goes
                self._round += 1
                machine, moment = self._catch_up(memory)
                self._send_round(machine, sent, moment)
            assert stopped is not None
            writer.finish(state_of(machine, moment))
            answer = sink.answer(_ANSWER)
        downtime = time.monotonic() - stopped
        if answer != "complete":
            raise HypervisorError(
                f"the destination could not take {guest.name!r} in: {answer}",
                domain=guest.name,
                native_message=answer,
            )
        total = time.monotonic() - self._started
        self._remaining = 0
        self._report("complete", downtime=downtime, done=True)
        return {"downtime": downtime, "total": total, "transferred": writer.written}

    def _send_round(self, machine: Machine, sent: Moment, moment: Moment) -> None:
        """Send what was written after ``sent`` up to ``moment``."""
        if moment.boots != sent.boots:
            self._remaining = machine.memory
            self._writer.all_pages()
            return
        pages = list(machine.pattern(moment.boots).dirtied(sent.ticks, moment.ticks))
        self._remaining = len(pages) * PAGE_SIZE
        if moment.run > sent.run:
            self._dirty_rate = len(pages) * PAGE_SIZE * 1e9 / (moment.run - sent.run)
        self._report("memory")
        self._writer.pages(pages)

    def _near_enough(self, machine: Machine, sent: Moment) -> bool:
        """Say whether the rest would go over within the downtime limit, or it is to stop now."""
        elapsed = time.monotonic() - self._started
        timeout = self._options.timeout
        if timeout is not None and elapsed >= timeout:
            return True
        if self._job.wishes().get("suspend"):
            return True
        limit = DOWNTIME if self._options.downtime is None else self._options.downtime
        moment = machine.at(self._hypervisor.clock())
        if moment.boots != sent.boots:
            rest = machine.memory
        else:
            pattern = machine.pattern(moment.boots)
            count = (moment.ticks - sent.ticks) * pattern.dirty
            rest = min(count, pattern.working_set) * PAGE_SIZE
        return rest * elapsed <= limit * self._writer.written

    def _catch_up(self, memory: Memory) -> tuple[Machine, Moment]:
        machine, moment = self._hypervisor.catch_up(memory, self._guest)
        if moment.gone is not None:
            raise HypervisorError(
                f"{self._guest.name!r} ended while it was being sent", domain=self._guest.name
            )
        return machine, moment

    def _stop(self) -> tuple[Machine, float]:
        """Stop the guest's clock; return the machine and the time."""
        machine = self._rack.get(self._guest)
        if machine.running:
            machine = machine.stop(self._hypervisor.clock())
            self._rack.put(self._guest, machine)
        return machine, time.monotonic()

    # Progress

    def _step(self, done: int) -> None:
        self._job.check()
        self._remaining = max(0, self._remaining - done)
        self._report("memory")

    def _report(self, phase: str, *, downtime: float | None = None, done: bool = False) -> None:
        processed = self._writer.written
        self._job.report(
            phase,
            total=processed + self._remaining,
            processed=processed,
            remaining=self._remaining,
            iteration=self._round,
            dirty_rate=self._dirty_rate,
            downtime=downtime,
            done=done,
        )
