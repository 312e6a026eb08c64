"""Jobs on the disks of running guests, and disks' sizes.

Block nodes are found by asking QEMU, whatever they are called; a job is called by what it
does and its disk's target (``copy-vda``), so that any process can tell what goes on.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.driver import BlockJobInfo, BlockJobs, DiskInfo
from polyvisor.errors import (
    Busy,
    HypervisorError,
    InvalidArgument,
    NotFound,
    OperationInvalid,
    StorageError,
    Timeout,
    Unsupported,
)
from polyvisor_qemu.layers import committed, layer, relative_name
from polyvisor_qemu.nodes import Opened, chain_of, disk_of, drop, opened
from polyvisor_qemu.qmp import QmpError
from polyvisor_qemu.settling import refuse_transient

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.local import Guest, Hold
    from polyvisor.model import DomainSpec
    from polyvisor.model.devices.disk import Disk
    from polyvisor_qemu.driver import QemuDriver
    from polyvisor_qemu.qmp import Monitor

__all__ = ["QemuBlockJobs", "settle"]

#: Seconds in which a job that was told to end has ended.
_ENDING = 60.0
_KINDS = ("pull", "copy", "commit", "active-commit", "backup")


class QemuBlockJobs(BlockJobs):
    """Has QEMU move the data of disks."""

    def __init__(self, driver: QemuDriver) -> None:
        self._driver = driver

    # Sizes

    def disk_info(self, uuid: UUID, disk: str) -> DiskInfo:
        """See :meth:`polyvisor.driver.BlockJobs.disk_info`."""
        spec = self._driver.domains.spec(uuid)
        found = disk_of(spec, disk)
        path = _path(found)
        if path is None:
            raise OperationInvalid(f"disk {disk!r} of {spec.name!r}: it is empty, or no file")
        try:
            seen = os.stat(path)
            allocation, physical = seen.st_blocks * 512, seen.st_size
            if spec.id is None:
                return DiskInfo(_capacity(path), allocation, physical)
        except OSError as error:
            raise StorageError(
                f"disk {disk!r} of {spec.name!r}: {path}: {error.strerror}", path=path
            ) from error
        guest = self._driver.guest(uuid)
        with self._driver.hypervisor.monitor(guest) as monitor:
            chain = chain_of(monitor, guest.spec, found)
        return DiskInfo(chain[0].size, allocation, physical)

    def resize(self, uuid: UUID, disk: str, size: int) -> None:
        """See :meth:`polyvisor.driver.BlockJobs.resize`."""
        if size <= 0:
            raise InvalidArgument(f"resize {disk!r}: {size} bytes is no size")
        with self._driver.hold(uuid, "resize a disk") as hold:
            monitor, chain, _ = self._begin(hold, disk)
            with monitor:
                given: dict[str, Any] = {"node-name": chain[0].node, "size": size}
                monitor.execute("block_resize", **given)

    def set_threshold(self, uuid: UUID, disk: str, threshold: int) -> None:
        """See :meth:`polyvisor.driver.BlockJobs.set_threshold`."""
        from polyvisor_qemu.thresholds import set_threshold

        with self._driver.hold(uuid, "set a threshold") as hold:
            monitor, chain, target = self._begin(hold, disk)
            with monitor:
                set_threshold(monitor, hold.guest, target, chain[0].path, threshold)

    # Jobs

    def pull(
        self, uuid: UUID, disk: str, *, base: str | None, bandwidth: int, relative: bool = False
    ) -> None:
        """See :meth:`polyvisor.driver.BlockJobs.pull`."""
        with self._driver.hold(uuid, "pull a disk") as hold:
            monitor, chain, target = self._begin(hold, disk)
            with monitor:
                self._alone(monitor, hold, target)
                given: dict[str, Any] = {}
                if base is not None:
                    lower = layer(hold, chain, target, base)
                    given["base_node"] = lower.node
                    if relative:
                        given["backing_file"] = relative_name(hold, chain, chain[0], lower)
                monitor.execute(
                    "block-stream", job_id=f"pull-{target}", device=chain[0].node,
                    speed=bandwidth, **given,
                )  # fmt: skip

    def commit(
        self,
        uuid: UUID,
        disk: str,
        *,
        base: str | None,
        top: str | None,
        bandwidth: int,
        active: bool,
        delete: bool,
        shallow: bool = False,
        relative: bool = False,
    ) -> None:
        """See :meth:`polyvisor.driver.BlockJobs.commit`.

        Files of layers below the top are not removed: only who ends a job sees its end.
        """
        with self._driver.hold(uuid, "commit a disk") as hold:
            monitor, chain, target = self._begin(hold, disk)
            with monitor:
                self._alone(monitor, hold, target)
                upper = chain[0] if top is None else layer(hold, chain, target, top)
                lower = committed(hold, chain, target, upper, base, shallow=shallow)
                if chain.index(upper) >= chain.index(lower):
                    raise OperationInvalid(
                        f"commit {disk!r} of {hold.known.name!r}: {upper.path} does not lie above "
                        f"{lower.path}",
                        domain=hold.known.name,
                    )
                if active != (upper is chain[0]):
                    raise OperationInvalid(
                        f"commit {disk!r} of {hold.known.name!r}: {upper.path} is "
                        f"{'not ' if active else ''}the file that the guest writes to; say "
                        f"{'not ' if active else ''}active",
                        domain=hold.known.name,
                    )
                if delete and not active:
                    raise Unsupported(
                        "commit: files below the top are not removed; remove them when the job "
                        "has ended",
                        feature="block.jobs",
                    )
                kind = "active-commit" if active else "commit"
                given: dict[str, Any] = {}
                if relative and not active:
                    above = chain[chain.index(upper) - 1]
                    given["backing_file"] = relative_name(hold, chain, above, lower)
                if delete:
                    kept = hold.guest.runtime.setdefault("delete", {})
                    kept[target] = [one.path for one in chain[: chain.index(lower)]]
                monitor.execute(
                    "block-commit", job_id=f"{kind}-{target}", device=chain[0].node,
                    top_node=upper.node, base_node=lower.node, speed=bandwidth, **given,
                )  # fmt: skip

    def copy(
        self,
        uuid: UUID,
        disk: str,
        xml: str,
        *,
        bandwidth: int,
        shallow: bool,
        reuse: bool,
        granularity: int = 0,
        buffer: int = 0,
    ) -> None:
        """See :meth:`polyvisor.driver.BlockJobs.copy`."""
        from polyvisor.model import DomainSpec

        read = DomainSpec.from_xml(
            f"<domain type='qemu'><name>x</name><memory>1</memory><devices>{xml}</devices></domain>"
        )
        given = read.devices.disks[0] if read.devices.disks else None
        path = None if given is None else _path(given)
        if given is None or path is None:
            raise InvalidArgument(
                f"copy {disk!r}: give a <disk> with the file or device to copy to"
            )
        with self._driver.hold(uuid, "copy a disk") as hold:
            monitor, chain, target = self._begin(hold, disk)
            # As libvirt does: a copy of which no format is said has the disk's own.
            form = (given.driver.type if given.driver is not None else None) or chain[0].format
            with monitor:
                self._alone(monitor, hold, target)
                if shallow and (len(chain) < 2 or form != "qcow2"):
                    raise OperationInvalid(
                        f"copy {disk!r} of {hold.known.name!r}: only a qcow2 copy of a disk with a "
                        f"backing file can be shallow",
                        domain=hold.known.name,
                    )
                backing = chain[1] if shallow else None
                made = opened(monitor, path, form, chain[0].size, backing=backing, reuse=reuse)
                sizes = {"granularity": granularity, "buf_size": buffer}
                further: dict[str, Any] = {name: size for name, size in sizes.items() if size}
                try:
                    monitor.execute(
                        "blockdev-mirror", job_id=f"copy-{target}", device=chain[0].node,
                        target=made, sync="top" if shallow else "full", speed=bandwidth,
                        **further,
                    )  # fmt: skip
                except QmpError:
                    drop(monitor, made)
                    raise
            copies = hold.guest.runtime.setdefault("copies", {})
            copies[target] = {"node": made, "xml": _document(given)}

    def info(self, uuid: UUID, disk: str) -> BlockJobInfo | None:
        """See :meth:`polyvisor.driver.BlockJobs.info`."""
        guest = self._driver.guest(uuid)
        target = _target(disk_of(guest.spec, disk))
        with self._driver.hypervisor.monitor(guest) as monitor:
            found = _job(monitor, target)
        if found is None:
            return None
        return BlockJobInfo(
            kind=_kind(found),
            done=found["offset"],
            total=found["len"],
            bandwidth=found["speed"],
            ready=found["ready"],
        )

    def set_bandwidth(self, uuid: UUID, disk: str, bandwidth: int) -> None:
        """See :meth:`polyvisor.driver.BlockJobs.set_bandwidth`."""
        with self._driver.hold(uuid, "limit a block job") as hold:
            monitor, _, target = self._begin(hold, disk)
            with monitor:
                job = self._there(monitor, hold, target)
                monitor.execute("block-job-set-speed", device=job["device"], speed=bandwidth)

    def abort(self, uuid: UUID, disk: str, *, pivot: bool, wait: bool) -> None:
        """See :meth:`polyvisor.driver.BlockJobs.abort`; going over is always waited for."""
        with self._driver.hold(uuid, "end a block job") as hold:
            monitor, chain, target = self._begin(hold, disk)
            with monitor:
                job = self._there(monitor, hold, target)
                if not pivot:
                    monitor.execute("block-job-cancel", device=job["device"], force=True)
                    kept = hold.guest.runtime.get("copies", {}).pop(target, None)
                    hold.guest.runtime.get("delete", {}).pop(target, None)
                    if wait or kept is not None:
                        _wait(monitor, hold, job["device"])
                    if kept is not None:
                        drop(monitor, kept["node"])
                    return
                kind = _kind(job)
                if kind not in ("copy", "active-commit") or not job["ready"]:
                    raise OperationInvalid(
                        f"end a block job of {hold.known.name!r}: the {kind} of {target} is not "
                        f"ready to go over to the other side",
                        domain=hold.known.name,
                    )
                # Whoever comes after us sees by this that the disk may have another image.
                nodes = [one.node for one in chain]
                intent = {"op": "own", "disk": target, "kind": kind, "nodes": nodes}
                hold.change(intent=intent, durable=True)
                try:
                    monitor.execute("block-job-complete", device=job["device"])
                    _wait(monitor, hold, job["device"])
                finally:
                    settle(self._driver.hypervisor, hold)

    # What all of them need

    def _begin(self, hold: Hold, disk: str) -> tuple[Monitor, list[Opened], str]:
        """Return a monitor, the disk's images from the top down, and its target."""
        hold.need_active()
        guest: Guest = hold.guest
        found = disk_of(guest.spec, disk)
        monitor = self._driver.hypervisor.monitor(guest)
        try:
            return monitor, chain_of(monitor, guest.spec, found), _target(found)
        except BaseException:
            monitor.close()
            raise

    def _alone(self, monitor: Monitor, hold: Hold, target: str) -> None:
        """See that no job is on the disk; from now on QEMU's end has to be an orderly one."""
        refuse_transient(hold.guest.spec, hold.operation, target)
        found = _job(monitor, target)
        if found is not None:
            raise Busy(
                f"{hold.operation} of {hold.known.name!r}: the {_kind(found)} of {target} is "
                f"still going on"
            )
        hold.guest.runtime["moved"] = True

    def _there(self, monitor: Monitor, hold: Hold, target: str) -> dict[str, Any]:
        found = _job(monitor, target)
        if found is None:
            raise hold.invalid(f"there is no job on {target}")
        return found


def settle(hypervisor: Any, hold: Hold) -> None:
    """Write down which image a disk has after its job was told to go over to the other one.

    A job that has not done so yet never will: it is given up. If QEMU is gone, the disk counts as
    what it was, which has all that was written up to the end of the job.
    """
    from polyvisor.states import DomainState

    intent = hold.known.intent
    assert intent is not None
    target, kind, nodes = intent["disk"], intent["kind"], intent["nodes"]
    if hypervisor.observe(hold.guest, deep=True).state is DomainState.SHUTOFF:
        hold.change(intent=None, durable=True)
        return
    with hypervisor.monitor(hold.guest) as monitor:
        _end(monitor, hold, f"{kind}-{target}")
        now = chain_of(monitor, hold.guest.spec, disk_of(hold.guest.spec, target))
        if now[0].node == nodes[0]:
            kept = hold.guest.runtime.get("copies", {}).pop(target, None)
            if kept is not None:
                drop(monitor, kept["node"])
            hold.change(intent=None, durable=True)
            return
        for node in nodes:
            if node == now[0].node:
                break
            drop(monitor, node)
    _record(hold, target, kind, now)


def _end(monitor: Monitor, hold: Hold, job: str) -> None:
    """See that a job is over, whichever way."""
    import time

    deadline = time.monotonic() + _ENDING
    while any(one["device"] == job for one in monitor.execute("query-block-jobs")):
        if time.monotonic() > deadline:
            raise Timeout(f"{hold.operation} of {hold.known.name!r}: {job} did not end")
        with suppress(QmpError):
            monitor.execute("block-job-cancel", device=job, force=True)
        monitor.next_event(0.05)


def _record(hold: Hold, target: str, kind: str, now: list[Opened]) -> None:
    """Write down where the disk is from now on, also in a definition that had it there."""
    from polyvisor.model import DomainSpec
    from polyvisor.state import Document

    live = hold.guest.spec
    old = disk_of(live, target)
    assert old.source is not None  # an empty disk has no job
    new = attrs.evolve(
        old,
        type="file",
        source=attrs.evolve(old.source, file=now[0].path, dev=None),
        driver=attrs.evolve(old.driver, type=now[0].format) if old.driver else None,
        backing_store=None,
    )
    runtime = hold.guest.runtime
    if kind == "copy":
        copied = runtime.get("copies", {}).pop(target, None)
        if copied is not None:
            given = DomainSpec.from_xml(copied["xml"]).devices.disks[0]
            new = attrs.evolve(new, type=given.type, source=given.source)
    changes: dict[str, Any] = {"intent": None, "live": Document(_replaced(live, old, new))}
    kept = hold.known.definition
    if kept is not None:
        with suppress(NotFound):
            mine = disk_of(kept.spec(), target)
            if _path(mine) == _path(old):
                driver = attrs.evolve(mine.driver, type=now[0].format) if mine.driver else None
                moved = attrs.evolve(
                    mine, type=new.type, source=new.source, driver=driver, backing_store=None
                )
                changes["definition"] = Document(_replaced(kept.spec(), mine, moved))
    hold.change(durable=True, **changes)
    for path in runtime.get("delete", {}).pop(target, []):
        with suppress(OSError):
            os.unlink(path)


def _job(monitor: Monitor, target: str) -> dict[str, Any] | None:
    for job in monitor.execute("query-block-jobs"):
        if job["device"] in {f"{kind}-{target}" for kind in _KINDS}:
            found: dict[str, Any] = job
            return found
    return None


def _kind(job: dict[str, Any]) -> str:
    return str(job["device"]).rpartition("-")[0]


def _wait(monitor: Monitor, hold: Hold, job: str) -> None:
    """Wait for the end of a job that was told to end."""
    import time

    deadline = time.monotonic() + _ENDING
    while (left := deadline - time.monotonic()) > 0:
        event = monitor.next_event(left)
        if event is None or event.get("data", {}).get("device") != job:
            continue
        if event["event"] == "BLOCK_JOB_CANCELLED":
            return
        if event["event"] == "BLOCK_JOB_COMPLETED":
            words = event["data"].get("error")
            if words is None:
                return
            raise HypervisorError(
                f"{hold.operation} of {hold.known.name!r}: {job}: {words}",
                domain=hold.known.name,
                native_message=words,
            )
    raise Timeout(f"{hold.operation} of {hold.known.name!r}: {job} did not end in {_ENDING:g} s")


def _path(disk: Disk) -> str | None:
    return None if disk.source is None else disk.source.file or disk.source.dev


def _target(disk: Disk) -> str:
    return (disk.target.dev if disk.target is not None else None) or ""


def _document(disk: Disk) -> str:
    """Return a disk in a definition of its own, to be kept."""
    from polyvisor.model import DomainSpec

    bare = DomainSpec.from_xml("<domain type='qemu'><name>x</name><memory>1</memory></domain>")
    return attrs.evolve(bare, devices=attrs.evolve(bare.devices, disks=(disk,))).to_xml()


def _replaced(spec: DomainSpec, old: Disk, new: Disk) -> DomainSpec:
    disks = tuple(new if one is old else one for one in spec.devices.disks)
    return attrs.evolve(spec, devices=attrs.evolve(spec.devices, disks=disks))


def _capacity(path: str) -> int:
    """Return what a guest would see of an image; the formats that QEMU writes are known."""
    with open(path, "rb") as image:
        head = image.read(32)
        if head[:4] == b"QFI\xfb":  # docs/interop/qcow2.txt: size at byte 24
            return int.from_bytes(head[24:32], "big")
        return image.seek(0, os.SEEK_END)
