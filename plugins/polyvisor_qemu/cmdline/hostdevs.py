"""Devices of the host that the guest gets (qemuBuildHostdevCommandLine)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_qemu.cmdline.protocols import iscsi
from polyvisor_qemu.cmdline.words import Vhost

if TYPE_CHECKING:
    from polyvisor_qemu.cmdline.context import Context
    from polyvisor_qemu.cmdline.storage import Nodes

__all__ = ["hostdevs"]


def hostdevs(c: Context, nodes: Nodes) -> None:
    """Add devices of the host."""
    passed = sum(one.type == "hostdev" for one in c.spec.devices.interfaces)
    place = passed
    held: tuple[Any, ...] = c.spec.devices.hostdevs
    for number, one in enumerate(held):
        if one.mode == "capabilities":
            raise c.refuse(f"hostdev[{number}]", "capabilities are for containers")
        own = one.alias if one.alias is not None and one.alias.startswith("ua-") else None
        name = own or f"hostdev{place}"
        place += own is None
        maker = {"pci": _pci, "usb": _usb, "scsi": _scsi, "scsi_host": _scsi_host, "mdev": _mdev}
        if one.type not in maker or one.source is None:
            raise c.refuse(f"hostdev[{number}]", f"type {one.type!r} is not supported by QEMU")
        maker[one.type](c, number, one, name, nodes)


def _pci(c: Context, number: int, one: Any, name: str, nodes: Nodes) -> None:
    at = one.source.address
    if at is None:
        raise c.refuse(f"hostdev[{number}]/source", "has no address")
    where = f"{at.domain or 0:04x}:{at.bus or 0:02x}:{at.slot or 0:02x}.{at.function or 0:x}"
    pair = one.teaming.persistent if one.teaming is not None else None
    c.device("vfio-pci", one, name, host=where, failover_pair_id=pair)


def _usb(c: Context, number: int, one: Any, name: str, nodes: Nodes) -> None:
    source = one.source
    resets: dict[str, Any] = {
        "off": {"guest-reset": False, "guest-resets-all": False},
        "uninitialized": {"guest-reset": True, "guest-resets-all": False},
        "on": {"guest-reset": True, "guest-resets-all": True},
    }.get(source.guest_reset or "", {})
    values = {key.replace("-", "__"): value for key, value in resets.items()}
    at = source.address
    if at is not None and at.bus is not None and at.device is not None:
        path = f"/dev/bus/usb/{at.bus:03d}/{at.device:03d}"
        c.device("usb-host", one, name, hostdevice=path, **values)
    elif source.vendor_id is not None:
        c.device("usb-host", one, name, vendorid=source.vendor_id, productid=source.product_id,
                 **values)  # fmt: skip
    else:
        raise c.refuse(f"hostdev[{number}]/source", "names no device")


def _scsi(c: Context, number: int, one: Any, name: str, nodes: Nodes) -> None:
    source = one.source
    node = f"libvirt-{nodes.next()}-backend"
    if source.protocol == "iscsi":
        values = iscsi(c, node, source)
    else:
        values = {"driver": "host_device", "filename": c.host.scsi_device(source)}
    c.line.json("blockdev", {**values, "node-name": node, "read-only": bool(one.readonly)})
    at = one.address
    controller = c.names.controller("scsi", at.controller if at is not None else 0)
    model = next(
        (ctl.model for ctl in c.spec.devices.controllers
         if ctl.type == "scsi" and (ctl.index or 0) == (at.controller or 0)), None,
    )  # fmt: skip
    where: dict[str, Any] = {"bus": f"{controller}.0"}
    if model == "lsilogic":
        where["scsi-id"] = at.unit or 0
    else:
        where |= {"channel": at.bus or 0, "scsi-id": at.target or 0, "lun": at.unit or 0}
    if one.shareable:
        where["share-rw"] = True
    c.device("scsi-generic", one, name, drive=node,
             **{key.replace("-", "__"): value for key, value in where.items()})  # fmt: skip


def _scsi_host(c: Context, number: int, one: Any, name: str, nodes: Nodes) -> None:
    descriptor = c.line.descriptor(Vhost("/dev/vhost-scsi"))
    c.virtio("vhost-scsi", one, name, wwpn=one.source.wwpn, vhostfd=str(descriptor))


def _mdev(c: Context, number: int, one: Any, name: str, nodes: Nodes) -> None:
    path = f"/sys/bus/mdev/devices/{one.source.uuid}"
    display = {True: "on", False: "off"}.get(one.display)
    if one.model == "vfio-pci":
        kind = "vfio-pci-nohotplug" if one.ramfb else "vfio-pci"
        c.device(kind, one, name, sysfsdev=path, display=display, ramfb=True if one.ramfb else None)
    else:
        c.device(one.model or "vfio-ccw", one, name, sysfsdev=path)
