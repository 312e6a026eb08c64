"""Starting QEMU for a guest, its last words, and finding it again.

A guest has two monitors, since a monitor serves one client at a time: ``control`` is taken
for a moment at a time under the domain's lock, ``events`` by who watches. Their listening
sockets are made by us before QEMU starts and handed to it, so that connecting never waits
for a file to appear, and a guest whose starter was killed can be found and ended.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from polyvisor.errors import HypervisorError
from polyvisor_qemu.cmdline import RUN_FD, build
from polyvisor_qemu.lived import lived
from polyvisor_qemu.process import Process, spawn
from polyvisor_qemu.qmp import Gone, Monitor, listen
from polyvisor_qemu.readiness import ready

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.cmdline import Host
    from polyvisor_qemu.cmdline.helping import Helpers
    from polyvisor_qemu.cmdline.opening import Opened
    from polyvisor_qemu.hypervisor import QemuHypervisor
    from polyvisor_qemu.owning import Owning

__all__ = ["find", "last_words", "launch", "log_path", "log_size", "speaking"]


#: Numbers under which QEMU has its monitors' sockets, beside its run folder's.
CONTROL_FD = RUN_FD + 1
EVENTS_FD = RUN_FD + 2


def launch(
    guest: Guest,
    spec: DomainSpec,
    emulator: str,
    host: Host,
    *more: str,
    timeout: float,
    owning: Owning | None = None,
) -> dict[str, Any]:
    """Start QEMU, its vCPUs stopped, and wait until it answers.

    Args:
        guest: whose QEMU it is; gets its runtime facts.
        spec: its definition.
        emulator: path of QEMU.
        host: what the command line needs to know of the host.
        more: further words of the command line.
        timeout: seconds to wait for the answer.
        owning: the user that it runs as, if it is not ours.

    Returns:
        The runtime facts.
    """
    assert guest.run_dir is not None
    given = spec
    if spec.cpu is not None and spec.cpu.mode == "host-model" and host.cache is not None:
        from polyvisor_qemu.hostmodel import written_out

        spec = written_out(spec, emulator, host.cache)
    if any(one.type == "volume" or one.transient is not None for one in spec.devices.disks):
        from polyvisor_qemu.settling import settled

        spec = settled(spec, guest.run_dir, host.volume)
    made = build(spec, emulator, host)
    line = made.args
    for name, number in (("control", CONTROL_FD), ("events", EVENTS_FD)):
        line += [
            "-chardev", f"socket,id={name},fd={number},server=on,wait=off",
            "-mon", f"chardev={name},mode=control",
        ]  # fmt: skip
    line += ["-pidfile", f"/proc/self/fd/{RUN_FD}/qemu.pid", *more]
    log_from = log_size(guest)
    with suppress(FileNotFoundError):
        os.unlink(f"{guest.run_dir}/qemu.pid")
    run = os.open(guest.run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    control = listen(f"{guest.run_dir}/control")
    events = listen(f"{guest.run_dir}/events")
    opened: Opened | None = None
    helpers: Helpers | None = None
    try:
        if made.helpers:
            from polyvisor_qemu.cmdline.helping import Helpers

            helpers = Helpers(made, spec, guest.run_dir, log_path(guest), host, owning)
        if made.descriptors or made.templates:
            from polyvisor_qemu.cmdline.opening import open_all

            opened = open_all(made, spec, guest.run_dir, host)
        if owning is not None:
            from polyvisor_qemu.cmdline.opening import ours

            # What firmware keeps is there by now.
            variables = [ours(path, guest.run_dir) for path in made.templates]
            owning.take(guest.uuid, spec, [path for path in variables if os.path.exists(path)])
            owning.furnish(guest.run_dir)
            line = [*owning.words(), *line]
        own = {CONTROL_FD: control.fileno(), EVENTS_FD: events.fileno(), RUN_FD: run}
        fds = {**own, **(opened.fds if opened is not None else {})}
        fds |= helpers.peers if helpers is not None else {}
        process = spawn(line, fds=fds, log=log_path(guest), environment=made.environment)
        if helpers is not None:
            try:
                helpers.start()
            except BaseException:
                process.kill()
                raise
    except OSError as error:
        raise HypervisorError(
            f"start {spec.name!r}: cannot run {emulator}: {error.strerror}", domain=spec.name
        ) from error
    finally:
        control.close()
        events.close()
        os.close(run)
        for fd in opened.fds.values() if opened is not None else ():
            os.close(fd)
        if helpers is not None:
            helpers.close()
    runtime: dict[str, Any] = {
        "pid": process.pid,
        "started": process.started,
        "emulator": emulator,
    }
    guest.runtime = runtime
    try:
        with Monitor(f"{guest.run_dir}/control", timeout=timeout, wait=False) as monitor:
            # It stays open for what comes next while the domain is held.
            monitor.kept = guest.kept is not None
            if "defer" not in more:
                ready(monitor, guest)
            if guest.meanwhile is not None:
                guest.meanwhile()
            monitor.wait()
            if made.commands:
                monitor.execute_all(*made.commands)
            if spec.vcpu_states is not None:
                from polyvisor_qemu.vcpus import plug, stated

                plug(monitor, stated(spec))
            if spec.cputune or spec.memtune or spec.blkiotune or (spec.vcpu and spec.vcpu.cpuset):
                from polyvisor_qemu.placing import place

                place(guest, spec, monitor)
            became = lived(spec, monitor, opened.taps if opened is not None else {})
            guest.became = became or (spec if spec is not given else None)
        if guest.kept is not None:
            guest.kept[f"{guest.run_dir}/control"] = monitor
    except BaseException as error:
        process.kill()
        if runtime.get("grouped"):
            from polyvisor_qemu.cgroups import remove

            remove(process.pid)
        if isinstance(error, Gone):
            raise last_words(guest, f"start {spec.name!r}", log_from) from error
        raise
    return runtime


def log_path(guest: Guest) -> str:
    """Return where a guest's QEMU writes what it has to say."""
    assert guest.log_dir is not None
    return f"{guest.log_dir}/{guest.uuid}.log"


def log_size(guest: Guest) -> int:
    """Return how much was said so far."""
    path = log_path(guest)
    return os.path.getsize(path) if os.path.exists(path) else 0


def last_words(guest: Guest, what: str, log_from: int = 0) -> HypervisorError:
    """Return QEMU's last words as an error."""
    import re

    words = ""
    with suppress(OSError):
        with open(log_path(guest), encoding="utf-8", errors="replace") as file:
            file.seek(log_from)
            lines = [line.strip() for line in file.read()[-4000:].splitlines() if line.strip()]
        told = [re.sub(r"^\S+Z\s+", "", line) for line in lines]
        words = " / ".join(told[-3:])
    return HypervisorError(
        f"{what}: QEMU ended: {words or 'it said nothing'}",
        domain=guest.name,
        native_message=words or None,
    )


@contextmanager
def speaking(hypervisor: QemuHypervisor, guest: Guest, what: str) -> Iterator[Monitor]:
    """Hold a guest's monitor; who finds it gone is told what became of the guest.

    Args:
        hypervisor: runs it.
        guest: the guest.
        what: what is to be done, for errors.
    """
    try:
        with hypervisor.monitor(guest) as monitor:
            yield monitor
    except Gone as error:
        process = hypervisor.process(guest)
        if process is not None and process.alive:
            raise HypervisorError(
                f"{what}: domain {guest.name!r}: its QEMU runs, but its monitor is gone "
                f"({error.message}); it can only be destroyed",
                domain=guest.name,
            ) from error
        raise last_words(guest, f"{what}: domain {guest.name!r}") from error


def find(guest: Guest) -> Process | None:
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


def _belongs(pid: int, guest: Guest) -> bool:
    """Say whether a process is the QEMU of a guest: its UUID is in the command line."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
    except OSError:
        return False
    if b"-uuid" not in words or words[words.index(b"-uuid") + 1] != str(guest.uuid).encode():
        return False
    # Another host on this machine may have a guest of the same UUID: look at its run folder.
    with suppress(OSError):
        theirs, ours = os.stat(f"/proc/{pid}/fd/{RUN_FD}"), os.stat(guest.run_dir or "")
        return (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)
    return False
