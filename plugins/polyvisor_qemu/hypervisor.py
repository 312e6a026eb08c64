"""QEMU as a hypervisor: guests as processes, spoken to through QMP.

A guest has two monitors, since a monitor serves one client at a time: ``control`` is taken
for a moment at a time under the domain's lock, ``events`` by who watches. Their listening
sockets are made by us before QEMU starts and handed to it, so that connecting never waits
for a file to appear, and a guest whose starter was killed can be found and ended.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from polyvisor.errors import (
    HypervisorError,
    MigrationError,
    PolyvisorError,
    SaveImageError,
    SemanticError,
    StorageError,
    Timeout,
)
from polyvisor.local import (
    Guest,
    LocalHypervisor,
    MigratesGuests,
    Observation,
    SavesGuests,
    WatchesGuests,
)
from polyvisor.states import DomainState, StateReason
from polyvisor_qemu import argv
from polyvisor_qemu.process import Process, spawn
from polyvisor_qemu.qmp import Gone, Monitor, QmpError, connect, listen

if TYPE_CHECKING:
    from polyvisor.driver import MigrationOptions
    from polyvisor.events import EventKind
    from polyvisor.jobs import Job
    from polyvisor.model import DomainSpec

__all__ = ["QemuHypervisor"]

#: Bytes per second: as good as no limit, which QEMU has no word for.
UNLIMITED = 1 << 50
#: Seconds that a downtime may last unless said otherwise (QEMU's own default).
DOWNTIME = 0.3
#: Seconds between two looks at a migration's figures; the end itself is an event.
LOOK_EVERY = 0.25
#: Seconds to wait for a new QEMU's greeting, and for any answer.
ANSWER = 30.0

# RunState of QEMU's qapi/run-state.json, as the states of a domain.
_STATES = {
    "running": (DomainState.RUNNING, StateReason.UNKNOWN),
    "paused": (DomainState.PAUSED, StateReason.USER),
    "prelaunch": (DomainState.PAUSED, StateReason.STARTING_UP),
    "inmigrate": (DomainState.PAUSED, StateReason.MIGRATING),
    "postmigrate": (DomainState.PAUSED, StateReason.MIGRATING),
    "finish-migrate": (DomainState.PAUSED, StateReason.MIGRATING),
    "save-vm": (DomainState.PAUSED, StateReason.SAVING),
    "restore-vm": (DomainState.PAUSED, StateReason.STARTING_UP),
    "io-error": (DomainState.PAUSED, StateReason.IOERROR),
    "watchdog": (DomainState.PAUSED, StateReason.WATCHDOG),
    "internal-error": (DomainState.CRASHED, StateReason.CRASHED),
    "guest-panicked": (DomainState.CRASHED, StateReason.PANICKED),
    "shutdown": (DomainState.PAUSED, StateReason.SHUTTING_DOWN),
    "suspended": (DomainState.PMSUSPENDED, StateReason.UNKNOWN),
}


class QemuHypervisor(LocalHypervisor, SavesGuests, MigratesGuests, WatchesGuests):
    """Runs guests with QEMU.

    Args:
        settings: the plugin's settings.
        cache_dir: folder for what was found out about emulators.
    """

    name = "qemu"
    domain_types: ClassVar[tuple[str, ...]] = ("qemu", "kvm")
    image_format = "libvirt-qemu"
    stream_versions = (1,)

    def __init__(self, settings: dict[str, Any], cache_dir: str) -> None:
        self.settings = settings
        self.cache_dir = cache_dir

    # Definitions

    def complete(self, spec: DomainSpec) -> DomainSpec:
        """Fill in architecture, machine type and emulator; refuse what QEMU is not given yet."""
        if spec.type not in self.domain_types:
            raise SemanticError(
                f"domain {spec.name!r}: type {spec.type!r} is not run by QEMU; use "
                f"{' or '.join(self.domain_types)}",
                domain=spec.name,
                element="domain@type",
                fault=f"type is {spec.type!r}",
            )
        from polyvisor.model.os import OsType

        kind = spec.os.type or OsType(name="hvm")
        if kind.name not in ("hvm", None):
            raise argv.refuse(spec, "domain/os/type", f"QEMU runs 'hvm', not {kind.name!r}")
        import platform

        arch = kind.arch or platform.machine()
        kind = attrs.evolve(
            kind,
            arch=arch,
            name="hvm",
            machine=kind.machine or argv.DEFAULT_MACHINE.get(arch, "virt"),
        )
        spec = attrs.evolve(
            spec,
            os=attrs.evolve(spec.os, type=kind),
            on_poweroff=spec.on_poweroff or "destroy",
            on_reboot=spec.on_reboot or "restart",
            on_crash=spec.on_crash or "destroy",
        )
        argv.build(spec, "qemu")
        return spec

    def check_start(self, spec: DomainSpec) -> None:
        """Refuse missing disk images and emulators, and KVM where it does not work."""
        emulator = self._emulator(spec)
        if spec.type == "kvm":
            from polyvisor_qemu.probe import kvm_works

            works, why = kvm_works(emulator, self.cache_dir)
            if not works:
                raise HypervisorError(
                    f"start {spec.name!r}: KVM does not work here: {why}; use type 'qemu' for "
                    f"software emulation",
                    domain=spec.name,
                )
        for disk in spec.devices.disks:
            source = disk.source
            path = None if source is None else source.file or source.dev
            if path is not None and not os.path.exists(path):
                raise StorageError(
                    f"start {spec.name!r}: the disk image {path} is missing",
                    path=path,
                    domain=spec.name,
                )

    def _emulator(self, spec: DomainSpec) -> str:
        from polyvisor.errors import PluginUnusable
        from polyvisor_qemu.probe import emulator_for, usable

        named = spec.devices.emulator
        if named is not None:
            if not os.access(named, os.X_OK):
                raise StorageError(
                    f"start {spec.name!r}: the emulator {named} is missing; leave <emulator> "
                    f"out to have it found",
                    path=named,
                    domain=spec.name,
                )
            return named
        found = emulator_for(argv.architecture(spec), self.settings)
        if found is None:
            answer = usable()
            raise PluginUnusable(
                f"start {spec.name!r}: no QEMU for {argv.architecture(spec)} is installed; "
                f"{answer.remedy or 'install it'}",
                domain=spec.name,
            )
        return found

    # Running

    def launch(self, guest: Guest, spec: DomainSpec) -> dict[str, Any]:
        """Start QEMU, its vCPUs stopped."""
        return self._spawn(guest, spec, [])

    def _spawn(self, guest: Guest, spec: DomainSpec, more: list[str]) -> dict[str, Any]:
        assert guest.run_dir is not None
        assert guest.log_dir is not None
        line = argv.build(spec, self._emulator(spec))
        for name in ("control", "events"):
            line += [
                "-chardev", f"socket,id={name},fd={{{name}}},server=on,wait=off",
                "-mon", f"chardev={name},mode=control",
            ]  # fmt: skip
        line += ["-pidfile", "/proc/self/fd/{run}/qemu.pid", *more]
        line = [word.replace("/fd/RUN/", "/fd/{run}/") for word in line]
        log = f"{guest.log_dir}/{guest.uuid}.log"
        log_from = os.path.getsize(log) if os.path.exists(log) else 0
        with suppress(FileNotFoundError):
            os.unlink(f"{guest.run_dir}/qemu.pid")
        run = os.open(guest.run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        control = listen(f"{guest.run_dir}/control")
        events = listen(f"{guest.run_dir}/events")
        try:
            process = spawn(
                line,
                fds={"control": control.fileno(), "events": events.fileno(), "run": run},
                log=log,
            )
        finally:
            control.close()
            events.close()
            os.close(run)
        runtime = {"pid": process.pid, "started": process.started, "log": log}
        guest.runtime = runtime
        try:
            self._monitor(guest).close()
        except BaseException as error:
            process.kill()
            if isinstance(error, (Gone, Timeout)):
                raise self._explain(guest, f"start {spec.name!r}", log_from) from error
            raise
        return runtime

    def _explain(self, guest: Guest, what: str, log_from: int = 0) -> HypervisorError:
        """Return QEMU's last words as an error."""
        import re

        words = ""
        with suppress(OSError, KeyError):
            with open(guest.runtime["log"], encoding="utf-8", errors="replace") as file:
                file.seek(log_from)
                lines = [line.strip() for line in file.read()[-4000:].splitlines() if line.strip()]
            told = [re.sub(r"^\S+Z\s+", "", line) for line in lines]
            words = " / ".join(told[-3:])
        return HypervisorError(
            f"{what}: QEMU ended: {words or 'it said nothing'}",
            domain=guest.name,
            native_message=words or None,
        )

    def _process(self, guest: Guest) -> Process | None:
        if "pid" not in guest.runtime:
            return None
        return Process(guest.runtime["pid"], guest.runtime["started"])

    def _monitor(self, guest: Guest, *, timeout: float | None = None) -> Monitor:
        waiting = timeout or float(self.settings.get("answer_timeout", ANSWER))
        return Monitor(f"{guest.run_dir}/control", timeout=waiting)

    def observe(self, guest: Guest, *, deep: bool) -> Observation:
        """See whether QEMU is alive, and ask it how the guest is."""
        process = self._process(guest)
        if process is None or not process.alive:
            return self._ended(guest)
        if not deep:
            return Observation(guest.state, guest.reason)
        try:
            with self._monitor(guest) as monitor:
                status = monitor.execute("query-status")["status"]
        except Gone:
            process.wait(5)
            return self._ended(guest)
        except Timeout:
            return Observation(guest.state, guest.reason)
        if status == "shutdown" and not self._stays(guest):
            return Observation(DomainState.SHUTOFF, StateReason.SHUTDOWN)
        state, reason = _STATES.get(status, (guest.state, guest.reason))
        if state is guest.state:
            reason = guest.reason
        return Observation(state, reason)

    def _stays(self, guest: Guest) -> bool:
        return guest.spec.on_poweroff == "preserve"

    def _ended(self, guest: Guest) -> Observation:
        """Say why QEMU is gone: it removes its pid file if it ends in good order."""
        left = os.path.exists(f"{guest.run_dir}/qemu.pid")
        reason = StateReason.CRASHED if left else StateReason.SHUTDOWN
        return Observation(DomainState.SHUTOFF, reason)

    def resume(self, guest: Guest) -> None:
        """Let the vCPUs run."""
        self._command(guest, "cont")

    def suspend(self, guest: Guest) -> None:
        """Stop the vCPUs."""
        self._command(guest, "stop")

    def shutdown(self, guest: Guest) -> None:
        """Press the power button."""
        self._command(guest, "system_powerdown")

    def reboot(self, guest: Guest) -> None:
        """Reset the machine: there is no button that asks for a reboot."""
        self._command(guest, "system_reset")

    def reset(self, guest: Guest) -> None:
        """Reset the machine."""
        self._command(guest, "system_reset")

    def _command(self, guest: Guest, name: str, **arguments: Any) -> Any:
        try:
            with self._monitor(guest) as monitor:
                return monitor.execute(name, **arguments)
        except Gone as error:
            raise self._explain(guest, f"{name}: domain {guest.name!r}") from error

    def destroy(self, guest: Guest) -> None:
        """Kill QEMU and wait until it is gone."""
        process = self._process(guest)
        if process is None:
            process = self._find(guest)
        if process is not None:
            process.kill()

    def _find(self, guest: Guest) -> Process | None:
        """Find the QEMU of a guest whose starter died before it could note it down.

        It listens on the sockets in its run folder, whose other end the kernel knows.
        """
        if guest.run_dir is None:
            return None
        with suppress(OSError, ValueError, ProcessLookupError):
            with open(f"{guest.run_dir}/qemu.pid", encoding="ascii") as file:
                found = Process.of(int(file.read()))
            if _belongs(found.pid, guest):
                return found
        for entry in os.listdir("/proc"):
            if entry.isdigit() and _belongs(int(entry), guest):
                with suppress(ProcessLookupError):
                    return Process.of(int(entry))
        return None

    def memory_and_cpu_time(self, guest: Guest) -> tuple[int, float | None]:
        """Return the memory that the definition gives, and QEMU's CPU time."""
        process = self._process(guest)
        spec = guest.spec
        seconds = process.cpu_time() if process is not None else None
        return spec.current_memory or spec.memory, seconds

    # Waiting and watching

    def wait_gone(self, guest: Guest, timeout: float | None) -> bool:
        """Wait for the end of the process."""
        process = self._process(guest)
        return process is None or process.wait(timeout)

    def watch(
        self,
        guests: Callable[[], Iterable[Guest]],
        report: Callable[[Guest, EventKind, str, dict[str, Any]], None],
        stop_fd: int,
        changed_fd: int,
    ) -> None:
        """Listen on every guest's second monitor, and for the end of every process."""
        from polyvisor_qemu.watch import Watch

        with Watch(guests, report, self._process) as watch:
            watch.run(stop_fd, changed_fd)

    # Saving

    def save_stream(self, guest: Guest, fd: int, job: Job) -> None:
        """Let QEMU write straight into the file."""
        with self._monitor(guest) as monitor:
            self._prepare(monitor, UNLIMITED, DOWNTIME)
            monitor.execute("getfd", fds=(fd,), fdname="save")
            job.check()
            monitor.execute("migrate", uri="fd:save")
            self._await(monitor, guest, job, "memory")

    def restore_stream(self, guest: Guest, spec: DomainSpec, fd: int, job: Job) -> dict[str, Any]:
        """Start a QEMU that reads the stream straight from the file."""
        log = f"{guest.log_dir}/{guest.uuid}.log"
        log_from = os.path.getsize(log) if os.path.exists(log) else 0
        runtime = self._spawn(guest, spec, ["-incoming", "defer"])
        guest.runtime = runtime
        try:
            job.report("memory")
            with self._monitor(guest) as monitor:
                self._events_on(monitor)
                monitor.execute("getfd", fds=(fd,), fdname="restore")
                monitor.execute("migrate-incoming", uri="fd:restore")
                self._await_incoming(monitor, job)
        except (Gone, QmpError) as error:
            self.destroy(guest)
            told = self._explain(guest, f"restore {guest.name!r}", log_from)
            raise SaveImageError(
                f"{told.message}; the image is damaged or was made by a machine that this one "
                f"is not",
                domain=guest.name,
                native_message=told.native_message,
            ) from error
        except BaseException:
            self.destroy(guest)
            raise
        return runtime

    def _prepare(self, monitor: Monitor, bandwidth: int, downtime: float) -> None:
        self._events_on(monitor)
        monitor.execute(
            "migrate-set-parameters",
            max_bandwidth=bandwidth,
            downtime_limit=int(downtime * 1000),
        )

    def _events_on(self, monitor: Monitor) -> None:
        monitor.execute(
            "migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}]
        )

    def _await(
        self,
        monitor: Monitor,
        guest: Guest,
        job: Job,
        phase: str,
        *,
        stop_after: float | None = None,
    ) -> dict[str, Any]:
        """Wait for the end of an outgoing migration; cancel it if the job is cancelled.

        Returns:
            QEMU's figures (query-migrate).
        """
        begun = looked = time.monotonic()
        poller = select.poll()
        poller.register(monitor, select.POLLIN)
        poller.register(job, select.POLLIN)
        stop_at = None if stop_after is None else begun + stop_after
        try:
            while True:
                look = False
                while (event := monitor.next_event(0)) is not None:
                    if event["event"] == "MIGRATION_PASS":
                        look = True
                    elif event["event"] == "MIGRATION":
                        look = event["data"]["status"] in ("completed", "failed", "cancelled")
                job.check()
                now = time.monotonic()
                if look or now - looked >= LOOK_EVERY:
                    looked = now
                    info: dict[str, Any] = monitor.execute("query-migrate")
                    if info.get("status") in ("failed", "cancelled"):
                        raise self._failed(info, guest)
                    self._progress(job, phase, info)
                    if info.get("status") == "completed":
                        return info
                if stop_at is not None and now >= stop_at:
                    stop_at = None
                    monitor.execute("stop")
                if not monitor.events:
                    wake = looked + LOOK_EVERY
                    if stop_at is not None:
                        wake = min(wake, stop_at)
                    poller.poll(max(0.0, wake - time.monotonic()) * 1000)
        except BaseException:
            with suppress(PolyvisorError):
                _cancel(monitor)
            raise

    def _failed(self, info: dict[str, Any], guest: Guest) -> HypervisorError:
        words = str(info.get("error-desc", ""))
        return HypervisorError(
            f"domain {guest.name!r}: QEMU could not write the guest's state: "
            f"{words or 'it does not say why'}",
            domain=guest.name,
            native_message=words or None,
        )

    def _progress(self, job: Job, phase: str, info: dict[str, Any]) -> None:
        ram = info.get("ram", {})
        rate = ram.get("dirty-pages-rate")
        downtime = info.get("downtime", info.get("expected-downtime"))
        job.report(
            phase,
            total=ram.get("total"),
            processed=ram.get("transferred"),
            remaining=ram.get("remaining"),
            iteration=ram.get("dirty-sync-count"),
            dirty_rate=None if rate is None else float(rate * ram.get("page-size", 4096)),
            downtime=None if downtime is None else downtime / 1000,
        )

    def _await_incoming(self, monitor: Monitor, job: Job | None, timeout: float = 600.0) -> None:
        deadline = time.monotonic() + timeout
        poller = select.poll()
        poller.register(monitor, select.POLLIN)
        if job is not None:
            poller.register(job, select.POLLIN)
        while True:
            if job is not None:
                job.check()
            while (event := monitor.next_event(0)) is not None:
                if event["event"] == "MIGRATION":
                    status = event["data"]["status"]
                    if status == "completed":
                        return
                    if status == "failed":
                        raise QmpError("QEMU could not read the guest's state")
            left = deadline - time.monotonic()
            if left <= 0:
                raise Timeout(f"QEMU did not have the whole guest after {timeout:g} s")
            poller.poll(left * 1000)

    # Migration

    def receive(
        self, guest: Guest, spec: DomainSpec, version: int, listen: str | None
    ) -> tuple[dict[str, Any], str]:
        """Start a QEMU that listens for a stream."""
        runtime = self._spawn(guest, spec, ["-incoming", "defer"])
        guest.runtime = runtime
        try:
            with self._monitor(guest) as monitor:
                self._events_on(monitor)
                if listen is None:
                    # QEMU has its run folder under this name, however long the real path is.
                    number = _fd_number(runtime["pid"], guest.run_dir or "")
                    monitor.execute(
                        "migrate-incoming", uri=f"unix:/proc/self/fd/{number}/migration"
                    )
                    return runtime, f"unix:{guest.run_dir}/migration"
                monitor.execute("migrate-incoming", uri=listen)
                return runtime, listen
        except BaseException:
            self.destroy(guest)
            raise

    def send(
        self, guest: Guest, uri: str, version: int, options: MigrationOptions, job: Job
    ) -> dict[str, Any]:
        """Let QEMU send the guest into a connection that we make."""
        was_running = guest.state is DomainState.RUNNING
        if was_running and not options.live:
            self.suspend(guest)
        job.report("memory")
        try:
            with self._monitor(guest) as monitor, _connected(uri) as stream:
                self._prepare(
                    monitor,
                    options.bandwidth or UNLIMITED,
                    DOWNTIME if options.downtime is None else options.downtime,
                )
                monitor.execute("getfd", fds=(stream.fileno(),), fdname="migrate")
                monitor.execute("migrate", uri="fd:migrate")
                info = self._await(monitor, guest, job, "memory", stop_after=options.timeout)
        except BaseException:
            if was_running:
                with suppress(PolyvisorError):
                    self.resume(guest)
            raise
        return {
            "downtime": info.get("downtime", 0) / 1000,
            "total": info.get("total-time", 0) / 1000,
            "transferred": info.get("ram", {}).get("transferred", 0),
        }

    def received(self, guest: Guest, timeout: float) -> None:
        """Wait until QEMU has read the whole stream."""
        try:
            with self._monitor(guest) as monitor:
                info = monitor.execute("query-migrate")
                if info.get("status") == "completed":
                    return
                status = monitor.execute("query-status")["status"]
                if status != "inmigrate":
                    return
                self._await_incoming(monitor, None, timeout)
        except Gone as error:
            told = self._explain(guest, f"receive {guest.name!r}")
            raise MigrationError(
                told.message, domain=guest.name, native_message=told.native_message
            ) from error

    def take_back(self, guest: Guest) -> None:
        """Stop a migration that is still going on; the guest stays stopped."""
        with self._monitor(guest) as monitor:
            _cancel(monitor)
            if monitor.execute("query-status")["status"] == "running":
                monitor.execute("stop")


def _cancel(monitor: Monitor) -> None:
    """Cancel a migration and wait until QEMU has let go of it."""
    if monitor.execute("query-migrate").get("status") not in (
        "setup", "active", "cancelling", "pre-switchover", "device",
    ):  # fmt: skip
        return
    monitor.execute("migrate_cancel")
    deadline = time.monotonic() + ANSWER
    while time.monotonic() < deadline:
        if monitor.execute("query-migrate").get("status") in ("cancelled", "completed", "failed"):
            return
        monitor.next_event(0.05)


def _connected(uri: str) -> socket.socket:
    """Return a socket that is connected to where a destination listens."""
    kind, _, place = uri.partition(":")
    if kind == "unix":
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connect(made, place)
        except Gone as error:
            made.close()
            raise MigrationError(f"the destination does not listen on {uri}") from error
        return made
    if kind == "tcp":
        host, _, port = place.rpartition(":")
        try:
            return socket.create_connection((host.strip("[]"), int(port)), timeout=30)
        except (OSError, ValueError) as error:
            raise MigrationError(f"cannot connect to {uri}: {error}") from error
    raise MigrationError(f"{uri!r} is no address for a migration; use unix:PATH or tcp:HOST:PORT")


def _belongs(pid: int, guest: Guest) -> bool:
    """Say whether a process is the QEMU of a guest: its command line has the UUID and name."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
    except OSError:
        return False
    if b"-uuid" not in words or words[words.index(b"-uuid") + 1] != str(guest.uuid).encode():
        return False
    # Another host on this machine may have a guest of the same UUID: look at its run folder.
    return _fd_number(pid, guest.run_dir or "") is not None


def _fd_number(pid: int, folder: str) -> int | None:
    """Return the number under which a process has a folder open."""
    try:
        wanted = os.stat(folder)
        for entry in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                facts = os.stat(f"/proc/{pid}/fd/{entry}")
                if (facts.st_dev, facts.st_ino) == (wanted.st_dev, wanted.st_ino):
                    return int(entry)
    except OSError:
        return None
    return None
