"""Network interfaces (virDomainNetDefValidate, domain_validate.c)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from polyvisor.model._codecs import Fault
from polyvisor.model._network_rules import check_virtualport, check_vlan
from polyvisor.model.check._rule import Problem, Severity, at, once, rule, rules_of

if TYPE_CHECKING:
    from polyvisor.model.devices.interface import Interface
    from polyvisor.model.domain import DomainSpec

__all__ = ["RULES"]

_mac = re.compile(r"[0-9a-fA-F]{1,2}(?::[0-9a-fA-F]{1,2}){5}", re.ASCII).fullmatch
_VIRTIO = ("iommu", "ats", "packed", "page_per_vq")
#: What the source of an interface must say, by type.
_NEEDED = {
    "network": "network",
    "bridge": "bridge",
    "direct": "dev",
    "internal": "name",
    "vdpa": "dev",
    "vhostuser": "path",
}


@once
def _each(spec: DomainSpec) -> Iterator[tuple[str, Interface]]:
    held = spec.devices.interfaces
    for number, interface in enumerate(held):
        yield at("interface", number, held), interface


@rule("mac-address", "A MAC address is six bytes, and that of one device.")
def _address(spec: DomainSpec) -> Iterator[Problem]:
    for where, interface in _each(spec):
        address = interface.mac.address if interface.mac is not None else None
        if address is None:
            continue
        if not _mac(address):
            fault = f"{address!r} is no MAC address"
            yield Problem(f"{where}/mac", fault, "use one like 52:54:00:12:34:56")
        elif int(address.partition(":")[0], 16) & 1:
            fault = f"{address} is the address of a group"
            yield Problem(f"{where}/mac", fault, "use an even first byte, such as 52")


@rule(
    "mac-address-twice",
    "No two interfaces have the same MAC address, unless they stand in for each other.",
    severity=Severity.WARNING,
)
def _address_twice(spec: DomainSpec) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for where, interface in _each(spec):
        address = interface.mac.address if interface.mac is not None else None
        if address is None or interface.teaming is not None:
            continue
        key = address.lower()
        if key in seen:
            fault = f"the MAC address {address} is that of {seen[key]} already"
            yield Problem(f"{where}/mac", fault, "use another, or leave it out")
        seen.setdefault(key, where)


@rule("interface-source", "An interface says what it is plugged into.")
def _source(spec: DomainSpec) -> Iterator[Problem]:
    for where, interface in _each(spec):
        needed = _NEEDED.get(interface.type)
        if needed is None:
            continue
        source = interface.source
        if source is None or not getattr(source, needed):
            fault = f"an interface of type {interface.type!r} has no {needed}"
            yield Problem(where, fault, f"add <source {needed}='…'/>")


@rule("interface-option", "An interface has what its type and model have.")
def _options(spec: DomainSpec) -> Iterator[Problem]:
    for where, one in _each(spec):
        kind, source = one.type, one.source
        if kind != "ethernet":
            if source is not None and (source.ips or source.routes):
                fault = f"the host's side of type {kind!r} has no addresses and routes"
                yield Problem(f"{where}/source", fault, "use type='ethernet'")
            if one.target is not None and one.target_managed is False:
                fault = f"managed='no' is not possible for type {kind!r}"
                yield Problem(f"{where}/target", fault, "use type='ethernet'")
        if one.port_isolated:
            if kind not in {"network", "bridge"}:
                fault = f"a port of type {kind!r} cannot be isolated"
                yield Problem(f"{where}/port", fault, "use network or bridge")
            elif one.virtualport is not None and one.virtualport.type not in {None, "none"}:
                fault = f"a port of a {one.virtualport.type} switch cannot be isolated"
                yield Problem(f"{where}/port", fault, "remove one of the two")
        if one.backend is not None and one.backend.type == "passt" and kind != "user":
            yield Problem(f"{where}/backend", f"passt is not for type {kind!r}", "use 'user'")
        virtio = (one.model or "").startswith("virtio")
        # Others lose their options when they are read (virDomainNetDefParseXML).
        if kind == "vhostuser":
            if not virtio:
                yield Problem(where, "vhostuser needs a virtio model", "add <model type='virtio'/>")
            reconnect = source.reconnect if source is not None else None
            if source is not None and source.mode == "server" and reconnect and reconnect.enabled:
                yield Problem(f"{where}/source", "a server does not reconnect", "remove it")


@rule("interface-port", "A virtual port and VLANs have what their kinds take.")
def _port(spec: DomainSpec) -> Iterator[Problem]:
    for where, one in _each(spec):
        try:
            check_virtualport(one.virtualport)
            check_vlan(one.vlan)
        except Fault as fault:
            yield Problem("/".join((where, *fault.trail)), fault.fault, fault.advice)


@rule("interface-teaming", "Of two interfaces that stand in for each other one names the other.")
def _teaming(spec: DomainSpec) -> Iterator[Problem]:
    advice = "name the alias of the one that stays, in persistent"
    for where, one in _each(spec):
        teaming = one.teaming
        if teaming is None:
            continue
        if teaming.type == "transient" and not teaming.persistent:
            yield Problem(f"{where}/teaming", "the transient one names no other", advice)
        elif teaming.type == "persistent" and teaming.persistent:
            yield Problem(f"{where}/teaming", "the persistent one names another", "remove it")
    hostdevs = spec.devices.hostdevs
    for number, hostdev in enumerate(hostdevs):
        teaming = getattr(hostdev, "teaming", None)
        if teaming is not None and (teaming.type != "transient" or not teaming.persistent):
            place = f"{at('hostdev', number, hostdevs)}/teaming"
            yield Problem(place, "a host device is the transient one", advice)


@rule("port-forward", "A range of ports begins somewhere.")
def _forwards(spec: DomainSpec) -> Iterator[Problem]:
    for where, one in _each(spec):
        for number, forward in enumerate(one.port_forwards):
            for part in forward.ranges:
                if not part.start and (part.end or part.to or part.exclude is not None):
                    place = at("portForward", number, one.port_forwards, where)
                    yield Problem(f"{place}/range", "the range has no start", "add it")


RULES = rules_of(vars())
