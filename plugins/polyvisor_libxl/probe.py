"""Whether Xen can be used on this machine."""

from __future__ import annotations

import os

from polyvisor.driver import Usability

__all__ = ["usable"]


def usable() -> Usability:
    """Say whether this is Xen's control domain and libxl can be reached."""
    from importlib.util import find_spec

    from polyvisor_libxl import binding

    if not os.path.exists("/proc/xen/privcmd") and not os.path.exists("/dev/xen/privcmd"):
        return Usability(
            False,
            "this host does not run Xen, or is not its control domain",
            "apt install xen-system-amd64, then boot Xen",
        )
    version = binding.installed()
    if version is None:
        return Usability(False, "libxl is not installed", "apt install xen-utils")
    if find_spec("cffi") is None and find_spec("_cffi_backend") is None:
        return Usability(False, "cffi is not installed", binding.EXTRA)
    if not os.path.exists(binding.module_path()):
        if not os.path.exists("/usr/include/libxl.h"):
            return Usability(False, "the binding to libxl is not built yet", binding.HEADERS)
        if missing := binding.missing():
            return Usability(False, f"{missing} is not installed", binding.EXTRA)
    return Usability(True, f"libxl {version}")
