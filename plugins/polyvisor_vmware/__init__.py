"""VMware: configurations of virtual machines, ``vmx`` files.

``settings``       the language: names and quoted values
``format``         ``vmware-vmx``, the format itself
``reading``        the machine that a file describes; ``reading_devices``: its devices
``writing``        a definition as such a file; ``writing_devices``: its devices

Nothing here needs VMware.  How libvirt maps names to elements: src/vmx/vmx.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.hookspecs import hookimpl

if TYPE_CHECKING:
    from polyvisor.native import NativeInfo

__all__ = ["polyvisor_api", "polyvisor_native_formats"]

#: Version of the plugin interface that this was written for.
polyvisor_api = 1


@hookimpl
def polyvisor_native_formats() -> list[NativeInfo]:
    """Announce ``vmware-vmx``."""
    from polyvisor.native import NativeInfo

    return [
        NativeInfo(
            name="vmware-vmx",
            summary="configurations of VMware's virtual machines",
            suffixes=(".vmx",),
            factory="polyvisor_vmware.format:VmxFormat",
        )
    ]
