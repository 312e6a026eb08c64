"""Folders of the host that the guest sees."""

from __future__ import annotations

from typing import Literal

from polyvisor.model._codecs import ON_OFF, UINT, choices
from polyvisor.model.binding import Element, attr, child, element, flag, inner, size
from polyvisor.model.devices import Device

__all__ = [
    "Filesystem",
    "FilesystemBinary",
    "FilesystemDriver",
    "FilesystemLock",
    "FilesystemSource",
]

FilesystemType = Literal["mount", "block", "file", "template", "ram", "bind", "volume"]
AccessMode = Literal["passthrough", "mapped", "squash"]


@element(kw_only=True)
class FilesystemDriver(Element):
    """How it is shared."""

    type: str | None = attr()
    format: str | None = attr()
    wrpolicy: Literal["immediate"] | None = attr(choices(Literal["immediate"]))
    queue: int | None = attr(UINT)
    name: str | None = attr()
    iommu: bool | None = attr(ON_OFF)
    ats: bool | None = attr(ON_OFF)
    packed: bool | None = attr(ON_OFF)
    page_per_vq: bool | None = attr(ON_OFF)


@element(kw_only=True)
class FilesystemLock(Element):
    """Locks that virtiofsd passes on."""

    posix: bool | None = attr(ON_OFF)
    flock: bool | None = attr(ON_OFF)


@element(kw_only=True)
class FilesystemBinary(Element):
    """The virtiofsd to start."""

    path: str | None = attr()
    xattr: bool | None = attr(ON_OFF)
    cache: str | None = inner("cache", "mode")
    sandbox: str | None = inner("sandbox", "mode")
    lock: FilesystemLock | None = child(FilesystemLock)
    thread_pool: int | None = inner("thread_pool", "size", UINT)


@element(kw_only=True)
class FilesystemSource(Element):
    """The host's side; which attribute counts depends on the type."""

    dir: str | None = attr()
    file: str | None = attr()
    dev: str | None = attr()
    name: str | None = attr()
    socket: str | None = attr()
    usage: str | None = attr()
    units: str | None = attr()
    pool: str | None = attr()
    volume: str | None = attr()


@element(kw_only=True)
class Filesystem(Device):
    """A folder or image of the host that the guest mounts."""

    type: FilesystemType | None = attr(choices(FilesystemType))
    accessmode: AccessMode | None = attr(choices(AccessMode))
    model: str | None = attr()
    fmode: str | None = attr()
    dmode: str | None = attr()
    multidevs: str | None = attr()
    driver: FilesystemDriver | None = child(FilesystemDriver)
    binary: FilesystemBinary | None = child(FilesystemBinary)
    source: FilesystemSource | None = child(FilesystemSource)
    #: The folder or tag in the guest.
    target: str | None = inner("target", "dir")
    readonly: bool = flag()
    #: In bytes.
    space_hard_limit: int | None = size()
    space_soft_limit: int | None = size()
