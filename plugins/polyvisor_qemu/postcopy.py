"""Post-copy: QEMU's switch to the destination before all memory is there.

The source's QEMU goes from ``active`` to ``postcopy-active``, and from there nothing leads back:
``cont`` is refused. Ours at the destination stands still then, since it was started with ``-S``,
until it is told to run. A connection that breaks is ``postcopy-paused`` on either side
(QEMU's docs/devel/migration.rst).

A source that has sent all of it is cut off in another way: QEMU 7.2 lets go of its connection and
stays ``postcopy-active`` for good. So it is remembered by which connection a guest leaves, and
that QEMU has it no longer is looked for.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any

from polyvisor.errors import Cancelled, HypervisorError, Timeout, Unsupported
from polyvisor.local import PostCopy
from polyvisor_qemu.aside import Aside
from polyvisor_qemu.means import plain
from polyvisor_qemu.qmp import Gone, QmpError

if TYPE_CHECKING:
    from polyvisor.driver import MigrationOptions
    from polyvisor.jobs import Job
    from polyvisor.local import Guest
    from polyvisor_qemu.hypervisor import QemuHypervisor
    from polyvisor_qemu.qmp import Command, Monitor

__all__ = [
    "SWITCHED",
    "arrived",
    "check",
    "how_far",
    "leave_by",
    "need_host",
    "receive_rest",
    "resume_rest",
    "send_rest",
    "switch",
    "wait_run",
]

#: ``MigrationStatus`` of qapi/migration.json once the destination has the guest.
SWITCHED = frozenset({"postcopy-active", "postcopy-paused", "postcopy-recover"})
_HOW_FAR = {
    "setup": None,
    "active": PostCopy.AHEAD,
    "pre-switchover": PostCopy.AHEAD,
    "device": PostCopy.AHEAD,
    "postcopy-active": PostCopy.FLOWING,
    "postcopy-recover": PostCopy.FLOWING,
    "postcopy-paused": PostCopy.BROKEN,
    "completed": PostCopy.DONE,
}
#: A guest's runtime fact: the connection by which it leaves, as proc(5) names it.
LEAVES_BY = "leaves_by"
#: Seconds to wait for a QEMU that may stand still as it needs a page.
STANDING = 3.0
#: Seconds after which a destination is taken to have the guest though it has not asked for a page.
ASKING = 10.0
#: Seconds that QEMU has to give up a connection once it is told to.
PAUSING = 10.0
#: Seconds between two looks at the figures.
LOOK_EVERY = 0.25


def check(options: MigrationOptions) -> None:
    """Refuse means that do not go together with post-copy.

    Raises:
        Unsupported: so it is.
    """
    if not options.post_copy:
        return
    other = None
    if options.tunnelled:
        other = (
            "tunnelled: the guest asks for memory by the same connection, and a tunnel is one way"
        )
    elif options.parallel:
        other = (
            "parallel: QEMU 7.2 takes both and loses the guest when its last page has come "
            "(yank_unregister_instance: Assertion failed), and later ones refuse it"
        )
    elif "mt" in options.compression:
        other = "compression 'mt': QEMU does only one of them"
    if other is not None:
        raise Unsupported(
            f"migrate: post_copy does not go with {other}", feature="migration.post-copy"
        )


def need_host(monitor: Monitor, guest: Guest) -> None:
    """Destination: have QEMU find out whether this host lets it do post-copy.

    Raises:
        HypervisorError: it does not.
    """
    on = [{"capability": "postcopy-ram", "state": True}]
    try:
        monitor.execute("migrate-set-capabilities", capabilities=on)
    except QmpError as error:
        raise HypervisorError(
            f"receive {guest.name!r}: this host does not let QEMU fetch memory as the guest needs "
            f"it ({error.native_message}); post-copy needs userfaultfd, for root or with the "
            f"sysctl vm.unprivileged_userfaultfd=1, and memory that is not locked",
            domain=guest.name,
            native_message=error.native_message,
        ) from error


def how_far(hypervisor: QemuHypervisor, guest: Guest) -> PostCopy | None:
    """See :meth:`polyvisor.local.SwitchesGuests.post_copy`."""
    process = hypervisor.process(guest)
    if process is None or not process.alive:
        return None
    heard = None
    if arriving := "switches" in guest.runtime:
        with Aside(guest) as aside:
            heard = aside.status()
        if heard == "postcopy-paused":
            return PostCopy.BROKEN  # Nothing but a word there ends that.
    connected = arriving or _connected(hypervisor, guest)
    try:
        with hypervisor.monitor(guest, at_most=STANDING if arriving else inf) as monitor:
            far = _HOW_FAR.get(monitor.execute("query-migrate").get("status", ""))
            return PostCopy.LOST if far is PostCopy.FLOWING and not connected else far
    except Gone:
        if process.wait(5):
            return None
        raise
    except Timeout:
        # All of QEMU stands still if it needs a page for the guest itself, such as its stack.
        if not arriving:
            raise
        with Aside(guest) as aside:
            return _HOW_FAR.get(aside.status() or "")


def leave_by(guest: Guest, fd: int) -> None:
    """Source: remember the connection by which a guest leaves."""
    guest.runtime[LEAVES_BY] = f"socket:[{os.fstat(fd).st_ino}]"


def _connected(hypervisor: QemuHypervisor, guest: Guest) -> bool:
    """Say whether a source has the connection yet by which its guest leaves.

    It lets go of it when all has arrived too, but then it says so before: ask this first.
    """
    process, name = hypervisor.process(guest), guest.runtime.get(LEAVES_BY)
    return process is None or name is None or process.has_open(name)


def switch(monitor: Monitor, job: Job) -> None:
    """Source: let QEMU switch with its next pass over memory; it is written down before."""
    job.report("post-copy")
    # It refuses when the last page is on its way already.
    with suppress(QmpError):
        monitor.execute("migrate-start-postcopy")


def wait_run(monitor: Monitor, timeout: float) -> bool:
    """Destination: wait until QEMU has what the guest needs to run.

    Returns:
        Whether memory is still missing.

    Raises:
        Timeout: it had not after ``timeout`` seconds.
        QmpError: it could not read it.
    """
    deadline = time.monotonic() + timeout
    while True:
        info, run = monitor.ask(("query-migrate", {}), ("query-status", {}))
        for answer in (info, run):
            if isinstance(answer, QmpError):
                raise answer
        status = info.get("status")
        if status == "failed":
            raise QmpError("QEMU could not read the guest's state")
        if run["status"] != "inmigrate" and status in (*SWITCHED, "completed"):
            return bool(status != "completed")
        left = deadline - time.monotonic()
        if left <= 0:
            raise Timeout(f"QEMU did not have the guest after {timeout:g} s")
        monitor.next_event(min(left, 0.02))


def send_rest(hypervisor: QemuHypervisor, guest: Guest, job: Job) -> dict[str, Any]:
    """See :meth:`polyvisor.local.SwitchesGuests.send_rest`."""
    from polyvisor_qemu.stream import figures, progress, steer

    with hypervisor.monitor(guest) as monitor:
        poller = select.poll()
        poller.register(monitor, select.POLLIN)
        cut_off, begun = False, time.monotonic()
        while True:
            job.check()
            wishes = job.wishes()
            steer(monitor, guest, wishes)
            cut_off = cut_off or bool(wishes.get("post_copy_pause"))
            connected = _connected(hypervisor, guest)
            info: dict[str, Any] = monitor.execute("query-migrate")
            with suppress(Cancelled):  # The migration's job was, which comes too late.
                progress(job, "post-copy", info, None)
            status = info.get("status")
            if status == "completed":
                return figures(info)
            # Who asks for a page has all that is needed to go on later; before, it would be lost.
            asked = info.get("ram", {}).get("postcopy-requests")
            if cut_off and (asked or time.monotonic() - begun > ASKING):
                cut_off = False
                pause(monitor)
            if not connected and _HOW_FAR.get(str(status)) is PostCopy.FLOWING:
                raise HypervisorError(
                    f"the connection of {guest.name!r} broke when all of it was sent, and QEMU "
                    f"(as of version 7.2) does not send it again",
                    domain=guest.name,
                )
            if status not in ("postcopy-active", "postcopy-recover"):
                words = str(info.get("error-desc", ""))
                raise HypervisorError(
                    f"the stream of {guest.name!r} is {status}{': ' if words else ''}{words}",
                    domain=guest.name,
                    native_message=words or None,
                )
            look_at = time.monotonic() + LOOK_EVERY
            while (left := look_at - time.monotonic()) > 0:
                if not monitor.events:
                    poller.poll(left * 1000)
                event = monitor.next_event(0)
                if event is not None and event["event"] == "MIGRATION":
                    break


def receive_rest(
    hypervisor: QemuHypervisor, guest: Guest, options: MigrationOptions, cookie: bytes | None
) -> str:
    """See :meth:`polyvisor.local.SwitchesGuests.receive_rest`."""
    from polyvisor_qemu.migration import from_here, listen_at

    with Aside(guest) as aside:

        def listen(uri: str) -> None:
            aside.execute("migrate-recover", uri=uri)

        if aside.status() != "postcopy-paused":
            # It may not have noticed that nothing comes any more.
            with suppress(QmpError):
                aside.execute("migrate-pause")
            aside.wait_for("postcopy-paused", PAUSING)
        return listen_at(hypervisor, guest, options, listen, near=from_here(cookie))


def resume_rest(
    hypervisor: QemuHypervisor, guest: Guest, uri: str, options: MigrationOptions
) -> None:
    """See :meth:`polyvisor.local.SwitchesGuests.resume_rest`."""
    from polyvisor_qemu.migration import connected

    with hypervisor.monitor(guest) as monitor:
        pause(monitor)
        deadline = time.monotonic() + PAUSING
        while monitor.execute("query-migrate").get("status") != "postcopy-paused":
            if time.monotonic() > deadline:
                raise Timeout(f"QEMU did not let go of its connection after {PAUSING:g} s")
            monitor.next_event(0.05)
        with connected(uri) as made:
            limit = {"max-postcopy-bandwidth": options.post_copy_bandwidth or 0}  # 0: none.
            told: list[Command] = [
                ("migrate-set-parameters", limit),
                ("getfd", {"fdname": "resume"}),
                ("migrate", {"uri": "fd:resume", "resume": True}),
            ]
            leave_by(guest, made.fileno())
            monitor.execute_all(*told, fds=(made.fileno(),))


def pause(monitor: Monitor) -> None:
    """Source: have QEMU give up a connection that may still flow by post-copy."""
    with suppress(QmpError):  # It does not, or not yet.
        monitor.execute("migrate-pause")


def arrived(hypervisor: QemuHypervisor, guest: Guest) -> None:
    """See :meth:`polyvisor.local.SwitchesGuests.arrived`."""
    with hypervisor.monitor(guest) as monitor:
        plain(monitor)
    guest.runtime.pop("switches", None)
    Aside.end(guest)
