"""QEMU and KVM as a polyvisor plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.hookspecs import hookimpl

if TYPE_CHECKING:
    from polyvisor.driver import DriverInfo
    from polyvisor.model.check import Rule
    from polyvisor.native import NativeInfo
    from polyvisor.saveimage import FormatInfo

__all__ = [
    "polyvisor_api",
    "polyvisor_check_rules",
    "polyvisor_drivers",
    "polyvisor_native_formats",
    "polyvisor_save_formats",
]

polyvisor_api = 1


@hookimpl
def polyvisor_drivers() -> list[DriverInfo]:
    """Announce the driver."""
    from polyvisor.driver import DriverInfo

    return [
        DriverInfo(
            name="qemu",
            schemes=("qemu",),
            summary="QEMU and KVM through QMP",
            factory="polyvisor_qemu.driver:QemuDriver",
            probe="polyvisor_qemu.probe:usable",
            default_uri="qemu:///session",
            target="polyvisor_qemu.conformance:target",
            settings="polyvisor_qemu.settings:SETTINGS",
        )
    ]


@hookimpl
def polyvisor_save_formats() -> list[FormatInfo]:
    """Announce libvirt's QEMU save image."""
    from polyvisor.saveimage import FormatInfo

    return [
        FormatInfo(
            name="libvirt-qemu",
            magics=(b"LibvirtQemudSave", b"LibvirtQemudPart"),
            summary="libvirt's QEMU save image",
            factory="polyvisor_qemu.image:QemuSaveFormat",
        )
    ]


@hookimpl
def polyvisor_native_formats() -> list[NativeInfo]:
    """Announce ``qemu-argv``, QEMU's command line, which is written only."""
    from polyvisor.native import NativeInfo

    return [
        NativeInfo(
            name="qemu-argv",
            summary="command lines of QEMU, written only",
            suffixes=(".args",),
            factory="polyvisor_qemu.native:QemuArgvFormat",
        )
    ]


@hookimpl
def polyvisor_check_rules() -> tuple[Rule, ...]:
    """Announce what QEMU's machines need."""
    from polyvisor_qemu.checks import RULES

    return RULES
