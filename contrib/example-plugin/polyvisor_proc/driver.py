"""The driver ``proc``: each domain is a process, with all that it starts in its group."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Self

from polyvisor.errors import HypervisorError, SemanticError, Unsupported
from polyvisor.events import EventKind
from polyvisor.host import HostInfo
from polyvisor.local import Guest, LocalDriver, LocalHypervisor, Observation, WatchesGuests
from polyvisor.state import Home, Roots
from polyvisor.states import DomainState, StateReason
from polyvisor.support import Support, SupportStatus, SupportTable
from polyvisor_proc.process import MARK, end_of, pid_of, stat, stopped

if TYPE_CHECKING:
    from polyvisor.driver import OpenContext
    from polyvisor.model import DomainSpec
    from polyvisor.uri import ConnectionUri

__all__ = ["ProcDriver", "ProcHypervisor"]

# It tells its number, lets go of us, and stops until it is resumed for the first time.
_SHELL = 'echo $$; exec >/dev/null 2>&1; kill -STOP $$; exec "$0" "$@"'
_NO_REBOOT = "a process cannot begin anew; destroy and start it"
_CAN = "define transient start start-paused shutdown destroy suspend autostart stats metadata"
_NEVER = Support(SupportStatus.UNSUPPORTED, _NO_REBOOT)
_SUPPORT = SupportTable(
    {
        **{f"domains.{word}": SupportStatus.SUPPORTED for word in _CAN.split()},
        "events": SupportStatus.SUPPORTED,
        "domains.reboot": _NEVER,
        "domains.reset": _NEVER,
    }
)
_GONE = Observation(DomainState.SHUTOFF, StateReason.SHUTDOWN)


class ProcHypervisor(LocalHypervisor, WatchesGuests):
    """Runs processes, and knows each by its number and the time at which it began."""

    name = "proc"
    domain_types: ClassVar = ("proc",)

    def complete(self, spec: DomainSpec) -> DomainSpec:
        """Keep a definition as it is, if it names a program."""
        if not os.path.isabs(_program(spec)[0]):
            raise SemanticError(
                f"domain {spec.name!r}: <os> needs an <init> with the path of a program",
                element="domain/os/init",
            )
        return spec

    def check_start(self, spec: DomainSpec) -> None:
        """Refuse what is not a program."""
        program = _program(spec)[0]
        if not (os.path.isfile(program) and os.access(program, os.X_OK)):
            raise HypervisorError(f"start {spec.name!r}: {program} is not a program")

    def launch(self, guest: Guest, spec: DomainSpec) -> dict[str, Any]:
        """Start a shell, nobody's child, that stops itself and then becomes the program."""
        shell = ["setsid", "--fork", "sh", "-c", _SHELL, *_program(spec)]
        found = subprocess.run(
            shell,
            env={"PATH": os.defpath, MARK: str(guest.run_dir)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if not found.stdout.strip().isdigit():
            raise HypervisorError(f"start {guest.name!r}: {found.stderr.strip()}")
        pid = int(found.stdout)
        guest.runtime.update(pid=pid, began=stat(pid)[1])
        self._await_stop(guest)
        return guest.runtime

    def observe(self, guest: Guest, *, deep: bool) -> Observation:
        """Look whether the process is there, and whether it stands still."""
        pid = pid_of(guest)
        if pid is None:
            return _GONE
        if not deep:
            return Observation(guest.state, guest.reason)
        state = DomainState.PAUSED if stopped(pid) else DomainState.RUNNING
        return Observation(state, guest.reason if state is guest.state else StateReason.UNKNOWN)

    def resume(self, guest: Guest) -> None:
        """Let the process go on, and all that it has started."""
        _signal(guest, signal.SIGCONT)

    def suspend(self, guest: Guest) -> None:
        """Stop the process, and all that it has started."""
        _signal(guest, signal.SIGSTOP)
        self._await_stop(guest)

    def shutdown(self, guest: Guest) -> None:
        """Ask the process to end."""
        _signal(guest, signal.SIGTERM)

    def destroy(self, guest: Guest) -> None:
        """Kill the process, and all that it has started."""
        pid = pid_of(guest)
        _signal(guest, signal.SIGKILL)
        if not self.wait_gone(guest, 20):
            raise HypervisorError(f"destroy {guest.name!r}: process {pid} does not end")

    def reboot(self, guest: Guest) -> None:
        """Refuse."""
        raise Unsupported(f"reboot {guest.name!r}: {_NO_REBOOT}", feature="domains.reboot")

    def reset(self, guest: Guest) -> None:
        """Refuse."""
        raise Unsupported(f"reset {guest.name!r}: {_NO_REBOOT}", feature="domains.reset")

    def memory_and_cpu_time(self, guest: Guest) -> tuple[int, float | None]:
        """Return what the definition states, and what the process has used."""
        pid = pid_of(guest)
        used = None if pid is None else stat(pid)[2] / os.sysconf("SC_CLK_TCK")
        return guest.spec.memory, used

    def wait_gone(self, guest: Guest, timeout: float | None) -> bool:
        """Wait for the end of the process."""
        end = end_of(guest)
        if end is None:
            return True
        with end:
            return bool(select.select([end], [], [], timeout)[0])

    def watch(
        self, guests: Callable[[], Any], report: Callable[..., None], stop_fd: int, changed_fd: int
    ) -> None:
        """Report each process that ends."""
        told: set[int | None] = set()
        while True:
            with contextlib.ExitStack() as stack:
                waiting: list[Any] = [stop_fd, changed_fd]
                for guest in guests():
                    if (end := end_of(guest)) is not None:
                        waiting.append(stack.enter_context(end))
                    elif guest.id not in told:
                        told.add(guest.id)
                        report(guest, EventKind.STOPPED, "shutdown", {})
                ready = select.select(waiting, [], [])[0]
            if stop_fd in ready:
                return
            if changed_fd in ready:
                os.eventfd_read(changed_fd)

    def _await_stop(self, guest: Guest) -> None:
        deadline = time.monotonic() + 20
        while (pid := pid_of(guest)) is not None and not stopped(pid):
            if time.monotonic() > deadline:
                raise HypervisorError(f"{guest.name!r}: process {pid} does not stop")
            time.sleep(0.0005)


class ProcDriver(LocalDriver):
    """``proc:///NAME``: as many hosts as there are names; ``?root=FOLDER`` moves the files."""

    @classmethod
    def open(cls, uri: ConnectionUri, context: OpenContext) -> Self:
        """Open the host that the URI names, which is made if it is new."""
        roots = Roots.of("proc", "session", uri.path, root=uri.query.get("root") or context.root)
        return cls(roots.canonical(uri), ProcHypervisor(), Home.on_disk(roots), context)

    def host(self) -> HostInfo:
        """Return facts about this machine."""
        here = os.uname()
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        cpus = os.cpu_count() or 1
        return HostInfo(here.nodename, "Linux", here.release, here.machine, memory, cpus)

    def support(self) -> SupportTable:
        """Return what processes can do."""
        return _SUPPORT


def _signal(guest: Guest, number: signal.Signals) -> None:
    pid = pid_of(guest)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            (os.kill if number is signal.SIGTERM else os.killpg)(pid, number)


def _program(spec: DomainSpec) -> list[str]:
    """Return the program and its arguments, an empty name if none is stated."""
    return [""] if spec.os is None else [spec.os.init or "", *spec.os.initargs]
