"""QEMU as a hypervisor: guests as processes, spoken to through QMP."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from polyvisor.errors import (
    Timeout,
)
from polyvisor.local import (
    Figures,
    Guest,
    LocalHypervisor,
    MigratesGuests,
    Observation,
    SavesGuests,
    WatchesGuests,
)
from polyvisor.states import DomainState, StateReason
from polyvisor_qemu.process import Process, Watch
from polyvisor_qemu.qmp import Gone, Monitor, QmpError

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.driver import MigrationOptions
    from polyvisor.events import EventKind
    from polyvisor.jobs import Job
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.cmdline import Host
    from polyvisor_qemu.emulator import Emulator
    from polyvisor_qemu.owning import Owning

__all__ = ["QemuHypervisor"]

#: Seconds to wait for a new QEMU's greeting, and for any answer.
ANSWER = 30.0
#: Seconds that a mere look at a guest waits, so that one whose QEMU hangs can be destroyed.
GLANCE = 3.0
#: Seconds that QEMU has for writing what it holds of disks before it is killed.
FLUSHING = 10.0
#: Seconds that it has for what it does after a stream is complete.
FINALIZING = 10.0

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


class _Looked(NamedTuple):
    """What was seen of guests, and what tells whether it is still so."""

    guests: Sequence[Guest]
    looks: Sequence[Observation]
    watch: Watch | None


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
        self._known: dict[str, Emulator] = {}
        #: Gives the value of a secret by its UUID or by its kind and what it is for.
        self.secret: Callable[[str | None, str | None], bytes] | None = None
        #: Gives the file of a storage pool's volume by both their names.
        self.volume: Callable[[str, str], str] | None = None
        #: The user that guests run as, if it is not ours.
        self.owning: Owning | None = None
        self._looked: _Looked | None = None

    # Definitions

    def complete(self, spec: DomainSpec) -> DomainSpec:
        """See :func:`polyvisor_qemu.defining.complete`."""
        from polyvisor_qemu.defining import complete

        return complete(self, spec)

    def complete_to_run(self, spec: DomainSpec) -> DomainSpec:
        """Do so, and leave it to :meth:`launch` to refuse what QEMU is not given."""
        from polyvisor_qemu.defining import fill_in

        return fill_in(self, spec)

    def check_start(self, spec: DomainSpec) -> None:
        """See :func:`polyvisor_qemu.defining.check_start`."""
        from polyvisor_qemu.defining import check_start

        check_start(self, spec)

    def known(self, path: str) -> Emulator:
        """Return what an emulator can do, found out once.

        Raises:
            HypervisorError: it is none, or does not work.
        """
        from polyvisor_qemu.emulator import emulator

        if path not in self._known:
            self._known[path] = emulator(path, self.cache_dir, kvm=False, timeout=self._timeout)
        return self._known[path]

    def host(self) -> Host:
        """Return what command lines need to know of this host."""
        from polyvisor_qemu.cmdline import Host
        from polyvisor_qemu.kept import folders

        folder, _ = folders(self._state, another=self.owning is not None)
        return Host(
            nvram=f"{folder}/nvram",
            tpm=f"{folder}/tpm",
            cache=self.cache_dir,
            settings=self.settings,
            secret=self.secret,
            volume=self.volume,
        )

    @property
    def _state(self) -> str:
        return os.path.dirname(self.cache_dir)

    def nvram(self, spec: DomainSpec) -> str | None:
        """Return the file of UEFI variables that the definition names, or that we chose."""
        from polyvisor_qemu.kept import variables

        loader, stated = spec.os.loader, spec.os.nvram
        if stated is not None and stated.path:
            return stated.path if os.path.isfile(stated.path) else None
        if spec.os.firmware_name == "efi" or (loader is not None and loader.type == "pflash"):
            return variables(self._state, spec, another=self.owning is not None)
        return None

    def tpm_state(self, spec: DomainSpec) -> str | None:
        """Return swtpm's folder."""
        from polyvisor_qemu.kept import tpm_state

        return tpm_state(self._state, spec, another=self.owning is not None)

    # Running

    def launch(self, guest: Guest, spec: DomainSpec) -> dict[str, Any]:
        """Start QEMU, its vCPUs stopped."""
        return self.spawn(guest, spec)

    def spawn(self, guest: Guest, spec: DomainSpec, *more: str) -> dict[str, Any]:
        """Start QEMU with further words on its command line."""
        from polyvisor_qemu.defining import emulator_of
        from polyvisor_qemu.launch import launch

        emulator, owning = emulator_of(self, spec), self.owning
        if spec.os.loader is not None or spec.os.firmware_name is not None or spec.devices.tpms:
            from polyvisor_qemu.kept import bring

            bring(self._state, spec, another=owning is not None)
        return launch(
            guest, spec, emulator, self.host(), *more, timeout=self._timeout, owning=owning
        )

    def process(self, guest: Guest) -> Process | None:
        """Return a guest's process, as long as it was known to be there."""
        if "pid" not in guest.runtime:
            return None
        return Process(guest.runtime["pid"], guest.runtime["started"])

    @property
    def _timeout(self) -> float:
        return float(self.settings.get("answer_timeout", ANSWER))

    def monitor(self, guest: Guest, *, at_most: float = inf) -> Monitor:
        """Take a guest's control monitor, for a ``with`` block.

        While the domain is held it stays open from one block to the next: opening it costs
        as much as a command or two.

        Args:
            guest: the guest.
            at_most: seconds to wait for any answer, if less than is usual.
        """
        path, timeout = f"{guest.run_dir}/control", min(self._timeout, at_most)
        if guest.kept is None:
            return self._handing(guest, Monitor(path, timeout=timeout, wait=False))
        kept = guest.kept.get(path)
        if isinstance(kept, Monitor) and kept.fileno() >= 0:
            kept.timeout = timeout
            kept.events.clear()
            return self._handing(guest, kept)
        monitor = guest.kept[path] = Monitor(path, timeout=timeout, wait=False)
        monitor.kept = True
        return self._handing(guest, monitor)

    def _handing(self, guest: Guest, monitor: Monitor) -> Monitor:
        if self.owning is not None:
            monitor.give = partial(self.owning.give, guest.uuid)
        return monitor

    def observe(self, guest: Guest, *, deep: bool) -> Observation:
        """See whether QEMU is alive, and ask it how the guest is."""
        process = self.process(guest)
        if process is None or not process.alive:
            return self._ended(guest)
        if not deep:
            return Observation(guest.state, guest.reason)
        try:
            with self.monitor(guest, at_most=GLANCE) as monitor:
                status = monitor.execute("query-status")["status"]
        except Gone:
            if not process.wait(5):
                # It runs on, and has lost its monitor only: never take it for gone.
                return Observation(guest.state, guest.reason)
            return self._ended(guest)
        except Timeout:
            return Observation(guest.state, guest.reason)
        if status == "shutdown" and self.reboot_pending(guest):
            from polyvisor_qemu.powering import turned

            return Observation(guest.state, guest.reason, rebooted=turned(self, guest))
        return self.seen(guest, status)

    def observe_all(self, guests: Sequence[Guest]) -> Sequence[Observation]:
        """See which QEMUs are alive; of guests that were looked at before, the kernel tells."""
        before = self._looked
        if before is not None and before.guests is not guests:
            before = None
        if before is not None and before.watch is not None and not before.watch.ended():
            return before.looks
        looks = super().observe_all(guests)
        # Whoever looks but once needs no descriptors for it.
        watch = None if before is None else self._watch(guests)
        self._looked = _Looked(guests, looks, watch)
        return looks

    def _watch(self, guests: Sequence[Guest]) -> Watch | None:
        processes = [process for guest in guests if (process := self.process(guest)) is not None]
        if len(processes) < len(guests):
            return None
        with suppress(OSError):
            return Watch(processes)
        return None

    def close(self) -> None:
        """Let go of what is watched."""
        self._looked = None

    def seen(self, guest: Guest, status: str) -> Observation:
        """Return what a look shows at a guest of which QEMU tells its ``query-status``."""
        if status == "shutdown" and self.reboot_pending(guest):
            # It is to be started afresh.
            return Observation(guest.state, guest.reason)
        if status == "shutdown" and guest.spec.on_poweroff != "preserve":
            return Observation(DomainState.SHUTOFF, StateReason.SHUTDOWN)
        state, reason = _STATES.get(status, (guest.state, guest.reason))
        if state is guest.state:
            reason = guest.reason
        return Observation(state, reason)

    def _ended(self, guest: Guest) -> Observation:
        """Say why QEMU is gone: it removes its pid file if it ends in good order."""
        left = os.path.exists(f"{guest.run_dir}/qemu.pid")
        reason = StateReason.CRASHED if left else StateReason.SHUTDOWN
        return Observation(DomainState.SHUTOFF, reason)

    def resume(self, guest: Guest) -> None:
        """Let the vCPUs run."""
        if self._wired(guest):
            from polyvisor_qemu import wires

            wires.start(guest.run_dir, f"run {guest.name!r}")
        if "served" in guest.runtime:
            # Whoever received it was killed after the switch of a post-copy.
            from polyvisor_qemu.along import stop_serving

            with self.monitor(guest) as monitor:
                stop_serving(monitor, guest)
        deadline = time.monotonic() + FINALIZING
        while True:
            try:
                self._command(guest, "cont")
                return
            except QmpError as error:
                # A stream is complete a moment before QEMU lets its guest go on after it.
                early = "not finalized" in (error.native_message or "")
                if not early or time.monotonic() > deadline:
                    raise
            time.sleep(0.002)

    def suspend(self, guest: Guest) -> None:
        """Stop the vCPUs."""
        self._command(guest, "stop")
        if self._wired(guest):
            from polyvisor_qemu import wires

            wires.stop(guest.run_dir)

    def shutdown(self, guest: Guest) -> None:
        """Have the agent shut the guest down if it listens, else press the power button."""
        self.ask_by(guest, "shutdown", ())

    def reboot(self, guest: Guest) -> None:
        """Have the agent reboot the guest if it listens, else by the power button."""
        self.ask_by(guest, "reboot", ())

    def ask_by(self, guest: Guest, what: str, modes: Sequence[str]) -> None:
        """See :func:`polyvisor_qemu.powering.ask`."""
        from polyvisor_qemu.powering import ask

        ask(self, guest, what, modes)

    def reboot_pending(self, guest: Guest) -> bool:
        """Say whether a guest that was asked by the power button has not shut down so far."""
        from polyvisor_qemu.powering import pending

        return pending(guest)

    def reset(self, guest: Guest) -> None:
        """Reset the machine."""
        self._command(guest, "system_reset")

    def _command(self, guest: Guest, name: str, **arguments: Any) -> Any:
        from polyvisor_qemu.launch import speaking

        with speaking(self, guest, name) as monitor:
            return monitor.execute(name, **arguments)

    def destroy(self, guest: Guest) -> None:
        """Kill QEMU and wait until it is gone.

        What a guest has flushed is on the disk. What block jobs moved may be in QEMU's tables
        alone, which nobody flushes: a guest that had any is asked to end.
        """
        process = self.process(guest)
        grouped = bool(guest.runtime.get("grouped"))
        if process is None:
            from polyvisor_qemu.launch import find

            process, grouped = find(guest), True
        if process is None:
            self._release(guest)
            return
        if guest.runtime.get("moved"):
            process.end(FLUSHING)
        else:
            process.kill()
        self._clear(guest, process.pid if grouped else None)

    def ended(self, guest: Guest) -> None:
        """Remove the control groups of a guest that ended of itself."""
        self._clear(guest, guest.runtime["pid"] if guest.runtime.get("grouped") else None)

    def _wired(self, guest: Guest) -> bool:
        """Say whether a guest has something on the network that does not go with its QEMU."""
        return guest.run_dir is not None and os.path.exists(f"{guest.run_dir}/wires")

    def _release(self, guest: Guest) -> None:
        if self._wired(guest):
            from polyvisor_qemu import wires

            wires.release(guest.run_dir)

    def _clear(self, guest: Guest, grouped: int | None) -> None:
        """Remove what has not gone with a QEMU: from the network, and the groups of its process."""
        self._release(guest)
        for one in guest.spec.devices.interfaces:
            if one.type == "ethernet" and one.downscript and one.target:
                from polyvisor_qemu.cmdline.taps import run_script

                run_script(one.downscript, one.target, guest.spec, leaving=True)
        if grouped is not None:
            from polyvisor_qemu.cgroups import remove

            remove(grouped)

    def memory_and_cpu_time(self, guest: Guest) -> tuple[int, float | None]:
        """Return the memory that the definition gives, and QEMU's CPU time."""
        process = self.process(guest)
        spec = guest.spec
        seconds = process.cpu_time() if process is not None else None
        return spec.current_memory or spec.memory, seconds

    def figures(
        self,
        guests: Sequence[Guest],
        *,
        groups: Collection[str] | None = None,
        backing: bool = False,
    ) -> Sequence[Figures | None]:
        """See :func:`polyvisor_qemu.figures.figures`."""
        from polyvisor_qemu.figures import figures

        return figures(self, guests, groups=groups, backing=backing)

    def measure_dirty_rate(self, guest: Guest, seconds: int, mode: str) -> None:
        """See :func:`polyvisor_qemu.counters.measure`."""
        from polyvisor_qemu.counters import measure

        measure(self, guest, seconds, mode)

    # Waiting and watching

    def wait_gone(self, guest: Guest, timeout: float | None) -> bool:
        """Wait for the end of the process."""
        process = self.process(guest)
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

        with Watch(guests, report, self.process) as watch:
            watch.run(stop_fd, changed_fd)

    # Saving and migration

    def save_stream(self, guest: Guest, fd: int, job: Job) -> None:
        """See :func:`polyvisor_qemu.saving.save`."""
        from polyvisor_qemu.saving import save

        save(self, guest, fd, job)

    def abandon_save(self, guest: Guest) -> None:
        """See :func:`polyvisor_qemu.saving.abandon`."""
        from polyvisor_qemu.saving import abandon

        abandon(self, guest)

    def restore_stream(self, guest: Guest, spec: DomainSpec, fd: int, job: Job) -> dict[str, Any]:
        """See :func:`polyvisor_qemu.saving.restore`."""
        from polyvisor_qemu.saving import restore

        return restore(self, guest, spec, fd, job)

    def receive(
        self, guest: Guest, spec: DomainSpec, version: int, listen: str | None
    ) -> tuple[dict[str, Any], str]:
        """See :func:`polyvisor_qemu.migration.receive`."""
        from polyvisor.driver import MigrationOptions

        return self.receive_with(guest, spec, version, MigrationOptions(uri=listen), None)

    def receive_with(
        self,
        guest: Guest,
        spec: DomainSpec,
        version: int,
        options: MigrationOptions,
        cookie: bytes | None,
    ) -> tuple[dict[str, Any], str]:
        """See :func:`polyvisor_qemu.migration.receive`."""
        from polyvisor_qemu.migration import receive

        return receive(self, guest, spec, options, cookie)

    def send(
        self, guest: Guest, uri: str, version: int, options: MigrationOptions, job: Job
    ) -> dict[str, Any]:
        """See :func:`polyvisor_qemu.migration.send`."""
        return self.send_with(guest, uri, version, options, job, None)

    def send_with(
        self,
        guest: Guest,
        uri: str,
        version: int,
        options: MigrationOptions,
        job: Job,
        cookie: bytes | None,
    ) -> dict[str, Any]:
        """See :func:`polyvisor_qemu.migration.send`."""
        from polyvisor_qemu.migration import send

        return send(self, guest, uri, options, job, cookie)

    def wrap_cookie(self, facts: bytes, *, name: str, uuid: UUID, hostname: str) -> bytes:
        """Return libvirt's cookie with ours behind it."""
        from polyvisor_qemu.cookies import QemuCookie, host_uuid

        return QemuCookie(name, uuid, hostname, host_uuid()).to_bytes(facts)

    def begin_cookie(
        self,
        facts: bytes,
        *,
        guest: Guest | None,
        spec: DomainSpec,
        options: MigrationOptions,
        hostname: str,
    ) -> bytes:
        """See :func:`polyvisor_qemu.telling.tell_begin`."""
        from polyvisor_qemu.telling import tell_begin

        return tell_begin(self, facts, guest, spec, options, hostname)

    def missing_images(
        self, spec: DomainSpec, options: MigrationOptions, cookie: bytes | None
    ) -> Mapping[str, Callable[[], None]]:
        """See :func:`polyvisor_qemu.along.missing`."""
        if not options.copy_storage:
            return {}
        from polyvisor_qemu.along import missing

        return missing(spec, options, cookie)

    def unwrap_cookie(
        self, cookie: bytes | None, *, name: str, uuid: UUID | None
    ) -> tuple[bytes | None, tuple[int, ...] | None]:
        """Read libvirt's cookie; the stream's version is QEMU's own affair."""
        from polyvisor_qemu.cookies import QemuCookie

        if not cookie:
            return None, self.stream_versions
        read, ours = QemuCookie.from_bytes(cookie)
        read.check(name, uuid)
        return ours or None, self.stream_versions

    def tell(
        self,
        phase: str,
        facts: bytes,
        *,
        guest: Guest | None,
        options: MigrationOptions,
        definition: str | None = None,
    ) -> bytes | None:
        """See :func:`polyvisor_qemu.telling.tell`."""
        from polyvisor_qemu.telling import tell

        return tell(self, phase, facts, guest, options, definition)

    def about_to_leave(self, guest: Guest) -> None:
        """See :func:`polyvisor_qemu.migration.leave`."""
        from polyvisor_qemu.migration import leave

        leave(self, guest)

    def told_statistics(self, cookie: bytes | None) -> Mapping[str, int] | None:
        """Read libvirt's cookie."""
        from polyvisor_qemu.cookies import QemuCookie

        return QemuCookie.from_bytes(cookie)[0].statistics if cookie else None

    def told(self, cookie: bytes | None) -> tuple[bytes | None, str | None]:
        """Read libvirt's cookie."""
        from polyvisor_qemu.cookies import QemuCookie

        if not cookie:
            return None, None
        read, ours = QemuCookie.from_bytes(cookie)
        return ours or None, read.domain

    def received(self, guest: Guest, timeout: float) -> None:
        """See :func:`polyvisor_qemu.migration.received`."""
        from polyvisor_qemu.migration import received

        received(self, guest, timeout)

    def take_back(self, guest: Guest) -> None:
        """See :func:`polyvisor_qemu.migration.take_back`."""
        from polyvisor_qemu.migration import take_back

        take_back(self, guest)
