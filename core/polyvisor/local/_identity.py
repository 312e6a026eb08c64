"""Which device of a definition is meant: by what devices of a kind are told apart.

As libvirt finds them (virDomainDiskFindByBusAndDst, virDomainNetFindIdx and their like,
``src/conf/domain_conf.c``): by alias if one is given, else by what is their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyvisor.model import DomainSpec

__all__ = ["clash", "find", "one_of", "same", "words"]

#: What tells devices of a kind apart; devices of other kinds are compared as a whole.
_KEYS: dict[str, Callable[[Any], Any]] = {
    "disks": lambda one: one.target.dev if one.target is not None else None,
    "interfaces": lambda one: one.mac.address.lower() if one.mac is not None else None,
    "hostdevs": lambda one: _source(one),
    "controllers": lambda one: (one.type, one.index),
    "filesystems": lambda one: one.target,
    "graphics": lambda one: one.type,
    "leases": lambda one: (one.lockspace, one.key),
    "inputs": lambda one: (one.type, one.bus),
    "watchdogs": lambda one: one.model,
    "channels": lambda one: _channel(one),
    "serials": lambda one: _port(one),
    "parallels": lambda one: _port(one),
    "consoles": lambda one: _port(one),
    "shmems": lambda one: one.name,
    "memories": lambda one: _module(one),
    # Of these a domain has one at most.
    "memballoon": lambda one: True,
    "nvram": lambda one: True,
    "iommu": lambda one: True,
    "vsock": lambda one: True,
}
#: Kinds of which there may be several that nothing tells apart but their place.
_ALIKE = ("inputs", "memories", "serials", "parallels", "consoles")

_SINGLE = ("memballoon", "nvram", "iommu", "vsock")
_NAMES = {"disks": "disk", "interfaces": "interface", "hostdevs": "host device"}


def one_of(spec: DomainSpec) -> tuple[str, Any] | None:
    """Return kind and device of a definition that has exactly one; ``None`` if it has not."""
    found = [
        (field.name, one)
        for field in attrs.fields(type(spec.devices))
        if isinstance(values := getattr(spec.devices, field.name), tuple)
        for one in values
        if attrs.has(type(one))
    ]
    found += [(name, one) for name in _SINGLE if (one := getattr(spec.devices, name)) is not None]
    return found[0] if len(found) == 1 else None


def words(kind: str, device: Any) -> str:
    """Return which device it is, in words: ``disk vda``."""
    name = _NAMES.get(kind, kind.removesuffix("s"))
    if kind == "hostdevs":
        source = getattr(device, "source", None)
        return f"{name} {getattr(source, 'address', source)}"
    if kind in ("disks", "interfaces"):
        return f"{name} {_KEYS[kind](device)}"
    alias = getattr(device, "alias", None)
    return f"{name} {alias}" if alias else name


def same(kind: str, one: Any, other: Any) -> bool:
    """Say whether two devices of a kind are the same one."""
    key = _KEYS.get(kind)
    return _plain(one) == _plain(other) if key is None else bool(key(one) == key(other))


def clash(kind: str, devices: tuple[Any, ...], wanted: Any) -> bool:
    """Say whether a device would be there twice."""
    if kind not in _KEYS or kind in _ALIKE:
        return False
    return find(kind, devices, wanted) is not None


def find(kind: str, devices: tuple[Any, ...], wanted: Any) -> int | None:
    """Return the place of a device; of an interface without MAC, that of the only one."""
    alias = getattr(wanted, "alias", None)
    if alias is not None:
        named = [place for place, one in enumerate(devices) if one.alias == alias]
        if named:
            return named[0]
    if kind == "interfaces" and wanted.mac is None:
        return 0 if len(devices) == 1 else None
    if kind == "memories" and wanted.address is not None:
        at_place = [at for at, one in enumerate(devices) if one.address == wanted.address]
        if at_place:
            return at_place[0]
    return next((at for at, one in enumerate(devices) if same(kind, one, wanted)), None)


def _plain(device: Any) -> Any:
    """Return a device without what it gets when it is attached."""
    given = {
        field.name: None
        for field in attrs.fields(type(device))
        if field.name in ("alias", "address")
    }
    return attrs.evolve(device, **given)


def _port(device: Any) -> Any:
    """Return where a port is in the guest; what it has on the host is chosen in part."""
    target = device.target
    return None if target is None else (target.type, target.port)


def _channel(device: Any) -> Any:
    target = device.target
    if target is None:
        return None
    return target.type, target.name, getattr(target, "address", None), getattr(target, "port", None)


def _module(device: Any) -> Any:
    """Return what tells a memory module from another that is not alike."""
    target = device.target
    size = None if target is None else (target.size, target.node, target.block)
    return device.model, device.source, size


def _source(device: Any) -> Any:
    source = getattr(device, "source", None)
    return getattr(source, "address", source)
