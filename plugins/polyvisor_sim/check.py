"""Checking a guest's memory against what its ticks must have made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from polyvisor_sim.pages import PAGE_SIZE

if TYPE_CHECKING:
    from polyvisor_sim.machine import Machine, Moment
    from polyvisor_sim.memory import Memory

__all__ = ["MemoryCheck", "check_memory"]


@attrs.frozen
class MemoryCheck:
    """What comparing a guest's memory with its ticks showed.

    Attributes:
        ticks: ticks done since its boot.
        boots: which boot it is in, from 1.
        pages: pages of memory, all of which were compared.
        wrong_page: number of the first wrong page; ``None`` if all are right.
        fault: what is wrong with it, in words.
    """

    ticks: int
    boots: int
    pages: int
    wrong_page: int | None = None
    fault: str = ""

    @property
    def ok(self) -> bool:
        """Whether every byte is as it should be."""
        return self.wrong_page is None


def check_memory(memory: Memory, machine: Machine, moment: Moment) -> MemoryCheck:
    """Compare every page.

    Args:
        memory: the guest's, locked and brought up to ``moment``.
        machine: the guest's.
        moment: when.
    """
    wrong = memory.verify(machine.pattern(moment.boots), moment.ticks)
    pages = machine.memory // PAGE_SIZE
    if wrong is None:
        return MemoryCheck(moment.ticks, moment.boots, pages)
    return MemoryCheck(moment.ticks, moment.boots, pages, wrong.page, wrong.fault)
