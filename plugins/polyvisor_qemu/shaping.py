"""Limits of what goes through an interface, kept by the kernel at its TAP device.

Laid out as libvirt lays it out (virNetDevBandwidthSet): what the guest gets is queued and sent
at the rate of a class of HTB, what it sends is dropped beyond its rate as it comes in.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import HypervisorError, OperationInvalid, Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from polyvisor.local import Guest
    from polyvisor.model.devices.interface import Bandwidth, BandwidthLimit, Interface

__all__ = ["change", "commands", "reshape", "shape", "shape_port"]

#: Types whose device of the host is ours (virNetDevSupportsBandwidth).
_SHAPED = ("bridge", "network", "ethernet", "direct")
#: Bytes of an ordinary frame, and the most that tc takes as a burst, in KiB.
_FRAME, _MOST = 1500, (1 << 32) // 1024 - 1


def commands(device: str, bandwidth: Bandwidth) -> tuple[list[str], list[str]]:
    """Return what tc is to be told, without its name: what must work, and what need not.

    What need not work makes no difference to the limits: which of the guest's streams comes
    first, and where packets with a firewall's mark go.
    """
    needed: list[str] = []
    spare: list[str] = []
    gets, sends = bandwidth.inbound, bandwidth.outbound
    if gets is not None and gets.average:
        quantum = max(gets.average * 1024 // 8 // _FRAME, 1)
        words = [f"rate {gets.average}kbps"]
        words += [f"ceil {gets.peak}kbps"] if gets.peak else []
        words += [f"burst {gets.burst}kb"] if gets.burst else []
        needed += [
            f"qdisc add dev {device} root handle 1: htb default 1",
            f"class add dev {device} parent 1: classid 1:1 htb {' '.join(words)} quantum {quantum}",
        ]
        spare += [
            f"qdisc add dev {device} parent 1:1 handle 2: sfq perturb 10",
            f"filter add dev {device} parent 1:0 protocol all prio 1 handle 1 fw flowid 1",
        ]
    if sends is not None and sends.average:
        burst = sends.burst or min(sends.average, _MOST)
        needed += [
            f"qdisc add dev {device} ingress",
            f"filter add dev {device} parent ffff: protocol all u32 match u32 0 0 police "
            f"rate {sends.average}kbps burst {burst}kb mtu 64kb drop flowid :1",
        ]
    return needed, spare


def shape(
    device: str,
    bandwidth: Bandwidth | None,
    what: str,
    *,
    anew: bool = False,
    same_side: bool = False,
) -> None:
    """Set the limits of a device.

    Args:
        device: the device of the host.
        bandwidth: its limits; ``None``: none.
        what: what they are set for, for the error.
        anew: it may have limits, which go.
        same_side: what the device sends is what the guest sends, as with macvtap
            (virDomainNetTypeSharesHostView), not what the guest gets.

    Raises:
        HypervisorError: the kernel refuses, or there is no tc.
        Unsupported: a floor is asked for.
    """
    if anew:
        _tc([f"qdisc del dev {device} root", f"qdisc del dev {device} ingress"], what, force=True)
    if bandwidth is None:
        return
    _refuse_floor(bandwidth, what)
    if same_side:
        bandwidth = attrs.evolve(bandwidth, inbound=bandwidth.outbound, outbound=bandwidth.inbound)
    needed, spare = commands(device, bandwidth)
    if needed:
        _tc(needed, what)
    if spare:
        _tc(spare, what, force=True)


def _refuse_floor(bandwidth: Bandwidth, what: str) -> None:
    if bandwidth.inbound is not None and bandwidth.inbound.floor:
        # virDomainActualNetDefValidate: a bridge's share-out is its network's own affair.
        raise Unsupported(
            f"{what}: inbound.floor needs a network that shares its bridge out; leave it out",
            feature="domains.tuning",
        )


def shape_port(name: str, bandwidth: Bandwidth, what: str, uuid: str, timeout: int) -> None:
    """Set the limits of a port of Open vSwitch, in place of what it has.

    Args:
        name: its device.
        bandwidth: its limits.
        what: what they are set for, for the error.
        uuid: the guest's UUID.
        timeout: seconds that the switch has for an answer.

    Raises:
        HypervisorError: the switch refuses.
        Unsupported: a floor is asked for.
    """
    from polyvisor_qemu.cmdline.switches import limit_port

    _refuse_floor(bandwidth, what)
    try:
        limit_port(name, bandwidth, uuid, timeout)
    except OSError as error:
        raise HypervisorError(f"{what}: Open vSwitch: {error.strerror}") from error


def _tc(lines: Sequence[str], what: str, *, force: bool = False) -> None:
    more = ["-force"] if force else []
    try:
        done = subprocess.run(
            ["tc", *more, "-batch", "-"],
            input="".join(f"{line}\n" for line in lines),
            check=False, capture_output=True, text=True, errors="replace", timeout=30,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise HypervisorError(f"{what}: tc is missing; apt install iproute2") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HypervisorError(f"{what}: tc: {error}") from error
    if done.returncode and not force:
        said = " / ".join(done.stderr.split("\n")[:2]).strip(" /")
        raise HypervisorError(f"{what}: tc: {said}", native_message=said or None)


def change(
    guest: Guest, interface: Interface, values: Mapping[str, int | str], timeout: int
) -> None:
    """Change the limits of an interface of a guest that runs; as before if that fails.

    Args:
        guest: the guest.
        interface: the interface as it is.
        values: what is to change, by libvirt's names; a way that is named is set as a whole.
        timeout: seconds that Open vSwitch has for an answer, if it is a port of that.

    Raises:
        OperationInvalid: its device of the host is not ours.
        Unsupported: a floor is asked for.
        HypervisorError: the kernel refuses.
    """
    from polyvisor.model.devices.interface import Bandwidth

    old = interface.bandwidth or Bandwidth()
    changes: dict[str, Any] = {
        way: _limit(way, values, getattr(old, way)) for way in ("inbound", "outbound")
    }
    what = f"domiftune of {guest.name!r}"
    reshape(guest, interface, attrs.evolve(old, **changes), what, timeout)


def reshape(
    guest: Guest, interface: Interface, new: Bandwidth | None, what: str, timeout: int
) -> None:
    """Give an interface of a guest that runs other limits; as before if that fails.

    Args:
        guest: the guest.
        interface: the interface as it is.
        new: its limits from now on; ``None``: none.
        what: what they are set for, for the error.
        timeout: seconds that Open vSwitch has for an answer, if it is a port of that.

    Raises:
        OperationInvalid: its device of the host is not ours.
        Unsupported: a floor is asked for.
        HypervisorError: the kernel refuses.
    """
    from polyvisor.model.devices.interface import Bandwidth

    if interface.type not in _SHAPED or interface.target is None:
        raise OperationInvalid(
            f"{what}: an interface of type {interface.type!r} has no device of the host's that "
            f"could be limited",
            domain=guest.name,
        )
    if interface.virtualport is not None and interface.virtualport.type == "openvswitch":
        # The switch does all at once, or nothing.
        shape_port(interface.target, new or Bandwidth(), what, str(guest.uuid), timeout)
        return
    same_side = interface.type == "direct"
    try:
        shape(interface.target, new, what, anew=True, same_side=same_side)
    except BaseException:
        shape(interface.target, interface.bandwidth, what, anew=True, same_side=same_side)
        raise


def _limit(
    way: str, values: Mapping[str, int | str], old: BandwidthLimit | None
) -> BandwidthLimit | None:
    from polyvisor.model.devices.interface import BandwidthLimit

    given: dict[str, Any] = {
        name.partition(".")[2]: int(value) or None
        for name, value in values.items()
        if name.startswith(f"{way}.")
    }
    return BandwidthLimit(**given) if given else old
