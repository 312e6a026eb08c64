"""The source's side of disks that move with their guest: mirrored into the destination.

A mirror brings what was there over and then keeps the copy equal, until the guest stands still
at the switch; names and order are libvirt's (src/qemu/qemu_migration.c).
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from polyvisor.errors import HypervisorError, MigrationError, PolyvisorError, Timeout
from polyvisor_qemu.along import DISK_CREDENTIALS, copied, export_name
from polyvisor_qemu.cmdline import RUN_FD
from polyvisor_qemu.cookies import QemuCookie
from polyvisor_qemu.credentials import forget_certificates
from polyvisor_qemu.listening import host_of, kind_of
from polyvisor_qemu.means import credentials
from polyvisor_qemu.nodes import chain_of
from polyvisor_qemu.qmp import QmpError

if TYPE_CHECKING:
    from polyvisor.driver import MigrationOptions
    from polyvisor.jobs import Job
    from polyvisor.local import Guest
    from polyvisor_qemu.hypervisor import QemuHypervisor
    from polyvisor_qemu.qmp import Monitor

__all__ = ["Mirrors", "abandon"]

#: What jobs and nodes of mirrors begin with, so that any process knows them.
_JOB, _NODE = "migrate-", "migration-"
_LINK = "peer-disks"
#: Seconds in which a mirror that was told to end has ended.
_ENDING = 60.0
#: Seconds between two looks at the figures.
_LOOK_EVERY = 0.25


class Mirrors:
    """The mirrors of one migration, for a ``with`` block; those still there at its end go.

    Args:
        monitor: the source's monitor.
        guest: the guest.
        options: how it is migrated.
        hypervisor: whose settings and secrets say which certificates there are.

    Attributes:
        total: bytes to copy, as known now.
        processed: bytes that were copied.
    """

    def __init__(
        self,
        monitor: Monitor,
        guest: Guest,
        options: MigrationOptions,
        hypervisor: QemuHypervisor,
    ) -> None:
        self._monitor = monitor
        self._guest = guest
        self._options = options
        self._hypervisor = hypervisor
        self._ended = False
        self.total = 0
        self.processed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        if kind is None:
            self._let_go()
        else:
            with suppress(PolyvisorError):
                self._let_go()

    def _let_go(self) -> None:
        abandon(self._monitor, self._guest)

    def begin(self, uri: str, cookie: bytes | None) -> None:
        """Begin to copy.

        Args:
            uri: where the destination listens for the stream.
            cookie: prepare's, which says where it has the disks.

        Raises:
            MigrationError: it does not say so.
            HypervisorError: it cannot be reached, or its images do not fit.
        """
        monitor, options, spec = self._monitor, self._options, self._guest.spec
        abandon(monitor, self._guest)  # What a process that was killed may have left.
        server, host = self._server(uri, cookie)
        reached: dict[str, Any] = {"driver": "nbd", "server": server}
        if options.tls:
            settings, secret = self._hypervisor.settings, self._hypervisor.secret
            monitor.execute_all(*credentials(settings, secret, DISK_CREDENTIALS, leaving=True))
            reached["tls-creds"] = DISK_CREDENTIALS
            reached["tls-hostname"] = options.tls_destination or host or ""
        for disk in copied(spec, options):
            assert disk.target is not None
            target = disk.target.dev
            node = f"{_NODE}{target}"
            top = chain_of(monitor, spec, disk)[0]
            export = export_name(monitor, spec, disk)
            below = {**reached, "node-name": f"{node}-storage", "export": export}
            over: dict[str, Any] = {
                "driver": "raw",
                "node-name": f"{node}-format",
                "file": f"{node}-storage",
            }
            try:
                monitor.execute("blockdev-add", **below)
                monitor.execute("blockdev-add", **over)
                monitor.execute(
                    "blockdev-mirror", job_id=f"{_JOB}{target}", device=top.node,
                    target=f"{node}-format", auto_dismiss=False, speed=options.bandwidth or 0,
                    sync="top" if options.copy_storage == "incremental" else "full",
                    copy_mode="write-blocking" if options.synchronous_writes else "background",
                )  # fmt: skip
            except QmpError as error:
                raise self._failed(str(target), str(error.native_message)) from error

    def _server(self, uri: str, cookie: bytes | None) -> tuple[dict[str, Any], str | None]:
        """Return where the disks are listened for, as QEMU says it, and the host's name."""
        nbd = None if not cookie else QemuCookie.from_bytes(cookie)[0].nbd
        if nbd is None:
            raise MigrationError(
                f"migrate {self._guest.name!r}: the destination does not say that it takes disks",
                phase="perform",
                side="source",
                owner="source",
            )
        asked = self._options.disks_uri
        kind, place = kind_of(asked if asked is not None else uri)
        if kind == "unix":
            # A socket's path may be longer than the kernel takes: QEMU goes by a link.
            folder, name = os.path.split(place if asked is not None else f"{place}.disks")
            link = f"{self._guest.run_dir}/{_LINK}"
            os.symlink(folder, link)
            return {"type": "unix", "path": f"/proc/self/fd/{RUN_FD}/{_LINK}/{name}"}, None
        host = None if asked is None else host_of(asked)
        host = host or host_of(uri)
        if host is None or nbd.port is None:
            raise MigrationError(
                f"migrate {self._guest.name!r}: the destination does not say at which port it "
                f"takes disks; say where with disks_uri",
                phase="perform",
                side="source",
                owner="source",
            )
        return {"type": "inet", "host": host.strip("[]"), "port": str(nbd.port)}, host

    def wait(self, job: Job) -> None:
        """Wait until all copies are equal to what they are of.

        Args:
            job: told of the progress; what it is asked for meanwhile holds for the stream too.

        Raises:
            Cancelled: the job was.
            HypervisorError: a copy failed.
        """
        wishes: dict[str, Any] = {}
        poller = select.poll()
        poller.register(self._monitor, select.POLLIN)
        poller.register(job, select.POLLIN)
        while True:
            job.check()
            asked = job.wishes()
            wishes |= asked
            if asked.get("suspend"):
                self._monitor.execute("stop")
            if asked.get("bandwidth"):
                for name in self._jobs():
                    self._monitor.execute(
                        "block-job-set-speed", device=name, speed=asked["bandwidth"]
                    )
            ready = self.check()
            left = self.total - self.processed
            job.report(
                "disks",
                total=self.total,
                processed=self.processed,
                remaining=left,
                disk_total=self.total,
                disk_processed=self.processed,
                disk_remaining=left,
            )
            if ready:
                job.wish(**wishes)
                return
            again = time.monotonic() + _LOOK_EVERY
            while not self._told() and not job.cancelled:
                if (wait := again - time.monotonic()) <= 0:
                    break
                poller.poll(wait * 1000)

    def _told(self) -> bool:
        """Take what QEMU has told; say whether some mirror may be ready or over."""
        found = False
        while (event := self._monitor.next_event(0)) is not None:
            found |= event["event"] in ("BLOCK_JOB_READY", "BLOCK_JOB_COMPLETED", "BLOCK_JOB_ERROR")
        return found

    def check(self) -> bool:
        """Look at the mirrors; say whether all are ready.

        Raises:
            HypervisorError: one failed.
        """
        if self._ended:
            return True
        jobs = self._jobs()
        self.total = sum(one["len"] for one in jobs.values())
        self.processed = sum(min(one["offset"], one["len"]) for one in jobs.values())
        for name, one in jobs.items():
            if one["status"] == "concluded" or one.get("error"):
                raise self._failed(name.removeprefix(_JOB), one.get("error") or "it ended early")
        return all(one["ready"] for one in jobs.values())

    def end(self) -> None:
        """End the mirrors of a guest that stands still, once the copies are equal.

        Raises:
            HypervisorError: one failed: the copy cannot be used.
        """
        for name in self._jobs():
            with suppress(QmpError):  # It may have failed this very moment; that is seen below.
                self._monitor.execute("block-job-cancel", device=name)
        for name, one in _over(self._monitor).items():
            if one.get("error"):
                raise self._failed(name.removeprefix(_JOB), one["error"])
        self._ended = True
        self.processed = self.total

    def _jobs(self) -> dict[str, dict[str, Any]]:
        return _jobs(self._monitor)

    def _failed(self, disk: str, words: str) -> HypervisorError:
        return HypervisorError(
            f"domain {self._guest.name!r}: its disk {disk} could not be copied: {words}",
            domain=self._guest.name,
            native_message=words,
        )


def _jobs(monitor: Monitor) -> dict[str, dict[str, Any]]:
    told = monitor.execute("query-block-jobs")
    return {one["device"]: one for one in told if one["device"].startswith(_JOB)}


def _over(monitor: Monitor) -> dict[str, dict[str, Any]]:
    """Wait until all mirrors are over, and dismiss them; return what became of each."""
    found: dict[str, dict[str, Any]] = {}
    deadline = time.monotonic() + _ENDING
    while jobs := _jobs(monitor):
        for name, one in jobs.items():
            if one["status"] == "concluded":
                found[name] = one
                with suppress(QmpError):
                    monitor.execute("job-dismiss", id=name)
        if time.monotonic() > deadline:
            raise Timeout(f"QEMU did not end the copies of disks in {_ENDING:g} s")
        monitor.next_event(0.02)
    return found


def abandon(monitor: Monitor, guest: Guest) -> None:
    """End all mirrors whose copies are not wanted, and let go of the connections."""
    for name in _jobs(monitor):
        with suppress(QmpError):
            monitor.execute("block-job-cancel", device=name, force=True)
    _over(monitor)
    nodes = {
        one["node-name"]
        for one in monitor.execute("query-named-block-nodes", flat=True)
        if one["node-name"].startswith(_NODE)
    }
    for node in sorted(nodes):  # The format of each comes before its storage.
        with suppress(QmpError):
            monitor.execute("blockdev-del", node_name=node)
    forget_certificates(monitor, DISK_CREDENTIALS)
    with suppress(OSError):
        os.unlink(f"{guest.run_dir}/{_LINK}")
