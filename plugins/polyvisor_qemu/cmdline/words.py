"""The words of a command line, and what QEMU is to be handed beside them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

if TYPE_CHECKING:
    from polyvisor.model.devices.interface import Bandwidth, InterfaceIp, InterfaceRoute, Vlan

__all__ = ["FIRST_FD", "RUN_FD", "CommandLine", "Descriptor", "Helper", "Inline", "Listen", "Open",
           "Peer", "Secret", "SwitchPort", "Tap", "Vhost", "joined", "keyval"]  # fmt: skip

#: Number under which QEMU has its run folder: sockets get short paths by it.
RUN_FD = 20
#: First number of the descriptors that devices need; monitors have those before it.
FIRST_FD = 30


@attrs.frozen
class Listen:
    """A unix socket that is listened at before QEMU starts."""

    path: str


@attrs.frozen
class Open:
    """A file that is opened for writing, and made if it is missing."""

    path: str
    append: bool


@attrs.frozen
class Secret:
    """A file of memory alone with a secret in it; which one, the key of a store says."""

    uuid: str | None
    usage: str | None


@attrs.frozen
class SwitchPort:
    """A port of an Open vSwitch.

    Attributes:
        interface: the interface's UUID, by which a controller knows it.
        profile: the name of its profile.
        vlan: the VLANs that it is in.
        timeout: seconds that the switch has for an answer.
    """

    interface: str | None
    profile: str | None
    vlan: Vlan | None
    timeout: int


@attrs.frozen
class Tap:
    """A queue of a TAP device; with a bridge, the device becomes one of its ports.

    Attributes:
        interface: the place of its interface among the guest's; equal ones have one device.
        device: its name; ``None``: one is chosen.
        bridge: the bridge.
        managed: whether it is ours to set up; else it is there already.
        queues: how many queues it has.
        mode: for ``direct``: the macvtap mode; the device is made on top of ``bridge``.
        mac: the guest's address, of which the device's is made.
        mtu: the largest frame; ``None``: the bridge's.
        headers: whether frames have virtio's header, which not every device of QEMU knows.
        isolated: whether it is kept from other isolated ports of the bridge.
        port: the bridge is an Open vSwitch, of which it is such a port.
        unmade: why it is not made, if it is not.
        trusted: whether it gets the frames of all groups; a device on top of another one.
        ips: addresses of the host's side.
        routes: routes through it.
        path: where TAP devices are made.
        script: a program that is run when it is there.
        bandwidth: limits of what goes through it.
    """

    interface: int
    device: str | None
    bridge: str | None
    managed: bool = True
    queues: int = 1
    mode: str | None = None
    mac: str | None = None
    mtu: int | None = None
    headers: bool = True
    isolated: bool = False
    port: SwitchPort | None = None
    unmade: str | None = None
    trusted: bool = False
    ips: tuple[InterfaceIp, ...] = ()
    routes: tuple[InterfaceRoute, ...] = ()
    path: str = "/dev/net/tun"
    script: str | None = None
    bandwidth: Bandwidth | None = None


@attrs.frozen
class Vhost:
    """A kernel's helper: ``/dev/vhost-net``, ``/dev/vhost-vsock``, ``/dev/vhost-scsi``."""

    path: str
    #: For vsock: the guest's number, or ``None`` for the next free one.
    cid: int | None = None


@attrs.frozen
class Inline:
    """A file of memory alone with a secret that the definition itself holds."""

    text: str = attrs.field(repr=False)


@attrs.frozen
class Peer:
    """The other end of a helper's connected socket, which is made with it."""


@attrs.frozen
class Helper:
    """A process beside QEMU that serves it at a socket, and ends when QEMU does.

    Attributes:
        program: its name, for messages.
        socket: where QEMU connects; it is listened at before QEMU starts. Empty: the two have
            a pair of connected sockets.
        words: its command line; ``{fd}`` stands for its socket.
        folders: folders that are made for it.
        package: what to install if it is missing, on Debian.
        secret: what it reads from the descriptor ``{key}``.
        plain: whether it needs no rights of root's.
        peer: QEMU's number of the other end of its socket, if they have a pair.
    """

    program: str
    socket: str
    words: tuple[str, ...]
    folders: tuple[str, ...] = ()
    package: str = ""
    secret: Secret | None = None
    plain: bool = False
    peer: int | None = None


Descriptor: TypeAlias = Listen | Open | Secret | Inline | Tap | Vhost | Peer


def keyval(value: object) -> str:
    """Return a value as it stands in ``key=value,…``: its commas doubled."""
    return str(value).replace(",", ",,")


def joined(*first: str, **values: Any) -> str:
    """Return ``first,key=value,…``; absent values are left out.

    Args:
        first: words without a value, written as they are.
        values: ``__`` in a name stands for ``-``; True is ``on``, False ``off``.
    """
    words = list(first)
    for key, value in values.items():
        if value is not None:
            text = ("on" if value else "off") if isinstance(value, bool) else keyval(value)
            words.append(f"{key.rstrip('_').replace('__', '-')}={text}")
    return ",".join(words)


@attrs.define
class CommandLine:
    """A whole command line.

    Attributes:
        args: its words, the emulator first.
        descriptors: what QEMU is to have open, by the number that stands in the words.
        environment: variables set beside those of the host.
        templates: files that are copied from another one if they are not there yet.
        helpers: processes that serve it.
        commands: QMP commands to be given before the guest runs: name and arguments.
    """

    args: list[str] = attrs.field(factory=list)
    descriptors: dict[int, Descriptor] = attrs.field(factory=dict)
    environment: dict[str, str] = attrs.field(factory=dict)
    templates: dict[str, str] = attrs.field(factory=dict)
    helpers: list[Helper] = attrs.field(factory=list)
    commands: list[tuple[str, dict[str, Any]]] = attrs.field(factory=list)

    def add(self, option: str, *values: str) -> None:
        """Add an option and its value as they are."""
        self.args += [f"-{option}", *values]

    def json(self, option: str, values: dict[str, Any]) -> None:
        """Add an option in JSON, where no value can become an option of its own."""
        plain = {key: value for key, value in values.items() if value is not None}
        self.args += [f"-{option}", json.dumps(plain, ensure_ascii=False, separators=(",", ":"))]

    def descriptor(self, wanted: Descriptor) -> int:
        """Ask for something open and return the number that QEMU will know it by."""
        number = FIRST_FD + len(self.descriptors)
        self.descriptors[number] = wanted
        return number
