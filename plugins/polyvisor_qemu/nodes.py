"""The block nodes of a running QEMU: those behind a disk, and further ones."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import HypervisorError, NotFound, OperationInvalid, StorageError, Timeout
from polyvisor_qemu.naming import disk_names, qdev_name
from polyvisor_qemu.qmp import QmpError

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor.model.devices.disk import Disk
    from polyvisor_qemu.qmp import Monitor

__all__ = ["Opened", "backend_of", "chain_of", "disk_of", "drop", "node_of", "opened", "plain_path"]

_CREATING = 60.0


@attrs.frozen
class Opened:
    """One image of a disk's chain, as QEMU has it open.

    Attributes:
        node: its node.
        path: its file or device.
        format: its format.
        size: what a guest sees of it, in bytes.
        backing: the name that it has written down of the image below it, if there is one.
    """

    node: str
    path: str
    format: str
    size: int
    backing: str | None = None


def disk_of(spec: DomainSpec, name: str) -> Disk:
    """Return the disk with a target or source.

    Raises:
        NotFound: there is none.
    """
    for disk in spec.devices.disks:
        if disk.target is not None and disk.target.dev == name:
            return disk
    for disk in spec.devices.disks:
        if disk.source is not None and name in (disk.source.file, disk.source.dev):
            return disk
    raise NotFound(f"{spec.name!r} has no disk {name!r}", key=name)


def chain_of(monitor: Monitor, spec: DomainSpec, disk: Disk) -> list[Opened]:
    """Return the images behind a disk, from the top down.

    Raises:
        OperationInvalid: it is empty.
    """
    device = backend_of(monitor, spec, disk)
    inserted = device.get("inserted")
    if inserted is None:
        raise OperationInvalid(f"a disk of {spec.name!r} is empty", domain=spec.name)
    image: dict[str, Any] | None = inserted["image"]
    node = inserted["node-name"]
    named = monitor.execute("query-named-block-nodes", flat=True)
    chain: list[Opened] = []
    while image is not None:
        path = plain_path(image["filename"])
        below_it = image.get("backing-filename")
        chain.append(Opened(node, path, image["format"], image["virtual-size"], below_it))
        image = image.get("backing-image")
        if image is None:
            # The layer under it may be in a chain that is told no further.
            break
        below = image
        node = next(
            (
                one["node-name"]
                for one in named
                if one["drv"] == below["format"] and one["image"]["filename"] == below["filename"]
            ),
            "",
        )
        if not node:
            raise HypervisorError(
                f"QEMU does not tell which node of {spec.name!r} has {below['filename']}",
                domain=spec.name,
            )
    return chain


def backend_of(
    monitor: Monitor, spec: DomainSpec, disk: Disk, name: str | None = None
) -> dict[str, Any]:
    """Return what QEMU tells of a disk's device, whose name may be known.

    Raises:
        NotFound: QEMU does not have it.
    """
    told = {qdev_name(one): one for one in monitor.execute("query-block")}
    for one in disk_names(disk) if name is None else (name,):
        if one in told:
            found: dict[str, Any] = told[one]
            return found
    raise NotFound(f"QEMU has no such disk of {spec.name!r}", key=spec.name)


def opened(
    monitor: Monitor,
    path: str,
    form: str,
    size: int,
    *,
    backing: Opened | None,
    reuse: bool,
    apart: bool = False,
) -> str:
    """Have QEMU open an image, made anew unless it is to be used as it is; return its node.

    Args:
        monitor: QEMU's monitor.
        path: the file or device.
        form: ``raw`` or ``qcow2``.
        size: what is to be seen of it, in bytes.
        backing: the layer below it.
        reuse: it is there, and as large as it must be.
        apart: do not join it to the layer below, whose name is in it alone.

    Raises:
        StorageError: it cannot be made or opened.
    """
    if form not in ("raw", "qcow2"):
        raise OperationInvalid(f"cannot make an image of format {form!r}; use raw or qcow2")
    taken = {one["node-name"] for one in monitor.execute("query-named-block-nodes", flat=True)}
    name = next(f"pv{n}" for n in range(1, 1 << 20) if f"pv{n}" not in taken)
    device = os.path.exists(path) and not os.path.isfile(path)
    made = False
    try:
        if not reuse and not device:
            with open(path, "xb") as file:
                made = True
                os.fchmod(file.fileno(), 0o600)
                if form == "raw":
                    file.truncate(size)
    except OSError as error:
        if made:
            os.unlink(path)
        raise StorageError(f"cannot make {path}: {error.strerror}", path=path) from error
    if monitor.give is not None:
        monitor.give(path)
    file_node: dict[str, Any] = {
        "driver": "host_device" if device else "file",
        "filename": path,
        "node-name": f"{name}-file",
    }
    added: list[str] = []
    try:
        monitor.execute("blockdev-add", **file_node)
        added.append(f"{name}-file")
        if form == "qcow2" and not reuse:
            _create(monitor, f"{name}-file", size, backing)
        layer: dict[str, Any] = {"driver": form, "node-name": name, "file": f"{name}-file"}
        if form == "qcow2":
            layer["backing"] = None if backing is None or apart else backing.node
        monitor.execute("blockdev-add", **layer)
    except BaseException as error:
        for node in added:
            with suppress(QmpError):
                monitor.execute("blockdev-del", node_name=node)
        if made:
            os.unlink(path)
        if isinstance(error, QmpError):
            raise StorageError(
                f"cannot open {path}: {error.native_message}",
                path=path,
                native_message=error.native_message,
            ) from error
        raise
    return name


def _create(monitor: Monitor, node: str, size: int, backing: Opened | None) -> None:
    options: dict[str, Any] = {"driver": "qcow2", "file": node, "size": size}
    if backing is not None:
        options |= {"backing-file": backing.path, "backing-fmt": backing.format}
    dismiss_created(monitor)
    job = f"create-{node}"
    monitor.execute("blockdev-create", job_id=job, options=options)
    deadline = time.monotonic() + _CREATING
    while time.monotonic() < deadline:
        seen = next((one for one in monitor.execute("query-jobs") if one["id"] == job), None)
        if seen is not None and seen["status"] == "concluded":
            monitor.execute("job-dismiss", id=job)
            if "error" in seen:
                raise StorageError(
                    f"cannot make an image: {seen['error']}", native_message=seen["error"]
                )
            return
        monitor.next_event(0.05)
    raise Timeout(f"QEMU did not make an image in {_CREATING:g} s")


def node_of(monitor: Monitor, path: str) -> str | None:
    """Return the node through which QEMU has an image of ours open, whatever its format."""
    for one in monitor.execute("query-named-block-nodes", flat=True):
        if plain_path(one["file"]) == path and one["drv"] not in ("file", "host_device"):
            return str(one["node-name"])
    return None


def plain_path(told: str) -> str:
    """Return the path of an image as QEMU tells it, which may be with all options, as JSON."""
    if not told.startswith("json:"):
        return told
    try:
        options = json.loads(told.removeprefix("json:"))
        while isinstance(options.get("file"), dict):
            options = options["file"]
        return str(options["filename"])
    except (ValueError, KeyError, AttributeError):
        return told


def dismiss_created(monitor: Monitor) -> None:
    """Clear away jobs that made images and whose beginner was killed; they hold nodes."""
    for job in monitor.execute("query-jobs"):
        if job["type"] == "create" and job["status"] == "concluded":
            with suppress(QmpError):
                monitor.execute("job-dismiss", id=job["id"])


def drop(monitor: Monitor, node: str, *, path: str | None = None) -> None:
    """Let go of a node and of the file below it, as far as nobody uses them.

    Args:
        monitor: QEMU's monitor.
        node: the node.
        path: the file, where it is known.
    """
    # QEMU 7.2 does not tell what lies below a node: it is known by how it was called.
    names = [node, f"{node}-file", node.replace("format", "storage")]
    dismiss_created(monitor)
    if path is not None:
        names += [
            one["node-name"]
            for one in monitor.execute("query-named-block-nodes", flat=True)
            if plain_path(one["file"]) == path and one["node-name"] not in names
        ]
    for name in filter(None, names):
        with suppress(QmpError):
            monitor.execute("blockdev-del", node_name=name)
