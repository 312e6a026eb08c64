"""Xen as a polyvisor plugin: through libxenlight, with its toolstacks' files.

``driver``      guests on Xen
``config``      xl.cfg and xm configurations, read and written
``domconfig``   libxl's own description of a guest, made and read
``libvirtimage``, ``xlimage``, ``bareimage``  save images, by what stands before the stream
``streams``     what is in them, read without Xen
``completion``  what Xen adds to a definition that does not say it
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.driver import DriverInfo
from polyvisor.hookspecs import hookimpl

if TYPE_CHECKING:
    from polyvisor.native import NativeInfo
    from polyvisor.saveimage import FormatInfo

__all__ = [
    "polyvisor_api",
    "polyvisor_drivers",
    "polyvisor_native_formats",
    "polyvisor_save_formats",
]

#: Version of the plugin interface that this was written for.
polyvisor_api = 1


@hookimpl
def polyvisor_native_formats() -> list[NativeInfo]:
    """Announce ``xen-xl`` and ``xen-xm``."""
    from polyvisor_libxl.config import announced

    return announced()


@hookimpl
def polyvisor_drivers() -> list[DriverInfo]:
    """Announce the driver."""
    return [
        DriverInfo(
            name="libxl",
            schemes=("xen",),
            summary="Xen through libxenlight",
            factory="polyvisor_libxl.driver:LibxlDriver",
            probe="polyvisor_libxl.probe:usable",
            default_uri="xen:///system",
            target="polyvisor_libxl.conformance:target",
            settings="polyvisor_libxl.settings:SETTINGS",
            build="polyvisor_libxl.binding:build",
        )
    ]


@hookimpl
def polyvisor_save_formats() -> list[FormatInfo]:
    """Announce the images of libvirt and xl, and streams that have no header."""
    from polyvisor.saveimage import FormatInfo

    return [
        FormatInfo(
            name="libvirt-libxl",
            magics=(b"libvirt-xml\n \0 \r",),
            summary="libvirt's libxl save image",
            factory="polyvisor_libxl.libvirtimage:LibvirtLibxlFormat",
        ),
        FormatInfo(
            name="xl",
            magics=(b"Xen saved domain, xl format\n \0 \r",),
            summary="xl's save image",
            factory="polyvisor_libxl.xlimage:XlFormat",
        ),
        FormatInfo(
            name="libxl-stream",
            magics=(b"LibxlFmt",),
            summary="a stream of libxl's without a header",
            factory="polyvisor_libxl.bareimage:LibxlStreamFormat",
        ),
        FormatInfo(
            name="libxc-stream",
            magics=(b"\xff" * 8 + b"XENF",),
            summary="a stream of libxc's without libxl's around it",
            factory="polyvisor_libxl.bareimage:LibxcStreamFormat",
        ),
        FormatInfo(
            name="xen-legacy-stream",
            magics=(),
            summary="a legacy stream of Xen 4.5 or older; has to be named",
            factory="polyvisor_libxl.bareimage:LegacyStreamFormat",
        ),
    ]
