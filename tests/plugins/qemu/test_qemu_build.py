"""What is built of a few words runs on real QEMU."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import polyvisor

pytestmark = pytest.mark.real


def test_a_built_machine_starts_and_stops(tmp_path: Path) -> None:
    """Disk, medium, network, graphics and the usual devices are taken by QEMU as they are."""
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("qemu-system-x86_64 is not installed")
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(1 << 20))
    medium = tmp_path / "medium.iso"
    medium.write_bytes(bytes(1 << 16))
    with polyvisor.open("qemu:///session") as host:
        spec = host.domains.build(
            name="built",
            memory="64 MiB",
            vcpus=2,
            type="qemu",
            disks=[image],
            cdrom=medium,
            interfaces=["user"],
            graphics="vnc",
        )
        domain = host.domains.define(spec)
        domain.start()
        try:
            assert domain.active
            assert domain.info().vcpus == 2
        finally:
            domain.destroy()
            domain.undefine()
