"""Disks: bus, address and order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.model._disk_places import PLACES, disk_bus, disk_index
from polyvisor.model.devices.address import DriveAddress
from polyvisor.model.normal.change import changed, defaults, each

if TYPE_CHECKING:
    from polyvisor.model.devices.disk import Disk
    from polyvisor.model.devices.disk_source import DiskSource
    from polyvisor.model.domain import DomainSpec

__all__ = ["disks", "lun_name"]


def disks(spec: DomainSpec) -> DomainSpec:
    """Make buses and addresses of disks explicit, and put them in order."""
    known = each(spec.devices.disks, _disk)
    return changed(spec, devices=changed(spec.devices, disks=_ordered(known)))


def _disk(disk: Disk) -> Disk:
    source = _source(disk.source) if disk.source is not None else None
    kind = disk.type
    if kind in {"network", "volume"} and _empty(source):
        # virDomainDiskDefParseSourceXML: a drive without a medium is one for files.
        kind, source = "file", None
    snapshot = disk.snapshot or ("no" if kind == "vhostuser" else None)
    disk = changed(disk, type=kind, source=source, snapshot=snapshot)
    target = disk.target
    if target is None:
        return disk
    bus = disk_bus(disk)
    address = disk.address
    if address is None and bus in PLACES and (index := disk_index(target.dev)) >= 0:
        on_controller, on_bus = PLACES[bus]
        address = DriveAddress(
            controller=index // on_controller,
            bus=index % on_controller // on_bus,
            target=0,
            unit=index % on_bus,
        )
    elif isinstance(address, DriveAddress):
        address = changed(
            address,
            controller=address.controller or 0,
            bus=address.bus or 0,
            target=address.target or 0,
            unit=address.unit or 0,
        )
    return changed(
        disk,
        target=changed(target, bus=bus),
        readonly=disk.readonly or disk.device == "cdrom",
        address=address,
    )


def _empty(source: DiskSource | None) -> bool:
    return source is None or (source.protocol is None and source.pool is None)


#: Ports of servers that say none (virStorageSourceNetworkDefaultPort).
PORTS = {"http": 80, "https": 443, "ftp": 21, "ftps": 990, "tftp": 69, "sheepdog": 7000} | {
    "nbd": 10809, "ssh": 22, "iscsi": 3260, "gluster": 24007, "vxhs": 9999
}  # fmt: skip


def _source(source: DiskSource) -> DiskSource:
    port = PORTS.get(source.protocol or "")
    if port is not None:
        hosts = each(
            source.hosts,
            lambda host: (
                host if host.transport not in {None, "tcp"} else defaults(host, port=str(port))
            ),
        )
        source = changed(source, hosts=hosts)
    if source.protocol == "iscsi":
        return changed(source, name=lun_name(source.name))
    return source


def lun_name(name: str | None) -> str | None:
    """Return an iSCSI target with its unit: the first when none is named."""
    return f"{name}/0" if name is not None and "/" not in name else name


def _ordered(disks: tuple[Disk, ...]) -> tuple[Disk, ...]:
    """Return disks in libvirt's order: by name where they share a bus (virDomainDiskInsert)."""
    result: list[Disk] = []
    for disk in disks:
        place = None
        bus = disk.target.bus if disk.target is not None else None
        index = disk_index(disk.target.dev if disk.target is not None else None)
        for number in range(len(result) - 1, -1, -1):
            other = result[number].target
            if other is None or other.bus != bus:
                continue
            if disk_index(other.dev) > index:
                place = number
            elif place is None:
                place = number + 1
        result.insert(len(result) if place is None else place, disk)
    return tuple(result) if tuple(result) != disks else disks
