"""Devices that go while the guest runs, with its help, and vCPUs that come and go."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import HypervisorError, NotFound, OperationFailed
from polyvisor.states import DomainState
from polyvisor_qemu import wires
from polyvisor_qemu.hotplug import refused, take_back
from polyvisor_qemu.nodes import backend_of, drop, node_of
from polyvisor_qemu.plugged import Plugged, devices_of, with_devices
from polyvisor_qemu.qmp import QmpError

if TYPE_CHECKING:
    from polyvisor.local import Guest, Hold
    from polyvisor.model import DomainSpec
    from polyvisor.model.devices.disk import Disk
    from polyvisor_qemu.changing import ChangingQemu
    from polyvisor_qemu.qmp import Monitor

__all__ = ["departed", "detach", "let_go", "rejected", "seen", "settle_plugging"]

#: Seconds in which a guest lets go of a device (libvirt waits 5: qemuDomainRemoveDeviceWaitTime).
LETTING_GO = 5.0
# ACPI 6.4, 6.3.5 _OST: an eject request of the firmware's and of the system's own, and what
# says that it failed; 0x84 says that it goes on.
_EJECTION = (0x03, 0x103)
_FAILED = (0x01, 0x02, 0x80, 0x81, 0x82, 0x83)


def rejected(event: dict[str, Any]) -> str | None:
    """Return the device that a guest does not let go of, if an event of QEMU's says that."""
    data = event.get("data", {})
    if event.get("event") == "DEVICE_UNPLUG_GUEST_ERROR":
        return str(data.get("device", ""))
    if event.get("event") == "ACPI_DEVICE_OST":
        info = data.get("info", {})
        if info.get("source") in _EJECTION and info.get("status") in _FAILED:
            return str(info.get("device", ""))
    return None


def detach(hypervisor: ChangingQemu, guest: Guest, kind: str, device: Any) -> None:
    """Unplug a device, wait until the guest has let go of it, and put away what was behind it.

    Raises:
        OperationFailed: the guest does not let go; it may yet, and an event tells of that.
        HypervisorError: QEMU refuses: it is a part of the machine.
    """
    plugged = Plugged(guest)
    name = plugged.name(kind, device)
    with refused(guest, "detach a device"), hypervisor.monitor(guest) as monitor:
        nodes = _nodes_of(monitor, guest, device, name) if kind == "disks" else []
        let_go(monitor, guest, name, kind, nodes)
        _put_away(monitor, plugged, name, nodes)
    plugged.remove(kind, device)
    if kind == "interfaces":
        wires.release(guest.run_dir, {device.target})
    _note(guest, name, None)


def _note(guest: Guest, name: str, facts: dict[str, Any] | None) -> None:
    """Note that the guest was asked for a device; ``None``: that is over."""
    # A new value each time: what is recorded already must not change with it.
    left = {one: what for one, what in guest.runtime.get("leaving", {}).items() if one != name}
    guest.runtime["leaving"] = left if facts is None else {**left, name: facts}


def departed(hypervisor: ChangingQemu, guest: Guest) -> tuple[DomainSpec, list[tuple[str, Any]]]:
    """Put away what is left of devices that the guest has let go of after we stopped waiting.

    Returns:
        Its definition without them, and they with their names.
    """
    leaving = guest.runtime.get("leaving")
    spec = guest.spec
    gone: list[tuple[str, Any]] = []
    if not leaving:
        return spec, gone
    with refused(guest, "detach a device"), hypervisor.monitor(guest) as monitor:
        there = _there(monitor)
        for name in [one for one in leaving if one not in there]:
            plugged = Plugged(guest)
            kind, nodes = leaving[name]["kind"], leaving[name]["nodes"]
            held = devices_of(guest.spec, kind)
            device = next((one for one in held if plugged.name(kind, one) == name), None)
            _put_away(monitor, plugged, name, nodes)
            _note(guest, name, None)
            if device is not None:
                plugged.remove(kind, device)
                left = tuple(one for one in devices_of(spec, kind) if one is not device)
                spec = with_devices(spec, kind, left)
                guest.load_spec = partial(_same, spec)  # the next one's place is among the rest
                gone.append((kind, attrs.evolve(device, alias=name)))
    wires.release_strays(guest.run_dir, spec)
    return spec, gone


def _same(spec: DomainSpec) -> DomainSpec:
    return spec


def seen(monitor: Monitor) -> dict[str, list[str]]:
    """Return the names of all that may come with a device, by what it is."""
    devices, objects, chardevs, nodes = monitor.ask(
        ("qom-list", {"path": "/machine/peripheral"}),
        ("qom-list", {"path": "/objects"}),
        ("query-chardev", {}),
        ("query-named-block-nodes", {"flat": True}),
    )
    told = {
        "devices": (devices, "name"),
        "objects": (objects, "name"),
        "chardevs": (chardevs, "label"),
        "nodes": (nodes, "node-name"),
    }
    for what, (answer, _) in told.items():
        if isinstance(answer, QmpError):
            raise HypervisorError(f"QEMU does not tell its {what}: {answer.native_message}")
    return {what: [one[key] for one in answer] for what, (answer, key) in told.items()}


#: How many interfaces' other ends are looked for; QEMU does not tell which it has.
_INTERFACES = 32


def settle_plugging(hypervisor: ChangingQemu, hold: Hold) -> None:
    """Take out what a killed process had plugged in and not recorded yet.

    What the guest does not let go of now is put away once it does.
    """
    intent, guest = hold.known.intent, hold.guest
    assert intent is not None
    before, kind = intent["before"], intent["plugging"]
    if hypervisor.observe(guest, deep=True).state is DomainState.SHUTOFF:
        hold.change(intent=None)
        return
    with hypervisor.monitor(guest) as monitor:
        now = seen(monitor)
        new = {what: [one for one in now[what] if one not in before[what]] for what in now}
        stays = False
        for name in new["devices"]:
            try:
                let_go(monitor, guest, name, kind, new["nodes"])
                _note(guest, name, None)
            except (OperationFailed, QmpError):
                stays = True
        if not stays:
            ends = [f"hostnet{n}" for n in range(_INTERFACES) if f"net{n}" not in before["devices"]]
            # What stands upon another goes first: whatever the order, two rounds do.
            for _ in range(2):
                monitor.ask(
                    *[("blockdev-del", {"node-name": one}) for one in new["nodes"]],
                    *[("object-del", {"id": one}) for one in new["objects"]],
                    *[("chardev-remove", {"id": one}) for one in new["chardevs"]],
                    *[("netdev_del", {"id": one}) for one in ends if kind == "interfaces"],
                )
            wires.release_strays(guest.run_dir, guest.spec)
    hold.change(intent=None)


def _there(monitor: Monitor) -> set[str]:
    return {one["name"] for one in monitor.execute("qom-list", path="/machine/peripheral")}


def _put_away(monitor: Monitor, plugged: Plugged, name: str, nodes: list[str]) -> None:
    """Put away what stood behind a device that is gone."""
    for node in nodes:
        drop(monitor, node)
    take_back(monitor, plugged.behind(name))
    for command, asked in (
        ("netdev_del", f"host{name}"),
        ("chardev-remove", f"char{name}"),
        ("chardev-remove", f"chr-vu-{name}"),
    ):
        with suppress(QmpError):  # most devices have none
            monitor.execute(command, id=asked)
    numbers = {found[1] for one in nodes if (found := re.match(r"libvirt-(\d+)-", one))}
    own = re.compile(
        rf"(obj|objchar|char|mem|tc-mem|shmmem-)?{re.escape(name)}([-_].*)?"
        rf"|(obj)?libvirt-({'|'.join(numbers) or 'none'})-.*"
    )
    for one in monitor.execute("qom-list", path="/objects"):
        if own.fullmatch(one["name"]):
            with suppress(QmpError):
                monitor.execute("object-del", id=one["name"])


def _nodes_of(monitor: Monitor, guest: Guest, disk: Disk, name: str) -> list[str]:
    """Return the node of a disk's image, if it has one; the guest may have let go of the disk."""
    known = guest.runtime.get("leaving", {}).get(name)
    if known is not None:
        return list(known["nodes"])
    try:
        inserted = backend_of(monitor, guest.spec, disk, name).get("inserted")
        node = None if inserted is None else inserted["node-name"]
    except NotFound:
        path = disk.source.file or disk.source.dev if disk.source is not None else None
        node = None if path is None else node_of(monitor, path)
    return [] if node is None else [str(node)]


def let_go(
    monitor: Monitor,
    guest: Guest,
    name: str,
    kind: str | None = None,
    nodes: list[str] | None = None,
) -> None:
    """Ask for a device, which may have been asked for in vain before, and wait for it."""
    try:
        monitor.execute("device_del", id=name)
    except QmpError as error:
        if error.native_code == "DeviceNotFound":
            return  # The guest has let go of it since.
        if "already in the process of unplug" not in (error.native_message or ""):
            raise
    if kind is not None:
        _note(guest, name, {"kind": kind, "nodes": nodes})
    deadline = time.monotonic() + LETTING_GO
    while (left := deadline - time.monotonic()) > 0:
        event = monitor.next_event(left)
        if event is None:
            break
        if event["event"] == "DEVICE_DELETED" and event["data"].get("device") == name:
            return
        if rejected(event) == name:
            _note(guest, name, None)
            raise OperationFailed(
                f"detach a device of {guest.name!r}: the guest refuses to let go of {name}",
                domain=guest.name,
            )
    raise OperationFailed(
        f"detach a device of {guest.name!r}: the guest has not let go of {name} in "
        f"{LETTING_GO:g} s; it may have no system that does",
        domain=guest.name,
    )
