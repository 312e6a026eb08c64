"""Processes: which one a guest is, how it is, and its end."""

from __future__ import annotations

import contextlib
import os
from io import FileIO
from signal import SIGSTOP
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polyvisor.local import Guest

__all__ = ["MARK", "end_of", "pid_of", "search", "stat", "stopped"]

#: What a guest's process has in its environment, so that it is found if nobody wrote it down.
MARK = "POLYVISOR_PROC"


def stat(pid: int) -> tuple[str, str, int]:
    """Return a process's state, when it began, and its CPU time, both in ticks of the clock."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "X", "", 0
    return fields[0], fields[19], int(fields[11]) + int(fields[12])


def stopped(pid: int) -> bool:
    """Say whether a process stands still, or will before it does anything else.

    One that waits for its child to leave vfork(2) cannot stop while the child is stopped.
    """
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            lines = (line.partition(":") for line in file)
            facts = {name: text.strip() for name, _, text in lines}
    except (FileNotFoundError, ProcessLookupError):
        return False
    return facts["State"][0] == "T" or bool(int(facts["ShdPnd"], 16) & 1 << SIGSTOP - 1)


def pid_of(guest: Guest) -> int | None:
    """Return the guest's process, ``None`` if it has ended."""
    if not guest.runtime:
        return search(str(guest.run_dir))
    pid: int = guest.runtime["pid"]
    state, began, _ = stat(pid)
    return pid if state not in "ZX" and began == guest.runtime["began"] else None


def search(run_dir: str) -> int | None:
    """Find a process whose maker was killed before it could write it down."""
    mark = f"{MARK}={run_dir}".encode()
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
            if mark in file.read().split(b"\0") and os.getsid(pid) == pid:
                return pid
    return None


def end_of(guest: Guest) -> FileIO | None:
    """Return what becomes readable when the process ends; ``None`` if it has ended."""
    pid = pid_of(guest)
    with contextlib.suppress(ProcessLookupError):
        return None if pid is None else FileIO(os.pidfd_open(pid))
    return None
