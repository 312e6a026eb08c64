"""Xen's own libraries, called directly: libxl's JSON, xl's grammars for files and disks."""

from __future__ import annotations

import ctypes
import ctypes.util
import json
from typing import Any

#: More than any of libxl's structures takes.
ROOM = 1 << 16


class Xen:
    """libxenlight and libxlutil.

    None of what is called here talks to a hypervisor; libxl's context serves only to log.
    """

    def __init__(self) -> None:
        self.light = ctypes.CDLL(_library("xenlight"))
        self.util = ctypes.CDLL(_library("xlutil"))
        libc = ctypes.CDLL(None)
        libc.fopen.restype = ctypes.c_void_p
        self.sink = ctypes.c_void_p(libc.fopen(b"/dev/null", b"w"))
        log = ctypes.CDLL(_library("xentoollog"))
        log.xtl_createlogger_stdiostream.restype = ctypes.c_void_p
        logger = log.xtl_createlogger_stdiostream(self.sink, 7, 0)
        # A context's first field is its logger (struct libxl__ctx, libxl_internal.h).
        self.context = (ctypes.c_void_p * (ROOM // 8))(logger)
        for name in ("libxl_domain_config_to_json", "libxl_device_disk_to_json"):
            getattr(self.light, name).restype = ctypes.c_char_p
        self.util.xlu_cfg_init.restype = ctypes.c_void_p
        self.util.xlu_cfg_get_listitem.restype = ctypes.c_char_p

    def config(self, config: dict[str, Any]) -> dict[str, Any] | None:
        """Return a configuration as libxl reads and writes it, ``None`` if it refuses it."""
        held = ctypes.create_string_buffer(ROOM)
        self.light.libxl_domain_config_init(held)
        text = json.dumps(config).encode()
        if self.light.libxl_domain_config_from_json(self.context, held, text):
            return None
        found = json.loads(self.light.libxl_domain_config_to_json(self.context, held))
        self.light.libxl_domain_config_dispose(held)
        return found

    def disk(self, text: str) -> dict[str, Any] | None:
        """Return what xl reads of a disk's text, ``None`` if it refuses it."""
        config = ctypes.c_void_p(self.util.xlu_cfg_init(self.sink, b"test"))
        held = ctypes.create_string_buffer(ROOM)
        self.light.libxl_device_disk_init(held)
        specs = (ctypes.c_char_p * 1)(text.encode())
        failed = self.util.xlu_disk_parse(config, 1, specs, held)
        found = None
        if not failed:
            found = json.loads(self.light.libxl_device_disk_to_json(self.context, held))
        self.light.libxl_device_disk_dispose(held)
        self.util.xlu_cfg_destroy(config)
        return found

    def settings(self, data: bytes, names: list[str]) -> dict[str, Any] | None:
        """Return what xl reads of a file, ``None`` if it refuses it.

        Args:
            data: the file.
            names: whose values to return; texts, or lists of texts.
        """
        config = ctypes.c_void_p(self.util.xlu_cfg_init(self.sink, b"test"))
        try:
            if self.util.xlu_cfg_readdata(config, data, len(data)):
                return None
            found: dict[str, Any] = {}
            for name in names:
                text = ctypes.c_char_p()
                items, count = ctypes.c_void_p(), ctypes.c_int()
                if not self.util.xlu_cfg_get_string(config, name.encode(), ctypes.byref(text), 1):
                    found[name] = text.value.decode()
                elif not self.util.xlu_cfg_get_list(
                    config, name.encode(), ctypes.byref(items), ctypes.byref(count), 1
                ):
                    found[name] = [
                        (self.util.xlu_cfg_get_listitem(items, place) or b"").decode()
                        for place in range(count.value)
                    ]
            return found
        finally:
            self.util.xlu_cfg_destroy(config)


def _library(name: str) -> str:
    found = ctypes.util.find_library(name)
    if found is None:
        raise OSError(f"lib{name} is not installed")
    return found
