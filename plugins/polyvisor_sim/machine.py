"""A simulated machine: its clock, and what it does of itself.

No process runs for a guest. A :class:`Machine` is a value that says how long the guest
had run when it was last touched and since when it has been running again. Everything
else follows from the time: how many ticks it has done, whether it has powered itself
off meanwhile. :meth:`Machine.at` works that out.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor_sim.console import console_file
from polyvisor_sim.pages import PAGE_SIZE, Pattern, working_set_of
from polyvisor_sim.parameters import Parameters

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

__all__ = ["Machine", "Moment", "machine_for"]

_SECOND = 1_000_000_000
_NEVER = 1 << 80


@attrs.frozen
class Moment:
    """A machine at one point in time.

    Attributes:
        run: nanoseconds of guest time since it was started.
        boots: which boot it is in, from 1.
        booted: guest time at which that boot began.
        ticks: ticks done in that boot.
        gone: ``"shutdown"`` or ``"crashed"`` if it has ended; ``None`` while it is there.
    """

    run: int
    boots: int
    booted: int
    ticks: int
    gone: str | None = None


@attrs.frozen
class Machine:
    """What there is to know about a guest, apart from its memory.

    Attributes:
        parameters: how it behaves.
        memory: bytes of memory.
        balloon: bytes of it that the guest uses now.
        vcpus: number of vCPUs that are on.
        cpu_before: nanoseconds that its vCPUs have run beyond ``run`` on each of those.
        console: path of the file behind its serial port, or ``None``.
        after: what to do when it powers off, reboots or crashes: ``"destroy"``,
            ``"restart"`` or ``"preserve"``, in this order.
        run: guest time, in nanoseconds, when its clock was last stopped.
        resumed: host time since which the clock is going, or ``None``.
        boots: which boot it is in, from 1.
        booted: guest time at which that boot began.
        due: something asked for: guest time, and ``"shutdown"`` or ``"reboot"``.
        incoming: of a machine that is received: ``"waiting"``, ``"complete"`` or what
            went wrong; ``None`` for any other.
        placid: whether it never does anything but tick, so that nothing needs working out.
    """

    parameters: Parameters
    memory: int
    balloon: int = 0
    vcpus: int = 1
    cpu_before: int = 0
    console: str | None = None
    after: tuple[str, str, str] = ("destroy", "restart", "destroy")
    run: int = 0
    resumed: int | None = None
    boots: int = 1
    booted: int = 0
    due: tuple[int, str] | None = None
    incoming: str | None = None
    placid: bool = attrs.field(init=False, eq=False, repr=False)

    @placid.default
    def _placid(self) -> bool:
        known = self.parameters
        return self.due is None and not known.poweroff_at and not known.crash_at

    @property
    def running(self) -> bool:
        """Whether its clock is going."""
        return self.resumed is not None

    def pattern(self, boots: int) -> Pattern:
        """Return what its boot number ``boots`` writes where."""
        known = self.parameters
        return Pattern(self.memory // PAGE_SIZE, known.seed + boots, known.dirty, known.working_set)

    @property
    def working_set(self) -> int:
        """How many pages it writes in turn, whatever boot it is in."""
        return working_set_of(self.memory // PAGE_SIZE, self.parameters.working_set)

    @cached_property
    def lasting(self) -> dict[str, Any]:
        """Figures that are the same as long as the machine is."""
        known = self.parameters
        return {
            "sim.ticks-per-second": known.rate,
            "sim.dirty-pages": known.dirty,
            "sim.working-set": self.working_set,
        }

    # Time

    def at(self, time: int) -> Moment:
        """Return the machine as it is at host time ``time``."""
        if self.placid:
            run, boots, ticks = self.progress(time)
            return Moment(run, boots, self.booted, ticks)
        run = self._run_at(time)
        boots, booted, due = self.boots, self.booted, self.due
        life, end = self._life()
        while True:
            asked = _NEVER if due is None else due[0]
            ends = booted + life
            if min(asked, ends) > run:
                return Moment(run, boots, booted, self._ticks(run - booted))
            at, what = (ends, end) if due is None or ends < asked else due
            action = self.after[("shutdown", "reboot", "crashed").index(what)]
            if action != "restart":
                gone = "crashed" if what == "crashed" else "shutdown"
                return Moment(at, boots, booted, self._ticks(at - booted), gone)
            if at == asked:
                boots, booted, due = boots + 1, at, None
            else:
                # It may have gone round many times since; take them at one step.
                rounds = (min(run, asked) - booted) // life
                boots, booted = boots + rounds, booted + rounds * life

    def progress(self, time: int) -> tuple[int, int, int]:
        """Return guest time, boots and ticks at host time ``time``, as in :meth:`at`."""
        if not self.placid:
            moment = self.at(time)
            return moment.run, moment.boots, moment.ticks
        run = self._run_at(time)
        return run, self.boots, (run - self.booted) * self.parameters.rate // _SECOND

    def _run_at(self, time: int) -> int:
        since = self.resumed
        return self.run if since is None or since > time else self.run + time - since

    def next_end(self, time: int) -> int | None:
        """Return the host time after ``time`` of the next thing it does of itself."""
        moment = self.at(time)
        if self.resumed is None or moment.gone:
            return None
        asked = _NEVER if self.due is None or self.due[0] <= moment.run else self.due[0]
        at = min(asked, moment.booted + self._life()[0])
        return None if at >= _NEVER else time + at - moment.run

    def _ticks(self, duration: int) -> int:
        return duration * self.parameters.rate // _SECOND

    def _life(self) -> tuple[int, str]:
        """Return how long a boot lasts by itself, and how it ends."""
        known = self.parameters
        ends = [(known.crash_at, "crashed"), (known.poweroff_at, "shutdown")]
        tick, end = min(((at, end) for at, end in ends if at), default=(0, ""))
        if not tick or not known.rate:
            return _NEVER, ""
        return -(-tick * _SECOND // known.rate), end

    # Changes

    def resume(self, time: int) -> Machine:
        """Return it with its clock going."""
        return attrs.evolve(self, resumed=time)

    def stop(self, time: int) -> Machine:
        """Return it with its clock stopped, what it did meanwhile written down."""
        moment = self.at(time)
        due = self.due if self.due is not None and self.due[0] > moment.run else None
        return attrs.evolve(
            self,
            run=moment.run,
            resumed=None,
            boots=moment.boots,
            booted=moment.booted,
            due=self.due if moment.gone else due,
        )

    def ask(self, what: str, time: int) -> Machine:
        """Return it after it was asked to ``"shutdown"`` or ``"reboot"``."""
        if self.parameters.ignore_shutdown:
            return self
        delay = int(self.parameters.shutdown_delay * _SECOND)
        return attrs.evolve(self._settled(time), due=(self.at(time).run + delay, what))

    def reset(self, time: int) -> Machine:
        """Return it just after its reset button was pushed."""
        settled = self._settled(time)
        return attrs.evolve(settled, boots=settled.boots + 1, booted=settled.run, due=None)

    def with_actions(self, spec: DomainSpec, time: int) -> Machine:
        """Return it so that it ends as a definition says; what has happened so far stays."""
        return attrs.evolve(self._settled(time), after=_actions(spec))

    def _settled(self, time: int) -> Machine:
        stopped = self.stop(time)
        return stopped if self.resumed is None else stopped.resume(time)

    # As plain values

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return attrs.asdict(self, filter=attrs.filters.exclude("placid"))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Machine:
        """Return the machine that :meth:`to_dict` gave ``data`` for.

        Raises:
            KeyError, TypeError, ValueError: ``data`` is something else.
        """
        fields = dict(data)
        fields["parameters"] = Parameters(**fields["parameters"])
        fields["after"] = tuple(fields["after"])
        fields["due"] = None if fields["due"] is None else tuple(fields["due"])
        return cls(**fields)


def machine_for(spec: DomainSpec) -> Machine:
    """Return the machine that a definition describes, switched off."""
    return Machine(
        parameters=Parameters.of(spec),
        memory=max(1, spec.memory // PAGE_SIZE) * PAGE_SIZE,
        balloon=spec.current_memory or spec.memory,
        vcpus=spec.vcpus,
        console=console_file(spec)[0],
        after=_actions(spec),
    )


def _actions(spec: DomainSpec) -> tuple[str, str, str]:
    return (
        _action(spec.on_poweroff, "destroy"),
        _action(spec.on_reboot, "restart"),
        _action(spec.on_crash, "destroy"),
    )


def _action(said: str | None, default: str) -> str:
    """Return what to do when a guest ends: renaming and dumping count as what they end in."""
    if said in (None, ""):
        return default
    assert said is not None
    return {"rename-restart": "restart", "coredump-restart": "restart"}.get(
        said, "destroy" if said == "coredump-destroy" else said
    )
