"""What tests share of guests that are in two halves for a while, by post-copy."""

from __future__ import annotations

import ctypes
import os
import platform
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.states import DomainState, StateReason

if TYPE_CHECKING:
    from polyvisor.connection import Connection
    from polyvisor.domain import Domain
    from polyvisor.jobs import JobProgress

__all__ = ["ENDLESS", "MEMORY", "POSTCOPY", "REST", "SLOW", "need_faults", "switching", "until"]

#: Bytes per second at which the guest would take far longer than the test; one at which the rest
#: of it takes some seconds; and one at which it never comes to an end by itself.
SLOW, REST, ENDLESS = 100_000, 400_000, 30_000
POSTCOPY = StateReason.POSTCOPY
#: MiB; nearly all of it is empty.
MEMORY = 16
#: Of the system call userfaultfd (asm/unistd.h).
USERFAULTFD = {"x86_64": 323, "aarch64": 282}


def need_faults() -> None:
    """Skip where this host does not let memory be fetched as it is needed."""
    number = USERFAULTFD.get(platform.machine())
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(number, os.O_CLOEXEC) if number is not None else -1
    if fd < 0:
        why = os.strerror(ctypes.get_errno()) if number is not None else "unknown here"
        pytest.skip(f"post-copy needs userfaultfd (root, or vm.unprivileged_userfaultfd=1): {why}")
    os.close(fd)


def switching(
    domain: Domain, then: Callable[[], object] | None = None, there: Connection | None = None
) -> Any:
    """Return a progress function that switches, and does something once that is done.

    Args:
        domain: the domain, at its source.
        then: what it does.
        there: its destination, which is to run it by then.
    """
    asked = done = False

    def progress(told: JobProgress) -> None:
        nonlocal asked, done
        if told.phase == "memory" and told.processed and not asked:
            asked = True
            domain.steer_migration(post_copy=True)
        if then is not None and not done and domain.status().reason is POSTCOPY:
            if there is not None and there.domains["guest"].state is not DomainState.RUNNING:
                return
            done = True
            then()

    return progress


def until(holds: Callable[[], object], what: str) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
