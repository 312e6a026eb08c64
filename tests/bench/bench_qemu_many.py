"""Fifty guests on real QEMU at once, beside QEMU driven by hand and beside libvirtd."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from harness import Figures, Missing, Row, alternate, child, ours, peer
from libvirt_host import libvirt_host

__all__ = ["TITLE", "measure"]

TITLE = "QEMU, 50 guests, beside QEMU driven by hand (raw) and beside libvirtd"
GUESTS = "50"
#: The highest ratio of ours to the other's.
TARGETS = {"figures of all": 0.2, "start all at once": 1.3}
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
    """Alternate the three, each time in a process of its own."""
    if shutil.which("qemu-system-x86_64") is None:
        raise Missing("QEMU is missing: apt install qemu-system-x86")
    with ExitStack() as left:
        folder = Path(left.enter_context(tempfile.TemporaryDirectory(prefix="pv-", dir="/tmp")))
        (folder / "one.xml").write_text(SPEC.format(folder=folder), encoding="utf-8")
        for number in range(int(GUESTS)):
            with (folder / f"guest-{number}.img").open("wb") as image:
                image.truncate(1 << 20)
        host = left.enter_context(libvirt_host(folder / "host", "host"))

        def raw() -> Figures:
            return child(sys.executable, "peers/qemu_many_raw.py", str(folder), GUESTS)

        mine, theirs, floor = alternate(
            rounds,
            ours("qemu_many_ours.py", str(folder), GUESTS),
            peer("peers/qemu_many_libvirt.py", str(folder), GUESTS, host),
            raw,
        )
    rows = [Row(name, mine[name], floor[name], TARGETS.get(name), beside="raw") for name in floor]
    return rows + [
        Row(name, mine[name], theirs[name], TARGETS.get(name), beside="libvirt") for name in theirs
    ]
