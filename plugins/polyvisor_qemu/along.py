"""Disks that move with their guest: which, and the destination's side of them.

The destination has QEMU serve its images over NBD; names are libvirt's, so that either side
may be one.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from polyvisor.errors import (
    AlreadyExists,
    HypervisorError,
    InvalidArgument,
    MigrationError,
    StorageError,
    Unsupported,
)
from polyvisor_qemu.cmdline import RUN_FD
from polyvisor_qemu.cookies import Nbd, QemuCookie
from polyvisor_qemu.credentials import forget_certificates
from polyvisor_qemu.listening import kind_of, listen_tcp
from polyvisor_qemu.means import credentials
from polyvisor_qemu.naming import qdev_name
from polyvisor_qemu.nodes import backend_of, chain_of
from polyvisor_qemu.qmp import QmpError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from polyvisor.driver import MigrationOptions
    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
    from polyvisor.model.devices.disk import Disk
    from polyvisor_qemu.hypervisor import QemuHypervisor
    from polyvisor_qemu.qmp import Monitor

__all__ = [
    "DISK_CREDENTIALS",
    "copied",
    "export_name",
    "missing",
    "serve",
    "stop_serving",
    "told_disks",
]

#: QEMU's name for the certificates of connections that carry disks, on either side.
DISK_CREDENTIALS = "polyvisor-disks-tls"


def copied(spec: DomainSpec, options: MigrationOptions) -> list[Disk]:
    """Return the disks that come along: those named, or all its own that can be written to.

    Raises:
        InvalidArgument: one that is named is not there, or empty.
    """
    if not options.copy_storage:
        return []
    if options.tunnelled:
        raise Unsupported(
            "migrate: disks are copied over a connection of their own, which a tunnel has not; "
            "do one without the other",
            feature="migration.storage",
        )
    named = {
        disk.target.dev: disk
        for disk in spec.devices.disks
        if disk.target is not None and disk.target.dev is not None and _path(disk) is not None
    }
    if options.disks is None:
        return [disk for disk in named.values() if not disk.readonly and not disk.shareable]
    for target in options.disks:
        if target not in named:
            raise InvalidArgument(
                f"migrate {spec.name!r}: it has no disk {target!r} with an image; there are "
                f"{', '.join(named) or 'none'}"
            )
    return [disk for target, disk in named.items() if target in options.disks]


def _path(disk: Disk) -> str | None:
    return None if disk.source is None else disk.source.file or disk.source.dev


def export_name(monitor: Monitor, spec: DomainSpec, disk: Disk) -> str:
    """Return the name under which a destination has a disk."""
    return f"drive-{qdev_name(backend_of(monitor, spec, disk))}"


def told_disks(monitor: Monitor, spec: DomainSpec, options: MigrationOptions) -> Nbd:
    """Return what begin tells of the disks that come along: their sizes."""
    disks = copied(spec, options)
    if options.copy_storage == "incremental" and not disks:
        raise InvalidArgument(f"migrate {spec.name!r}: it has no disk to copy")
    sizes = ((disk, chain_of(monitor, spec, disk)[0].size) for disk in disks)
    return Nbd(None, tuple((str(disk.target.dev), size) for disk, size in sizes if disk.target))


def missing(
    spec: DomainSpec, options: MigrationOptions, cookie: bytes | None
) -> Mapping[str, Callable[[], None]]:
    """See :meth:`polyvisor.local.MigratesGuests.missing_images`."""
    found: dict[str, Callable[[], None]] = {}
    nbd = QemuCookie.from_bytes(cookie)[0].nbd if cookie else None
    sizes = {} if nbd is None else dict(nbd.disks)
    for disk in copied(spec, options):
        path = _path(disk)
        assert path is not None
        assert disk.target is not None
        if os.path.exists(path):
            continue
        if options.copy_storage == "incremental":
            raise StorageError(
                f"migrate {spec.name!r}: {path} is missing; to copy what differs, make it first, "
                f"over a backing file that is the source's",
                path=path,
                domain=spec.name,
            )
        if disk.source is None or disk.source.file is None:
            raise StorageError(
                f"migrate {spec.name!r}: the device {path} is missing", path=path, domain=spec.name
            )
        size = sizes.get(str(disk.target.dev))
        if size is None:
            raise MigrationError(
                f"migrate {spec.name!r}: the source does not say how large {disk.target.dev} is; "
                f"make {path} first",
                phase="prepare",
                side="destination",
                owner="source",
            )
        form = (disk.driver.type if disk.driver is not None else None) or "raw"
        found[path] = partial(_make, path, form, size)
    return found


def _make(path: str, form: str, size: int) -> None:
    """Make an empty image; one that has come to be there meanwhile is not touched."""
    from polyvisor_qemu.imagetool import qemu_img

    if form not in ("raw", "qcow2"):
        raise StorageError(
            f"cannot make {path}: no image of format {form!r} is made; make it first", path=path
        )
    try:
        with open(path, "xb") as file:
            os.fchmod(file.fileno(), 0o600)
    except FileExistsError as error:
        raise AlreadyExists(f"cannot make {path}: it is there already") from error
    except OSError as error:
        raise StorageError(f"cannot make {path}: {error.strerror}", path=path) from error
    try:
        if form == "raw":
            os.truncate(path, size)
        else:
            qemu_img("create", "-q", "-f", form, path, str(size), path=path, what="make")
    except BaseException as error:
        os.unlink(path)
        if isinstance(error, OSError):
            raise StorageError(f"cannot make {path}: {error.strerror}", path=path) from error
        raise


def serve(
    monitor: Monitor,
    guest: Guest,
    spec: DomainSpec,
    options: MigrationOptions,
    hypervisor: QemuHypervisor,
    uri: str,
) -> int | None:
    """Have a QEMU that waits for its guest serve the disks that come along.

    Args:
        monitor: its monitor.
        guest: the guest.
        spec: its definition.
        options: how it is sent.
        hypervisor: whose settings and secrets say where, and which certificates there are.
        uri: where it listens for the stream.

    Returns:
        The port; ``None``: it serves at a socket, which is beside the stream's if it was not
        asked for.

    Raises:
        HypervisorError: it cannot.
    """
    disks, settings = copied(spec, options), hypervisor.settings
    port: int | None = None
    asked = options.disks_uri
    kind, place = kind_of(asked if asked is not None else uri)

    def start(where: dict[str, Any]) -> None:
        told: dict[str, Any] = {"addr": where}
        if options.tls:
            told["tls-creds"] = DISK_CREDENTIALS
        try:
            monitor.execute_all(("nbd-server-start", told))
        except QmpError as error:
            raise HypervisorError(
                f"cannot serve disks of {guest.name!r}: {error.native_message}",
                domain=guest.name,
                native_message=error.native_message,
            ) from error

    def listen(address: str) -> None:
        nonlocal port
        host, _, number = address.removeprefix("tcp:").rpartition(":")
        data = {"host": host.strip("[]"), "port": number}
        start({"type": "inet", "data": data})
        port = int(number)

    if options.tls:
        secret = hypervisor.secret
        monitor.execute_all(*credentials(settings, secret, DISK_CREDENTIALS, leaving=False))
    if kind == "tcp":
        # Next to the stream, at another port, unless one was asked for.
        listen_tcp(settings, options, place if asked is not None else _host(place), listen)
    elif asked is not None:
        start({"type": "unix", "data": {"path": place}})
    elif place == f"{guest.run_dir}/migration":
        name = f"/proc/self/fd/{RUN_FD}/migration.disks"
        start({"type": "unix", "data": {"path": name}})
    else:
        start({"type": "unix", "data": {"path": f"{place}.disks"}})
    for disk in disks:
        name = export_name(monitor, spec, disk)
        node = chain_of(monitor, spec, disk)[0].node
        try:
            monitor.execute(
                "block-export-add", type="nbd", id=f"arriving-{name}", node_name=node, name=name,
                writable=True,
            )  # fmt: skip
        except QmpError as error:
            raise HypervisorError(
                f"cannot serve the disk {name} of {guest.name!r}: {error.native_message}",
                domain=guest.name,
                native_message=error.native_message,
            ) from error
    guest.runtime["served"] = {"port": port, "socket": place if asked and kind == "unix" else None}
    return port


def _host(place: str) -> str:
    """Return the host of ``HOST:PORT``."""
    host = place.rpartition(":")[0]
    return host or place


def stop_serving(monitor: Monitor, guest: Guest) -> None:
    """Take the disks for the guest alone, now that it is here."""
    served = guest.runtime.pop("served", None)
    if served is None:
        return
    with suppress(QmpError):  # One that was killed may have done this much.
        monitor.execute("nbd-server-stop")
    forget_certificates(monitor, DISK_CREDENTIALS)
    if served["socket"] is not None:
        with suppress(OSError):
            os.unlink(served["socket"])
