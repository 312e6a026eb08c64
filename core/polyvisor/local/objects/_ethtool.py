"""What network cards of this machine do themselves, as they answer it (linux/ethtool.h)."""

from __future__ import annotations

import array
import fcntl
import socket
import struct

__all__ = ["offloads"]

_SIOCETHTOOL = 0x8946  # linux/sockios.h
#: Commands that answer yes or no, and libvirt's names of what they ask for.
_ASKED = {"rx": 0x14, "tx": 0x16, "sg": 0x18, "tso": 0x1E, "gso": 0x23, "gro": 0x2B}
#: The command that answers with flags, and those of them that libvirt tells of.
_GET_FLAGS = 0x25
_FLAGS = {"lro": 1 << 15, "rxvlan": 1 << 8, "txvlan": 1 << 7, "ntuple": 1 << 27, "rxhash": 1 << 28}


def offloads(interface: str) -> tuple[str, ...]:
    """Return what an interface's card does instead of the kernel, by libvirt's names.

    Args:
        interface: its name, in our network namespace.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        found = [name for name, command in _ASKED.items() if _value(asked, interface, command)]
        flags = _value(asked, interface, _GET_FLAGS)
    return (*found, *(name for name, flag in _FLAGS.items() if flags & flag))


def _value(asked: socket.socket, interface: str, command: int) -> int:
    answer = array.array("I", [command, 0])
    request = struct.pack("16sP", interface.encode()[:15], answer.buffer_info()[0])
    try:
        fcntl.ioctl(asked, _SIOCETHTOOL, request)
    except OSError:
        return 0
    return answer[1]
