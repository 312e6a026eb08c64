"""What a stored definition does not have: the state of a running domain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.model.devices.chardev import Chardev
from polyvisor.model.devices.disk import Disk
from polyvisor.model.normal.change import changed, each

if TYPE_CHECKING:
    from polyvisor.model.devices.disk import BackingStore
    from polyvisor.model.devices.disk_source import DiskSource
    from polyvisor.model.domain import DomainSpec, SecLabel

__all__ = ["stored"]

#: How an alias starts that a user chose (USER_ALIAS_PREFIX, domain_conf.c).
OWN_ALIAS = "ua-"


def stored(spec: DomainSpec) -> DomainSpec:
    """Leave out what only a running domain has (VIR_DOMAIN_DEF_PARSE_INACTIVE)."""
    held = spec.devices
    fields: dict[str, Any] = {}
    for name in type(held).__annotations__:
        value = getattr(held, name)
        if isinstance(value, tuple):
            fields[name] = each(value, _device)
        elif value is not None and not isinstance(value, str):
            fields[name] = _device(value)
    return changed(
        spec,
        id=None,
        devices=changed(held, **fields),
        seclabels=each(spec.seclabels, _seclabel),
    )


def _device(device: Any) -> Any:
    alias = getattr(device, "alias", None)
    if alias is not None and not alias.startswith(OWN_ALIAS):
        device = changed(device, alias=None)
    if isinstance(device, Disk):
        return _disk(device)
    if isinstance(device, Chardev):
        target = device.target
        if target is not None:
            target = changed(target, state=None)
        sources = device.sources
        if device.type == "pty":
            sources = tuple(s for s in (changed(s, path=None) for s in sources) if s != type(s)())
        return changed(device, tty=None, target=target, sources=sources)
    return device


def _disk(disk: Disk) -> Disk:
    target = disk.target
    return changed(
        disk,
        mirror=None,
        private_data=None,
        source=_source(disk.source),
        backing_store=_backing(disk.backing_store),
        target=target if target is None or target.tray != "closed" else changed(target, tray=None),
    )


def _backing(backing: BackingStore | None) -> BackingStore | None:
    if backing is None:
        return None
    return changed(
        backing,
        index=None,
        source=_source(backing.source),
        backing_store=_backing(backing.backing_store),
    )


def _source(source: DiskSource | None) -> DiskSource | None:
    if source is None:
        return None
    labels = tuple(
        label
        for label in each(source.seclabels, lambda label: changed(label, labelskip=None))
        if label.relabel is not None or label.label is not None
    )
    return changed(source, index=None, private_data=None, seclabels=labels)


def _seclabel(label: SecLabel) -> SecLabel:
    """Leave out the labels that were chosen at start (virSecurityLabelDefParseXML)."""
    if label.type in {None, "dynamic"}:
        label = changed(label, label=None)
    return changed(label, imagelabel=None)
