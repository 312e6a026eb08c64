"""Fifty guests on real QEMU at once, beside libvirtd."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

from harness import Missing, Row, alternate, ours, peer
from libvirt_host import libvirt_host

__all__ = ["TITLE", "measure"]

TITLE = "QEMU, 50 running guests, beside libvirtd"
GUESTS = "50"
#: The highest ratio of ours to libvirt's.
TARGETS = {"figures of all": 0.2}
# The guests stand still, so that they do not take the processor from those who ask.
SPEC = """\
<domain type='qemu'>
  <name>NAME</name>
  <memory unit='MiB'>16</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='{folder}/NAME.img'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <controller type='usb' model='none'/>
  </devices>
</domain>
"""


def measure(rounds: int) -> list[Row]:
    """Alternate ours and libvirtd, each time in a process of its own."""
    if shutil.which("qemu-system-x86_64") is None:
        raise Missing("QEMU is missing: apt install qemu-system-x86")
    with ExitStack() as left:
        folder = Path(left.enter_context(tempfile.TemporaryDirectory(prefix="pv-", dir="/tmp")))
        (folder / "one.xml").write_text(SPEC.format(folder=folder), encoding="utf-8")
        for number in range(int(GUESTS)):
            with (folder / f"guest-{number}.img").open("wb") as image:
                image.truncate(1 << 20)
        host = left.enter_context(libvirt_host(folder / "host", "host"))
        mine, theirs = alternate(
            rounds,
            ours("qemu_many_ours.py", str(folder), GUESTS),
            peer("peers/qemu_many_libvirt.py", str(folder), GUESTS, host),
        )
    return [Row(name, mine[name], theirs[name], TARGETS.get(name)) for name in mine]
