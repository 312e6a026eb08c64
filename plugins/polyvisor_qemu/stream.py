"""QEMU's migration stream: set going, followed to its end, cancelled.

QEMU writes a guest into a file and sends it to another host by the same means.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

from polyvisor.errors import Cancelled, HypervisorError, PolyvisorError, Timeout
from polyvisor_qemu.means import plain
from polyvisor_qemu.postcopy import SWITCHED, switch
from polyvisor_qemu.qmp import QmpError
from polyvisor_qemu.readiness import EVENTS, limits, needed, ready, unready

if TYPE_CHECKING:
    from polyvisor.jobs import Job
    from polyvisor.local import Guest
    from polyvisor_qemu.mirrors import Mirrors
    from polyvisor_qemu.qmp import Command, Monitor

__all__ = [
    "abandon",
    "begin_in",
    "begin_out",
    "figures",
    "progress",
    "steer",
    "wait_in",
    "wait_out",
]

#: Seconds between two looks at a migration's figures; the end itself is an event.
LOOK_EVERY = 0.25
#: Seconds in which passes over memory are not looked at: most guests have left by then.
LOOK_FIRST = 0.05
#: Seconds that it has for its connections before it is told to let go all the same.
CONNECTING = 5.0
#: Seconds to wait for QEMU to let go of a migration.
CANCELLING = 30.0


def begin_out(
    monitor: Monitor,
    guest: Guest,
    where: int | str,
    fdname: str,
    means: Sequence[Command] = (),
    limited: Command | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Let QEMU begin to write a guest.

    Args:
        monitor: its monitor.
        guest: the guest.
        where: a descriptor, or an address that QEMU is to connect to itself.
        fdname: a name for the descriptor, for :func:`abandon`.
        means: what tells it how.
        limited: its limits (:func:`polyvisor_qemu.readiness.limits`).
        meanwhile: is called as soon as it is told; what that does may take a while.

    Raises:
        QmpError: QEMU refuses; it writes nothing. Nor does it go on if ``meanwhile`` fails.
    """
    told = needed(guest, means, limited or limits())
    uri = where if isinstance(where, str) else f"fd:{fdname}"
    if not isinstance(where, str):
        told.append(("getfd", {"fdname": fdname}))
    try:
        with monitor.telling(
            *told, ("migrate", {"uri": uri}), fds=() if isinstance(where, str) else (where,)
        ):
            meanwhile()
    except BaseException:
        with suppress(PolyvisorError):
            cancel(monitor)
            plain(monitor)
        raise


def begin_in(
    monitor: Monitor,
    guest: Guest,
    uri: str,
    fd: int | None = None,
    means: Sequence[Command] = (),
) -> None:
    """Let QEMU begin to read a guest.

    Args:
        monitor: its monitor.
        guest: the guest.
        uri: where it listens, or ``fd:NAME``.
        fd: the descriptor that is to have that name.
        means: what tells it how.

    Raises:
        QmpError: QEMU refuses.
    """
    fdname = uri.removeprefix("fd:")
    named = [] if fd is None else [("getfd", {"fdname": fdname})]
    told = ("migrate-incoming", {"uri": uri})
    monitor.execute_all(*(means or (EVENTS,)), *named, told, fds=() if fd is None else (fd,))
    if not means:
        ready(monitor, guest, incoming=True)


def wait_out(
    monitor: Monitor,
    guest: Guest,
    job: Job,
    phase: str,
    *,
    stop_after: float | None = None,
    abort_on_error: bool = False,
    mirrors: Mirrors | None = None,
    beat: Callable[[], None] | None = None,
    post_copy: bool = False,
    switch_after: float | None = None,
) -> dict[str, Any]:
    """Wait for the end of an outgoing migration, or for its switch; cancel it with its job.

    Args:
        monitor: its monitor.
        guest: the guest.
        job: told of its progress; its wishes are
            :class:`~polyvisor.driver.Steering`'s fields, and ``suspend``.
        phase: what the job's reports name.
        stop_after: seconds after which the guest is stopped.
        abort_on_error: fail if one of the guest's disks fails meanwhile.
        mirrors: copies of disks that go on until the guest stands still.
        beat: called now and then while it lasts.
        post_copy: switch to post-copy if the job wishes so. It cannot be cancelled any more then.
        switch_after: seconds after which it is switched in any case.

    Returns:
        QEMU's figures (query-migrate).
    """
    begun = looked = time.monotonic()
    poller = select.poll()
    poller.register(monitor, select.POLLIN)
    poller.register(job, select.POLLIN)
    stop_at = None if stop_after is None else begun + stop_after
    switch_at = None if switch_after is None else begun + switch_after
    switching = False
    try:
        while True:
            look = False
            while (event := monitor.next_event(0)) is not None:
                if event["event"] == "MIGRATION_PASS":
                    look = time.monotonic() - begun >= LOOK_FIRST
                elif event["event"] == "MIGRATION":
                    look = event["data"]["status"] in (
                        "completed", "failed", "cancelled", "pre-switchover", "postcopy-active",
                    )  # fmt: skip
                elif event["event"] == "BLOCK_IO_ERROR" and abort_on_error:
                    raise _disk_failed(event["data"], guest)
            if not switching:
                job.check()
            wishes = job.wishes()
            steer(monitor, guest, wishes)
            now = time.monotonic()
            if wishes.get("suspend"):
                stop_at = now
            late = switch_at is not None and now >= switch_at
            if post_copy and not switching and (late or wishes.get("post_copy")):
                switch(monitor, job)
                switching, switch_at = True, None
            if look or now - looked >= LOOK_EVERY:
                looked = now
                info: dict[str, Any] = monitor.execute("query-migrate")
                if info.get("status") in ("failed", "cancelled"):
                    raise _failed(info, guest)
                if mirrors is not None:
                    mirrors.check()
                    if info.get("status") == "pre-switchover":
                        mirrors.end()
                        monitor.execute("migrate-continue", state="pre-switchover")
                switched = info.get("status") in SWITCHED
                with suppress(Cancelled) if switching else nullcontext():
                    progress(job, "post-copy" if switching else phase, info, mirrors)
                if switched or info.get("status") == "completed":
                    return info
                if beat is not None:
                    beat()
            if stop_at is not None and now >= stop_at:
                stop_at = None
                monitor.execute("stop")
            if not monitor.events:
                wake = looked + LOOK_EVERY
                for at in (stop_at, switch_at):
                    wake = wake if at is None else min(wake, at)
                poller.poll(max(0.0, wake - time.monotonic()) * 1000)
    except BaseException:
        with suppress(PolyvisorError):
            cancel(monitor)
            plain(monitor)
        raise


def steer(monitor: Monitor, guest: Guest, wishes: dict[str, Any]) -> None:
    """Change a migration that is under way.

    Args:
        monitor: the source's monitor.
        guest: the guest.
        wishes: fields of :class:`~polyvisor.driver.Steering`.
    """
    if not wishes:
        return
    values = {
        "max-bandwidth": wishes.get("bandwidth"),
        "max-postcopy-bandwidth": wishes.get("post_copy_bandwidth"),
        "downtime-limit": int(wishes["downtime"] * 1000) if "downtime" in wishes else None,
    }
    changed = {name: value for name, value in values.items() if value is not None}
    if changed:
        unready(guest)
        monitor.execute_all(("migrate-set-parameters", changed))


def _disk_failed(data: dict[str, Any], guest: Guest) -> HypervisorError:
    words = str(data.get("reason", "it does not say why"))
    return HypervisorError(
        f"domain {guest.name!r}: its disk {data.get('device') or data.get('node-name')} failed "
        f"while it was being sent: {words}",
        domain=guest.name,
        native_message=words,
    )


def _failed(info: dict[str, Any], guest: Guest) -> HypervisorError:
    words = str(info.get("error-desc", ""))
    return HypervisorError(
        f"domain {guest.name!r}: QEMU could not write the guest's state: "
        f"{words or 'it does not say why'}",
        domain=guest.name,
        native_message=words or None,
    )


def figures(info: dict[str, Any]) -> dict[str, Any]:
    """Return QEMU's figures of a migration as :meth:`polyvisor.local.MigratesGuests.send` does."""
    return {
        "downtime": info.get("downtime", 0) / 1000,
        "total": info.get("total-time", 0) / 1000,
        "transferred": info.get("ram", {}).get("transferred", 0),
    }


def progress(job: Job, phase: str, info: dict[str, Any], mirrors: Mirrors | None) -> None:
    """Report how far a migration is."""
    ram = info.get("ram", {})
    disk = (0, 0) if mirrors is None else (mirrors.total, mirrors.processed)
    rate = ram.get("dirty-pages-rate")
    downtime = info.get("downtime", info.get("expected-downtime"))
    job.report(
        phase,
        total=ram.get("total", 0) + disk[0],
        processed=ram.get("transferred", 0) + disk[1],
        remaining=ram.get("remaining", 0) + disk[0] - disk[1],
        disk_total=disk[0],
        disk_processed=disk[1],
        disk_remaining=disk[0] - disk[1],
        iteration=ram.get("dirty-sync-count"),
        dirty_rate=None if rate is None else float(rate * ram.get("page-size", 4096)),
        downtime=None if downtime is None else downtime / 1000,
        figures=_figures(info),
    )


def _figures(info: dict[str, Any]) -> dict[str, int]:
    """Return QEMU's figures of a migration by their names (:data:`polyvisor.jobstats.FIGURES`).

    Args:
        info: what query-migrate answers; libvirt reads the same of it
            (``qemuMonitorJSONGetMigrationStatsReply``).
    """
    ram, disk = info.get("ram", {}), info.get("disk", {})
    found: dict[str, int] = {}
    if "setup-time" in info:
        found["setup_time"] = info["setup-time"]
    for name, told in (("memory_bps", ram), ("disk_bps", disk)):
        speed = int(told.get("mbps", 0) * 1000 * 1000 / 8)
        if speed > 0:
            found[name] = speed
    if "duplicate" in ram:
        found |= {
            "memory_constant": ram["duplicate"],
            "memory_normal": ram.get("normal", 0),
            "memory_normal_bytes": ram.get("normal-bytes", 0),
        }
    found |= {
        "memory_dirty_rate": ram.get("dirty-pages-rate", 0),
        "memory_iteration": ram.get("dirty-sync-count", 0),
        "memory_postcopy_requests": ram.get("postcopy-requests", 0),
    }
    if ram.get("page-size"):
        found["memory_page_size"] = ram["page-size"]
    packed = info.get("xbzrle-cache")
    if packed is not None:
        found |= {
            "compression_cache": packed.get("cache-size", 0),
            "compression_bytes": packed.get("bytes", 0),
            "compression_pages": packed.get("pages", 0),
            "compression_cache_misses": packed.get("cache-miss", 0),
            "compression_overflow": packed.get("overflow", 0),
        }
    if info.get("cpu-throttle-percentage"):
        found["auto_converge_throttle"] = info["cpu-throttle-percentage"]
    return found


def wait_in(monitor: Monitor, job: Job | None, timeout: float = 600.0) -> None:
    """Wait until QEMU has read a whole guest."""
    looked = time.monotonic()
    deadline = looked + timeout
    poller = select.poll()
    poller.register(monitor, select.POLLIN)
    if job is not None:
        poller.register(job, select.POLLIN)
    while True:
        if job is not None:
            job.check()
        status = None
        while (event := monitor.next_event(0)) is not None:
            if event["event"] == "MIGRATION":
                status = event["data"]["status"]
        now = time.monotonic()
        if status is None and now - looked >= LOOK_EVERY:
            looked, status = now, monitor.execute("query-migrate").get("status")
        if status == "completed":
            return
        if status == "failed":
            raise QmpError("QEMU could not read the guest's state")
        if now >= deadline:
            raise Timeout(f"QEMU did not have the whole guest after {timeout:g} s")
        if not monitor.events:
            poller.poll(max(0.0, min(deadline, looked + LOOK_EVERY) - now) * 1000)


def abandon(monitor: Monitor, guest: Guest, fdname: str) -> None:
    """Stop a stream that perhaps still goes on though who began it was killed.

    The guest stands still afterwards.

    Args:
        monitor: its monitor.
        guest: the guest.
        fdname: name of the descriptor that QEMU may have been given for it.
    """
    unready(guest)  # Nobody knows what it was told for it.
    cancel(monitor)
    plain(monitor)
    if monitor.execute("query-status")["status"] == "running":
        monitor.execute("stop")
    # It was killed before it said what to do with the descriptor: QEMU would keep it.
    with suppress(QmpError):
        monitor.execute("closefd", fdname=fdname)


def cancel(monitor: Monitor) -> None:
    """Cancel a migration and wait until QEMU has let go of it."""
    if monitor.execute("query-migrate").get("status") not in (
        "setup", "active", "cancelling", "pre-switchover", "device",
    ):  # fmt: skip
        return
    # QEMU 7.2 never ends one over several connections that is cancelled while it makes them.
    made = time.monotonic() + CONNECTING
    while monitor.execute("query-migrate").get("status") == "setup" and time.monotonic() < made:
        monitor.next_event(0.02)
    monitor.execute("migrate_cancel")
    deadline = time.monotonic() + CANCELLING
    while time.monotonic() < deadline:
        if monitor.execute("query-migrate").get("status") in ("cancelled", "completed", "failed"):
            return
        monitor.next_event(0.05)
