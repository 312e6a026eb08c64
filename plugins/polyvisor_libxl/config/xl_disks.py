"""Disks in ``xl.cfg``, and what of them is Ceph's: ``target=rbd:pool/image:…``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from polyvisor.model.devices.disk import Disk, DiskDriver, DiskTarget
from polyvisor.model.devices.disk_source import DiskSource, SourceHost
from polyvisor_libxl.config.diskspec import DiskText, parse_disk
from polyvisor_libxl.config.writing import refuse

if TYPE_CHECKING:
    from polyvisor_libxl.completion import Kind
    from polyvisor_libxl.config.settings import Settings

__all__ = ["bus_of", "disk_of", "disk_text", "disks", "rbd_source", "rbd_text"]

#: Name of libvirt's driver for each of libxl's backends, and the type of disk it serves.
DRIVERS: dict[str | None, tuple[str, Any]] = {
    "qdisk": ("qemu", "file"),
    None: ("qemu", "file"),
    "tap": ("tap", "file"),
    "phy": ("phy", "block"),
}
BACKENDS = {"qemu": "qdisk", "file": "qdisk", "tap": "tap", "tap2": "tap", "phy": "phy"}
FORMATS = {"raw", "qcow", "qcow2", "qed", "vhd"}

# An option ends at a colon without a backslash; so does a host at such a mark.
_OPTIONS = re.compile(r"((?:[^:\\]|\\.)*)(?::|$)", re.DOTALL)
_HOSTS = re.compile(r"\\[;, ]")


def bus_of(name: str, guest: Kind) -> Any:
    """Return the bus that a disk of this name is on."""
    if name.startswith("xvd") or guest != "hvm":
        return "xen"
    return "scsi" if name.startswith("sd") else "ide"


def disks(settings: Settings, guest: Kind) -> tuple[Disk, ...]:
    """Return all disks."""
    return tuple(
        disk_of(parse_disk(atom.text, lambda fault, at=atom: settings.fail(at, fault)), guest)  # type: ignore[misc]
        for atom in settings.atoms("disk") or ()
    )


def disk_of(said: DiskText, guest: Kind) -> Disk:
    """Return the disk that a text describes."""
    vdev = said.vdev or ""
    driver, kind = DRIVERS["qdisk" if said.cdrom else said.backend]
    target = said.target or None
    if target is not None and target.startswith("rbd:"):
        kind, source = "network", rbd_source(target)
    elif target is None:
        source = None
    else:
        source = DiskSource(**{"dev" if kind == "block" else "file": target})  # type: ignore[arg-type]
    image = "raw" if said.cdrom or said.format in {None, "empty"} else said.format
    discard: Any = {None: None, True: "unmap", False: "ignore"}[said.discard]
    return Disk(
        type=kind,
        device="cdrom" if said.cdrom else "disk",
        driver=DiskDriver(name=driver, type=image, discard=discard),
        source=source,
        target=DiskTarget(dev=vdev, bus=bus_of(vdev, guest)),
        readonly=not said.writable,
        shareable=said.shared,
        backenddomain=said.domain,
    )


def rbd_source(text: str) -> DiskSource:
    """Return an image of Ceph's, as QEMU's ``rbd:POOL/IMAGE[@SNAPSHOT][:KEY=VALUE…]`` has it.

    Who asks cannot be taken over: the key is in the text, and a definition names a secret.
    """
    name, _, options = text.removeprefix("rbd:").partition(":")
    name, _, snapshot = name.partition("@")
    hosts: list[SourceHost] = []
    config = None
    for option in _OPTIONS.findall(options):
        key, _, value = option.partition("=")
        if key == "mon_host":
            hosts += [_host(host) for host in _HOSTS.split(value) if host]
        elif key == "conf":
            config = re.sub(r"\\(.)", r"\1", value)
    return DiskSource(
        protocol="rbd",
        name=name,
        hosts=tuple(hosts),
        snapshot=snapshot or None,
        config=config,
    )


def _host(text: str) -> SourceHost:
    text = re.sub(r"\\(.)", r"\1", text)
    if text.startswith("["):
        name, bracket, rest = text[1:].rpartition("]")
        if not bracket:
            name, rest = rest, ""
        return SourceHost(name=name, port=rest.removeprefix(":") or None)
    name, _, port = text.rpartition(":") if ":" in text else (text, "", "")
    return SourceHost(name=name, port=port or None)


def rbd_text(source: DiskSource, *, who: str = ":auth_supported=none") -> str:
    """Return an image of Ceph's as text.

    Args:
        source: the image.
        who: the options that say who asks.
    """
    if source.protocol != "rbd" or not source.name:
        refuse(
            "devices/disk/source",
            f"Xen's disks do not speak {source.protocol!r}",
            "use rbd, a file or a device",
        )
    if ":" in source.name.rpartition("/")[2]:
        refuse("devices/disk/source", f"the image's name {source.name!r} has a colon in it")
    hosts = []
    for host in source.hosts:
        name = host.name or ""
        # A name with a colon in it is an address of IPv6.
        name = "[" + name.replace(":", "\\:") + "]" if ":" in name else name
        hosts.append(f"{name}\\:{host.port}" if host.port else name)
    text = f"rbd:{source.name}{f'@{source.snapshot}' if source.snapshot else ''}{who}"
    if hosts:
        text += ":mon_host=" + "\\;".join(hosts)
    if source.config:
        text += ":conf=" + source.config.replace(":", "\\:")
    return text


def disk_text(disk: Disk) -> str:
    """Return a disk as text."""
    driver = disk.driver or DiskDriver()
    vdev = "" if disk.target is None else disk.target.dev or ""
    if disk.transient is not None:
        refuse("devices/disk/transient", "Xen has no disks that forget what is written")
    access = "ro" if disk.readonly else "!" if disk.shareable else "rw"
    parts = [
        f"format={driver.type if driver.type in FORMATS else 'raw'}",
        f"vdev={vdev}",
        f"access={access}",
    ]
    if driver.name is not None:
        if driver.name not in BACKENDS:
            refuse("devices/disk/driver", f"Xen has no driver {driver.name!r} for disks")
        parts.append(f"backendtype={BACKENDS[driver.name]}")
    if disk.device == "cdrom":
        parts.append("devtype=cdrom")
    if disk.backenddomain is not None:
        parts.append(f"backend={disk.backenddomain}")
    if driver.discard is not None and not disk.readonly:
        parts.append("discard" if driver.discard == "unmap" else "no-discard")
    target = _target(disk)
    # A named target takes the rest of the text, so it is last.
    return ",".join(parts if target is None else [*parts, f"target={target}"])


def _target(disk: Disk) -> str | None:
    source = disk.source
    if source is None:
        return None
    if disk.type == "network":
        return rbd_text(source)
    if disk.type in {"file", "block", "dir"}:
        return source.file or source.dev or source.dir
    refuse("devices/disk", f"Xen has no disks of type {disk.type!r}", "use a file or a device")
    return None
