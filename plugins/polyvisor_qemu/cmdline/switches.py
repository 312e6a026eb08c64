"""Ports of Open vSwitch, made and removed as by libvirt (virnetdevopenvswitch.c)."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polyvisor.model.devices.interface import Vlan
    from polyvisor_qemu.cmdline.words import SwitchPort

__all__ = ["add_port", "remove_port", "vlan_words"]


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


def remove_port(name: str, uuid: str, timeout: int) -> None:
    """Remove a guest's port, if it is there and has not become another guest's."""
    try:
        whose = _vsctl(timeout, "--if-exists", "get", "Interface", name, "external-ids:vm-id")
        if whose.strip().strip('"') == uuid:
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
