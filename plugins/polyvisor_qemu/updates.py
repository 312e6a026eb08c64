"""What changes in devices while the guest runs: media, links, passwords, sizes, actions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import attrs

from polyvisor.errors import HypervisorError, Unsupported
from polyvisor_qemu.hotplug import closure, free_index, options_of, plug, refused, take_back
from polyvisor_qemu.nodes import backend_of, drop
from polyvisor_qemu.plugged import Plugged, with_devices
from polyvisor_qemu.qmp import QmpError

if TYPE_CHECKING:
    from polyvisor.local import Guest
    from polyvisor_qemu.changing import ChangingQemu
    from polyvisor_qemu.hotplug import Described, Option
    from polyvisor_qemu.qmp import Monitor

__all__ = ["update"]

#: Seconds in which a drive's tray is opened again that the guest closes.
_OPENING = 5.0
#: What of each kind can change, by its field; of drives the medium, with what describes it.
_CHANGING = {
    "interfaces": ("link", "bandwidth"),
    "graphics": ("passwd", "passwd_valid_to", "connected"),
    "memories": ("target",),
    "memballoon": ("stats_period",),
    "watchdogs": ("action",),
}
_MEDIUM = ("source", "type", "driver", "backing_store")
_PLACE = ("address", "alias", "acpi_index")


def update(hypervisor: ChangingQemu, guest: Guest, kind: str, old: Any, new: Any) -> Any:
    """Change what can change in a device, and return it as it is then.

    Raises:
        Unsupported: something else is to be changed; says what.
        HypervisorError: QEMU refuses.
    """
    if kind == "graphics" and old.autoport and new.autoport:
        # Where it is served has been chosen, whatever the new one says.
        new = attrs.evolve(
            new, port=old.port, tls_port=old.tls_port, websocket=old.websocket, listens=old.listens
        )
    if kind == "interfaces":
        # So has what it is called on the host.
        new = attrs.evolve(new, target=new.target or old.target)
    drive = kind == "disks" and old.device in ("cdrom", "floppy")
    may = _MEDIUM if drive else _CHANGING.get(kind, ())
    if kind == "interfaces" and old.virtualport and old.virtualport.type == "openvswitch":
        may = (*may, "vlan")
    others = [
        field.name
        for field in attrs.fields(type(old))
        if field.name not in (*may, *_PLACE)
        and getattr(old, field.name) != getattr(new, field.name)
    ]
    if others or not may:
        what = " and ".join(one.replace("_", " ") for one in others) or "nothing"
        can = f"only {' and '.join(may)} can" if may else "such a device stays as it is"
        raise Unsupported(
            f"update a device of {guest.name!r}: the {what} of its {_one(kind)} does "
            f"not change while the guest runs; {can}",
            feature="devices.attach",
            domain=guest.name,
        )
    plugged = Plugged(guest)
    with refused(guest, "update a device"), hypervisor.monitor(guest) as monitor:
        if drive:
            _medium_changed(hypervisor, guest, monitor, plugged, old, new)
        elif kind == "interfaces":
            _rewired(hypervisor, guest, old, new)
            up = new.link != "down"
            monitor.execute("set_link", name=plugged.name(kind, old), up=up)
        elif kind == "graphics":
            _password(hypervisor, guest, monitor, new)
        elif kind == "memories":
            from polyvisor_qemu.modules import resized

            return resized(guest, monitor, plugged, old, new)
        elif kind == "memballoon":
            from polyvisor_qemu.cmdline.others import polling

            given = polling(old.alias or "balloon0", new.stats_period or 0)
            monitor.execute_all(("qom-set", given))
        else:
            from polyvisor_qemu.cmdline.others import ACTIONS

            action = new.action or "reset"
            monitor.execute("watchdog-set-action", action=ACTIONS.get(action, action))
    return new


def _rewired(hypervisor: ChangingQemu, guest: Guest, old: Any, new: Any) -> None:
    """Change what an interface is plugged into on the host."""
    what = f"update a device of {guest.name!r}"
    timeout = hypervisor.settings.get("ovs_timeout", 5)
    if new.bandwidth != old.bandwidth:
        from polyvisor_qemu.shaping import reshape

        reshape(guest, old, new.bandwidth, what, timeout)
    if new.vlan != old.vlan:
        from polyvisor_qemu.cmdline.switches import change_vlan

        try:
            change_vlan(old.target, new.vlan, timeout)
        except OSError as error:
            raise HypervisorError(f"{what}: Open vSwitch: {error.strerror}") from error


def _one(kind: str) -> str:
    return kind if kind == "graphics" else kind.removesuffix("s")


def _password(hypervisor: ChangingQemu, guest: Guest, monitor: Monitor, screen: Any) -> None:
    """Give a screen its password anew, and say until when it holds."""
    from polyvisor_qemu.cmdline import build

    held = tuple(screen if one.type == screen.type else one for one in guest.spec.devices.graphics)
    line = build(with_devices(guest.spec, "graphics", held), "qemu", hypervisor.host(), live=True)
    given = [
        (command, arguments)
        for command, arguments in line.commands
        if arguments.get("protocol") == screen.type
    ]
    if not any(command == "set_password" for command, _ in given):
        raise HypervisorError(
            f"update a device of {guest.name!r}: its {screen.type} has no password to change; "
            f"give passwd, and start the guest with one",
            domain=guest.name,
        )
    if not any(command == "expire_password" for command, _ in given):
        given.append(("expire_password", {"protocol": screen.type, "time": "never"}))
    for command, arguments in given:
        monitor.execute(command, **arguments)


# Media


def _medium_changed(
    hypervisor: ChangingQemu, guest: Guest, monitor: Monitor, plugged: Plugged, old: Any, new: Any
) -> None:
    name = plugged.name("disks", old)
    described, nodes = _medium(hypervisor, monitor, plugged, new)
    before = backend_of(monitor, guest.spec, old, name).get("inserted")
    plug(hypervisor, guest, monitor, described, nodes)
    try:
        if before is not None:
            _tray_open(monitor, "blockdev-remove-medium", name)
            drop(monitor, before["node-name"])
        if nodes:
            top = nodes[-1][1]["node-name"]
            _tray_open(monitor, "blockdev-insert-medium", name, node_name=top)
        monitor.execute("blockdev-close-tray", id=name)
    except QmpError:
        take_back(monitor, nodes)
        raise


def _tray_open(monitor: Monitor, command: str, drive: str, **arguments: Any) -> None:
    """Do something to a drive with its tray open, which the guest may close at any moment.

    Firmware that starts and systems that reset the drive do; the command is then refused.
    """
    deadline = time.monotonic() + _OPENING
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
    hypervisor: ChangingQemu, monitor: Monitor, plugged: Plugged, disk: Any
) -> tuple[Described | None, list[Option]]:
    """Return the block nodes of a new medium, the top one last, with what they need."""
    source = disk.source
    if source is None or (source.file or source.dev or source.protocol) is None:
        return None, []
    from polyvisor_qemu.cmdline import build

    token = f"ua-{uuid4().hex}"
    index = free_index(monitor)
    disks = tuple(
        attrs.evolve(
            one,
            type=disk.type,
            driver=disk.driver,
            source=attrs.evolve(source, index=index),
            backing_store=None,
            alias=token,
        )
        if one.target is not None and one.target.dev == disk.target.dev
        else one
        for one in plugged.spec.devices.disks
    )
    spec = with_devices(plugged.spec, "disks", disks)
    described = options_of(build(spec, "qemu", hypervisor.host(), live=True))
    mine = closure(described.options, token)
    return described, [one for one in mine if one[0] != "device"]
