"""Threads that work for one owner."""

from __future__ import annotations

import threading

from polyvisor.local._threads import Threads


def test_they_are_waited_for_and_not_kept() -> None:
    """One that has ended is forgotten by itself, whatever becomes of the others."""
    threads, go, done = Threads(), threading.Event(), []
    for number in range(3):
        threads.start(f"t{number}", lambda: (go.wait(20), done.append(1)))
    assert len(threads) == 3
    threads.join(0.01)
    assert (len(threads), done) == (3, [])
    go.set()
    threads.join(20)
    assert (len(threads), done) == (0, [1, 1, 1])


def test_one_that_waits_for_all_does_not_wait_for_itself() -> None:
    """So a hook may close what it was called from."""
    threads, joined = Threads(), threading.Event()

    def close() -> None:
        threads.join()
        joined.set()

    threads.start("closing", close)
    assert joined.wait(20)
