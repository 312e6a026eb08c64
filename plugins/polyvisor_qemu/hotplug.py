"""Devices that come, go and change while the guest runs, and its vCPUs.

A device is described as it would be on the command line of the whole machine; of that, what
is its own is given to QEMU over the monitor, and taken back if a later part is refused.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import HypervisorError, NotFound, OperationFailed, Unsupported
from polyvisor_qemu.handing import handed
from polyvisor_qemu.nodes import backend_of, drop, node_of
from polyvisor_qemu.plugged import Plugged, with_devices
from polyvisor_qemu.qmp import QmpError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polyvisor.local import Guest
    from polyvisor.model.devices.disk import Disk
    from polyvisor_qemu.changing import ChangingQemu
    from polyvisor_qemu.cmdline import CommandLine
    from polyvisor_qemu.cmdline.words import Open
    from polyvisor_qemu.qmp import Monitor

__all__ = ["attach", "detach", "refused", "set_vcpus", "update"]

#: Seconds in which a guest lets go of a device (libvirt waits 5: qemuDomainRemoveDeviceWaitTime).
LETTING_GO = 5.0
#: Stands for the name of a new device until one is chosen.
_NEW = "ua-new"
#: QMP's commands for what stands behind options, and for taking it back.
_COMMANDS = {
    "object": ("object-add", "object-del", "id", "id"),
    "blockdev": ("blockdev-add", "blockdev-del", "node-name", "node-name"),
    "netdev": ("netdev_add", "netdev_del", "id", "id"),
    "chardev": ("chardev-add", "chardev-remove", "id", "id"),
    "device": ("device_add", "device_del", "id", "id"),
}
_WORDS = {
    "disks": "disk", "interfaces": "net", "hostdevs": "hostdev", "inputs": "input",
    "rngs": "rng", "serials": "serial", "channels": "channel", "sounds": "sound",
    "videos": "video", "redirdevs": "redir", "watchdogs": "watchdog", "memories": "dimm",
    "controllers": "controller", "shmems": "shmem", "filesystems": "fs",
}  # fmt: skip

Option = tuple[str, dict[str, Any]]


@contextmanager
def refused(guest: Guest, what: str) -> Iterator[None]:
    """Tell what QEMU refuses as an error of the whole operation, in QEMU's words."""
    try:
        yield
    except QmpError as error:
        raise HypervisorError(
            f"{what} of {guest.name!r}: {error.native_message}",
            domain=guest.name,
            native_code=error.native_code,
            native_message=error.native_message,
        ) from error


def attach(hypervisor: ChangingQemu, guest: Guest, kind: str, device: Any) -> Any:
    """Plug a device in; return it with its address and alias.

    Raises:
        Unsupported: it needs what can only be handed over when QEMU starts.
        HypervisorError: QEMU refuses.
    """
    if kind not in _WORDS:
        raise Unsupported(
            f"attach a device to {guest.name!r}: {kind} are not plugged in while the guest runs",
            feature="devices.attach",
            domain=guest.name,
        )
    plugged = Plugged(guest)
    with refused(guest, "attach a device"), hypervisor.monitor(guest) as monitor:
        options, placed, line = _described(hypervisor, guest, monitor, plugged, kind, device)
        name = _free_name(monitor, kind, device)
        renamed = [_renamed(one, name) for one in options]
        with handed(hypervisor, guest, monitor, line, renamed) as (given, taps):
            _plug(monitor, given)
    got = attrs.evolve(placed, alias=name)
    if taps:
        got = attrs.evolve(got, target=taps[0])
    plugged.add(kind, got)
    return got


def _described(
    hypervisor: ChangingQemu,
    guest: Guest,
    monitor: Monitor,
    plugged: Plugged,
    kind: str,
    device: Any,
) -> tuple[list[Option], Any, CommandLine]:
    """Return a new device's own options, the device with its address, and the whole machine's."""
    from polyvisor_qemu.cmdline import build
    from polyvisor_qemu.layout import laid_out

    new = attrs.evolve(device, alias=_NEW)
    if kind == "disks" and new.source is not None:
        new = attrs.evolve(new, source=attrs.evolve(new.source, index=_free_index(monitor)))
    there = getattr(plugged.spec.devices, kind)
    after = laid_out(with_devices(plugged.spec, kind, (*there, new)), live=True)
    if len(after.devices.controllers) > len(plugged.spec.devices.controllers):
        raise HypervisorError(
            f"attach a device to {guest.name!r}: there is no free place for it; give the domain "
            f"a further controller (pcie-root-port) to plug it into",
            domain=guest.name,
        )
    line = build(after, "qemu", hypervisor.host(), live=True)
    mine = _closure(_options(line), _NEW)
    placed = next(one for one in getattr(after.devices, kind) if one.alias == _NEW)
    return mine, placed, line


def _options(line: CommandLine) -> list[Option]:
    """Return the options that describe devices and what is behind them, in their order."""
    from polyvisor_qemu.cmdline.words import Open

    files = {}
    found: list[Option] = []
    for word, value in pairwise(line.args):
        option = word.removeprefix("-")
        if option == "add-fd":
            given = _keyval(value)
            opened = line.descriptors[int(given["fd"])]
            if isinstance(opened, Open):
                files[f"/dev/fdset/{given['set']}"] = opened
        elif option in _COMMANDS and value.startswith("{"):
            found.append((option, json.loads(value)))
        elif option == "chardev":
            found.append((option, _chardev(line, value, files)))
    return found


def _keyval(text: str) -> dict[str, str]:
    """Return the values of ``word,key=value,…``, the word under ``""``."""
    words = [word.replace("\0", ",") for word in text.replace(",,", "\0").split(",")]
    values = dict(word.partition("=")[::2] for word in words if "=" in word)
    return values if "=" in words[0] else {"": words[0], **values}


def _chardev(line: CommandLine, text: str, files: dict[str, Open]) -> dict[str, Any]:
    """Return a chardev as QMP has it; what we would open before QEMU starts, it opens itself."""
    from polyvisor_qemu.cmdline.words import Listen

    values = _keyval(text)
    kind, path = values[""], values.get("path")
    data: dict[str, Any] = {}
    if kind == "socket":
        place: dict[str, Any] | None = None
        if "fd" in values:
            listening = line.descriptors.get(int(values["fd"]))
            path = listening.path if isinstance(listening, Listen) else None
        if path is not None:
            place = {"type": "unix", "data": {"path": path}}
        elif "port" in values:
            at = {"host": values.get("host", ""), "port": values["port"]}
            place = {"type": "inet", "data": at}
        server = values.get("server") == "on"
        data = {"addr": place, "server": server, **({"wait": False} if server else {})}
    elif kind == "file" and path is not None:
        opened = files.get(path)
        data = {
            "out": path if opened is None else opened.path,
            "append": True if opened is None else opened.append,
        }
    elif path is not None:
        data = {"device": path}
    return {"id": values["id"], "backend": {"type": kind, "data": data}}


def _closure(options: list[Option], name: str) -> list[Option]:
    """Return the options of a device and of all that it names, in their order."""
    wanted = {name}
    chosen: set[int] = set()
    grown = True
    while grown:
        grown = False
        for place, (_, values) in enumerate(options):
            own = values.get("id") or values.get("node-name")
            if place in chosen or own not in wanted:
                continue
            chosen.add(place)
            grown = True
            wanted |= set(_strings({k: v for k, v in values.items() if k != "bus"}))
    # A bus, a controller and the like has been there before.
    return [
        (option, values)
        for place, (option, values) in enumerate(options)
        if place in chosen and (option != "device" or values.get("id") == name)
    ]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)


def _renamed(option: Option, name: str) -> Option:
    def changed(value: Any) -> Any:
        if isinstance(value, str):
            return re.sub(rf"^(char|host|obj|mem|drive|)?{_NEW}(?=$|[-.])", rf"\g<1>{name}", value)
        if isinstance(value, dict):
            return {key: changed(one) for key, one in value.items()}
        if isinstance(value, list):
            return [changed(one) for one in value]
        return value

    return option[0], changed(option[1])


def _plug(monitor: Monitor, options: list[Option]) -> None:
    done: list[Option] = []
    try:
        for option, values in options:
            monitor.execute_all((_COMMANDS[option][0], values))
            done.append((option, values))
    except BaseException:
        for option, values in reversed(done):
            _, undo, key, asked = _COMMANDS[option]
            with suppress(QmpError):
                monitor.execute(undo, **{asked: values[key]})
        raise


def _free_name(monitor: Monitor, kind: str, device: Any) -> str:
    taken = {one["name"] for one in monitor.execute("qom-list", path="/machine/peripheral")}
    given = device.alias
    if given is not None and given not in taken:
        return str(given)
    if kind == "disks":
        from polyvisor_qemu.naming import disk_names

        for name in disk_names(device):
            if name not in taken:
                return name
    word = _WORDS[kind]
    return next(f"{word}{n}" for n in range(1 << 16) if f"{word}{n}" not in taken)


def _free_index(monitor: Monitor) -> int:
    """Return a number that no image has yet."""
    names = [one["node-name"] for one in monitor.execute("query-named-block-nodes", flat=True)]
    numbers = [int(found[1]) for name in names if (found := re.match(r"libvirt-(\d+)-", name))]
    return max(numbers, default=0) + 1


# Out


def detach(hypervisor: ChangingQemu, guest: Guest, kind: str, device: Any) -> None:
    """Unplug a device, wait until the guest has let go of it, and put away what was behind it.

    Raises:
        OperationFailed: the guest does not let go; it may yet, and an event tells of that.
    """
    plugged = Plugged(guest)
    name = plugged.name(kind, device)
    with refused(guest, "detach a device"), hypervisor.monitor(guest) as monitor:
        nodes = _nodes_of(monitor, guest, device, name) if kind == "disks" else ()
        _let_go(monitor, guest, name)
        for node in nodes:
            drop(monitor, node)
        behind: tuple[tuple[str, dict[str, Any]], ...] = (
            ("netdev_del", {"id": f"host{name}"}),
            ("chardev-remove", {"id": f"char{name}"}),
            ("object-del", {"id": f"obj{name}"}),
            ("object-del", {"id": f"mem{name}"}),
        )
        for command, given in behind:
            with suppress(QmpError):  # most devices have none
                monitor.execute(command, **given)
    plugged.remove(kind, device)


def _nodes_of(monitor: Monitor, guest: Guest, disk: Disk, name: str) -> tuple[str, ...]:
    """Return the node of a disk's image, if it has one; the guest may have let go of the disk."""
    try:
        inserted = backend_of(monitor, guest.spec, disk, name).get("inserted")
        node = None if inserted is None else inserted["node-name"]
    except NotFound:
        path = disk.source.file or disk.source.dev if disk.source is not None else None
        node = None if path is None else node_of(monitor, path)
    return () if node is None else (str(node),)


def _let_go(monitor: Monitor, guest: Guest, name: str) -> None:
    """Ask for a device, which may have been asked for in vain before, and wait for it."""
    try:
        monitor.execute("device_del", id=name)
    except QmpError as error:
        if error.native_code == "DeviceNotFound":
            return  # The guest has let go of it since.
        if "already in the process of unplug" not in (error.native_message or ""):
            raise
    deadline = time.monotonic() + LETTING_GO
    while (left := deadline - time.monotonic()) > 0:
        event = monitor.next_event(left)
        if event is None:
            break
        told = event.get("data", {}).get("device")
        if event["event"] == "DEVICE_DELETED" and told == name:
            return
        if event["event"] == "DEVICE_UNPLUG_GUEST_ERROR" and told == name:
            raise OperationFailed(
                f"detach a device of {guest.name!r}: the guest refuses to let go of {name}",
                domain=guest.name,
            )
    raise OperationFailed(
        f"detach a device of {guest.name!r}: the guest has not let go of {name} in "
        f"{LETTING_GO:g} s; it may have no system that does",
        domain=guest.name,
    )


# Change


def update(hypervisor: ChangingQemu, guest: Guest, kind: str, old: Any, new: Any) -> Any:
    """Change the medium in a drive.

    Raises:
        Unsupported: anything else is to be changed.
    """
    same = attrs.evolve(old, source=None, type="file", driver=None, backing_store=None) if (
        kind == "disks" and old.device in ("cdrom", "floppy")
    ) else None  # fmt: skip
    if (
        same is None
        or attrs.evolve(new, source=None, type="file", driver=None, backing_store=None) != same
    ):
        raise Unsupported(
            f"update a device of {guest.name!r}: only the medium in a drive changes while the "
            f"guest runs",
            feature="devices.attach",
            domain=guest.name,
        )
    plugged = Plugged(guest)
    name = plugged.name(kind, old)
    with refused(guest, "change a medium"), hypervisor.monitor(guest) as monitor:
        nodes = _medium(hypervisor, guest, monitor, plugged, new)
        before = backend_of(monitor, guest.spec, old, name).get("inserted")
        _plug(monitor, nodes)
        try:
            if before is not None:
                _tray_open(monitor, "blockdev-remove-medium", name)
                drop(monitor, before["node-name"])
            if nodes:
                top = nodes[-1][1]["node-name"]
                _tray_open(monitor, "blockdev-insert-medium", name, node_name=top)
            monitor.execute("blockdev-close-tray", id=name)
        except QmpError:
            for _, values in reversed(nodes):
                with suppress(QmpError):
                    monitor.execute("blockdev-del", node_name=values["node-name"])
            raise
    return new


def _tray_open(monitor: Monitor, command: str, drive: str, **arguments: Any) -> None:
    """Do something to a drive with its tray open, which the guest may close at any moment.

    Firmware that starts and systems that reset the drive do; the command is then refused.
    """
    deadline = time.monotonic() + LETTING_GO
    while True:
        monitor.execute("blockdev-open-tray", id=drive, force=True)
        try:
            monitor.execute(command, id=drive, **arguments)
        except QmpError as error:
            shut = "is not open" in (error.native_message or "")
            if not shut or time.monotonic() > deadline:
                raise
        else:
            return


def _medium(
    hypervisor: ChangingQemu, guest: Guest, monitor: Monitor, plugged: Plugged, disk: Any
) -> list[Option]:
    """Return the block nodes of a new medium, the top one last."""
    if disk.source is None or (disk.source.file or disk.source.dev) is None:
        return []
    from polyvisor_qemu.cmdline import build

    target = disk.target.dev
    index = _free_index(monitor)
    disks = tuple(
        attrs.evolve(
            one,
            type=disk.type,
            driver=disk.driver,
            source=attrs.evolve(disk.source, index=index),
            backing_store=None,
            alias=_NEW,
        )
        if one.target is not None and one.target.dev == target
        else one
        for one in plugged.spec.devices.disks
    )
    line = build(with_devices(plugged.spec, "disks", disks), "qemu", hypervisor.host(), live=True)
    return [one for one in _closure(_options(line), _NEW) if one[0] == "blockdev"]


# vCPUs


def set_vcpus(hypervisor: ChangingQemu, guest: Guest, count: int) -> None:
    """Plug vCPUs in, or out with the guest's help, until it has so many.

    Raises:
        OperationFailed: the guest does not let go of one.
        HypervisorError: QEMU refuses, or has no more that can go.
    """
    with refused(guest, "set vCPUs"), hypervisor.monitor(guest) as monitor:
        slots = list(reversed(monitor.execute("query-hotpluggable-cpus")))
        on = [slot for slot in slots if "qom-path" in slot]
        off = [slot for slot in slots if "qom-path" not in slot]
        have = sum(slot["vcpus-count"] for slot in on)
        for slot in off:
            if have >= count:
                break
            place = slots.index(slot)
            monitor.execute("device_add", driver=slot["type"], id=f"vcpu{place}", **slot["props"])
            have += slot["vcpus-count"]
        for slot in reversed(on):
            if have <= count:
                break
            path = slot["qom-path"]
            if not path.startswith("/machine/peripheral/"):
                continue  # it was there from the start, and stays
            name = path.rpartition("/")[2]
            _let_go(monitor, guest, name)
            have -= slot["vcpus-count"]
        if have != count:
            raise HypervisorError(
                f"set vCPUs of {guest.name!r}: it has {have} that cannot go while it runs",
                domain=guest.name,
            )
