"""Words of the configurations and what they are in a definition."""

from __future__ import annotations

from typing import Any

__all__ = [
    "ACTIONS",
    "BOOT",
    "BOOT_LETTERS",
    "CARDS",
    "CPU_FEATURES",
    "KIND_NAMES",
    "SOUNDS",
    "TSC_MODES",
    "USB_INPUTS",
]

#: What happens when a guest stops; xl.cfg(5) and libvirt say them differently.
ACTIONS = {
    "destroy": "destroy",
    "restart": "restart",
    "rename-restart": "rename-restart",
    "preserve": "preserve",
    "coredump-destroy": "coredump-destroy",
    "coredump-restart": "coredump-restart",
}

#: Letters of the boot order (xl.cfg(5), boot).
BOOT: dict[str, Any] = {"a": "fd", "c": "hd", "d": "cdrom", "n": "network"}
BOOT_LETTERS = {device: letter for letter, device in BOOT.items()}

#: The name of each kind of guest in ``<os><type>``.
KIND_NAMES = {"pv": "linux", "pvh": "xenpvh", "hvm": "hvm"}

#: QEMU's sound cards that Xen offers; hda is QEMU's name of the ICH6 card.
SOUNDS: dict[str, Any] = {
    "sb16": "sb16",
    "es1370": "es1370",
    "ac97": "ac97",
    "ich6": "ich6",
    "hda": "ich6",
    "pcspk": "pcspk",
    "ich7": "ich7",
    "ich9": "ich9",
    "usb": "usb",
}

#: How the time stamp counter is made; numbers are those of older versions of xl.
TSC_MODES = {
    "default": "auto",
    "always_emulate": "emulate",
    "native": "native",
    "native_paravirt": "paravirt",
    "0": "auto",
    "1": "emulate",
    "2": "native",
    "3": "paravirt",
}

USB_INPUTS: dict[str, Any] = {"mouse": "mouse", "tablet": "tablet", "keyboard": "keyboard"}

#: Video cards (xl.cfg(5), vga).
CARDS: dict[str, Any] = {"stdvga": "vga", "cirrus": "cirrus", "qxl": "qxl", "none": "none"}

#: CPU features that libvirt (Linux) and libxl (tools/libs/light/libxl_cpuid.c) call
#: differently.
CPU_FEATURES = {
    "cx16": "cmpxchg16",
    "cid": "cntxid",
    "ds_cpl": "dscpl",
    "pclmuldq": "pclmulqdq",
    "pni": "sse3",
    "ht": "htt",
    "pn": "psn",
    "clflush": "clfsh",
    "sep": "sysenter",
    "cx8": "cmpxchg8",
    "nodeid_msr": "nodeid",
    "cr8legacy": "altmovcr8",
    "lahf_lm": "lahfsahf",
    "cmp_legacy": "cmplegacy",
    "fxsr_opt": "ffxsr",
    "pdpe1gb": "page1gb",
    "spec-ctrl": "ibrsb",
}
