"""What kills a process at a step of what it does, and what must be true then.

A step is a call into the kernel by which something may change that others see, or the
beginning or the end of a transaction. Calls from one line, itself called from the same lines,
count twice at most: such lines are in loops, and most of them write pages.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from polyvisor.errors import NotFound

FOLDER = sys.argv[2]
HOST, PEER = (f"sim:///{name}?root={FOLDER}" for name in "ab")
IMAGE = f"{FOLDER}/image"
MOST_STEPS = 500
# Where the database is changed; what else is said to it within a transaction is of no account.
TRANSACTIONS = ("_writing", "_set_up", "upgrade")
# The memory is small and the working set within it, so that every check is of every page.
GUEST = """
<domain type='sim'>
  <name>guest</name>
  <uuid>5f0d6a3e-6a3c-4d6e-8f43-2f6a4f2f7d11</uuid>
  <metadata>
    <sim:guest xmlns:sim='urn:polyvisor:sim:1.0' ticks-per-second='1000' dirty-pages='1'
               working-set='32'/>
  </metadata>
  <memory unit='KiB'>512</memory>
  <os><type>hvm</type></os>
</domain>
"""
CHANGING = frozenset(
    {
        "open", "write", "pwrite", "fsync", "fdatasync", "ftruncate", "truncate", "rename",
        "replace", "unlink", "remove", "mkdir", "rmdir", "symlink", "link", "execute", "bind",
        "connect", "listen", "send", "sendall", "sendto", "sendmsg", "eventfd_write",
    }
)  # fmt: skip


def die_at(step: int) -> None:
    """Have this process killed before its ``step``-th step, counted from 0."""
    seen: dict[tuple[object, ...], int] = {}
    mutex = threading.Lock()
    left = step

    def look(frame: Any, event: str, called: Any) -> None:
        nonlocal left
        if event != "c_call" or called.__name__ not in CHANGING:
            return
        if isinstance(called.__self__, str) or (
            called.__name__ == "execute" and frame.f_code.co_name not in TRANSACTIONS
        ):
            return
        place = called.__name__, *lines_of(frame)
        with mutex:
            seen[place] = seen.get(place, 0) + 1
            if seen[place] > 2:
                return
            if left == 0:
                words = [f"{os.path.basename(file)}:{line}" for file, line in place[1:7]]
                sys.stderr.write(f"killed before {place[0]}: {' < '.join(words)}\n")
                sys.stderr.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    threading.setprofile(look)
    sys.setprofile(look)


def lines_of(frame: Any) -> list[tuple[str, int]]:
    """Return where a frame is, and where those are that called it."""
    lines = []
    while frame is not None:
        lines.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return lines


def in_child(work: Callable[[], None], step: int | None = None) -> int:
    """Do ``work`` in a process of its own; return how that ended."""
    pid = os.fork()
    if pid == 0:
        # Nothing here takes longer than some tenths of a second.
        signal.alarm(60)
        try:
            if step is not None:
                die_at(step)
            work()
            sys.setprofile(None)
        except BaseException:  # noqa: BLE001 - the exit code tells
            sys.setprofile(None)
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# What must be true


def ticks(domain: Any) -> int:
    """Return a guest's ticks, after a look at every byte of its memory."""
    checked = domain.connection.driver.verify_memory(domain.uuid)
    assert checked.ok, checked
    assert checked.boots == 1
    return int(checked.ticks)


def note(number: int) -> None:
    """Write down how far the guest had come."""
    with open(f"{FOLDER}/ticks", "w") as file:
        file.write(str(number))


def noted() -> int:
    """Return what :func:`note` wrote."""
    with open(f"{FOLDER}/ticks") as file:
        return int(file.read())


def check_goes_on(domain: Any) -> None:
    """Check that a guest runs, and on from where it was."""
    first = ticks(domain)
    assert first >= noted(), "it booted afresh"
    deadline = time.monotonic() + 10
    while ticks(domain) == first:
        assert time.monotonic() < deadline, "its clock stands still"
        time.sleep(0.002)


def check_nothing_is_left(*hosts: Any) -> None:
    """Check that there are machines, files and folders for what there is, and no others."""
    for host in hosts:
        home = host.driver.home
        wanted = set()
        for domain in host.domains:
            if domain.active:
                wanted.add(str(domain.id))
                assert os.path.exists(f"{home.roots.run}/{domain.id}/machine.json")
        run = home.roots.run
        found = (
            {name for name in os.listdir(run) if name.isdigit()} if os.path.isdir(run) else set()
        )
        assert found == wanted, (found, wanted)
    for folder, _, names in os.walk(FOLDER):
        for name in names:
            assert "polyvisor-part" not in name, f"{folder}/{name}"


def check_usable(host: Any) -> None:
    """Check that the next commands work, whatever has been, and leave the host empty."""
    domain = host.domains.define(GUEST)
    if not domain.active:
        domain.start(force_boot=True)
    domain.destroy()
    domain.undefine(managed_save=True, snapshots=True)
    assert host.domains.list() == []
    check_nothing_is_left(host)
    left = [
        f"{folder}/{name}"
        for folder in ("save", "snapshots")
        if os.path.isdir(above := f"{host.driver.home.roots.state}/{folder}")
        for name in os.listdir(above)
    ]
    assert not left, left


def settled(host: Any) -> Any:
    """Return the domain as the next to come finds it; ``None`` if there is none."""
    try:
        domain = host.domains["guest"]
    except NotFound:
        return None
    status = domain.status()
    # What is said of it at once stays so: it was put right before it was told.
    assert domain.status() == status
    if domain.active:
        machine = host.driver.hypervisor.rack.get(host.driver.guest(domain.uuid))
        assert machine.running == (status.state == "running"), status
    return domain
