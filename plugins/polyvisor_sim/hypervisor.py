"""The simulator as a hypervisor: what polyvisor asks of it, put in terms of machines.

Everything about definitions, locks, events, files and recovery is in
:mod:`polyvisor.local`; here is only what is different from one hypervisor to the next.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from polyvisor.errors import HypervisorError, PolyvisorError, SemanticError
from polyvisor.local import (
    Figures,
    Guest,
    LocalHypervisor,
    MigratesGuests,
    Observation,
    SavesGuests,
    WatchesGuests,
)
from polyvisor.states import DomainState, StateReason
from polyvisor_sim.changing import SimChanges
from polyvisor_sim.clock import now
from polyvisor_sim.console import console_file, lines, open_console, write_lines
from polyvisor_sim.defaults import complete
from polyvisor_sim.versions import VERSIONS

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.driver import MigrationOptions
    from polyvisor.events import EventKind
    from polyvisor.jobs import Job
    from polyvisor.model import DomainSpec
    from polyvisor_sim.check import MemoryCheck
    from polyvisor_sim.incoming import Receiver
    from polyvisor_sim.machine import Machine, Moment
    from polyvisor_sim.memory import Memory
    from polyvisor_sim.rack import Rack

__all__ = ["SimHypervisor"]

_MOST_MEMORY = 1 << 46

# What a look may show; made once, since lists look at thousands of guests.
_RUNNING = Observation(DomainState.RUNNING)
_PAUSED = Observation(DomainState.PAUSED)
_VANISHED = Observation(DomainState.SHUTOFF, StateReason.CRASHED)
_PANICKED = Observation(DomainState.CRASHED, StateReason.PANICKED)
_ENDED = {
    "shutdown": Observation(DomainState.SHUTOFF, StateReason.SHUTDOWN),
    "crashed": Observation(DomainState.SHUTOFF, StateReason.CRASHED),
}


class SimHypervisor(SimChanges, LocalHypervisor, SavesGuests, MigratesGuests, WatchesGuests):
    """Runs simulated guests.

    Args:
        rack: where their machines are kept.
        arch: architecture of guests that state none.
        clock: gives the host's time in nanoseconds; tests have their own.
    """

    name = "sim"
    # Whatever type a definition states: the simulator plays any hypervisor.
    domain_types: ClassVar[tuple[str, ...]] = (
        "sim", "test", "qemu", "kvm", "hvf", "xen", "lxc", "bhyve",
        "vz", "vbox", "vmware", "hyperv", "phyp", "uml", "openvz",
    )  # fmt: skip
    image_format = "libvirt-test"
    stream_versions = VERSIONS
    looks_deep = True
    tells_resets = True
    stops_on_wish = True

    def __init__(self, rack: Rack, *, arch: str = "x86_64", clock: Callable[[], int] = now) -> None:
        self.rack = rack
        self.arch = arch
        self.clock = clock
        self._receivers: dict[UUID, Receiver] = {}
        # Machines that were found, and what a look at them showed.
        self._looked: tuple[Sequence[Machine | None], Sequence[Observation]] = ((), ())

    # Definitions

    def complete(self, spec: DomainSpec) -> DomainSpec:
        """Fill in what libvirt does, and check what is said about the simulation."""
        from polyvisor_sim.parameters import Parameters

        Parameters.of(spec)
        if not 0 < spec.memory <= _MOST_MEMORY:
            raise SemanticError(
                f"domain {spec.name!r}: <memory> is {spec.memory} bytes; a simulated guest has "
                f"more than 0 and at most {_MOST_MEMORY >> 40} TiB",
                element="domain/memory",
                fault=f"{spec.memory} bytes",
            )
        return complete(spec, self.arch)

    def check_start(self, spec: DomainSpec) -> None:
        """A simulated machine can always start: its disks are never opened."""

    # Running

    def launch(self, guest: Guest, spec: DomainSpec) -> dict[str, Any]:
        """Make a machine that has just been switched on, its clock not yet going."""
        from polyvisor_sim.machine import machine_for

        machine = machine_for(spec)
        try:
            self.rack.add_memory(guest, machine.memory)
            self._start_console(guest, machine, append=console_file(spec)[1])
            self.rack.put(guest, machine)
        except BaseException:
            self.rack.remove(guest)
            raise
        return {}

    def observe(self, guest: Guest, *, deep: bool) -> Observation:
        """Look at the machine; both ways of looking cost the same here."""
        return self._seen(self.rack.find(guest))

    def observe_all(self, guests: Sequence[Guest]) -> Sequence[Observation]:
        """Look at many machines."""
        machines, known = self.rack.find_all(guests), self._looked
        if known[0] is machines:
            return known[1]
        looks = list(map(self._seen, machines))
        # The others change of themselves.
        if all(machine is not None and machine.placid for machine in machines):
            self._looked = (machines, looks)
        return looks

    def _seen(self, machine: Machine | None) -> Observation:
        if machine is None:
            return _VANISHED
        if not machine.placid:
            gone = machine.at(self.clock()).gone
            if gone == "crashed" and machine.after[2] == "preserve":
                return _PANICKED
            if gone is not None:
                return _ENDED[gone]
        return _RUNNING if machine.resumed is not None else _PAUSED

    def resume(self, guest: Guest) -> None:
        """Let the machine's clock go."""
        machine, _ = self._present(guest)
        if machine.incoming is not None:
            raise HypervisorError(
                f"{guest.name!r} cannot run: it is still being received", domain=guest.name
            )
        if not machine.running:
            self.rack.put(guest, machine.resume(self.clock()))

    def suspend(self, guest: Guest) -> None:
        """Stop the machine's clock."""
        machine, _ = self._present(guest)
        self._stop(guest, machine)

    def destroy(self, guest: Guest) -> None:
        """Take the machine away."""
        receiver = self._receivers.pop(guest.uuid, None)
        if receiver is not None:
            receiver.stop()
        with suppress(PolyvisorError):  # whatever its condition
            self._print(guest)
        self.rack.remove(guest)

    def shutdown(self, guest: Guest) -> None:
        """Ask the guest to shut down, which it does in its own time."""
        machine, _ = self._present(guest)
        self.rack.put(guest, machine.ask("shutdown", self.clock()))

    def reboot(self, guest: Guest) -> None:
        """Ask the guest to reboot, which it does in its own time."""
        machine, _ = self._present(guest)
        self.rack.put(guest, machine.ask("reboot", self.clock()))

    def ask_by(self, guest: Guest, what: str, modes: Sequence[str]) -> None:
        """Ask as ever, which simulated guests take for a button."""
        self.need_modes(what, guest, modes, ("acpi",))
        (self.shutdown if what == "shutdown" else self.reboot)(guest)

    def reset(self, guest: Guest) -> None:
        """Begin a new boot; its memory is emptied when it is next needed."""
        machine, _ = self._present(guest)
        self.rack.put(guest, machine.reset(self.clock()))

    def memory_and_cpu_time(self, guest: Guest) -> tuple[int, float | None]:
        """Return the balloon's size, and the guest's time on each of its vCPUs."""
        machine = self.rack.get(guest)
        spent = machine.cpu_before + machine.at(self.clock()).run * machine.vcpus
        return machine.balloon, spent / 1e9

    def figures(
        self,
        guests: Sequence[Guest],
        *,
        groups: Collection[str] | None = None,
        backing: bool = False,
    ) -> Sequence[Figures | None]:
        """Return what guests have done so far; what they have printed is in their files then."""
        time = self.clock()
        return [
            self._figures(guest, machine, time)
            for guest, machine in zip(guests, self.rack.find_all(guests), strict=True)
        ]

    def _figures(self, guest: Guest, machine: Machine | None, time: int) -> Figures | None:
        if machine is None:
            return Figures(_VANISHED, 0, None)
        if machine.console is not None:
            try:
                self._print(guest)
            except PolyvisorError:
                return None
            time = self.clock()
        run, boots, ticks = machine.progress(time)
        return Figures(
            self._seen(machine),
            machine.balloon,
            (machine.cpu_before + run * machine.vcpus) / 1e9,
            {"sim.ticks": ticks, "sim.boots": boots, **machine.lasting},
        )

    # Waiting

    def wait_gone(self, guest: Guest, timeout: float | None) -> bool:
        """Wait until the machine is gone or has ended; sleeps until something happens."""
        give_up = None if timeout is None else self.clock() + int(timeout * 1e9)
        with closing(self.rack.bells.hang()) as bell:
            while True:
                machine = self.rack.find(guest)
                time = self.clock()
                if machine is None or machine.at(time).gone:
                    return True
                if give_up is not None and time >= give_up:
                    return False
                _sleep(bell.fileno(), time, machine.next_end(time), give_up)
                bell.silence()

    def watch(
        self,
        guests: Callable[[], Iterable[Guest]],
        report: Callable[[Guest, EventKind, str, dict[str, Any]], None],
        stop_fd: int,
        changed_fd: int,
    ) -> None:
        """Report guests that end or reboot of themselves."""
        from polyvisor_sim.watch import watch

        watch(self.rack, self.clock, guests, report, stop_fd, changed_fd)

    # Saving

    def save_stream(self, guest: Guest, fd: int, job: Job) -> None:
        """Write memory and clock."""
        from polyvisor_sim import transfer

        machine, _ = self._present(guest)
        with self.rack.memory(guest, machine.memory) as memory:
            machine, moment = self.catch_up(memory, guest)
            transfer.save(memory, machine, moment, guest, fd, job)

    def restore_stream(self, guest: Guest, spec: DomainSpec, fd: int, job: Job) -> dict[str, Any]:
        """Make a machine from a stream; without one, a machine that boots."""
        from polyvisor_sim import transfer
        from polyvisor_sim.machine import machine_for

        machine = machine_for(spec)
        try:
            self.rack.add_memory(guest, machine.memory)
            with self.rack.memory(guest, machine.memory) as memory:
                state = transfer.restore(memory, guest, fd, job)
                if state is not None:
                    machine = transfer.take_state(machine, memory, state)
            self.rack.put(guest, machine)
        except BaseException:
            self.rack.remove(guest)
            raise
        return {}

    # Migrating

    def receive(
        self, guest: Guest, spec: DomainSpec, version: int, listen: str | None
    ) -> tuple[dict[str, Any], str]:
        """Make a machine that is filled by a thread of this process."""
        from polyvisor_sim.incoming import Receiver
        from polyvisor_sim.machine import machine_for

        machine = attrs.evolve(machine_for(spec), incoming="waiting")
        try:
            self.rack.add_memory(guest, machine.memory)
            self.rack.put(guest, machine)
            receiver = Receiver(self.rack, guest, machine, version, listen)
        except BaseException:
            self.rack.remove(guest)
            raise
        self._receivers[guest.uuid] = receiver
        return {}, receiver.uri

    def received(self, guest: Guest, timeout: float) -> None:
        """Wait until the receiver, in whatever process, says that all is there."""
        from polyvisor_sim.incoming import wait_complete

        wait_complete(self.rack, guest, timeout)
        receiver = self._receivers.pop(guest.uuid, None)
        if receiver is not None:
            receiver.stop()

    def send(
        self, guest: Guest, uri: str, version: int, options: MigrationOptions, job: Job
    ) -> dict[str, Any]:
        """Send memory in rounds, then stop the clock and send the rest."""
        from polyvisor_sim.outgoing import Sender

        self._present(guest)
        return Sender(self, guest, options, job).send(uri, version)

    def take_back(self, guest: Guest) -> None:
        """Stop the clock; whoever was sending has it from the socket that nobody reads on."""
        machine = self.rack.get(guest)
        self._stop(guest, machine)

    # Memory

    def catch_up(self, memory: Memory, guest: Guest) -> tuple[Machine, Moment]:
        """Bring memory and console up to date; return the machine and the moment they are at."""
        with memory.locked():
            return self._catch_up(memory, guest)

    def bring_up(self, memory: Memory, guest: Guest) -> None:
        """Bring memory, which the caller has locked, up to date."""
        self._catch_up(memory, guest)

    def verify_memory(self, guest: Guest) -> MemoryCheck:
        """Compare every page of an active guest with what its ticks must have made of it."""
        from polyvisor_sim.check import check_memory

        machine, _ = self._present(guest)
        with self.rack.memory(guest, machine.memory) as memory, memory.locked():
            return check_memory(memory, *self._catch_up(memory, guest))

    def _catch_up(self, memory: Memory, guest: Guest) -> tuple[Machine, Moment]:
        # Looked at only now that memory is locked: nobody has been there at a later moment.
        machine = self.rack.get(guest)
        moment = machine.at(self.clock())
        memory.bring_up(machine.pattern(moment.boots), moment.boots, moment.ticks)
        if machine.console is not None:
            write_lines(machine.console, memory, moment.ticks)
        return machine, moment

    def printed(self, guest: Guest) -> str:
        """Return what the guest has printed on its serial port since it booted, at the end."""
        return lines(self.rack.get(guest).at(self.clock()).ticks)

    def close(self) -> None:
        """Give up whatever is still being received here."""
        while self._receivers:
            self._receivers.popitem()[1].stop()

    def _present(self, guest: Guest) -> tuple[Machine, Moment]:
        """Return the machine and how it is now, unless it has ended."""
        machine = self.rack.get(guest)
        moment = machine.at(self.clock())
        if moment.gone is not None:
            raise HypervisorError(
                f"{guest.name!r} has {'crashed' if moment.gone == 'crashed' else 'shut down'} "
                f"of itself at tick {moment.ticks}",
                domain=guest.name,
            )
        return machine, moment

    def _stop(self, guest: Guest, machine: Machine) -> None:
        if machine.running:
            self.rack.put(guest, machine.stop(self.clock()))
            self._print(guest)

    def _start_console(self, guest: Guest, machine: Machine, *, append: bool) -> None:
        if machine.console is not None:
            from polyvisor_sim.memory import Mark

            begin = open_console(machine.console, append=append)
            with self.rack.memory(guest, machine.memory) as memory:
                memory.set_mark(Mark(console=begin))

    def _print(self, guest: Guest) -> None:
        """Write out what the guest has printed, if it has a console that is a file."""
        machine = self.rack.find(guest)
        if machine is not None and machine.console is not None and machine.incoming is None:
            with self.rack.memory(guest, machine.memory) as memory:
                self.catch_up(memory, guest)


def _sleep(fd: int, time: int, *until: int | None) -> None:
    """Sleep until ``fd`` shows something or the first of the given times has come."""
    times = [at for at in until if at is not None]
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    # Rounded up, so that the time has come when the sleep is over.
    poll.poll(None if not times else max(0, -(-(min(times) - time) // 1_000_000)))
