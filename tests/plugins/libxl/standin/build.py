"""Builds the stand-in for libxl, and makes a plugin of it that tests can open."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["build"]

HERE = Path(__file__).parent
HEADER = Path("/usr/include/libxl.h")


def build(folder: Path) -> None:
    """Build the stand-in and the binding into ``folder``, which becomes one to import from.

    Skips where libxl's headers or a compiler are missing.
    """
    pytest.importorskip("cffi")
    if not HEADER.exists() or shutil.which("gcc") is None:
        pytest.skip("libxl's headers and gcc are needed: apt install libxen-dev gcc")
    from polyvisor_libxl import binding

    version = binding.installed()
    library = folder / f"libxenlight.so.{version}"
    api = binding.choose_api(HEADER.read_text(errors="replace"))
    subprocess.run(
        [
            "gcc", "-shared", "-fPIC", "-O1", "-w", f"-DLIBXL_API_VERSION=0x{api:06x}",
            f"-Wl,-soname,{library.name}", "-o", str(library),
            *map(str, sorted(HERE.glob("*.c"))), "-lpthread",
        ],
        check=True,
        timeout=120,
    )  # fmt: skip
    shutil.copy(HERE / "standinxen.py", folder)
    facts = folder / "standinxen-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: standinxen\nVersion: 1\n")
    (facts / "entry_points.txt").write_text("[polyvisor]\nstandinxen = standinxen\n")
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    try:
        binding.build()
    finally:
        if before is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = before
