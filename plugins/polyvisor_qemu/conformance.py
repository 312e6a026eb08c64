"""What the conformance suite is told of QEMU by ``polyvisor plugins --check``."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from polyvisor.model import DomainSpec
from polyvisor.testing.counting import read_ticks, write_image

if TYPE_CHECKING:
    from polyvisor.domain import Domain

__all__ = ["target"]

_GUEST = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
<os><type arch='x86_64'>hvm</type></os>
<devices>
  <disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
    <source file='{disk}'/><target dev='hda' bus='ide'/></disk>
  <serial type='file'><source path='{serial}' append='on'/><target port='0'/></serial>
</devices></domain>"""
# The least machine has no ACPI, without which only USB is plugged.
_DEVICE = """<disk type='file' device='disk'><driver name='qemu' type='raw'/>
<source file='{}'/><target dev='sdx' bus='usb'/></disk>"""


def target(folder: Path) -> Mapping[str, Any]:
    """Return the arguments of a target of two hosts below a folder, whose guests count.

    Snapshots with memory are kept in qcow2 images, so the disk is one; ``qemu-img`` makes it.
    """
    raw, disk, serial = folder / "tick.img", folder / "tick.qcow2", folder / "serial"
    write_image(raw)
    line = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(disk)]
    subprocess.run(line, check=True, timeout=60)

    def spec(name: str) -> DomainSpec:
        xml = _GUEST.format(name=escape(name), disk=escape(str(disk)), serial=escape(str(serial)))
        return DomainSpec.from_xml(xml)

    def ticks(_: Domain) -> Sequence[int]:
        return read_ticks(serial)

    return {
        "uri": f"qemu:///session?root={folder}/hosts/a",
        "peer": f"qemu:///session?root={folder}/hosts/b",
        "files": folder / "hosts",
        "spec": spec,
        "ticks": ticks,
        "shuts_down": False,  # nothing in the guest listens
        "device": lambda path: _DEVICE.format(escape(str(path))),
        "slow": 3.0,
    }
