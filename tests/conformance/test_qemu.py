"""Real QEMU with a boot sector that counts, under software emulation."""

from __future__ import annotations

import subprocess

import pytest

from polyvisor.testing import Target
from polyvisor.testing.suite import *  # noqa: F403

pytestmark = pytest.mark.real


@pytest.fixture
def target(tmp_path, counting_spec, serial_ticks) -> Target:
    """Two hosts under the test's own folder, and the boot sector's disk."""
    from polyvisor.demo._bootsector import write_image

    raw, disk = tmp_path / "tick.img", tmp_path / "tick.qcow2"
    write_image(raw)
    # Snapshots with memory are kept in qcow2 images.
    line = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(disk)]
    subprocess.run(line, check=True, timeout=60)
    return Target(
        uri=f"qemu:///session?root={tmp_path}/a",
        peer=f"qemu:///session?root={tmp_path}/b",
        spec=counting_spec(
            "qemu",
            16,
            f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
            f"<source file='{disk}'/><target dev='hda' bus='ide'/></disk>",
        ),
        ticks=serial_ticks,
        shuts_down=False,
        device=lambda path: (
            f"<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
            f"<source file='{path}'/><target dev='sdx' bus='usb'/></disk>"
        ),
        against="real",
        slow=3.0,
    )
