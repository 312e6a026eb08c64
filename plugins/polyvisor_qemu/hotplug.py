"""Devices that come while the guest runs.

A device is described as it would be on the command line of the whole machine; of that, what
is its own is given to QEMU over the monitor, and taken back if a later part is refused.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import attrs

from polyvisor.errors import HypervisorError, Unsupported
from polyvisor.states import DomainState
from polyvisor_qemu import wires
from polyvisor_qemu.cmdline.others import ACTIONS
from polyvisor_qemu.handing import Handing
from polyvisor_qemu.plugged import Plugged, devices_of, with_devices
from polyvisor_qemu.qmp import QmpError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.changing import ChangingQemu
    from polyvisor_qemu.cmdline import CommandLine
    from polyvisor_qemu.cmdline.helping import Helpers
    from polyvisor_qemu.qmp import Monitor

__all__ = ["Described", "attach", "closure", "free_index", "options_of", "plug", "refused",
           "take_back"]  # fmt: skip

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
    "redirdevs": "redir", "watchdogs": "watchdog", "memories": "dimm",
    "controllers": "controller", "shmems": "shmem", "filesystems": "fs", "hubs": "hub",
    "parallels": "parallel", "consoles": "console", "vsock": "vsock",
}  # fmt: skip

#: Devices that may hang on a controller of one of the kinds that come when they are needed.
_HANGING = ("disks", "channels", "consoles", "hostdevs")
_ON_DEMAND = ("scsi", "virtio-serial")

Option = tuple[str, dict[str, Any]]


@attrs.frozen
class Described:
    """A command line taken apart.

    Attributes:
        line: the command line.
        options: those that describe devices and what is behind them, in their order.
        sets: the numbers of descriptors in QEMU's sets of files, by the sets' numbers.
    """

    line: CommandLine
    options: list[Option]
    sets: dict[int, int]

    def named(self, token: str, name: str) -> Described:
        """Return it with the helpers of the device that stood for a name having it."""
        helpers = [
            attrs.evolve(one, socket=one.socket.replace(token, name)) for one in self.line.helpers
        ]
        return attrs.evolve(self, line=attrs.evolve(self.line, helpers=helpers))


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


def attach(hypervisor: ChangingQemu, guest: Guest, kind: str, device: Any, spec: DomainSpec) -> Any:
    """Plug a device in; return it with its address and alias.

    A controller that it needs and that is not there comes before it, as with libvirt
    (qemuDomainFindOrCreateSCSIDiskController).

    Args:
        hypervisor: the hypervisor.
        guest: the guest.
        kind: the field of ``devices`` in which it is.
        device: the device.
        spec: the live definition as it is to be, with the device last of its kind.

    Raises:
        Unsupported: such devices are part of a machine from its start.
        HypervisorError: QEMU refuses.
    """
    if kind not in _WORDS:
        raise Unsupported(
            f"attach a device to {guest.name!r}: {kind} {'are' if kind[-1] == 's' else 'is'} not "
            f"plugged in while the guest runs",
            feature="devices.attach",
            domain=guest.name,
        )
    if kind == "hostdevs":
        from polyvisor_qemu.hostnodes import check_usb

        check_usb(device, f"attach a device to {guest.name!r}")
    plugged = Plugged(guest)
    new = [
        attach(hypervisor, guest, "controllers", one, spec)
        for one in _missing_controllers(plugged, kind, device)
    ]
    if new:
        spec = with_devices(spec, "controllers", (*spec.devices.controllers, *new))
        guest.became, plugged = spec, Plugged(guest)
    with refused(guest, "attach a device"), hypervisor.monitor(guest) as monitor:
        # It stands for the name until the device's place is known, and in no other value.
        token = f"ua-{uuid4().hex}"
        described, placed = _described(hypervisor, guest, monitor, plugged, kind, device, token)
        name = _free_name(monitor, plugged, kind, attrs.evolve(placed, alias=device.alias))
        mine = [
            (option, _renamed(values, token, name))
            for option, values in closure(described.options, token)
        ]
        described = described.named(token, name)
        taps = plug(hypervisor, guest, monitor, described, mine)
        if taps:
            placed = attrs.evolve(placed, target=taps[0])
        try:
            if taps and guest.state is not DomainState.PAUSED:
                wires.start(guest.run_dir, f"attach a device to {guest.name!r}", taps)
            if kind == "watchdogs":
                action = device.action or "reset"
                monitor.execute("watchdog-set-action", action=ACTIONS.get(action, action))
            for command, given in described.line.commands:
                if any(token in one for one in _strings(given)):
                    monitor.execute_all((command, _renamed(given, token, name)))
        except (QmpError, HypervisorError):
            take_back(monitor, mine)
            wires.release(guest.run_dir, taps)
            raise
        if kind == "memories":
            from polyvisor_qemu.modules import with_base

            placed = with_base(monitor, placed, name)
    got = attrs.evolve(placed, alias=name)
    plugged.add(kind, got, [one for one in mine if one[0] != "device"])
    if new:
        guest.became = with_devices(spec, kind, (*devices_of(spec, kind)[:-1], got))
    return got


def _missing_controllers(plugged: Plugged, kind: str, device: Any) -> list[Any]:
    """Return the controllers that a device hangs on and that are not there yet."""
    if kind not in _HANGING:
        return []
    from polyvisor_qemu.layout import laid_out

    there = {(one.type, one.index) for one in plugged.spec.devices.controllers}
    held = with_devices(plugged.spec, kind, (*devices_of(plugged.spec, kind), device))
    after = laid_out(held, live=True).devices.controllers
    missing = [one for one in after if (one.type, one.index) not in there]
    return missing if all(one.type in _ON_DEMAND for one in missing) else []


def _described(
    hypervisor: ChangingQemu,
    guest: Guest,
    monitor: Monitor,
    plugged: Plugged,
    kind: str,
    device: Any,
    token: str,
) -> tuple[Described, Any]:
    """Return a machine with a new device that is called ``token``, and it with its address."""
    from polyvisor_qemu.cmdline import build
    from polyvisor_qemu.layout import laid_out

    new = attrs.evolve(device, alias=token)
    if kind == "disks" and new.source is not None:
        new = attrs.evolve(new, source=attrs.evolve(new.source, index=free_index(monitor)))
    there = devices_of(plugged.spec, kind)
    if kind == "controllers" and new.index is None:
        used = {one.index for one in there if one.type == new.type}
        new = attrs.evolve(new, index=next(n for n in range(1 << 16) if n not in used))
    after = laid_out(with_devices(plugged.spec, kind, (*there, new)), live=True)
    more = len(after.devices.controllers) - len(plugged.spec.devices.controllers)
    if more > (kind == "controllers"):
        raise HypervisorError(
            f"attach a device to {guest.name!r}: there is no free place for it; give the domain "
            f"a further controller (pcie-root-port) to plug it into",
            domain=guest.name,
        )
    placed = next(one for one in devices_of(after, kind) if one.alias == token)
    return options_of(build(after, "qemu", hypervisor.host(), live=True)), placed


def options_of(line: CommandLine) -> Described:
    """Take a command line apart."""
    found: list[Option] = []
    sets: dict[int, int] = {}
    for word, value in pairwise(line.args):
        option = word.removeprefix("-")
        if option == "add-fd":
            given = _keyval(value)
            sets[int(given["set"])] = int(given["fd"])
        elif option in _COMMANDS and value.startswith("{"):
            found.append((option, json.loads(value)))
        elif option == "chardev":
            from polyvisor_qemu.cmdline.chardevs import as_qmp

            found.append((option, as_qmp(_keyval(value))))
    return Described(line, found, sets)


def _keyval(text: str) -> dict[str, str]:
    """Return the values of ``word,key=value,…``, the word under ``""``."""
    words = [word.replace("\0", ",") for word in text.replace(",,", "\0").split(",")]
    values = dict(word.partition("=")[::2] for word in words if "=" in word)
    return values if "=" in words[0] else {"": words[0], **values}


def closure(options: list[Option], name: str) -> list[Option]:
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


def _renamed(value: Any, token: str, name: str) -> Any:
    if isinstance(value, str):
        return value.replace(token, name)
    if isinstance(value, dict):
        return {key: _renamed(one, token, name) for key, one in value.items()}
    if isinstance(value, list):
        return [_renamed(one, token, name) for one in value]
    return value


def plug(
    hypervisor: ChangingQemu,
    guest: Guest,
    monitor: Monitor,
    described: Described | None,
    options: list[Option],
) -> tuple[str, ...]:
    """Give QEMU options with all that they need; if it refuses one, it is left with none.

    Returns:
        The host's network devices that were made for it.

    Raises:
        QmpError: QEMU refuses.
        PolyvisorError: something that they need is not there.
    """
    if described is None:
        return ()
    assert guest.run_dir is not None
    done: list[Option] = []
    host = hypervisor.host()
    with (
        Handing(
            monitor, described.line, described.sets, guest.spec, guest.run_dir, host
        ) as handing,
        _helping(hypervisor, described.line, options, guest) as helpers,
    ):
        handing.open(options)
        try:
            for option, values in options:
                if option == "device" and helpers is not None:
                    helpers.start()  # They are connected to, and QEMU waits for them.
                monitor.execute_all((_COMMANDS[option][0], handing.handed(values)))
                done.append((option, values))
        except BaseException:
            take_back(monitor, done)
            wires.release(guest.run_dir, handing.taps)
            raise
        return handing.taps


@contextmanager
def _helping(
    hypervisor: ChangingQemu, line: CommandLine, options: list[Option], guest: Guest
) -> Iterator[Helpers | None]:
    """Listen for QEMU where helpers that serve a new device will, if it has any."""
    used = set(_strings([values for _, values in options]))
    wanted = [one for one in line.helpers if one.socket in used]
    if not wanted:
        yield None
        return
    from polyvisor_qemu.cmdline.helping import Helpers
    from polyvisor_qemu.launch import log_path

    assert guest.run_dir is not None
    made = attrs.evolve(line, helpers=wanted)
    helpers = Helpers(
        made, guest.spec, guest.run_dir, log_path(guest), hypervisor.host(), hypervisor.owning
    )
    try:
        yield helpers
    finally:
        helpers.close()


def take_back(monitor: Monitor, options: list[Option]) -> None:
    """Take options back, the last first, as far as QEMU lets go of them."""
    for option, values in reversed(options):
        _, undo, key, asked = _COMMANDS[option]
        with suppress(QmpError):
            monitor.execute(undo, **{asked: values[key]})


def _free_name(monitor: Monitor, plugged: Plugged, kind: str, device: Any) -> str:
    """Return the name that libvirt gives a new device (qemu_alias.c), if it is free."""
    taken = {one["name"] for one in monitor.execute("qom-list", path="/machine/peripheral")}
    given = device.alias
    if given is not None and given not in taken:
        return str(given)
    word, first = _WORDS[kind], 0
    if kind == "disks":
        from polyvisor_qemu.cmdline.names import Names

        name = Names(plugged.spec, "").disk(attrs.evolve(device, alias=None))
        if name not in taken:
            return name
    elif kind == "memories":
        from polyvisor_qemu.cmdline.names import MODULES

        word = MODULES[device.model]
        if device.model.endswith("dimm"):
            first = getattr(device.address, "slot", None) or 0
    elif kind == "controllers":
        word, first = device.type, device.index or 0
        if word == "usb" and first == 0 and "usb" not in taken:
            return "usb"
        word = "pci." if word == "pci" else word
    return next(f"{word}{n}" for n in range(first, 1 << 16) if f"{word}{n}" not in taken)


def free_index(monitor: Monitor) -> int:
    """Return a number that no image has yet."""
    names = [one["node-name"] for one in monitor.execute("query-named-block-nodes", flat=True)]
    numbers = [int(found[1]) for name in names if (found := re.match(r"libvirt-(\d+)-", name))]
    return max(numbers, default=0) + 1
