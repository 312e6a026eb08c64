"""Paths in a definition that is read from a file count from the file's own folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

if TYPE_CHECKING:
    from polyvisor.model._xml import Source
    from polyvisor.model.devices.chardev import Chardev
    from polyvisor.model.devices.disk import Disk
    from polyvisor.model.domain import DomainSpec

__all__ = ["anchored", "with_absolute_paths"]

_C = TypeVar("_C", bound="Chardev")

# Chardev types whose source path is a file's; others name devices and sockets.
_FILES = ("file", "pipe", "unix")


def anchored(spec: DomainSpec, folder: str) -> DomainSpec:
    """Return ``spec`` with the relative paths of its files made absolute.

    Hypervisors want absolute paths; a file that comes with its disk images beside it does
    not know where it will lie.

    Args:
        spec: a definition.
        folder: the folder that relative paths count from.
    """

    def absolute(path: str | None) -> str | None:
        if not path or path.startswith("/"):
            return path
        return os.path.normpath(os.path.join(os.path.abspath(folder), path))

    changes: dict[str, Any] = {}
    machine: dict[str, Any] = {
        name: absolute(getattr(spec.os, name))
        for name in ("kernel", "initrd", "dtb")
        if getattr(spec.os, name)
    }
    if any(path != getattr(spec.os, name) for name, path in machine.items()):
        changes["os"] = attrs.evolve(spec.os, **machine)

    def disk(one: Disk) -> Disk:
        source = one.source
        if source is None or absolute(source.file) == source.file:
            return one
        return attrs.evolve(one, source=attrs.evolve(source, file=absolute(source.file)))

    def chardev(one: _C) -> _C:
        if one.type not in _FILES or all(absolute(s.path) == s.path for s in one.sources):
            return one
        sources = tuple(attrs.evolve(s, path=absolute(s.path)) for s in one.sources)
        return attrs.evolve(one, sources=sources)

    held = spec.devices
    devices: dict[str, Any] = {
        "disks": tuple(disk(one) for one in held.disks),
        "serials": tuple(chardev(one) for one in held.serials),
        "parallels": tuple(chardev(one) for one in held.parallels),
        "consoles": tuple(chardev(one) for one in held.consoles),
        "channels": tuple(chardev(one) for one in held.channels),
    }
    devices = {name: now for name, now in devices.items() if now != getattr(held, name)}
    if devices:
        changes["devices"] = attrs.evolve(held, **devices)
    return attrs.evolve(spec, **changes) if changes else spec


def with_absolute_paths(source: Source) -> Source:
    """Return what libvirt's schema can be asked of: it knows no relative paths.

    A file in which there are some is written anew, with those that :func:`anchored` gives;
    everything else, and what is no domain's definition, is returned as it is.
    """
    if not isinstance(source, os.PathLike):
        return source
    from polyvisor.errors import SpecError
    from polyvisor.model.domain import DomainSpec

    try:
        spec = DomainSpec.from_xml(source)
    except SpecError:
        return source
    moved = anchored(spec, os.path.dirname(os.fspath(source)))
    return source if moved == spec else moved.to_xml()
