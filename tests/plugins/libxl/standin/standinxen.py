"""The Xen driver over the stand-in for libxl, as a plugin: ``standin:///system?root=FOLDER``.

The host is the folder beside the root that ends in ``.xen``.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from polyvisor.driver import DriverInfo
from polyvisor.hookspecs import hookimpl
from polyvisor_libxl.driver import LibxlDriver

polyvisor_api = 1


@hookimpl
def polyvisor_drivers():
    """Name the driver."""
    return [DriverInfo("standin", ("standin",), "no Xen at all", "standinxen:StandinDriver")]


def library():
    """Return the stand-in, loaded in place of libxl."""
    (path,) = Path(__file__).parent.glob("libxenlight.so.*")
    return ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


class StandinDriver(LibxlDriver):
    """The driver, told which host its contexts belong to."""

    @classmethod
    def opener(cls, settings, root):
        """Open the host of a root."""
        from polyvisor_libxl.binding import load
        from polyvisor_libxl.context import Context

        settings.setdefault("migration_address", "127.0.0.1")
        standin, module, host = library(), load(), f"{root}.xen"
        os.makedirs(host, exist_ok=True)

        def open_context():
            standin.standin_host(host.encode())
            return Context(module)

        return open_context
