"""libxl's words for what a definition calls otherwise (libxl_types.idl)."""

from __future__ import annotations

from typing import Any

__all__ = ["ACTIONS", "BACKENDS", "CARDS", "FORMATS", "POOLS", "TSC_MODES", "USB_VERSIONS"]

#: libxl_action_on_shutdown.
ACTIONS: dict[str, Any] = {
    "destroy": "destroy",
    "restart": "restart",
    "rename-restart": "restart_rename",
    "preserve": "preserve",
    "coredump-destroy": "coredump_destroy",
    "coredump-restart": "coredump_restart",
}

#: libxl_tsc_mode, by a timer's mode.
TSC_MODES: dict[str, Any] = {
    "auto": "default",
    "emulate": "always_emulate",
    "native": "native",
    "paravirt": "native_paravirt",
}

#: libxl_vga_interface_type, by a card's type.
CARDS: dict[str, Any] = {
    "vga": "std",
    "xen": "std",
    "cirrus": "cirrus",
    "qxl": "qxl",
    "none": "none",
}

#: libxl_disk_format of images.
FORMATS = ("raw", "qcow", "qcow2", "vhd", "qed")

#: libxl_disk_backend, by libvirt's driver and, for blktap, the format: of those that blktap
#: does not have, QEMU takes care.
BACKENDS: dict[str, dict[str, str]] = {
    "qemu": dict.fromkeys(FORMATS, "qdisk"),
    "file": {"raw": "qdisk"},
    "phy": {"raw": "phy"},
    "tap": {"raw": "tap", "vhd": "tap", "qcow": "qdisk", "qcow2": "qdisk", "qed": "qdisk"},
}
BACKENDS["tap2"] = BACKENDS["tap"]

#: The USB versions of Xen's own controllers.
USB_VERSIONS = {None: 2, "qusb1": 1, "qusb2": 2}

#: Where in ``<resource><partition>`` a CPU pool is named.
POOLS = "/cpupool/"
