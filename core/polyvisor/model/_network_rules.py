"""What networks and their ports refuse of the settings that they share with interfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.model._codecs import Fault, nearest

if TYPE_CHECKING:
    from polyvisor.model.devices.interface import Bandwidth, VirtualPort, Vlan

__all__ = ["check_bandwidth", "check_virtualport", "check_vlan"]

#: Parameters that a type of virtual port takes (virNetDevVPortProfileParse).
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "none": (),
    "802.1Qbg": ("managerid", "typeid", "typeidversion", "instanceid"),
    "802.1Qbh": ("profileid",),
    "openvswitch": ("interfaceid", "profileid"),
    "midonet": ("interfaceid",),
}
_ALL = ("managerid", "typeid", "typeidversion", "instanceid", "profileid", "interfaceid")
#: The greatest numbers that they may be.
_LIMITS = {"managerid": 0xFF, "typeid": 0xFFFFFF, "typeidversion": 0xFF}


def check_virtualport(port: VirtualPort | None, *, typed: bool = False) -> None:
    """Refuse a virtual port with an unknown type or parameters that are not for its type.

    Args:
        port: the virtual port.
        typed: whether it must have a type.
    """
    if port is None:
        return
    if port.type is None and typed:
        raise Fault("a virtual port has no type", nearest("", list(_PARAMETERS))).at("virtualport")
    if port.type is not None and port.type not in _PARAMETERS:
        advice = nearest(port.type, list(_PARAMETERS))
        raise Fault(f"{port.type!r} is not a type of virtual port", advice).at("virtualport")
    taken = _ALL if port.type is None else _PARAMETERS[port.type]
    for name in _ALL:
        word = getattr(port.parameters, name, None)
        if word is None:
            continue
        fault, advice = "", ""
        if name not in taken:
            fault = f"{name} is not for a virtual port of type {port.type!r}"
            advice = "use " + " or ".join(taken) if taken else "remove it"
        elif name in _LIMITS and not _is_number(word, _LIMITS[name]):
            fault, advice = f"{name} {word!r} is out of range", f"use 0 to {_LIMITS[name]}"
        elif name == "profileid" and len(word) > 39:
            fault, advice = "profileid is longer than 39 characters", "shorten it"
        if fault:
            raise Fault(fault, advice).at("virtualport", "parameters")


def _is_number(word: str, limit: int) -> bool:
    try:
        return 0 <= int(word, 0) <= limit
    except ValueError:
        return False


def check_vlan(vlan: Vlan | None) -> None:
    """Refuse a VLAN without tags, or with tags that do not go together."""
    if vlan is None:
        return
    if not vlan.tags:
        raise Fault("a vlan has no <tag>", "add one").at("vlan")
    natives = 0
    for number, tag in enumerate(vlan.tags, 1):
        step = f"tag[{number}]"
        if tag.id is None:
            raise Fault("a tag has no id", "add it").at("vlan", step)
        if tag.id > 4095:
            raise Fault(f"the tag {tag.id} is out of range", "use 0 to 4095").at("vlan", step)
        if tag.native_mode not in {None, "tagged", "untagged"}:
            advice = nearest(tag.native_mode or "", ["tagged", "untagged"])
            raise Fault(f"{tag.native_mode!r} is not a native mode", advice).at("vlan", step)
        natives += tag.native_mode is not None
        if natives > 1:
            raise Fault("a second tag is native", "leave one").at("vlan", step)
    if vlan.trunk is False and (len(vlan.tags) > 1 or natives):
        raise Fault("trunk='no' is for a single tag", "use trunk='yes'").at("vlan")


def check_bandwidth(bandwidth: Bandwidth | None, *, floor: bool = False) -> None:
    """Refuse a bandwidth without an average.

    Args:
        bandwidth: the limits.
        floor: whether a guaranteed rate may be asked for.
    """
    for name in ("inbound", "outbound"):
        limit = getattr(bandwidth, name, None)
        if limit is None:
            continue
        fault, advice = "", "remove it"
        if limit.floor is not None and (not floor or name == "outbound"):
            fault = "floor cannot be asked for here"
        elif limit.average is None and limit.floor is None:
            fault, advice = "there is no average", "add it"
        elif limit.average is None and (limit.peak is not None or limit.burst is not None):
            fault, advice = "peak and burst need an average", "add it"
        if fault:
            raise Fault(fault, advice).at("bandwidth", name)
