"""Network interfaces as text: ``"mac=00:16:3e:01:02:03,bridge=xenbr0,script=vif-bridge"``.

The language is that of xl-network-configuration(5); bridges of Open vSwitch have their
VLANs behind the name, ``br0.42`` for one and ``br0:42:43`` for a trunk.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from polyvisor.errors import SpecError
from polyvisor.model.devices.interface import (
    Bandwidth,
    BandwidthLimit,
    Interface,
    InterfaceIp,
    InterfaceSource,
    Mac,
    VirtualPort,
    Vlan,
    VlanTag,
)

if TYPE_CHECKING:
    from polyvisor_libxl.config.grammar import Atom
    from polyvisor_libxl.config.settings import Settings

__all__ = ["DEFAULT_SCRIPT", "bridge_text", "interface", "interface_text", "ip_text"]

#: Scripts that plug an interface into a bridge; the first is what xl uses unless told.
BRIDGE_SCRIPTS = ("vif-bridge", "vif-vnic")
DEFAULT_SCRIPT = BRIDGE_SCRIPTS[0]

_MAC = re.compile(r"[0-9A-Fa-f]{1,2}(?:[:-][0-9A-Fa-f]{1,2}){5}")
_RATE = re.compile(r"([0-9]{1,15})([GMK]?)([Bb])/s(?:@.*)?")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def interface(settings: Settings, atom: Atom, front: str) -> Interface:
    """Return the interface that a text describes.

    Args:
        settings: where it stands.
        atom: the text.
        front: what ``type`` is for an interface without an emulated twin.
    """
    said: dict[str, str] = {}
    for key, value in settings.pairs(atom):
        said.setdefault(key, value)
    bridge, script, model = said.get("bridge"), said.get("script") or None, said.get("model")
    fields: dict[str, Any] = {}
    if bridge or script in BRIDGE_SCRIPTS:
        kind = "bridge"
        if bridge:
            fields = _bridge(settings, atom, bridge)
    else:
        kind = "ethernet"
    if model is None and said.get("type") == front:
        model = "netfront"
    return Interface(
        type=kind,  # type: ignore[arg-type]
        mac=None if "mac" not in said else Mac(address=_mac(settings, atom, said["mac"])),
        ips=tuple(_ip(settings, atom, one) for one in said.get("ip", "").split()),
        script=script,
        model=model,
        target=said.get("vifname") or None,
        backenddomain=said.get("backend") or None,
        bandwidth=None if "rate" not in said else _bandwidth(settings, atom, said["rate"]),
        **fields,
    )


def _mac(settings: Settings, atom: Atom, text: str) -> str:
    if not _MAC.fullmatch(text):
        settings.fail(atom, f"{text!r} is not a MAC address, such as 00:16:3e:01:02:03")
    return ":".join(f"{int(part, 16):02x}" for part in re.split("[:-]", text))


def _ip(settings: Settings, atom: Atom, text: str) -> InterfaceIp:
    from ipaddress import ip_address

    try:
        address = ip_address(text.partition("/")[0])
    except ValueError:
        settings.fail(atom, f"{text!r} is not an IP address")
    return InterfaceIp(address=str(address), family="ipv4" if address.version == 4 else "ipv6")


def _bridge(settings: Settings, atom: Atom, text: str) -> dict[str, Any]:
    mark = "." if "." in text else ":"
    name, *tags = text.split(mark, 1 if mark == "." else -1)
    if not tags:
        return {"source": InterfaceSource(bridge=name)}
    if not all(tag.isdecimal() and tag.isascii() and len(tag) < 5 for tag in tags):
        settings.fail(atom, f"{text!r}: the VLANs behind the bridge are to be numbers")
    return {
        "source": InterfaceSource(bridge=name),
        "vlan": Vlan(
            trunk=True if mark == ":" else None,
            tags=tuple(VlanTag(id=int(tag)) for tag in tags),
        ),
        "virtualport": VirtualPort(type="openvswitch"),
    }


def _bandwidth(settings: Settings, atom: Atom, text: str) -> Bandwidth:
    """Return a rate in KiB per second; how often it is filled up cannot be said."""
    found = _RATE.fullmatch(text)
    if found is None:
        settings.fail(atom, f"{text!r} is not a rate, such as 10MB/s")
    rate = int(found[1]) * _UNITS[found[2]] // (8 if found[3] == "b" else 1)
    return Bandwidth(outbound=BandwidthLimit(average=rate >> 10))


def ip_text(interface: Interface) -> str | None:
    """Return the guest's addresses in one text."""
    return " ".join(ip.address for ip in interface.ips if ip.address) or None


def bridge_text(interface: Interface) -> tuple[str, str | None]:
    """Return a bridge with its VLANs, and the script that this bridge needs, if a special one."""
    name = "" if interface.source is None else interface.source.bridge or ""
    if interface.virtualport is None or interface.virtualport.type != "openvswitch":
        return name, interface.script
    tags = [] if interface.vlan is None else [tag.id or 0 for tag in interface.vlan.tags]
    if tags and interface.vlan is not None and interface.vlan.trunk:
        name += "".join(f":{tag}" for tag in tags)
    elif tags:
        name += f".{tags[0]}"
    return name, interface.script or "vif-openvswitch"


def interface_text(interface: Interface, front: str, *, hvm: bool) -> str:
    """Return an interface as text.

    Args:
        interface: the interface.
        front: as for :func:`interface`.
        hvm: whether the guest could have an emulated one.

    Raises:
        SpecError: it is of a type that Xen does not have.
    """
    said: list[tuple[str, str | None]] = []
    if interface.mac is not None:
        said.append(("mac", interface.mac.address))
    if interface.type == "bridge":
        bridge, script = bridge_text(interface)
        said += [("bridge", bridge), ("ip", ip_text(interface))]
        said.append(("script", script or DEFAULT_SCRIPT))
    elif interface.type == "ethernet":
        said += [("script", interface.script), ("ip", ip_text(interface))]
    else:
        raise SpecError(
            f"cannot write an interface of type {interface.type!r}: Xen's configuration has "
            f"bridges and scripts; use type 'bridge' with the name of the host's bridge",
            element="devices/interface",
            fault=f"type {interface.type!r}",
        )
    if interface.model == "netfront" and hvm:
        said.append(("type", front))
    else:
        said.append(("model", interface.model))
    said += [("vifname", interface.target), ("backend", interface.backenddomain)]
    limit = None if interface.bandwidth is None else interface.bandwidth.outbound
    if limit is not None and limit.average:
        said.append(("rate", f"{limit.average}KB/s"))
    return ",".join(f"{key}={value}" for key, value in said if value)
