"""From a machine to a stream and back: what saving and migrating have in common."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

from polyvisor.errors import HypervisorError, StorageError
from polyvisor_sim.channel import FileSink, FileSource
from polyvisor_sim.console import TICKS_PER_LINE, open_console
from polyvisor_sim.memory import Mark
from polyvisor_sim.stream import State, StreamReader, StreamWriter
from polyvisor_sim.versions import VERSIONS

if TYPE_CHECKING:
    from polyvisor.jobs import Job
    from polyvisor.local import Guest
    from polyvisor_sim.machine import Machine, Moment
    from polyvisor_sim.memory import Memory

__all__ = ["restore", "save", "state_of", "take_state"]

_DUE = (None, "shutdown", "reboot")


def state_of(machine: Machine, moment: Moment) -> State:
    """Return the state to send of a machine whose clock stands still."""
    known = machine.parameters
    due = machine.due if machine.due is not None and machine.due[0] > moment.run else None
    return State(
        rate=known.rate,
        dirty=known.dirty,
        working_set=known.working_set,
        seed=known.seed,
        run=moment.run,
        booted=moment.booted,
        boots=moment.boots,
        ticks=moment.ticks,
        due_at=due[0] if due is not None else 0,
        due=_DUE.index(due[1]) if due is not None else 0,
    )


def take_state(machine: Machine, memory: Memory, state: State) -> Machine:
    """Return a machine, fresh from its definition, in the state that a stream brought.

    Args:
        machine: the machine as its definition describes it.
        memory: its memory, filled from the stream.
        state: what the stream stated.

    Raises:
        HypervisorError: the definition is of another guest than the stream.
        StorageError: the file behind its serial port cannot be written.
    """
    known = machine.parameters
    for name in ("rate", "dirty", "working_set", "seed"):
        here, there = getattr(known, name), getattr(state, name)
        if here != there:
            raise HypervisorError(
                f"the definition does not fit the stream: <sim:guest> has {name} {here}, the "
                f"guest was running with {there}"
            )
    # The source has printed all it had to by now, perhaps into the same file.
    console = 0 if machine.console is None else open_console(machine.console, append=True)
    memory.set_mark(Mark(state.boots, state.ticks, state.ticks // TICKS_PER_LINE, console))
    what = _DUE[state.due]
    return attrs.evolve(
        machine,
        run=state.run,
        booted=state.booted,
        boots=state.boots,
        due=None if what is None else (state.due_at, what),
    )


def save(memory: Memory, machine: Machine, moment: Moment, guest: Guest, fd: int, job: Job) -> None:
    """Write a stopped machine to a file.

    Raises:
        StorageError: the file cannot be written.
        Cancelled: the job was cancelled.
    """
    progress = _Progress(job, "memory", memory.size)
    try:
        writer = StreamWriter(FileSink(fd), VERSIONS[-1], memory, guest.uuid, progress.step)
        writer.all_pages()
        writer.finish(state_of(machine, moment))
    except OSError as error:
        raise StorageError(
            f"cannot write the save image: {error.strerror}", path=_path(fd)
        ) from error


def restore(memory: Memory, guest: Guest, fd: int, job: Job) -> State | None:
    """Fill empty memory from a file; return ``None`` if there is no stream in it.

    Raises:
        SaveImageError: the stream is damaged; names the offset.
        StorageError: the file cannot be read, or memory not written.
        Cancelled: the job was cancelled.
    """
    progress = _Progress(job, "memory", memory.size)
    name = _path(fd) or "the save image"
    try:
        base = os.lseek(fd, 0, os.SEEK_CUR)
    except OSError:  # a pipe; positions are then those in the stream
        base = 0
    try:
        reader = StreamReader(FileSource(fd), memory, name, base, progress.step)
        if not reader.header():
            return None
        state = reader.records()
        reader.end()
    except OSError as error:
        raise StorageError(f"cannot read {name}: {error.strerror}", path=name) from error
    return state


class _Progress:
    """Passes on how far a stream is, and stops it when its job was cancelled."""

    def __init__(self, job: Job, phase: str, total: int) -> None:
        self._job = job
        self._phase = phase
        self._total = total
        self._done = 0

    def step(self, done: int) -> None:
        self._job.check()
        self._done += done
        self._job.report(
            self._phase,
            total=self._total,
            processed=self._done,
            remaining=max(0, self._total - self._done),
        )


def _path(fd: int) -> str | None:
    """Return the path of an open file, ``None`` if it is something else."""
    try:
        path = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return None
    return path if path.startswith("/") else None
