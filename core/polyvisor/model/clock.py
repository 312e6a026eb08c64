"""The guest's clock and timers."""

from __future__ import annotations

from typing import Literal

from polyvisor.model._codecs import ULONG, YES_NO, choices
from polyvisor.model.binding import Element, attr, child, children, element

__all__ = ["Clock", "Timer", "TimerCatchup"]

ClockOffset = Literal["utc", "localtime", "variable", "timezone", "absolute"]
ClockBasis = Literal["utc", "localtime"]
TickPolicy = Literal["delay", "catchup", "merge", "discard"]
TimerName = Literal["platform", "pit", "rtc", "hpet", "tsc", "kvmclock", "hypervclock", "armvtimer"]
TimerTrack = Literal["boot", "guest", "wall", "realtime"]
TimerMode = Literal["auto", "native", "emulate", "paravirt", "smpsafe"]


@element(kw_only=True)
class TimerCatchup(Element):
    """How lost ticks are caught up with."""

    threshold: int | None = attr(ULONG)
    slew: int | None = attr(ULONG)
    limit: int | None = attr(ULONG)


@element(kw_only=True)
class Timer(Element):
    """One timer."""

    name: TimerName | None = attr(choices(TimerName))
    present: bool | None = attr(YES_NO)
    tickpolicy: TickPolicy | None = attr(choices(TickPolicy))
    track: TimerTrack | None = attr(choices(TimerTrack))
    #: In Hz.
    frequency: int | None = attr(ULONG)
    mode: TimerMode | None = attr(choices(TimerMode))
    catchup: TimerCatchup | None = child(TimerCatchup)


@element(kw_only=True)
class Clock(Element):
    """The guest's clock."""

    offset: ClockOffset | None = attr(choices(ClockOffset))
    #: Seconds, or ``"reset"``.
    adjustment: str | None = attr()
    basis: ClockBasis | None = attr(choices(ClockBasis))
    timezone: str | None = attr()
    #: Seconds since the epoch.
    start: int | None = attr(ULONG)
    timers: tuple[Timer, ...] = children(Timer, "timer")
