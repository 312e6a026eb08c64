"""What a domain boots: firmware, kernel, devices in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from polyvisor.model._codecs import UINT, YES_NO, choices, integer
from polyvisor.model.binding import (
    Element,
    attr,
    child,
    children,
    element,
    inner,
    inners,
    text,
    value,
    values,
)

if TYPE_CHECKING:
    from polyvisor.model.devices.disk_source import DiskSource

__all__ = [
    "AcpiTable",
    "BootDev",
    "BootMenu",
    "Firmware",
    "FirmwareFeature",
    "InitEnv",
    "Loader",
    "Nvram",
    "Os",
    "OsAcpi",
    "OsBios",
    "OsType",
]

BootDev = Literal["fd", "hd", "cdrom", "network"]
FirmwareName = Literal["bios", "efi"]
LoaderType = Literal["rom", "pflash"]
SmbiosMode = Literal["none", "emulate", "host", "sysinfo"]


@element(kw_only=True)
class OsType(Element):
    """``<type arch='x86_64' machine='q35'>hvm</type>``."""

    arch: str | None = attr()
    machine: str | None = attr()
    #: ``"hvm"``, ``"linux"``, ``"xen"``, ``"xenpvh"``, ``"exe"``, ``"uml"``.
    name: str | None = text()


@element(kw_only=True)
class FirmwareFeature(Element):
    """A property asked of the firmware to be chosen."""

    enabled: bool | None = attr(YES_NO)
    name: str | None = attr()


@element(kw_only=True)
class Firmware(Element):
    """Properties asked of the firmware to be chosen."""

    features: tuple[FirmwareFeature, ...] = children(FirmwareFeature, "feature")


@element(kw_only=True)
class InitEnv(Element):
    """An environment variable of a container's init."""

    name: str | None = attr()
    value: str | None = text()


@element(kw_only=True)
class Loader(Element):
    """The firmware's image."""

    readonly: bool | None = attr(YES_NO)
    secure: bool | None = attr(YES_NO)
    type: LoaderType | None = attr(choices(LoaderType))
    stateless: bool | None = attr(YES_NO)
    path: str | None = text()


@element(kw_only=True)
class Nvram(Element):
    """Where the firmware keeps its variables."""

    template: str | None = attr()
    type: str | None = attr()
    path: str | None = text()
    source: DiskSource | None = child(".devices.disk_source:DiskSource")


@element(kw_only=True)
class BootMenu(Element):
    """Whether the firmware offers a menu."""

    enable: bool | None = attr(YES_NO)
    #: In milliseconds.
    timeout: int | None = attr(UINT)


@element(kw_only=True)
class OsBios(Element):
    """Options of the BIOS."""

    useserial: bool | None = attr(YES_NO)
    #: In milliseconds; -1: do not reboot.
    reboot_timeout: int | None = attr(integer(-1, 65535), name="rebootTimeout")


@element(kw_only=True)
class AcpiTable(Element):
    """A table from a file."""

    type: Literal["slic"] | None = attr(choices(Literal["slic"]))
    path: str | None = text()


@element(kw_only=True)
class OsAcpi(Element):
    """ACPI tables of the guest."""

    tables: tuple[AcpiTable, ...] = children(AcpiTable, "table")


@element(kw_only=True)
class Os(Element):
    """What a domain boots."""

    firmware_name: FirmwareName | None = attr(choices(FirmwareName), name="firmware")
    type: OsType | None = child(OsType)
    firmware: Firmware | None = child(Firmware)
    init: str | None = value()
    initargs: tuple[str, ...] = values(name="initarg")
    initenvs: tuple[InitEnv, ...] = children(InitEnv, "initenv")
    initdir: str | None = value()
    inituser: str | None = value()
    initgroup: str | None = value()
    loader: Loader | None = child(Loader)
    nvram: Nvram | None = child(Nvram)
    kernel: str | None = value()
    initrd: str | None = value()
    cmdline: str | None = value()
    dtb: str | None = value()
    root: str | None = value()
    acpi: OsAcpi | None = child(OsAcpi)
    boot: tuple[BootDev, ...] = inners("boot", "dev", choices(BootDev))
    bootmenu: BootMenu | None = child(BootMenu)
    smbios: SmbiosMode | None = inner("smbios", "mode", choices(SmbiosMode))
    bios: OsBios | None = child(OsBios)

    @property
    def arch(self) -> str | None:
        """The guest's architecture."""
        return None if self.type is None else self.type.arch

    @property
    def machine(self) -> str | None:
        """The machine type of the hypervisor."""
        return None if self.type is None else self.type.machine
