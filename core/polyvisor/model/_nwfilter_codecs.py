"""How the attributes of network filters stand in XML.

Each may be a variable such as ``$IP`` or ``$PORTS[@1]``.  A number is an ``int`` in Python if it
is decimal; text such as ``"0x1f"`` stays text, since libvirt prints hex digits where they were
given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from polyvisor.model._codecs import STR, Codec, Fault, nearest
from polyvisor.model._net_codecs import IP, MAC, ip_number, mask_length

__all__ = [
    "ARP_OPCODE", "DSCP", "ETHER_TYPE", "ETHER_TYPE_IN_VLAN", "GRATUITOUS", "IP4", "IP4_MASK",
    "IP6", "IP6_MASK", "IPSET", "IPSET_FLAGS", "IP_PROTOCOL", "MAC_ADDRESS", "MAC_MASK",
    "STATEMATCH", "STATES", "TCP_FLAGS", "U8", "U16", "U32", "VLAN_ID",
]  # fmt: skip

_ANY: Mapping[str, Any] = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]}
_variable = re.compile(r"\$\s*([a-zA-Z0-9_]+)\s*(?:\[\s*(@?)([0-9]{1,9})\s*\])?\s*").fullmatch


def _read_variable(text: str) -> str:
    found = _variable(text)
    if found is None:
        raise Fault(f"{text!r} is not a variable", "use one such as $IP, $IP[2] or $IP[@1]")
    name, iterator, index = found[1], found[2], found[3]
    # The first iterator is the one that a variable has without being told.
    if index is None or (iterator and int(index) == 0):
        return f"${name}"
    return f"${name}[{iterator}{int(index)}]"


def _codec(
    read: Callable[[str], Any],
    write: Callable[[Any], str] = str,
    schema: Mapping[str, Any] = _ANY,
) -> Codec:
    """Return a codec of values that may be variables; written is what would be read."""

    def read_any(text: str) -> Any:
        return _read_variable(text) if text.startswith("$") else read(text)

    def write_any(value: Any) -> str:
        given = value if isinstance(value, str) else write(value)
        known = read_any(given)
        return STR.write(known if isinstance(known, str) else write(known))

    return Codec(read_any, write_any, schema=schema)


_decimal = re.compile(r"[0-9]{1,12}").fullmatch
_hex = re.compile(r"(?:0[xX])?([0-9a-fA-F]{1,12})").fullmatch


def _reader(
    low: int, high: int, names: Mapping[int, str] | None = None, *, hexed: bool = True
) -> Callable[[str], int | str]:
    known = {name.lower(): name for name in (names or {}).values()}
    what = f"use a number from {low} to {high}"
    if names:
        what += " or one of " + ", ".join(names.values())

    def read(text: str) -> int | str:
        word = text.strip()
        if word.lower() in known:
            return known[word.lower()]
        digits = _hex(word)
        if digits is None:
            raise Fault(f"{text!r} is not known here", what)
        decimal = _decimal(word) is not None
        number = int(word) if decimal else int(digits[1], 16)
        if not low <= number <= high:
            raise Fault(f"{text} is out of range", what)
        if names and number in names:
            return names[number]
        return number if decimal or not hexed else f"0x{number:x}"

    return read


U8 = _codec(_reader(0, 0xFF))
U16 = _codec(_reader(0, 0xFFFF))
U32 = _codec(_reader(0, 0xFFFFFFFF))
DSCP = _codec(_reader(0, 63))
VLAN_ID = _codec(_reader(0, 4095))

_ETHER_TYPES = {0x806: "arp", 0x8035: "rarp", 0x800: "ipv4", 0x86DD: "ipv6", 0x8100: "vlan"}
#: What an Ethernet frame carries.
ETHER_TYPE = _codec(_reader(0x600, 0xFFFF, _ETHER_TYPES))
ETHER_TYPE_IN_VLAN = _codec(_reader(0x3C, 0xFFFF, _ETHER_TYPES))
ARP_OPCODE = _codec(
    _reader(
        0,
        0xFFFF,
        dict(
            enumerate(
                [
                    "Request",
                    "Reply",
                    "Request_Reverse",
                    "Reply_Reverse",
                    "DRARP_Request",
                    "DRARP_Reply",
                    "DRARP_Error",
                    "InARP_Request",
                    "ARP_NAK",
                ],
                1,
            )
        ),
        hexed=False,
    )
)
#: What an IP packet carries.
IP_PROTOCOL = _codec(
    _reader(
        0,
        0xFF,
        {
            6: "tcp",
            17: "udp",
            136: "udplite",
            50: "esp",
            51: "ah",
            1: "icmp",
            2: "igmp",
            132: "sctp",
            58: "icmpv6",
        },
    )
)


def _address(bits: int) -> Callable[[str], str]:
    def read(text: str) -> str:
        assert IP.read is not None
        address: str = IP.read(text)
        if ip_number(address)[0] != bits:
            raise Fault(f"{address} is of another family", "use IPv4" if bits == 32 else "use IPv6")
        return address

    return read


def _prefix(bits: int) -> Callable[[str], int]:
    read_address = _address(bits)

    def read(text: str) -> int:
        if _decimal(text.strip()) is not None:
            if int(text) > bits:
                raise Fault(f"the mask {text} is out of range", f"use 0 to {bits}")
            return int(text)
        length = mask_length(ip_number(read_address(text))[1], bits)
        if length is None:
            raise Fault(f"{text} is not a mask", f"use 0 to {bits}")
        return length

    return read


_TEXT: Mapping[str, Any] = {"type": "string"}
IP4 = _codec(_address(32), schema=_TEXT)
IP6 = _codec(_address(128), schema=_TEXT)
#: How many bits of an address count; also understood as an address of ones and zeros.
IP4_MASK = _codec(_prefix(32))
IP6_MASK = _codec(_prefix(128))


def _read_mac(text: str) -> str:
    assert MAC.read is not None
    mac: str = MAC.read(text)
    return mac


def _read_mac_mask(text: str) -> str:
    mac = _read_mac(text)
    if mask_length(int(mac.replace(":", ""), 16), 48) is None:
        raise Fault(f"{mac} is not a mask", "use one such as ff:ff:ff:00:00:00")
    return mac


MAC_ADDRESS = _codec(_read_mac, schema=_TEXT)
MAC_MASK = _codec(_read_mac_mask, schema=_TEXT)


def _flags(text: str, names: tuple[str, ...], also: tuple[str, ...]) -> list[str]:
    """Return the names in the order of ``names``; case and repetition do not matter."""
    words = [word.strip().upper() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in names and word not in also:
            raise Fault(f"{word!r} is not known here", nearest(word, [*names, *also]))
    if "ALL" in words:
        return list(names)
    return [name for name in (*names, *also) if name in words]


def _read_states(text: str) -> str:
    words = _flags(text, ("NEW", "ESTABLISHED", "RELATED", "INVALID"), ("NONE",))
    return "NONE" if "NONE" in words else ",".join(words)


_TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")


def _read_tcp_flags(text: str) -> str:
    looked_at, slash, wanted = text.partition("/")
    if not slash:
        raise Fault(f"{text!r} has no slash", "use MASK/FLAGS, as in SYN,ACK/SYN")

    def shown(part: str) -> str:
        words = [word for word in _flags(part, _TCP_FLAGS, ("ALL", "NONE")) if word != "NONE"]
        if len(words) == len(_TCP_FLAGS):
            return "ALL"
        return ",".join(words) or "NONE"

    return f"{shown(looked_at)}/{shown(wanted)}"


#: States of a connection, as in ``"NEW,ESTABLISHED"``.
STATES = _codec(_read_states, schema=_TEXT)
#: Flags of TCP that are looked at and those of them that are set, as in ``"SYN,ACK/SYN"``.
TCP_FLAGS = _codec(_read_tcp_flags, schema=_TEXT)

_set_name = re.compile(r"[a-zA-Z0-9_.:+ -]{1,31}").fullmatch


def _read_set(text: str) -> str:
    if _set_name(text) is None:
        raise Fault(f"{text!r} is not the name of an ipset", "use up to 31 letters, digits, _.:-+")
    return text


def _read_set_flags(text: str) -> str:
    words = text.lower().split(",")
    if len(words) > 6 or not set(words) <= {"src", "dst"}:
        raise Fault(f"{text!r} are not flags of an ipset", "use up to six of src and dst")
    return ",".join(words)


IPSET = _codec(_read_set, schema=_TEXT)
IPSET_FLAGS = _codec(_read_set_flags, schema=_TEXT)


def _truth(value: Any) -> str:
    return "true" if value else "false"


GRATUITOUS = _codec(
    lambda text: text in {"true", "1", "yes"},
    _truth,
    {"anyOf": [{"type": "boolean"}, {"type": "string"}]},
)
#: Anything but ``0`` and ``false`` is true.
STATEMATCH = Codec(
    lambda text: text.lower() not in {"0", "false"}, _truth, schema={"type": "boolean"}
)
