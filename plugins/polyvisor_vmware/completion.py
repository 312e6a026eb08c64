"""What VMware adds to a definition that does not say it.

Around it stands libvirt's generic parser (``DomainSpec.normalised``); what is here is what
its parser does for this hypervisor (virVMXDomainDefParserConfig and
virVMXDomainDevicesDefPostParse, src/vmx/vmx.c).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from polyvisor.model.devices.address import DriveAddress
from polyvisor.model.devices.video import Video, VideoModel
from polyvisor.model.os import OsType

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor.model.devices.disk import Disk

__all__ = ["completed", "disk_name", "disk_place"]

#: How many disks a controller has place for; unit 7 on a SCSI bus is the controller itself.
SCSI_DISKS, SCSI_OWN, SATA_DISKS = 15, 7, 30


def disk_name(prefix: str, index: int) -> str:
    """Return the name of a disk by its number: ``"sdc"`` for 2."""
    letters = ""
    index += 1
    while index:
        index, letter = divmod(index - 1, 26)
        letters = chr(ord("a") + letter) + letters
    return prefix + letters


def disk_place(name: str | None) -> int | None:
    """Return the number of a disk by its name: 2 for ``"sdc"``."""
    letters = (name or "")[2:]
    if not (letters.isascii() and letters.isalpha() and letters.islower() and len(letters) < 5):
        return None
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("a") + 1
    return number - 1


def completed(spec: DomainSpec) -> DomainSpec:
    """Return a definition with all that libvirt would make explicit for VMware.

    Raises:
        SchemaError: it says something that libvirt's parser cannot follow.
    """
    held = spec.devices
    kind = spec.os.type or OsType()
    videos = held.videos or ((Video(),) if held.graphics else ())
    return attrs.evolve(
        spec,
        os=attrs.evolve(
            spec.os, type=attrs.evolve(kind, name=kind.name or "hvm", arch=kind.arch or "i686")
        ),
        devices=attrs.evolve(
            held,
            disks=tuple(_disk(disk) for disk in held.disks),
            videos=tuple(_video(video) for video in videos),
        ),
    ).normalised()


def _disk(disk: Disk) -> Disk:
    """Put a disk where its name says: VMware's buses are wider than others."""
    target = disk.target
    place = None if target is None else disk_place(target.dev)
    if disk.address is not None or target is None or place is None:
        return disk
    bus = target.bus or ("scsi" if (target.dev or "").startswith("sd") else None)
    if bus == "scsi":
        controller, unit = divmod(place, SCSI_DISKS)
        unit += unit >= SCSI_OWN
    elif bus == "sata":
        controller, unit = divmod(place, SATA_DISKS)
    else:
        return disk
    return attrs.evolve(
        disk, address=DriveAddress(controller=controller, bus=0, target=0, unit=unit)
    )


def _video(video: Video) -> Video:
    model = video.model or VideoModel()
    if model.type in {None, "default"}:
        model = attrs.evolve(model, type="vmvga")
    return attrs.evolve(video, model=model)
