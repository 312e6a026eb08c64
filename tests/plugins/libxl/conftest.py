"""A real image, and streams in memory held against the rules."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

#: Written by libvirt 9.0's libxl driver on Xen 4.17.7; see the README beside it.
IMAGE = "pv.libvirt.save.zst"


def _data() -> Path | None:
    named = os.environ.get("POLYVISOR_XEN_DATA")
    beside = Path(__file__).resolve().parents[4] / "shared" / "data" / "xen"
    folder = Path(named) if named else beside
    return folder if (folder / IMAGE).is_file() else None


@pytest.fixture(scope="session")
def real_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a real save image, unpacked."""
    folder = _data()
    if folder is None:
        pytest.skip(f"no real image: set POLYVISOR_XEN_DATA to the folder of {IMAGE}")
    if shutil.which("zstd") is None:
        pytest.skip("zstd is not installed: apt install zstd")
    target = tmp_path_factory.mktemp("xen") / "pv.libvirt.save"
    subprocess.run(["zstd", "-dq", str(folder / IMAGE), "-o", str(target)], check=True, timeout=60)
    return target
