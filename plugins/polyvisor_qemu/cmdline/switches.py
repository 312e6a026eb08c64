"""Ports of Open vSwitch, made and removed as by libvirt (virnetdevopenvswitch.c)."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polyvisor.model.devices.interface import Bandwidth, Vlan
    from polyvisor_qemu.cmdline.words import SwitchPort

__all__ = [
    "add_port",
    "change_vlan",
    "keep_data",
    "kept_data",
    "limit_port",
    "remove_port",
    "vlan_words",
]

# What limits are in, KiB/s and KiB, as Open vSwitch has them: bits a second and bits for what it
# sends, kilobits for what it gets (KBYTE_TO_BITS, KIBIBYTE_TO_BITS, VIR_NETDEV_RX_TO_OVS).
_RATE, _BURST, _POLICING = 8000, 8192, 8
# Where a controller keeps what goes along with a guest.
_KEPT = "external_ids:PortData"


def vlan_words(vlan: Vlan | None) -> list[str]:
    """Return what Open vSwitch is told of the VLANs of a port."""
    if vlan is None or not vlan.tags:
        return []
    native = next((tag for tag in vlan.tags if tag.native_mode), None)
    words = [f"vlan_mode=native-{native.native_mode}", f"tag={native.id}"] if native else []
    # As libvirt takes it: several tags, or a native one, are a trunk's.
    if vlan.trunk or native or len(vlan.tags) > 1:
        return [*words, f"trunk={','.join(str(tag.id) for tag in vlan.tags)}"]
    return [f"tag={vlan.tags[0].id}"]


def add_port(name: str, bridge: str, mac: str | None, port: SwitchPort, uuid: str) -> None:
    """Make a network device a port of a bridge.

    One of that name that is there is what a host that went down has left.

    Args:
        name: the device.
        bridge: the bridge.
        mac: the guest's address.
        port: what the switch is told.
        uuid: the guest's UUID.

    Raises:
        OSError: the switch refuses, in its words.
    """
    facts = {"attached-mac": mac, "iface-id": port.interface, "vm-id": uuid}
    if port.profile:
        facts |= {"port-profile": port.profile, "ifname": name}
    facts["iface-status"] = "active"
    told = [f"external-ids:{key}={json.dumps(value)}" for key, value in facts.items() if value]
    _vsctl(
        port.timeout,
        "--", "--if-exists", "del-port", name,
        "--", "add-port", bridge, name, *vlan_words(port.vlan),
        "--", "set", "Interface", name, *told,
    )  # fmt: skip


def change_vlan(name: str, vlan: Vlan | None, timeout: int) -> None:
    """Put a port into other VLANs (virNetDevOpenvswitchUpdateVlan).

    Raises:
        OSError: the switch refuses, in its words.
    """
    words = ["--", "clear", "Port", name, "tag", "trunks", "vlan_mode"]
    told = vlan_words(vlan)
    words += ["--", "set", "Port", name, *told] if told else []
    _vsctl(timeout, *words)


def limit_port(name: str, bandwidth: Bandwidth, uuid: str, timeout: int) -> None:
    """Limit what goes through a port; limits that it has go.

    Args:
        name: the device.
        bandwidth: the limits, as the guest sees them.
        uuid: the guest's UUID.
        timeout: seconds that the switch has for an answer.

    Raises:
        OSError: the switch refuses, in its words.
    """
    words = _unlimited(name, uuid, timeout)
    gets, sends = bandwidth.inbound, bandwidth.outbound
    if gets is not None and gets.average:
        rates = {"min-rate": gets.average * _RATE}
        rates |= {"burst": gets.burst * _BURST} if gets.burst else {}
        rates |= {"max-rate": gets.peak * _RATE} if gets.peak else {}
        config = [f"other_config:{key}={value}" for key, value in rates.items()]
        whose = _whose(name, uuid)
        words += [
            "--", "set", "port", name, "qos=@qos", *whose,
            "--", "--id=@qos", "create", "qos", "type=linux-htb", *config, "queues:0=@queue",
            *whose, "--", "--id=@queue", "create", "queue", *config, *whose,
        ]  # fmt: skip
    average, burst = (sends.average or 0, sends.burst or 0) if sends is not None else (0, 0)
    _vsctl(
        timeout, *words, "--", "set", "Interface", name,
        f"ingress_policing_rate={average * _POLICING}",
        f"ingress_policing_burst={burst * _POLICING}",
    )  # fmt: skip


def _whose(name: str, uuid: str) -> list[str]:
    return [f'external-ids:vm-id="{uuid}"', f'external-ids:ifname="{name}"']


def _unlimited(name: str, uuid: str, timeout: int, *, there: bool = True) -> list[str]:
    """Return what takes the limits of what a guest's port sends away, if there are any.

    Args:
        name: its device.
        uuid: the guest's UUID.
        timeout: seconds that the switch has for an answer.
        there: whether the port is there, and still that guest's.
    """
    found = [
        (table, row)
        for table in ("qos", "queue")
        for row in _vsctl(
            timeout, "--bare", "--columns=_uuid", "find", table, *_whose(name, uuid)
        ).split()
    ]
    words = ["--", "--if-exists", "clear", "Port", name, "qos"] if found and there else []
    for table, row in found:
        words += ["--", "--if-exists", "destroy", table, row]
    return words


def kept_data(name: str, timeout: int) -> str:
    """Return what a controller keeps at a port, as ovs-vsctl writes it; empty if it is nothing.

    Raises:
        OSError: the switch refuses, in its words.
    """
    return _vsctl(timeout, "--if-exists", "get", "Interface", name, _KEPT).strip()


def keep_data(name: str, data: str, timeout: int) -> None:
    """Keep at a port what was kept at another (:func:`kept_data`).

    Raises:
        OSError: the switch refuses, in its words.
    """
    # A string of Open vSwitch's database is one of JSON, or a plain word.
    if re.fullmatch(r'[A-Za-z_][\w.-]*|"(?:[^"\\]|\\.)*"', data, re.ASCII) is None:
        data = json.dumps(data)
    _vsctl(timeout, "set", "Interface", name, f"{_KEPT}={data}")


def remove_port(name: str, uuid: str, timeout: int) -> None:
    """Remove a guest's port, if it is there and has not become another guest's."""
    try:
        whose = _vsctl(timeout, "--if-exists", "get", "Interface", name, "external-ids:vm-id")
        ours = whose.strip().strip('"') == uuid
        words = _unlimited(name, uuid, timeout, there=ours)
        if words:  # the database takes its limits for used while it is removed
            _vsctl(timeout, *words)
        if ours:
            _vsctl(timeout, "--", "--if-exists", "del-port", name)
    except OSError:
        return


def _vsctl(timeout: int, *words: str) -> str:
    line: Sequence[str] = ("ovs-vsctl", f"--timeout={timeout}", *words)
    try:
        done = subprocess.run(
            line, check=False, capture_output=True, text=True, errors="replace", timeout=timeout + 5
        )
    except FileNotFoundError as error:
        raise OSError(
            error.errno, "ovs-vsctl is missing; apt install openvswitch-switch"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(110, f"ovs-vsctl has no answer after {timeout} s") from error
    if done.returncode:
        raise OSError(5, done.stderr.strip().replace("\n", " / ") or "ovs-vsctl failed")
    return done.stdout
