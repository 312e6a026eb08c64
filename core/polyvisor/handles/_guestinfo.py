"""What a guest's agent knows of its guest, under the names of ``virsh guestinfo``.

The names are libvirt's (``virDomainGetGuestInfo``), the answers QEMU's guest agent's
(``qga/qapi-schema.json``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polyvisor.handles._agent import DomainAgent
    from polyvisor.model.devices.disk import Disk

__all__ = ["KINDS", "disk_target"]

_OS_NAMES = (
    "id", "name", "pretty-name", "version", "version-id", "machine", "variant", "variant-id",
    "kernel-release", "kernel-version",
)  # fmt: skip

_Facts = Iterator[tuple[str, Any]]


def disk_target(disks: Sequence[Disk], place: dict[str, Any]) -> str | None:
    """Return the target of the disk that the agent speaks of, found by its address."""
    pci = place.get("pci-controller", {})
    for disk in disks:
        address = disk.address
        if address is None or disk.target is None:
            continue
        if address.type == "pci":
            there = (address.domain or 0, address.bus, address.slot, address.function or 0)
            told = (pci.get(name) for name in ("domain", "bus", "slot", "function"))
            if there == tuple(told):
                return disk.target.dev
        elif address.type == "drive":
            place_there = (address.bus or 0, address.target or 0, address.unit or 0)
            if place.get("bus-type") == disk.target.bus and place_there == tuple(
                place.get(name) for name in ("bus", "target", "unit")
            ):
                return disk.target.dev
    return None


def _users(agent: DomainAgent, disks: Sequence[Disk]) -> _Facts:
    found = agent.users()
    yield "user.count", len(found)
    for number, one in enumerate(found):
        yield f"user.{number}.name", one["user"]
        yield f"user.{number}.domain", one.get("domain")
        yield f"user.{number}.login-time", int(one["login-time"] * 1000)


def _os(agent: DomainAgent, disks: Sequence[Disk]) -> _Facts:
    found = agent.os_info()
    for name in _OS_NAMES:
        yield f"os.{name}", found.get(name)


def _timezone(agent: DomainAgent, disks: Sequence[Disk]) -> _Facts:
    found = agent.ask("guest-get-timezone")
    yield "timezone.name", found.get("zone")
    yield "timezone.offset", found["offset"]


def _hostname(agent: DomainAgent, disks: Sequence[Disk]) -> _Facts:
    yield "hostname", agent.hostname()


def _filesystems(agent: DomainAgent, disks: Sequence[Disk]) -> _Facts:
    found = agent.filesystems()
    yield "fs.count", len(found)
    for number, one in enumerate(found):
        here = f"fs.{number}"
        yield f"{here}.name", one["name"]
        yield f"{here}.mountpoint", one["mountpoint"]
        yield f"{here}.fstype", one["type"]
        yield f"{here}.total-bytes", one.get("total-bytes")
        yield f"{here}.used-bytes", one.get("used-bytes")
        places = one.get("disk", ())
        yield f"{here}.disk.count", len(places)
        for index, place in enumerate(places):
            yield f"{here}.disk.{index}.alias", disk_target(disks, place)
            yield f"{here}.disk.{index}.serial", place.get("serial")
            yield f"{here}.disk.{index}.device", place.get("dev")


def _guest_disks(agent: DomainAgent, disks: Sequence[Disk]) -> _Facts:
    found = agent.ask("guest-get-disks")
    yield "disk.count", len(found)
    for number, one in enumerate(found):
        here, address = f"disk.{number}", one.get("address")
        yield f"{here}.name", one["name"]
        yield f"{here}.partition", bool(one["partition"])
        needs = one.get("dependencies", ())
        if needs:
            yield f"{here}.dependency.count", len(needs)
        for index, name in enumerate(needs):
            yield f"{here}.dependency.{index}.name", name
        if address is not None:
            yield f"{here}.serial", address.get("serial")
            yield f"{here}.alias", disk_target(disks, address)
            yield f"{here}.guest_bus", address.get("bus-type")
        yield f"{here}.guest_alias", one.get("alias")


def _interfaces(agent: DomainAgent, disks: Sequence[Disk]) -> _Facts:
    found = agent.interfaces()
    yield "if.count", len(found)
    for number, one in enumerate(found):
        here, addresses = f"if.{number}", one.get("ip-addresses", ())
        yield f"{here}.name", one["name"]
        yield f"{here}.hwaddr", one.get("hardware-address")
        yield f"{here}.addr.count", len(addresses)
        for index, each in enumerate(addresses):
            yield f"{here}.addr.{index}.type", each.get("ip-address-type")
            yield f"{here}.addr.{index}.addr", each["ip-address"]
            yield f"{here}.addr.{index}.prefix", each["prefix"]


#: What tells each kind of fact, in libvirt's order (``virDomainGuestInfoTypes``).
KINDS: dict[str, Callable[[DomainAgent, Sequence[Disk]], _Facts]] = {
    "user": _users,
    "os": _os,
    "timezone": _timezone,
    "hostname": _hostname,
    "filesystem": _filesystems,
    "disk": _guest_disks,
    "interface": _interfaces,
}
