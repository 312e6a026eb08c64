"""A hypervisor for tests: its guests are processes that count, see ``toyguest.py``.

With ``TOYVISOR_KILL=N`` in the environment a process of it dies by SIGKILL at the N-th of
the points at which something lasting has just been done or is about to be: before and
after each call of the hypervisor, each transaction, each rename and each unlink.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from polyvisor.driver import DriverInfo
from polyvisor.errors import Cancelled, HypervisorError, SaveImageError, SemanticError
from polyvisor.events import EventKind
from polyvisor.hookspecs import hookimpl
from polyvisor.host import HostInfo
from polyvisor.local import (
    LocalDriver,
    LocalHypervisor,
    MigratesGuests,
    Observation,
    SavesGuests,
    WatchesGuests,
)
from polyvisor.saveimage import FormatInfo, ImageHeader, SaveFormat
from polyvisor.state import Home, Roots
from polyvisor.states import DomainState, StateReason
from polyvisor.support import SupportStatus, SupportTable

polyvisor_api = 1

MAGIC = b"toy image\0"


@hookimpl
def polyvisor_drivers():
    """Name the driver."""
    return [DriverInfo("toy", ("toy",), "counting processes", "toyvisor:ToyDriver")]


@hookimpl
def polyvisor_save_formats():
    """Name its images."""
    return [FormatInfo("toy", (MAGIC,), "toy images", "toyvisor:ToyFormat")]


class ToyFormat(SaveFormat):
    """Magic, whether it ran, compression, length, XML."""

    name = "toy"

    def read_header(self, image, *, path):
        image.read(len(MAGIC))
        line = image.readline()
        try:
            facts = json.loads(line)
            xml = image.read(facts["length"]).decode()
        except (ValueError, KeyError) as error:
            raise SaveImageError(f"{path}: damaged header", path=path) from error
        if not facts["complete"]:
            raise SaveImageError(f"{path}: unfinished", path=path)
        offset = len(MAGIC) + len(line) + facts["length"]
        return ImageHeader(
            "toy", 1, xml, offset, was_running=facts["ran"], compression=facts["compression"]
        )

    def write_header(self, image, spec, *, was_running, compression):
        xml = spec.to_xml().encode()

        def line(complete):
            facts = {
                "complete": complete,
                "ran": was_running,
                "compression": compression,
                "length": len(xml),
            }
            return MAGIC + json.dumps(facts).encode().ljust(100) + b"\n"

        image.write(line(0) + xml)

        def complete():
            image.seek(0)
            image.write(line(1))

        return complete


class ToyHypervisor(LocalHypervisor, SavesGuests, MigratesGuests, WatchesGuests):
    """Runs toy guests."""

    name = "toy"
    domain_types: ClassVar = ("toy",)
    image_format = "toy"
    stream_versions = (1, 2)

    def complete(self, spec):
        if spec.memory < 1024:
            raise SemanticError(f"define {spec.name!r}: too little memory for a toy")
        return spec

    def check_start(self, spec):
        if spec.title == "unstartable":
            raise HypervisorError(f"{spec.name}: said to be unstartable")

    # A guest's process

    def launch(self, guest, spec):
        return self._spawn(guest)

    def _spawn(self, guest, *more):
        program = Path(__file__).with_name("toyguest.py")
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", str(program), guest.run_dir, *more],
            {},
            file_actions=[(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)],
            setsid=True,
        )
        Path(guest.run_dir, "pid").write_text(f"{pid} {_start_time(pid)}")
        with _pidfd(pid) as fd:
            deadline = time.monotonic() + 20
            while not Path(guest.run_dir, "orders").exists():
                assert time.monotonic() < deadline
                if select.select([fd], [], [], 0.001)[0]:
                    raise HypervisorError(f"the guest of {guest.name!r} did not start")
        return {"pid": pid, "started": _start_time(pid)}

    def _pid(self, guest):
        """Return the guest's process, ``None`` if it has ended."""
        if guest.runtime:
            pid, started = guest.runtime["pid"], guest.runtime["started"]
        else:
            try:
                words = Path(guest.run_dir, "pid").read_text().split()
                pid, started = int(words[0]), words[1]
            except (OSError, IndexError):
                return self._search(guest)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        return pid if _start_time(pid) == started else None

    def _search(self, guest):
        """Find a guest whose process was made, but not written down."""
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if entry.isdigit():
                    line = Path("/proc", entry, "cmdline").read_bytes().split(b"\0")
                    if b"-I" in line and str(guest.run_dir).encode() in line:
                        return int(entry)
        return None

    def order(self, guest, do, fd=None, job=None, **more):
        """Give an order and return the answer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asker:
            try:
                asker.connect(f"{guest.run_dir}/orders")
                extra = (
                    [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
                    if fd is not None
                    else []
                )
                asker.sendmsg([json.dumps({"do": do, **more}).encode()], extra)
                if job is not None:
                    select.select([asker, job], [], [])
                    job.check()
                answer = json.loads(asker.recv(65536) or b'{"fault": "it has ended"}')
            except OSError as error:
                raise HypervisorError(f"{do} {guest.name!r}: {error}") from error
        if "fault" in answer:
            raise HypervisorError(f"{do} {guest.name!r}: {answer['fault']}")
        return answer

    def count(self, guest):
        return self.order(guest, "look")["count"]

    def observe(self, guest, *, deep):
        if self._pid(guest) is None:
            ended = Path(guest.run_dir, "ended")
            how = ended.read_text() if ended.exists() else "crashed"
            reason = StateReason.SHUTDOWN if how == "shutdown" else StateReason.CRASHED
            return Observation(DomainState.SHUTOFF, reason)
        if not deep:
            return Observation(guest.state, guest.reason)
        running = self.order(guest, "look")["running"]
        state = DomainState.RUNNING if running else DomainState.PAUSED
        return Observation(state, guest.reason if state is guest.state else StateReason.UNKNOWN)

    def resume(self, guest):
        self.order(guest, "run")

    def suspend(self, guest):
        self.order(guest, "stop")

    def destroy(self, guest):
        pid = self._pid(guest)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError), _pidfd(pid) as fd:
                os.kill(pid, signal.SIGKILL)
                select.select([fd], [], [], 20)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def shutdown(self, guest):
        with contextlib.suppress(HypervisorError):
            self.order(guest, "end", how="shutdown")

    def reboot(self, guest):
        self.order(guest, "look")

    def reset(self, guest):
        self.order(guest, "look")

    def memory_and_cpu_time(self, guest):
        return guest.spec.memory, 1.5

    def wait_gone(self, guest, timeout):
        pid = self._pid(guest)
        if pid is None:
            return True
        try:
            with _pidfd(pid) as fd:
                return bool(select.select([fd], [], [], timeout)[0])
        except ProcessLookupError:
            return True

    def watch(self, guests, report, stop_fd, changed_fd):
        told = set()
        while True:
            with contextlib.ExitStack() as stack:
                waiting = {}
                for guest in guests():
                    pid = self._pid(guest)
                    if pid is None:
                        if guest.id not in told:
                            told.add(guest.id)
                            report(guest, EventKind.STOPPED, "gone", {})
                        continue
                    with contextlib.suppress(ProcessLookupError):
                        waiting[stack.enter_context(_pidfd(pid))] = guest
                ready = select.select([stop_fd, changed_fd, *waiting], [], [])[0]
                if stop_fd in ready:
                    return
                if changed_fd in ready:
                    os.eventfd_read(changed_fd)
                for fd in ready:
                    if fd in waiting:
                        told.add(waiting[fd].id)
                        report(waiting[fd], EventKind.STOPPED, "gone", {})

    # Saving

    def save_stream(self, guest, fd, job):
        job.report("saving", total=100, processed=50)
        while os.environ.get("TOYVISOR_SLOW"):
            select.select([job], [], [], 20)
            job.check()
        self.order(guest, "save", fd)
        job.report("saving", processed=100)

    def restore_stream(self, guest, spec, fd, job):
        runtime = self._spawn(guest)
        guest.runtime.update(runtime)
        try:
            self.order(guest, "restore", fd)
        except HypervisorError:
            self.destroy(guest)
            raise
        return runtime

    # Migrating

    def receive(self, guest, spec, version, listen):
        runtime = self._spawn(guest, "incoming")
        guest.runtime.update(runtime)
        path = f"{guest.run_dir}/incoming"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
        listener.listen(1)

        def take_in():
            with listener:
                connection, _ = listener.accept()
            with connection, contextlib.suppress(HypervisorError):
                self.order(guest, "receive", connection.fileno())

        threading.Thread(target=take_in, daemon=True).start()
        return runtime, f"unix:{path}"

    def send(self, guest, uri, version, options, job):
        job.report("sending", total=100, processed=10)
        was = self.order(guest, "look")["running"]
        try:
            while os.environ.get("TOYVISOR_SLOW"):
                select.select([job], [], [], 20)
                job.check()
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as out:
                out.connect(uri.removeprefix("unix:"))
                self.order(guest, "send", out.fileno())
        except (OSError, HypervisorError, Cancelled) as error:
            self.order(guest, "take back")
            if was:
                self.order(guest, "run")
            if isinstance(error, OSError):
                raise HypervisorError(f"send {guest.name!r}: {error}") from error
            raise
        return {"downtime": 0.001, "total": 0.002, "transferred": 100}

    def received(self, guest, timeout):
        deadline = time.monotonic() + timeout
        while self.order(guest, "look")["state"] != "whole":
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def take_back(self, guest):
        self.order(guest, "take back")


class ToyDriver(LocalDriver):
    """``toy:///NAME?root=FOLDER``."""

    @classmethod
    def open(cls, uri, context):
        roots = Roots.of("toy", "session", uri.path, root=uri.query.get("root") or context.root)
        hypervisor = ToyHypervisor()
        home = Home.on_disk(roots)
        if "TOYVISOR_KILL" in os.environ:
            _mine(hypervisor, home, int(os.environ["TOYVISOR_KILL"]))
        return cls(roots.canonical(uri), hypervisor, home, context)

    def host(self):
        return HostInfo("toy", "toy")

    def support(self):
        return SupportTable(
            dict.fromkeys(
                (
                    "domains.define",
                    "domains.start",
                    "save.file",
                    "save.managed",
                    "migration.live",
                    "migration.stopped",
                    "migration.offline",
                    "migration.peer-to-peer",
                    "snapshots.memory",
                    "events",
                ),
                SupportStatus.SUPPORTED,
            )
        )


_left: int | None = None
_point_at: str | None = None


def _mine(hypervisor, home, count):
    """Lay a mine at the ``count``-th point from now on, in whichever host comes to it."""
    global _left
    if _left is None:
        _left = count
        for name in ("rename", "unlink", "rmdir", "mkdir"):
            setattr(os, name, _mined(getattr(os, name), name))
    for target, names in (
        (
            hypervisor,
            "launch resume suspend destroy save_stream restore_stream receive send received "
            "take_back abandon_save",
        ),
        (home.store, "put remove set_outcome put_snapshots next_id"),
    ):
        for name in names.split():
            setattr(target, name, _mined(getattr(target, name), name))


def _mined(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        _step(f"before {name}")
        result = function(*args, **kwargs)
        _step(f"after {name}")
        return result

    return call


def _step(what: str) -> None:
    global _left
    assert _left is not None
    if _left == 0:
        sys.stderr.write(f"killed {what}\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    _left -= 1


@contextlib.contextmanager
def _pidfd(pid):
    fd = os.pidfd_open(pid)
    try:
        yield fd
    finally:
        os.close(fd)


def _start_time(pid):
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
