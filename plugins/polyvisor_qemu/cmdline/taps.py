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
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import HypervisorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polyvisor.model import DomainSpec
    from polyvisor.model.devices.interface import InterfaceIp, InterfaceRoute
    from polyvisor_qemu.cmdline.words import SwitchPort, Tap

__all__ = ["open_queue", "run_script"]

# linux/if_tun.h, linux/if.h, linux/sockios.h, linux/if_arp.h.
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR, _IFF_MULTI_QUEUE = 0x0002, 0x1000, 0x4000, 0x0100
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCGIFINDEX, _SIOCBRADDIF = 0x8913, 0x8914, 0x8933, 0x89A2
_SIOCGIFMTU, _SIOCSIFMTU, _SIOCSIFHWADDR = 0x8921, 0x8922, 0x8924
_IFF_UP, _ARPHRD_ETHER = 0x1, 1
#: Names that are chosen anew each time (VIR_NET_GENERATED_VNET_PREFIX and its like).
_CHOSEN = ("vnet", "macvtap", "macvlan")
#: What an address, or a route, is given by.
_ADDRESSED = ("family", "address", "prefix", "netmask", "peer", "gateway", "metric")


def open_queue(wanted: Tap, spec: DomainSpec, names: dict[int, str], run_dir: str) -> int:
    """Make one queue of a device; the first one also sets the device up.

    Args:
        wanted: what it is to be.
        spec: the guest's definition, for messages.
        names: what the device of each interface is called, by the interface's place; a new
            one is put in.
        run_dir: the guest's run folder, where what does not go with QEMU is noted.

    Raises:
        HypervisorError: says which step failed, and why.
    """
    making = _Making(spec, run_dir)
    if wanted.unmade is not None:
        raise making.refusal(wanted.unmade)
    name = names.get(wanted.interface)
    if wanted.mode is not None and name is None:
        name = names[wanted.interface] = making.on_top(wanted)
        making.set_up(name, wanted)
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

    def __init__(self, spec: DomainSpec, run_dir: str) -> None:
        self._spec = spec
        self._run_dir = run_dir

    def refusal(self, why: str) -> HypervisorError:
        return HypervisorError(f"start {self._spec.name!r}: {why}", domain=self._spec.name)

    @contextmanager
    def _trying(self, what: str, right: str = "the right CAP_NET_ADMIN") -> Iterator[None]:
        try:
            yield
        except OSError as error:
            needed = f" (that needs {right})" if error.errno in (1, 13) else ""
            raise self.refusal(f"cannot {what}: {error.strerror}{needed}") from error

    def on_top(self, wanted: Tap) -> str:
        """Make a device on top of another one; return its name."""
        from polyvisor_qemu.cmdline.macvtaps import make

        with self._trying(f"make a macvtap device on {wanted.bridge}"):
            return make(wanted, self._run_dir, _given(wanted))

    def queue(self, wanted: Tap, name: str | None) -> tuple[int, str]:
        """Open one more queue of a device, which may be made by that; return its name too."""
        given = _given(wanted) or "vnet%d"  # the kernel takes the lowest number that is free
        flags = _IFF_TAP | _IFF_NO_PI
        flags |= _IFF_VNET_HDR if wanted.headers else 0
        flags |= _IFF_MULTI_QUEUE if wanted.queues > 1 else 0
        if not wanted.managed:
            if wanted.device is None:
                raise self.refusal("a TAP device with managed='no' needs its name in <target>")
            given = wanted.device
            with self._trying(f"use the network device {given}, which managed='no' says is there"):
                socket.if_nametoindex(given)
        if wanted.mode is not None or (not wanted.managed and self._is_macvtap(given)):
            from polyvisor_qemu.cmdline.macvtaps import open_queue

            right = "the rights CAP_SYS_ADMIN and CAP_MKNOD, or udev's /dev/tapN to be ours"
            with self._trying(f"open the character device of {name or given}", right):
                return open_queue(name or given, flags), name or given
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

    def _is_macvtap(self, name: str) -> bool:
        from polyvisor_qemu.cmdline.macvtaps import is_macvtap

        return is_macvtap(name)

    def set_up(self, name: str, wanted: Tap) -> None:
        if wanted.mode is not None:
            # It runs when the guest does.
            if wanted.mtu is not None:
                with (
                    socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control,
                    self._trying(f"set the MTU of {name} to {wanted.mtu}"),
                ):
                    _ioctl_number(control, _SIOCSIFMTU, name, wanted.mtu)
        elif wanted.managed:
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
        if wanted.bandwidth is not None and wanted.port is not None:
            from polyvisor_qemu.shaping import shape_port

            what, timeout = f"start {self._spec.name!r}", wanted.port.timeout
            shape_port(name, wanted.bandwidth, what, str(self._spec.uuid), timeout)
        elif wanted.bandwidth is not None:
            from polyvisor_qemu.shaping import shape

            shape(
                name,
                wanted.bandwidth,
                f"start {self._spec.name!r}",
                anew=not wanted.managed,
                same_side=wanted.mode is not None,
            )
        if wanted.ips or wanted.routes:
            self._note_addresses(name, wanted)
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
        if wanted.port is not None:
            self._join_switch(name, bridge, wanted.port, wanted.mac)
            return
        with self._trying(f"plug {name} into the bridge {bridge}"):
            _ioctl_number(control, _SIOCBRADDIF, bridge, socket.if_nametoindex(name))
        if wanted.isolated:
            from polyvisor_qemu.cmdline.netlink import isolate

            with self._trying(f"isolate {name} from other such ports of {bridge}"):
                isolate(socket.if_nametoindex(name))

    def _join_switch(self, name: str, bridge: str, port: SwitchPort, mac: str | None) -> None:
        """Make it a port of Open vSwitch, which is there until it is removed."""
        from polyvisor_qemu import wires
        from polyvisor_qemu.cmdline.switches import add_port

        uuid = str(self._spec.uuid)
        wires.note(self._run_dir, name, "port", uuid=uuid, timeout=port.timeout)
        with self._trying(f"plug {name} into the bridge {bridge} of Open vSwitch"):
            add_port(name, bridge, mac, port, uuid)

    def _note_addresses(self, name: str, wanted: Tap) -> None:
        """Note addresses of the host's side, which it gets when the guest runs."""
        from polyvisor_qemu import wires

        def plain(one: InterfaceIp | InterfaceRoute) -> dict[str, Any]:
            fields = attrs.fields_dict(type(one))
            return {key: getattr(one, key) for key in _ADDRESSED if key in fields}

        ips, routes = list(map(plain, wanted.ips)), list(map(plain, wanted.routes))
        wires.note(self._run_dir, name, "addresses", ips=ips, routes=routes)


def _given(wanted: Tap) -> str | None:
    """Return the name that a definition gives a device; ``None``: it is chosen."""
    given = wanted.device
    return None if given is None or given.startswith(_CHOSEN) or "%" in given else given


def _ioctl_number(control: socket.socket, request: int, device: str, value: int) -> int:
    given = struct.pack("16si20x", device.encode()[:15], value)
    return int(struct.unpack("16si20x", fcntl.ioctl(control, request, given))[1])


def _set_address(control: socket.socket, name: str, mac: str) -> None:
    """Give a device the guest's MAC but for its first byte, lest a bridge take it for its own."""
    octets = bytearray.fromhex(mac.replace(":", ""))
    octets[0] = 0xFA if octets[0] == 0xFE else 0xFE
    request = struct.pack("16sH6s16x", name.encode(), _ARPHRD_ETHER, bytes(octets))
    fcntl.ioctl(control, _SIOCSIFHWADDR, request)


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
