"""Disks by themselves and beside each other (virDomainDiskDefValidate, domain_validate.c)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from polyvisor.model._disk_places import disk_bus
from polyvisor.model.check._rule import Problem, Severity, at, once, rule, rules_of

if TYPE_CHECKING:
    from polyvisor.model.devices.disk import BackingStore, Disk
    from polyvisor.model.domain import DomainSpec

__all__ = ["RULES"]

#: The names under which a guest knows its disks.
PREFIXES = ("hd", "sd", "vd", "xvd", "ubd")
#: Buses whose disks sit on a controller's drive address.
DRIVES = ("ide", "fdc", "scsi", "sata")
VIRTIO_MODELS = ("virtio", "virtio-transitional", "virtio-non-transitional")
_wwn = re.compile(r"(?:0x)?[0-9a-fA-F]{16}", re.ASCII).fullmatch


@once
def _each(spec: DomainSpec) -> Iterator[tuple[str, Disk, str, str | None]]:
    """Yield path, disk, name in the guest and bus."""
    disks = spec.devices.disks
    for number, disk in enumerate(disks):
        target = disk.target
        name = target.dev if target is not None else None
        if name is not None:
            name = name.removeprefix("ioemu:")
            yield at("disk", number, disks), disk, name, disk_bus(disk)


@rule("disk-target-missing", "Every disk has a target.")
def _target_missing(spec: DomainSpec) -> Iterator[Problem]:
    for number, disk in enumerate(spec.devices.disks):
        if disk.target is None or disk.target.dev is None:
            where = at("disk", number, spec.devices.disks)
            yield Problem(where, "the disk has no target", "add <target dev='vda' bus='virtio'/>")


@rule("disk-target-twice", "No two disks have the same target.")
def _target_twice(spec: DomainSpec) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for where, _disk, name, _bus in _each(spec):
        if name in seen:
            yield Problem(
                f"{where}/target",
                f"the target {name!r} is that of {seen[name]} already",
                "give each disk a name of its own",
            )
        seen.setdefault(name, where)


@rule("disk-target-name", "A disk's target is a name of its kind: vda, sda, fda …")
def _target_name(spec: DomainSpec) -> Iterator[Problem]:
    for where, disk, name, _bus in _each(spec):
        allowed = PREFIXES if disk.device in {"disk", "lun"} else ("fd",)
        if disk.device != "cdrom" and not name.startswith(allowed):
            yield Problem(
                f"{where}/target",
                f"{name!r} is no name for a {'floppy' if allowed == ('fd',) else 'disk'}",
                f"begin it with {', '.join(allowed)}",
            )


@rule("disk-bus", "A floppy is on the bus fdc, and nothing else is.")
def _floppy_bus(spec: DomainSpec) -> Iterator[Problem]:
    for where, disk, _name, bus in _each(spec):
        if (disk.device == "floppy") is not (bus == "fdc"):
            yield Problem(
                f"{where}/target",
                f"a {disk.device} cannot be on the bus {bus!r}",
                "use bus='fdc'" if disk.device == "floppy" else "use another bus, such as virtio",
            )


@rule("disk-address", "A disk's address is of the kind that its bus has.")
def _address_kind(spec: DomainSpec) -> Iterator[Problem]:
    for where, disk, name, bus in _each(spec):
        kind = disk.address.type if disk.address is not None else None
        if bus in DRIVES and kind not in {None, "drive", "unassigned"}:
            yield Problem(
                f"{where}/address",
                f"the disk {name!r} on the bus {bus!r} cannot have a {kind} address",
                "use type='drive', or leave it out",
            )


@rule("disk-source-missing", "Only drives for removable media may be without a source.")
def _source_missing(spec: DomainSpec) -> Iterator[Problem]:
    for where, disk, name, _bus in _each(spec):
        if disk.device == "disk" and _is_empty(disk):
            yield Problem(
                where, f"the disk {name!r} has no source", "add <source>, or make it a cdrom"
            )


def _is_empty(disk: Disk) -> bool:
    source = disk.source
    if source is None:
        return disk.type not in {"nvme", "vhostuser"}
    if disk.type == "network":
        return source.protocol is None
    if disk.type == "volume":
        return source.pool is None
    path = {"file": source.file, "block": source.dev, "dir": source.dir}.get(disk.type, "")
    return path is None


@rule("disk-lun", "A lun is a block device or iSCSI, raw, and only it has what belongs to one.")
def _lun(spec: DomainSpec) -> Iterator[Problem]:
    for where, disk, _name, _bus in _each(spec):
        source = disk.source
        if disk.device != "lun":
            for given, what in (
                (disk.rawio, "rawio"),
                (disk.sgio, "sgio"),
                (source and source.reservations, "<reservations>"),
            ):
                if given is not None and given is not False:
                    yield Problem(where, f"{what} is for device='lun' alone", f"remove {what}")
            continue
        if disk.type == "network":
            if source is not None and source.protocol not in {None, "iscsi"}:
                fault = f"a lun cannot come through {source.protocol}"
                yield Problem(f"{where}/source", fault, "use iscsi, or device='disk'")
        elif disk.type not in {"block", "volume"}:
            yield Problem(
                where,
                f"a lun cannot be of type {disk.type!r}",
                "use a block device or device='disk'",
            )
        if disk.driver is not None and disk.driver.type not in {None, "raw"}:
            fault = f"a lun cannot have the format {disk.driver.type!r}"
            yield Problem(f"{where}/driver", fault, "use type='raw'")
        if source is not None and source.slices is not None:
            yield Problem(f"{where}/source/slices", "a lun cannot be a slice", "remove it")


@rule("disk-iotune", "A limit is for reads and writes together or for each, not both.")
def _iotune(spec: DomainSpec) -> Iterator[Problem]:
    for where, disk, _name, _bus in _each(spec):
        tune = disk.iotune
        for what in ("bytes_sec", "iops_sec", "bytes_sec_max", "iops_sec_max") if tune else ():
            if getattr(tune, f"total_{what}") and (
                getattr(tune, f"read_{what}") or getattr(tune, f"write_{what}")
            ):
                yield Problem(
                    f"{where}/iotune",
                    f"total_{what} stands beside read_{what} or write_{what}",
                    "keep the total or the parts",
                )


@rule("disk-virtio-option", "What only virtio disks have is set for no other.")
def _virtio_options(spec: DomainSpec) -> Iterator[Problem]:
    for where, disk, _name, bus in _each(spec):
        if bus == "virtio":
            continue
        if disk.model in VIRTIO_MODELS:
            fault = f"the model {disk.model!r} is for the bus virtio, this disk is on {bus}"
            yield Problem(where, fault, "remove it, or use bus='virtio'")
        driver = disk.driver
        names = ("queues", "event_idx", "ioeventfd", "iommu", "ats", "packed", "page_per_vq")
        for name in names if driver is not None else ():
            # Zero queues are none.
            if getattr(driver, name) not in (None, 0) or (
                name != "queues" and getattr(driver, name) is False
            ):
                fault = f"{name} is for virtio disks, this one is on the bus {bus}"
                yield Problem(f"{where}/driver", fault, "remove it, or use bus='virtio'")


#: What a disk served by another process cannot have, beside the virtio bus.
_NOT_VHOSTUSER = (
    "iotune", "readonly", "shareable", "transient", "serial", "wwn", "vendor", "product",
    "geometry", "blockio", "auth", "encryption", "backing_store",
)  # fmt: skip
_NOT_VHOSTUSER_DRIVER = (
    "error_policy", "rerror_policy", "io", "ioeventfd", "copy_on_read", "discard", "iothread",
    "detect_zeroes", "metadata_cache",
)  # fmt: skip


@rule("disk-vhostuser", "A disk served by another process leaves to it what is its own.")
def _vhostuser(spec: DomainSpec) -> Iterator[Problem]:
    for where, disk, _name, bus in _each(spec):
        if disk.type != "vhostuser":
            continue
        if bus != "virtio":
            yield Problem(f"{where}/target", "a vhostuser disk is on the bus virtio", "use that")
        if disk.snapshot not in {None, "no"}:
            yield Problem(where, f"snapshot={disk.snapshot!r} is not possible", "use 'no'")
        given = [name for name in _NOT_VHOSTUSER if getattr(disk, name)]
        if disk.driver is not None:
            given += [name for name in _NOT_VHOSTUSER_DRIVER if getattr(disk.driver, name)]
            if disk.driver.cache not in {None, "default"}:
                given.append("cache")
        for name in given:
            yield Problem(where, f"{name} is not for vhostuser disks", "remove it")


@rule("disk-nvme-namespace", "Namespaces of an NVMe disk count from 1.")
def _nvme(spec: DomainSpec) -> Iterator[Problem]:
    for where, disk, _name, _bus in _each(spec):
        if disk.type == "nvme" and disk.source is not None and disk.source.namespace == 0:
            yield Problem(f"{where}/source", "the namespace is 0", "use 1 or more")


@rule("disk-tray", "Only drives for removable media have a tray, and only USB disks are removable.")
def _tray(spec: DomainSpec) -> Iterator[Problem]:
    for where, disk, name, bus in _each(spec):
        target = disk.target
        assert target is not None
        if target.tray == "open" and disk.device not in {"cdrom", "floppy"}:
            yield Problem(f"{where}/target", f"the disk {name!r} has no tray", "remove tray")
        if target.removable is not None and bus != "usb":
            yield Problem(f"{where}/target", "removable is for USB disks", "remove it")


@rule("disk-vendor", "Vendor and product are printable, of 8 and 16 characters at most.")
def _vendor(spec: DomainSpec) -> Iterator[Problem]:
    for where, disk, _name, _bus in _each(spec):
        for what, most in (("vendor", 8), ("product", 16)):
            word = getattr(disk, what)
            if word is not None and not (
                len(word) <= most and word.isascii() and word.isprintable()
            ):
                fault = f"{word!r} is no {what}"
                yield Problem(f"{where}/{what}", fault, f"use at most {most} ASCII characters")


@rule("disk-wwn", "A world wide name has 16 hexadecimal digits.")
def _world_wide_name(spec: DomainSpec) -> Iterator[Problem]:
    for where, disk, _name, _bus in _each(spec):
        if disk.wwn is not None and not _wwn(disk.wwn):
            yield Problem(f"{where}/wwn", f"{disk.wwn!r} is no WWN", "use 16 hexadecimal digits")


@rule(
    "disk-startup-policy", "A startup policy is for local files and volumes, requisite for media."
)
def _startup_policy(spec: DomainSpec) -> Iterator[Problem]:
    for where, disk, _name, _bus in _each(spec):
        policy = disk.source.startup_policy if disk.source is not None else None
        if policy is None or policy == "mandatory":
            continue
        if disk.type not in {"file", "block", "dir", "volume"}:
            fault = f"startupPolicy={policy!r} is not possible for a {disk.type} disk"
            yield Problem(f"{where}/source", fault, "remove it")
        elif policy == "requisite" and disk.device not in {"cdrom", "floppy"}:
            fault = "startupPolicy='requisite' is for cdroms and floppies"
            yield Problem(f"{where}/source", fault, "use 'optional' or 'mandatory'")


#: Protocols that ask who one is.
_ASKING = ("iscsi", "http", "https", "ftp", "ftps", "ssh", "rbd")
#: The usage of secrets that a protocol needs (virDomainDiskDefValidateSourceChainOne).
_SECRETS = {"iscsi": "iscsi", "rbd": "ceph"}
_USAGES = ("none", "volume", "ceph", "iscsi", "tls", "vtpm")


@rule("disk-auth", "Who is asked for a name is so by a protocol that asks, once, with its secret.")
def _auth(spec: DomainSpec) -> Iterator[Problem]:
    for where, disk, _name, _bus in _each(spec):
        source = disk.source
        if source is None:
            continue
        for tag in ("auth", "encryption"):
            if getattr(disk, tag) is not None and getattr(source, tag) is not None:
                fault = f"there is an <{tag}> under <disk> and one under <source>"
                yield Problem(f"{where}/{tag}", fault, "keep the one under <source>")
        auth = source.auth or disk.auth
        place = f"{where}/source/auth" if source.auth is not None else f"{where}/auth"
        if auth is None or disk.type != "network":
            continue
        if source.protocol not in _ASKING:
            yield Problem(place, f"{source.protocol} asks for no name", "remove <auth>")
            continue
        usage = auth.secret.type if auth.secret is not None else None
        needed = _SECRETS.get(source.protocol or "")
        if usage not in _USAGES:
            fault = f"{usage!r} is no type of secret" if usage else "the secret has no type"
            yield Problem(f"{place}/secret", fault, f"use {needed!r}" if needed else "add it")
        elif needed is not None and usage != needed:
            fault = f"a secret of type {usage!r} does not open {source.protocol}"
            yield Problem(f"{place}/secret", fault, f"use {needed!r}")


@rule("disk-source-part", "Parts of a source stand with the kinds of source that have them.")
def _source_parts(spec: DomainSpec) -> Iterator[Problem]:
    for where, disk, _name, _bus in _each(spec):
        images: list[tuple[str, Any]] = [(where, disk), *_chain(disk, where)]
        for place, image in images:
            source = image.source
            encryption = source.encryption if source is not None else None
            if encryption is None:
                encryption = getattr(image, "encryption", None)
            if encryption is not None and encryption.format == "luks" and encryption.cipher:
                fault = "the cipher is known from the image"
                yield Problem(f"{place}/source/encryption", fault, "remove <cipher>")
            if source is not None and image.type not in {"network", "volume"}:
                for tag in ("snapshot", "config"):
                    if getattr(source, tag) is not None:
                        fault = f"<{tag}> is for rbd disks"
                        yield Problem(f"{place}/source/{tag}", fault, "remove it")


@rule("backing-chain", "Every image of a chain says where it is.")
def _backing_chain(spec: DomainSpec) -> Iterator[Problem]:
    for where, disk, _name, _bus in _each(spec):
        for place, image in _chain(disk, where):
            if image.type is not None and image.source is None:
                yield Problem(place, f"the {image.type} below has no source", "add <source>")


@rule("backing-loop", "No image of a chain stands under itself.", severity=Severity.WARNING)
def _backing_loop(spec: DomainSpec) -> Iterator[Problem]:
    for where, disk, _name, _bus in _each(spec):
        if disk.backing_store is None:
            continue
        seen = {disk.source.file} if disk.source is not None else set()
        for place, image in _chain(disk, where):
            path = image.source.file if image.source is not None else None
            if path is not None and path in seen:
                yield Problem(f"{place}/source", f"{path!r} stands under itself", "end the chain")
            seen.add(path)


def _chain(disk: Disk, where: str) -> Iterator[tuple[str, BackingStore]]:
    """Yield the images below a disk's own, with their paths."""
    place, here = where, disk.backing_store
    while here is not None:
        place += "/backingStore"
        yield place, here
        here = here.backing_store


RULES = rules_of(vars())
