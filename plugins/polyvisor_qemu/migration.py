"""Sending guests to other hosts and receiving them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from polyvisor.errors import HypervisorError, PolyvisorError, Timeout
from polyvisor.states import DomainState
from polyvisor_qemu import stream
from polyvisor_qemu.accord import as_told, need_both, with_cpu
from polyvisor_qemu.cmdline import RUN_FD
from polyvisor_qemu.cookies import QemuCookie, host_uuid
from polyvisor_qemu.launch import last_words
from polyvisor_qemu.listening import host_of, kind_of, listen_tcp
from polyvisor_qemu.means import ASKED, commands, plain
from polyvisor_qemu.qmp import Gone, QmpError, connect
from polyvisor_qemu.readiness import DOWNTIME, UNLIMITED, is_ready, limits
from polyvisor_qemu.telling import VIEWERS_TOLD

if TYPE_CHECKING:
    from polyvisor.driver import MigrationOptions
    from polyvisor.jobs import Job
    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.hypervisor import QemuHypervisor
    from polyvisor_qemu.qmp import Monitor

__all__ = ["connected", "from_here", "listen_at", "receive", "received", "send", "take_back"]

#: Where QEMU listens in its run folder: it has it under this name, however long its path is.
_LOCAL = f"unix:/proc/self/fd/{RUN_FD}/migration"
#: Seconds to wait for a connection to the destination.
CONNECTING = 30.0


def receive(
    hypervisor: QemuHypervisor,
    guest: Guest,
    spec: DomainSpec,
    options: MigrationOptions,
    cookie: bytes | None,
) -> tuple[dict[str, Any], str]:
    """Start a QEMU that listens for a stream.

    Where, if nobody asks for a place: in a local socket for a source on this machine, on a TCP
    port for any other.

    Raises:
        HypervisorError: it cannot listen there.
        InvalidArgument: such means do not go together.
    """
    means = commands(options, hypervisor.settings, leaving=False, secret=hypervisor.secret)
    # Without means it need not be told any before it listens.
    near = from_here(cookie)
    at_once = not means and _in_run_folder(guest, options, near=near)
    more = ["-incoming", _LOCAL if at_once else "defer"]
    if options.post_copy:
        from polyvisor_qemu.aside import Aside

        more += Aside.words(guest)
    asked, spec = spec, with_cpu(spec, cookie)
    runtime = hypervisor.spawn(guest, spec, *more)
    if spec is not asked:
        as_told(guest, runtime, spec)
    try:
        with hypervisor.monitor(guest) as monitor:
            if options.post_copy:
                from polyvisor_qemu.postcopy import need_host

                need_host(monitor, guest)
                with Aside(guest) as aside:
                    aside.agree()
                # Asking QEMU would cost every other guest some of its downtime.
                runtime["switches"] = True

            def listen(uri: str) -> None:
                stream.begin_in(monitor, guest, uri, means=means)

            if at_once:
                uri = f"unix:{guest.run_dir}/migration"
            else:
                uri = listen_at(hypervisor, guest, options, listen, near=near)
            if options.copy_storage:
                from polyvisor_qemu.along import serve

                serve(monitor, guest, spec, options, hypervisor, uri)
            return runtime, uri
    except BaseException:
        hypervisor.destroy(guest)
        raise


def listen_at(
    hypervisor: QemuHypervisor,
    guest: Guest,
    options: MigrationOptions,
    listen: Callable[[str], None],
    *,
    near: bool,
) -> str:
    """Have QEMU listen for a stream, and return the address that leads to it.

    Args:
        hypervisor: whose settings say where.
        guest: the guest.
        options: the migration's, which may say where as well.
        listen: has QEMU listen at an address in its words.
        near: the source is on this machine.

    Raises:
        HypervisorError: it cannot.
    """

    def begin(uri: str) -> None:
        try:
            listen(uri)
        except QmpError as error:
            raise HypervisorError(
                f"cannot listen on {uri}: {error.native_message}",
                domain=guest.name,
                native_message=error.native_message,
            ) from error

    if _in_run_folder(guest, options, near=near):
        begin(_LOCAL)
        return f"unix:{guest.run_dir}/migration"
    place: str | None = None
    if options.uri is not None:
        # QEMU knows more kinds, one of which runs programs.
        kind, place = kind_of(options.uri)
        if kind == "unix":
            begin(uri := f"unix:{place}")
            return uri
    return listen_tcp(hypervisor.settings, options, place, begin)


def _in_run_folder(guest: Guest, options: MigrationOptions, *, near: bool) -> bool:
    """Say whether QEMU is to listen in the guest's run folder."""
    if options.uri is None:
        return options.listen_address is None and near
    return kind_of(options.uri) == ("unix", f"{guest.run_dir}/migration")


def from_here(cookie: bytes | None) -> bool:
    """Say whether a source sees the same files as we do, of what it tells in begin."""
    return cookie is None or QemuCookie.from_bytes(cookie)[0].host == host_uuid()


def send(
    hypervisor: QemuHypervisor,
    guest: Guest,
    uri: str,
    options: MigrationOptions,
    job: Job,
    cookie: bytes | None,
) -> dict[str, Any]:
    """Let QEMU send the guest into a connection that we make, or that it makes itself."""
    means = commands(
        options,
        hypervisor.settings,
        leaving=True,
        host=host_of(uri),
        secret=hypervisor.secret,
    )
    told = QemuCookie.from_bytes(cookie)[0] if cookie else None
    need_both(guest, means, told)
    guest.runtime.pop(VIEWERS_TOLD, None)  # of an attempt that failed
    was_running = guest.state is DomainState.RUNNING
    if was_running and not options.live:
        hypervisor.suspend(guest)
    until: dict[str, float] = {}
    if options.timeout is not None:
        until[options.timeout_action] = time.monotonic() + options.timeout

    def left(action: str) -> float | None:
        return max(0.0, until[action] - time.monotonic()) if action in until else None

    try:
        with hypervisor.monitor(guest) as monitor, ExitStack() as opened:
            mirrors = None
            if options.copy_storage:
                from polyvisor_qemu.mirrors import Mirrors

                mirrors = opened.enter_context(Mirrors(monitor, guest, options, hypervisor))
                mirrors.begin(uri, cookie)
                mirrors.wait(job)
            if told is not None and told.graphics is not None:
                from polyvisor_qemu.viewers import send_along

                send_along(monitor, guest, told)
            where: int | str
            if options.parallel:
                # QEMU makes further connections as it made the first.
                where = opened.enter_context(_reached(guest, uri))
            else:
                where = opened.enter_context(connected(uri)).fileno()
            if options.post_copy and isinstance(where, int):
                from polyvisor_qemu.postcopy import leave_by

                leave_by(guest, where)
            limited = limits(
                options.bandwidth or UNLIMITED,
                DOWNTIME if options.downtime is None else options.downtime,
            )
            stream.begin_out(
                monitor,
                guest,
                where,
                "migrate",
                means,
                limited,
                # Whoever is told of it may take a while, in which it flows.
                meanwhile=lambda: job.report("memory"),
            )
            info = stream.wait_out(
                monitor,
                guest,
                job,
                "memory",
                stop_after=left("suspend"),
                abort_on_error=options.abort_on_error,
                mirrors=mirrors,
                post_copy=options.post_copy,
                switch_after=left("post-copy"),
            )
    except BaseException:
        if was_running:
            with suppress(PolyvisorError):
                hypervisor.resume(guest)
        raise
    return stream.figures(info)


def received(hypervisor: QemuHypervisor, guest: Guest, timeout: float) -> None:
    """Wait until QEMU has read the whole stream."""
    try:
        with hypervisor.monitor(guest) as monitor:
            as_made = is_ready(guest)
            if as_made and "served" not in guest.runtime and _has_said_so(monitor):
                return
            # What says that all has come, and what means to turn off, in one round trip.
            info, *asked = monitor.ask(("query-migrate", {}), *(() if as_made else ASKED))
            if isinstance(info, QmpError):
                raise info
            missing = False
            if "switches" in guest.runtime:
                from polyvisor_qemu.postcopy import wait_run

                missing = wait_run(monitor, timeout)
            elif info.get("status") != "completed":
                status = monitor.execute("query-status")["status"]
                if status == "inmigrate":
                    stream.wait_in(monitor, None, timeout)
            if not missing and not as_made:
                plain(monitor, asked)
            if "served" in guest.runtime:
                from polyvisor_qemu.along import stop_serving

                stop_serving(monitor, guest)
    except Gone as error:
        told = last_words(guest, f"receive {guest.name!r}")
        raise HypervisorError(
            told.message, domain=guest.name, native_message=told.native_message
        ) from error


def _has_said_so(monitor: Monitor) -> bool:
    """Say whether a destination's QEMU has told already that it has read all of a stream.

    Raises:
        Gone: it may have, but is gone.
    """
    said = False
    while (event := monitor.next_event(0)) is not None:
        told = event["event"], event.get("data", {}).get("status")
        said = said or told == ("MIGRATION", "completed")
    return said


def leave(hypervisor: QemuHypervisor, guest: Guest) -> None:
    """Source: wait for those who look at a guest's screen, and then have its QEMU end."""
    from polyvisor_qemu.viewers import wait_for_viewers

    wait_for_viewers(hypervisor, guest)
    process = hypervisor.process(guest)
    if process is not None and not guest.runtime.get("moved"):
        process.doom()


def take_back(hypervisor: QemuHypervisor, guest: Guest) -> None:
    """Stop a migration that is still going on; the guest stays stopped."""
    with hypervisor.monitor(guest) as monitor:
        stream.abandon(monitor, guest, "migrate")
        from polyvisor_qemu.mirrors import abandon

        abandon(monitor, guest)


@contextmanager
def _reached(guest: Guest, uri: str) -> Iterator[str]:
    """Give an address in QEMU's words that leads its source to where a destination listens."""
    kind, place = kind_of(uri)
    if kind != "unix":
        yield f"{kind}:{place}"
        return
    # A socket's path may be longer than the kernel takes: QEMU goes by a link in its run folder.
    folder, name = os.path.split(place)
    link = f"{guest.run_dir}/peer"
    with suppress(FileNotFoundError):
        os.unlink(link)
    os.symlink(folder, link)
    try:
        yield f"unix:/proc/self/fd/{RUN_FD}/peer/{name}"
    finally:
        os.unlink(link)


def connected(uri: str) -> socket.socket:
    """Return a socket that is connected to where a destination listens."""
    kind, place = kind_of(uri)
    if kind == "unix":
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connect(made, place, CONNECTING)
        except (Gone, Timeout) as error:
            made.close()
            raise HypervisorError(f"the destination does not listen on {uri}") from error
        return made
    host, _, port = place.rpartition(":")
    try:
        return socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECTING)
    except (OSError, ValueError, OverflowError) as error:
        raise HypervisorError(f"cannot connect to {uri}: {error}") from error
