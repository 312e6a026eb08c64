"""What goes wrong around guests of real QEMU: many at once, monitors that are gone."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from polyvisor.errors import HypervisorError
from polyvisor.states import DomainState

Hosts = Any
pytestmark = [pytest.mark.real, pytest.mark.slow]

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
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


def test_many_threads_start_guests(hosts: Hosts, make_spec: Any) -> None:
    """The first guests that a host ever has may be started all at once, from one process."""
    host = hosts.open()
    with ThreadPoolExecutor(8) as pool:
        started = [
            pool.submit(host.domains.create, make_spec(f"guest-{number}"), paused=True)
            for number in range(8)
        ]
        names = {one.result(timeout=120).name for one in started}
    assert names == {f"guest-{number}" for number in range(8)}
    assert len(hosts.processes()) == 8
    for domain in host.domains.list():
        domain.destroy()
    assert hosts.processes() == []


#: A life in which the clock jumps between any two steps, by the number of days in a file.
JUMPING = """
import time
from pathlib import Path
from polyvisor.errors import Timeout
from polyvisor.driver import SnapshotOptions

POINT = (
    "<domaincheckpoint><disks><disk name='hda' checkpoint='no'/>"
    "<disk name='hdb' checkpoint='bitmap'/></disks></domaincheckpoint>"
)

def jump(days):
    before = time.time()
    Path(os.environ["FAKETIME_TIMESTAMP_FILE"]).write_text(f"{days:+d}d")
    deadline = time.monotonic() + 20
    while abs(time.time() - before) < 86400:
        assert time.monotonic() < deadline, "the clock did not jump"

with polyvisor.open(uri) as host:
    domain = host.domains["guest"]
    jump(9000)
    domain.start()
    jump(-3000)
    begun = time.monotonic()
    try:
        domain.wait(timeout=0.5)
    except Timeout:
        pass
    assert 0.4 < time.monotonic() - begun < 20
    names = []
    for days in (4000, -4000, 2000, -6000):
        jump(days)
        names.append(domain.checkpoints.create(POINT))
        assert domain.checkpoints.list() == names
    domain.suspend()
    jump(10)
    domain.resume()
    for days in (3000, -3000):
        domain.save(sys.argv[1], progress=lambda told: told.done and jump(days))
        host.domains.restore(sys.argv[1])
    jump(-100)
    for name in reversed(names):
        domain.checkpoints.delete(name)
"""


def test_clock_jumps(hosts: Hosts) -> None:
    """Whatever the host's clock says meanwhile, every step is taken and none waits for it."""
    if not FAKETIME.exists():
        pytest.skip("libfaketime is missing: apt install faketime")
    disk = hosts.root / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "1M"], check=True)
    more = (
        f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
        f"<source file='{disk}'/><target dev='hdb' bus='ide'/></disk>"
    )
    host = hosts.open()
    domain = host.domains.define(hosts.counting(more=more))
    clock = hosts.root / "clock"
    clock.write_text("+0d")
    hosts.run_process(
        JUMPING,
        str(hosts.root / "image"),
        env={
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        },
    )
    assert domain.state is DomainState.RUNNING
    hosts.wait_for_count()
    domain.destroy()


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


def test_lists_tell_of_a_qemu_that_is_gone(hosts: Hosts, make_spec: Any) -> None:
    """However often they were asked for before, by whatever connection it was started again."""
    host = hosts.open()
    domain, other = (host.domains.define(make_spec(name)) for name in ("guest", "other"))
    for one in (domain, other):
        one.start(paused=True)

    def states() -> dict[str, DomainState]:
        return {one.name: one.state for one in host.domains.summaries()}

    both = {"guest": DomainState.PAUSED, "other": DomainState.PAUSED}
    for _ in range(3):
        for _ in range(3):
            assert states() == both
        (pid,) = (
            number
            for number in hosts.processes()
            if b"guest=guest," in Path(f"/proc/{number}/cmdline").read_bytes()
        )
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while states() != {**both, "guest": DomainState.SHUTOFF}:
            assert time.monotonic() < deadline, states()
            time.sleep(0.01)
        assert [one.name for one in host.domains.list(inactive=False)] == ["other"]
        hosts.open().domains["guest"].start(paused=True)


def test_image_that_another_guest_writes(hosts: Hosts) -> None:
    """A second guest is not let at it, is told why, and leaves nothing; the first runs on."""
    host = hosts.open()
    first = host.domains.define(hosts.counting())
    first.start()
    (pid,) = hosts.processes()
    second = host.domains.define(hosts.counting("second"))
    with pytest.raises(HypervisorError, match='Failed to get "write" lock'):
        second.start()
    assert second.state is DomainState.SHUTOFF
    assert hosts.processes() == [pid]
    hosts.wait_for_count()
    first.destroy()
    second.start()
    hosts.wait_for_count()
    second.destroy()
