"""How addresses of networks stand in XML, and arithmetic on them.

Addresses are text in Python, in the form in which libvirt prints them.
"""

from __future__ import annotations

import re

from polyvisor.model._codecs import STR, Codec, Fault

__all__ = [
    "IP",
    "MAC",
    "UNICAST_MAC",
    "UNICAST_MAC_TEXT",
    "bits_of",
    "ip_number",
    "mask_length",
    "masked",
    "prefix_of",
]


def _packed(text: str) -> bytes | None:
    """Return the 4 or 16 bytes of a numeric address, or None."""
    import socket

    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
    return None


def _canonical_ip(text: str | None) -> str:
    import socket

    plain, percent, scope = (text or "").strip().partition("%")
    packed = _packed(plain)
    if packed is None:
        raise Fault(
            f"{text or ''!r} is not an IP address", "use one such as 192.168.122.1 or fd00::1"
        )
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, packed) + percent + scope


#: An IPv4 or IPv6 address.
IP = Codec(_canonical_ip, _canonical_ip)

_mac = re.compile(r"[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){5}").fullmatch


def _canonical_mac(text: str | None) -> str:
    if not isinstance(text, str) or _mac(text.strip()) is None:
        raise Fault(f"{text or ''!r} is not a MAC address", "use one such as 52:54:00:17:3f:47")
    return ":".join(f"{int(octet, 16):02x}" for octet in text.strip().split(":"))


def _unicast_mac(text: str | None) -> str:
    mac = _canonical_mac(text)
    if int(mac[:2], 16) & 1:
        raise Fault(f"{mac} is a multicast address", "use one whose first octet is even")
    return mac


#: A hardware address.
MAC = Codec(_canonical_mac, _canonical_mac)
#: The hardware address of one interface.
UNICAST_MAC = Codec(_unicast_mac, _unicast_mac)


def _read_unicast(text: str) -> str:
    _unicast_mac(text)
    return text


#: The same, which libvirt prints as it was given.
UNICAST_MAC_TEXT = Codec(_read_unicast, lambda text: STR.write(_read_unicast(text)))


def ip_number(address: str) -> tuple[int, int]:
    """Return how many bits an address has, and its number."""
    packed = _packed(address.partition("%")[0])
    if packed is None:
        raise Fault(f"{address!r} is not an IP address")
    return len(packed) * 8, int.from_bytes(packed)


def bits_of(address: str) -> int:
    """Return 32 for IPv4, 128 for IPv6."""
    return ip_number(address)[0]


def masked(address: str, prefix: int) -> tuple[int, int]:
    """Return the network that an address is in, as bits and number."""
    bits, number = ip_number(address)
    return bits, number >> (bits - prefix) << (bits - prefix)


def mask_length(number: int, bits: int) -> int | None:
    """Return how many ones a mask begins with, ``None`` if others follow behind a zero."""
    inverted = number ^ ((1 << bits) - 1)
    return None if inverted & (inverted + 1) else bits - inverted.bit_length()


def prefix_of(address: str, prefix: int | None, netmask: str | None) -> int:
    """Return the length of the network's part of an address.

    Without prefix and netmask it is what the address's class says, as in
    virSocketAddrGetIPPrefix (virsocketaddr.c).
    """
    if prefix:
        return prefix
    if netmask is not None:
        bits, number = ip_number(netmask)
        length = mask_length(number, bits)
        if length is None:
            raise Fault(f"{netmask} is not a netmask", "use one such as 255.255.255.0")
        return length
    bits, number = ip_number(address)
    if bits == 128:
        return 64
    first = number >> 24
    return 8 if first < 128 else 16 if first < 192 else 24
