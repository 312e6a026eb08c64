"""What goes wrong around guests of real QEMU: many at once, monitors that are gone."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from polyvisor.errors import HypervisorError
from polyvisor.states import DomainState

Hosts = Any
pytestmark = [pytest.mark.real, pytest.mark.slow]

#: Suspends and resumes a few times; an operation may find the domain in the other state.
WORK = """
from polyvisor.errors import OperationInvalid
with polyvisor.open(uri) as host:
    domain = host.domains["guest"]
    done = 0
    for turn in range(4):
        for verb in (domain.suspend, domain.resume):
            try:
                verb()
                done += 1
            except OperationInvalid:
                pass
        domain.stats()
    print(done)
"""


def test_twenty_at_one_domain(hosts: Hosts) -> None:
    """Twenty processes work on it at once: each ends well, and one whole guest is there."""
    host = hosts.open()
    domain = host.domains.define(hosts.counting())
    domain.start()
    (pid,) = hosts.processes()
    workers = [hosts.start_process(WORK) for _ in range(20)]
    done = 0
    for worker in workers:
        with worker:
            out, err = worker.communicate(timeout=120)
        assert worker.returncode == 0, err
        done += int(out)
    # The first suspends, so some did something, and in the end it is in one of two states.
    assert done >= 1
    assert domain.state in (DomainState.RUNNING, DomainState.PAUSED)
    if domain.state is DomainState.PAUSED:
        domain.resume()
    assert hosts.processes() == [pid]
    hosts.wait_for_count()


def test_monitor_socket_removed(hosts: Hosts) -> None:
    """Nothing hangs without it, the error says what is missing, and the guest can be ended."""
    host = hosts.open()
    domain = host.domains.define(hosts.counting())
    domain.start()
    (socket,) = hosts.root.glob("a/**/control")
    os.unlink(socket)
    begun = time.monotonic()
    with pytest.raises(HypervisorError, match="its monitor is gone"):
        domain.suspend()
    assert time.monotonic() - begun < 40
    assert domain.active
    hosts.wait_for_count()
    domain.destroy()
    assert hosts.processes() == []
    domain.start()
    assert domain.state is DomainState.RUNNING
