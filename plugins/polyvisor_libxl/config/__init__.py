"""Configuration files of Xen's toolstacks, ``xl.cfg`` and the older ``xm``, and definitions.

``grammar``     the language of both: names and values, with the lines they stand on
``settings``    asking for a name's value as text, number, truth or list
``reading``     what both formats have in common, as parts of a definition
``writing``     the same, the other way round
``chardevs``    character devices as text: ``"tcp:127.0.0.1:5000,server,nowait"``
``vifs``        network interfaces as text
``diskspec``    xl's language for disks
``xl``, ``xm``  what is one format's own, and the format itself

Sources: xl.cfg(5), xl-disk-configuration(5), xl-network-configuration(5); xl's grammar in
tools/libs/util/libxlu_cfg_l.l and libxlu_disk_l.l; how libvirt maps keys to elements in
src/libxl/xen_common.c, xen_xl.c and xen_xm.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polyvisor.native import NativeInfo

__all__ = ["announced"]


def announced() -> list[NativeInfo]:
    """Return what the plugin announces of them, none imported."""
    from polyvisor.native import NativeInfo

    return [
        NativeInfo(
            name="xen-xl",
            summary="configurations of xl, xl.cfg(5)",
            suffixes=(".cfg", ".xl"),
            factory="polyvisor_libxl.config.xl:XlFormat",
        ),
        NativeInfo(
            name="xen-xm",
            summary="configurations of xm, xl's predecessor",
            suffixes=(".xm",),
            factory="polyvisor_libxl.config.xm:XmFormat",
        ),
    ]
