"""TAP devices: made in the network namespace that we are in, plugged into their bridge, run.

A device is there as long as somebody has one of its queues open: it goes with its QEMU, however
that ends. What is set is what libvirt sets (qemuInterfaceBridgeConnect,
qemuInterfaceEthernetConnect, virNetDevTapAttachBridge).
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

from polyvisor.errors import HypervisorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polyvisor.model import DomainSpec
    from polyvisor_qemu.cmdline.words import Tap

__all__ = ["open_queue", "run_script"]

# linux/if_tun.h, linux/if.h, linux/sockios.h, linux/if_arp.h.
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR, _IFF_MULTI_QUEUE = 0x0002, 0x1000, 0x4000, 0x0100
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCGIFINDEX, _SIOCBRADDIF = 0x8913, 0x8914, 0x8933, 0x89A2
_SIOCGIFMTU, _SIOCSIFMTU, _SIOCSIFHWADDR = 0x8921, 0x8922, 0x8924
_IFF_UP, _ARPHRD_ETHER = 0x1, 1
# linux/rtnetlink.h, linux/netlink.h, linux/if_link.h.
_RTM_SETLINK, _NLM_F_REQUEST, _NLM_F_ACK, _NLMSG_ERROR = 19, 0x1, 0x4, 2
_IFLA_PROTINFO, _NLA_F_NESTED, _IFLA_BRPORT_ISOLATED = 12, 0x8000, 33
#: Names that are chosen anew each time (VIR_NET_GENERATED_VNET_PREFIX and its like).
_CHOSEN = ("vnet", "macvtap", "macvlan")


def open_queue(wanted: Tap, spec: DomainSpec, names: dict[int, str]) -> int:
    """Make one queue of a device; the first one also sets the device up.

    Args:
        wanted: what it is to be.
        spec: the guest's definition, for messages.
        names: what the device of each interface is called, by the interface's place; a new
            one is put in.

    Raises:
        HypervisorError: says which step failed, and why.
    """
    making = _Making(spec)
    if wanted.mode is not None:
        raise making.refusal(
            "an interface of type 'direct' is not made by this driver yet; use 'bridge'"
        )
    if wanted.switch is not None:
        raise making.refusal(f"ports of {wanted.switch} are not made by this driver yet")
    name = names.get(wanted.interface)
    fd, made = making.queue(wanted, name)
    try:
        if name is None:
            names[wanted.interface] = made
            making.set_up(made, wanted)
    except BaseException:
        os.close(fd)
        raise
    return fd


class _Making:
    """Makes devices; what goes wrong is told as the start's error."""

    def __init__(self, spec: DomainSpec) -> None:
        self._spec = spec

    def refusal(self, why: str) -> HypervisorError:
        return HypervisorError(f"start {self._spec.name!r}: {why}", domain=self._spec.name)

    @contextmanager
    def _trying(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            right = " (that needs the right CAP_NET_ADMIN)" if error.errno in (1, 13) else ""
            raise self.refusal(f"cannot {what}: {error.strerror}{right}") from error

    def queue(self, wanted: Tap, name: str | None) -> tuple[int, str]:
        given = wanted.device
        if given is None or given.startswith(_CHOSEN) or "%" in given:
            given = "vnet%d"  # the kernel takes the lowest number that is free
        flags = _IFF_TAP | _IFF_NO_PI
        flags |= _IFF_VNET_HDR if wanted.headers else 0
        flags |= _IFF_MULTI_QUEUE if wanted.queues > 1 else 0
        if not wanted.managed:
            if wanted.device is None:
                raise self.refusal("a TAP device with managed='no' needs its name in <target>")
            given = wanted.device
            with self._trying(f"use the network device {given}, which managed='no' says is there"):
                socket.if_nametoindex(given)
        with self._trying(f"make a TAP device through {wanted.path}"):
            fd = os.open(wanted.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            with self._trying(f"make the TAP device {name or given}"):
                request = struct.pack("16sH22x", (name or given).encode()[:15], flags)
                found = fcntl.ioctl(fd, _TUNSETIFF, request)
        except BaseException:
            os.close(fd)
            raise
        return fd, bytes(found[:16]).split(b"\0")[0].decode()

    def set_up(self, name: str, wanted: Tap) -> None:
        if wanted.managed:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
                if wanted.mac is not None:
                    with self._trying(f"give {name} its address"):
                        _set_address(control, name, wanted.mac)
                if wanted.bridge is not None or wanted.mtu is not None:
                    self._join(control, name, wanted)
                with self._trying(f"let {name} run"):
                    request = struct.pack("16sH22x", name.encode(), 0)
                    found = fcntl.ioctl(control, _SIOCGIFFLAGS, request)
                    flags = struct.unpack("16sH22x", found)[1] | _IFF_UP
                    request = struct.pack("16sH22x", name.encode(), flags)
                    fcntl.ioctl(control, _SIOCSIFFLAGS, request)
        if wanted.bandwidth is not None:
            from polyvisor_qemu.shaping import shape

            shape(name, wanted.bandwidth, f"start {self._spec.name!r}", anew=not wanted.managed)
        if wanted.script:
            run_script(wanted.script, name, self._spec)

    def _join(self, control: socket.socket, name: str, wanted: Tap) -> None:
        """Set the largest frame, which a bridge may get from its ports, and join the bridge."""
        bridge, mtu = wanted.bridge, wanted.mtu
        if mtu is None and bridge is not None:
            with self._trying(f"plug {name} into the bridge {bridge}"):
                mtu = _ioctl_number(control, _SIOCGIFMTU, bridge, 0)
        with self._trying(f"set the MTU of {name} to {mtu}"):
            _ioctl_number(control, _SIOCSIFMTU, name, mtu or 0)
        if bridge is None:
            return
        with self._trying(f"plug {name} into the bridge {bridge}"):
            _ioctl_number(control, _SIOCBRADDIF, bridge, socket.if_nametoindex(name))
        if wanted.isolated:
            with self._trying(f"isolate {name} from other such ports of {bridge}"):
                _isolate(name)


def _ioctl_number(control: socket.socket, request: int, device: str, value: int) -> int:
    given = struct.pack("16si20x", device.encode()[:15], value)
    return int(struct.unpack("16si20x", fcntl.ioctl(control, request, given))[1])


def _set_address(control: socket.socket, name: str, mac: str) -> None:
    """Give a device the guest's MAC but for its first byte, lest a bridge take it for its own."""
    octets = bytearray.fromhex(mac.replace(":", ""))
    octets[0] = 0xFA if octets[0] == 0xFE else 0xFE
    request = struct.pack("16sH6s16x", name.encode(), _ARPHRD_ETHER, bytes(octets))
    fcntl.ioctl(control, _SIOCSIFHWADDR, request)


def _isolate(name: str) -> None:
    """Keep a port of a bridge from others like it (virNetDevBridgePortSet, over netlink)."""
    flag = struct.pack("=HHB3x", 5, _IFLA_BRPORT_ISOLATED, 1)
    nest = struct.pack("=HH", 4 + len(flag), _IFLA_PROTINFO | _NLA_F_NESTED) + flag
    link = struct.pack("=BxHiII", socket.AF_BRIDGE, 0, socket.if_nametoindex(name), 0, 0) + nest
    flags = _NLM_F_REQUEST | _NLM_F_ACK
    message = struct.pack("=IHHII", 16 + len(link), _RTM_SETLINK, flags, 1, 0) + link
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as route:
        route.send(message)
        answer = route.recv(4096)
    kind, code = struct.unpack("=4xH10xi", answer[:20])
    if kind == _NLMSG_ERROR and code:
        raise OSError(-code, os.strerror(-code))


def run_script(path: str, name: str, spec: DomainSpec, *, leaving: bool = False) -> None:
    """Run a script of an interface of type ``ethernet``, which gets the device's name.

    Args:
        path: the script.
        name: the device.
        spec: the definition, for messages.
        leaving: the guest is gone: whatever the script says is not heard.

    Raises:
        HypervisorError: it cannot be run, or fails.
    """
    import subprocess

    why = ""
    try:
        done = subprocess.run(
            [path, name], check=False, capture_output=True, text=True, errors="replace", timeout=30
        )
        if done.returncode:
            why = done.stderr.strip() or f"it returned {done.returncode}"
    except (OSError, subprocess.TimeoutExpired) as error:
        why = str(error)
    if why and not leaving:
        raise HypervisorError(
            f"start {spec.name!r}: script {path} for {name}: {why}", domain=spec.name
        )
