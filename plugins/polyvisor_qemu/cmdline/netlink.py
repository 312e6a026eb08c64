"""Network devices of the namespace that we are in, over the kernel's netlink (rtnetlink(7))."""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polyvisor.model.devices.interface import InterfaceIp, InterfaceRoute

__all__ = ["Link", "add_address", "add_route", "default_prefix", "delete", "find", "isolate",
           "macvtap", "set_address", "set_running"]  # fmt: skip

# linux/netlink.h, linux/rtnetlink.h.
_REQUEST, _ACK, _EXCL, _REPLACE, _CREATE = 0x1, 0x4, 0x200, 0x100, 0x400
_ERROR, _CAPPED, _TOLD, _TOLD_WORDS = 2, 0x100, 0x200, 1
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_NEWLINK, _DELLINK, _GETLINK, _SETLINK, _NEWADDR, _NEWROUTE = 16, 17, 18, 19, 20, 24
_NESTED, _KIND = 0x8000, 0x3FFF
# linux/if_link.h, linux/if.h.
_ADDRESS, _NAME, _LINK, _PROTINFO, _LINKINFO = 1, 3, 5, 12, 18
_INFO_KIND, _INFO_DATA, _MACVLAN_MODE, _BRPORT_ISOLATED = 1, 2, 1, 33
_UP, _ALLMULTI = 0x1, 0x200
# linux/if_addr.h.
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST = 1, 2, 4
# linux/rtnetlink.h: attributes of routes; the main table, and what libvirt says of a route.
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY = 1, 4, 5, 6
_MAIN, _BOOT, _UNIVERSE, _UNICAST = 254, 3, 0, 1
#: The metric of a route that says none (virNetDevIPRouteGetMetric).
_METRIC = 1


@attrs.frozen
class Link:
    """A network device.

    Attributes:
        index: its number in its namespace.
        kind: what made it, such as ``macvtap``; ``None`` of hardware.
        address: its MAC address, in small letters.
        lower: the number of the device that it stands on.
        running: whether it is up.
    """

    index: int
    kind: str | None
    address: str
    lower: int | None
    running: bool


def _attribute(kind: int, value: bytes) -> bytes:
    size = 4 + len(value)
    return struct.pack("=HH", size, kind) + value + bytes(-size % 4)


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        if size < 4:
            break
        found[kind & _KIND] = data[4:size]
        data = data[(size + 3) & ~3 :]
    return found


def _ask(kind: int, body: bytes, flags: int = 0) -> bytes | None:
    """Send a request and wait until it is done; return what came before that.

    Raises:
        OSError: the kernel refuses; with its words if it says more than a number.
    """
    message = struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | _ACK | flags, 1, 0) + body
    answer: bytes | None = None
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as route:
        for option in (_CAP_ACK, _EXT_ACK):
            route.setsockopt(_SOL_NETLINK, option, 1)
        route.send(message)
        while True:
            data = route.recv(1 << 16)
            while len(data) >= 16:
                size, got, held = struct.unpack_from("=IHH", data)
                part, data = data[16:size], data[(size + 3) & ~3 :]
                if got != _ERROR:
                    answer = part
                    continue
                code = struct.unpack_from("=i", part)[0]
                if not code:
                    return answer
                words = os.strerror(-code)
                if held & _TOLD and held & _CAPPED:
                    told = _attributes(part[20:]).get(_TOLD_WORDS, b"").rstrip(b"\0").decode()
                    words += f" ({told.rstrip('.')})" if told else ""
                raise OSError(-code, words)


def _link(index: int, flags: int = 0, changed: int = 0, family: int = 0) -> bytes:
    return struct.pack("=BxHiII", family, 0, index, flags, changed)


def find(name: str) -> Link | None:
    """Return a device; ``None``: there is none of this name.

    Raises:
        OSError: the kernel does not tell.
    """
    try:
        told = _ask(_GETLINK, _link(0) + _attribute(_NAME, name.encode() + b"\0"))
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    if told is None:
        return None
    _, _, index, flags, _ = struct.unpack_from("=BxHiII", told)
    held = _attributes(told[16:])
    info = _attributes(held.get(_LINKINFO, b""))
    kind = info.get(_INFO_KIND)
    lower = held.get(_LINK)
    return Link(
        index,
        kind.rstrip(b"\0").decode() if kind is not None else None,
        held.get(_ADDRESS, b"").hex(":"),
        int(struct.unpack("=I", lower)[0]) if lower is not None else None,
        bool(flags & _UP),
    )


def macvtap(name: str, lower: int, mode: int, address: str | None) -> None:
    """Make a macvtap device on top of another one; it does not run yet.

    Args:
        name: its name.
        lower: the number of the other one.
        mode: how it goes along with others on the same one (``linux/if_link.h``).
        address: its MAC address; ``None``: a random one, or that of the other one.

    Raises:
        FileExistsError: there is a device of that name.
        OSError: the kernel refuses.
    """
    data = _attribute(_MACVLAN_MODE, struct.pack("=I", mode))
    info = _attribute(_INFO_KIND, b"macvtap\0") + _attribute(_INFO_DATA | _NESTED, data)
    body = _link(0) + _attribute(_NAME, name.encode() + b"\0")
    body += _attribute(_LINK, struct.pack("=I", lower))
    if address is not None:
        body += _attribute(_ADDRESS, bytes.fromhex(address.replace(":", "")))
    _ask(_NEWLINK, body + _attribute(_LINKINFO | _NESTED, info), _CREATE | _EXCL)


def delete(index: int) -> None:
    """Remove a device that has been made.

    Raises:
        OSError: the kernel refuses.
    """
    _ask(_DELLINK, _link(index))


def set_address(index: int, address: str) -> None:
    """Give a device its MAC address.

    Raises:
        OSError: the kernel refuses.
    """
    value = bytes.fromhex(address.replace(":", ""))
    _ask(_SETLINK, _link(index) + _attribute(_ADDRESS, value))


def set_running(index: int, running: bool, *, all_groups: bool = False) -> None:
    """Let a device run, or not.

    Args:
        index: its number.
        running: whether it is to run.
        all_groups: it also gets the frames of all groups (multicast).

    Raises:
        OSError: the kernel refuses.
    """
    flags = _UP if running else 0
    changed = _UP
    if all_groups:
        flags, changed = flags | _ALLMULTI, changed | _ALLMULTI
    _ask(_SETLINK, _link(index, flags, changed))


def isolate(index: int) -> None:
    """Keep a port of a bridge from others like it (virNetDevBridgePortSet).

    Raises:
        OSError: the kernel refuses.
    """
    nest = _attribute(_PROTINFO | _NESTED, _attribute(_BRPORT_ISOLATED, b"\1"))
    _ask(_SETLINK, _link(index, family=socket.AF_BRIDGE) + nest)


def default_prefix(address: str) -> int:
    """Return how many bits of an address are its network's if nobody says (its class's).

    Source: virSocketAddrGetIPPrefix.
    """
    import ipaddress

    one = ipaddress.ip_address(address)
    if one.is_unspecified:
        return 0
    if one.version == 6:
        return 64
    first = one.packed[0]
    return 8 if first < 128 else 16 if first < 192 else 24


def add_address(index: int, given: InterfaceIp) -> None:
    """Give a device an IP address, unless it has it.

    Raises:
        ValueError: it is none.
        OSError: the kernel refuses.
    """
    import ipaddress

    text = given.address or ""
    own = ipaddress.ip_address(text)
    prefix = given.prefix or default_prefix(text)
    peer = ipaddress.ip_address(given.peer) if given.peer else own
    family = socket.AF_INET if own.version == 4 else socket.AF_INET6
    body = struct.pack("=BBBBI", family, prefix, 0, 0, index)
    body += _attribute(_IFA_LOCAL, own.packed) + _attribute(_IFA_ADDRESS, peer.packed)
    network = ipaddress.ip_network((text, prefix), strict=False)
    if own.version == 4 and given.peer is None and prefix < 31:
        body += _attribute(_IFA_BROADCAST, network.broadcast_address.packed)
    _ask(_NEWADDR, body, _CREATE | _REPLACE)


def add_route(index: int, given: InterfaceRoute) -> None:
    """Add a route through a device, unless it is there.

    Raises:
        ValueError: one of its addresses is none.
        OSError: the kernel refuses.
    """
    import ipaddress

    anywhere = ipaddress.IPv6Address(0) if given.family == "ipv6" else ipaddress.IPv4Address(0)
    text = given.address or str(anywhere)
    own = ipaddress.ip_address(text)
    if given.netmask:
        prefix = ipaddress.ip_network(f"{anywhere}/{given.netmask}").prefixlen
    else:
        prefix = given.prefix or default_prefix(text)
    family = socket.AF_INET if own.version == 4 else socket.AF_INET6
    body = struct.pack("=BBBBBBBBI", family, prefix, 0, 0, _MAIN, _BOOT, _UNIVERSE, _UNICAST, 0)
    parts: Sequence[tuple[int, bytes]] = (
        (_RTA_DST, own.packed),
        (_RTA_OIF, struct.pack("=I", index)),
        (_RTA_PRIORITY, struct.pack("=I", _METRIC if given.metric is None else given.metric)),
    )
    for kind, value in parts:
        body += _attribute(kind, value)
    if given.gateway:
        body += _attribute(_RTA_GATEWAY, ipaddress.ip_address(given.gateway).packed)
    _ask(_NEWROUTE, body, _CREATE | _REPLACE)
