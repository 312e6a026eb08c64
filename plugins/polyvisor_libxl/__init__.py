"""Xen as a polyvisor plugin."""

from __future__ import annotations

import polyvisor
from polyvisor.saveimage import FormatInfo

__all__ = ["polyvisor_api", "polyvisor_save_formats"]

polyvisor_api = 1


@polyvisor.hookimpl
def polyvisor_save_formats() -> list[FormatInfo]:
    """Announce libvirt's libxl save image."""
    return [
        FormatInfo(
            name="libvirt-libxl",
            magics=(b"libvirt-xml\n \0 \r",),
            summary="libvirt's libxl save image",
            factory="polyvisor_libxl.libvirtimage:LibvirtLibxlFormat",
        ),
    ]
