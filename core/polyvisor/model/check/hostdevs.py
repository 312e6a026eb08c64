"""Devices of the host that the guest gets (virDomainHostdevDefValidate, domain_validate.c)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from polyvisor.model.check._rule import Problem, at, rule, rules_of

if TYPE_CHECKING:
    from polyvisor.model.devices.disk import Disk
    from polyvisor.model.devices.hostdev import Hostdev
    from polyvisor.model.domain import DomainSpec

__all__ = ["RULES"]

#: Kinds of address by type of device; what is not here may have any.
_ADDRESSES = {
    "pci": ("pci", "unassigned"),
    "scsi": ("drive",),
    "scsi_host": ("pci", "ccw"),
    "usb": ("usb",),
}
#: The same by model of a mediated device (virDomainHostdevDefPostParse, domain_postparse.c).
_MEDIATED = {"vfio-pci": "pci", "vfio-ccw": "ccw"}


def _identity(hostdev: Any) -> Any:
    """Return what names the host's device, or ``None`` where it is not said in full."""
    source = hostdev.source
    if source is None:
        return None
    kind, address = hostdev.type, getattr(source, "address", None)
    if kind == "pci" and address is not None:
        return tuple(getattr(address, name) or 0 for name in ("domain", "bus", "slot", "function"))
    if kind == "usb":
        place = None if address is None else (address.bus, address.device, address.port)
        vendor = (source.vendor_id, source.product_id)
        return None if place is None and None in vendor else (place, vendor)
    if kind == "scsi":
        if source.protocol == "iscsi":
            return ("iscsi", source.name, tuple(source.hosts)) if source.name else None
        name = source.adapter.name if source.adapter is not None else None
        return None if address is None else (name, address.bus, address.target, address.unit)
    if kind == "scsi_host":
        return source.wwpn
    if kind == "mdev":
        return source.uuid
    return None


@rule("hostdev-twice", "A device of the host is given once.")
def _twice(spec: DomainSpec) -> Iterator[Problem]:
    seen: dict[Any, str] = {}
    hostdevs = spec.devices.hostdevs
    for number, hostdev in enumerate(hostdevs):
        identity = _identity(hostdev)
        if identity is None:
            continue
        where, key = at("hostdev", number, hostdevs), (hostdev.type, identity)
        if key in seen:
            yield Problem(where, f"it is the device of {seen[key]}", "give each once")
        seen.setdefault(key, where)


@rule("hostdev-address", "A device of the host sits where its kind sits.")
def _address(spec: DomainSpec) -> Iterator[Problem]:
    hostdevs = spec.devices.hostdevs
    for number, hostdev in enumerate(hostdevs):
        if hostdev.address is None or hostdev.mode == "capabilities":
            continue
        allowed = _ADDRESSES.get(hostdev.type, ())
        if hostdev.type == "mdev" and hostdev.model in _MEDIATED:
            allowed = (_MEDIATED[hostdev.model],)
        kind = hostdev.address.type
        if allowed and kind not in allowed:
            where = f"{at('hostdev', number, hostdevs)}/address"
            fault = f"a {kind} address is none of a {hostdev.type} device"
            yield Problem(where, fault, f"use type={allowed[0]!r}")


@rule("hostdev-source", "A mediated device has its UUID.")
def _mediated(spec: DomainSpec) -> Iterator[Problem]:
    hostdevs = spec.devices.hostdevs
    for number, hostdev in enumerate(hostdevs):
        source = getattr(hostdev, "source", None)
        if hostdev.type == "mdev" and (source is None or not source.uuid):
            where = f"{at('hostdev', number, hostdevs)}/source"
            yield Problem(where, "the UUID is missing", "add <address uuid='…'/>")


@rule("hostdev-ramfb", "One mediated device has a ramfb, at most.")
def _ramfb(spec: DomainSpec) -> Iterator[Problem]:
    seen = False
    hostdevs = spec.devices.hostdevs
    for number, hostdev in enumerate(hostdevs):
        if hostdev.type == "mdev" and hostdev.ramfb:
            if seen:
                where = at("hostdev", number, hostdevs)
                yield Problem(where, "there is a second ramfb", "keep one")
            seen = True


@rule("hostdev-sgio", "Commands to SCSI devices are filtered.")
def _sgio(spec: DomainSpec) -> Iterator[Problem]:
    kinds: tuple[tuple[str, Sequence[Disk | Hostdev]], ...] = (
        ("disk", spec.devices.disks),
        ("hostdev", spec.devices.hostdevs),
    )
    for tag, held in kinds:
        for number, device in enumerate(held):
            if device.sgio == "unfiltered":
                where = at(tag, number, held)
                yield Problem(where, "unfiltered commands are no longer possible", "remove sgio")


RULES = rules_of(vars())
