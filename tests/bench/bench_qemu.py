"""A domain's life on real QEMU, beside QEMU driven by hand in two ways, and beside libvirtd."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from harness import Figures, Missing, Row, alternate, child, ours, peer
from libvirt_host import libvirt_host

__all__ = ["TITLE", "measure"]

TITLE = "QEMU, beside QEMU driven by hand (raw, and raw at its best) and beside libvirtd"
#: The highest ratio of ours to raw.
TARGETS = {"start": 1.2, "destroy": 2.0, "save": 1.2, "restore": 1.2, "live migration": 1.2}
#: Seconds that a guest may stand still in a migration beyond what it does with raw.
DOWNTIME = 0.005
# The machine of all three, as ours and libvirt are told of it.
SPEC = """\
<domain type='qemu'>
  <name>tick</name>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='{folder}/tick.img'/>
      <target dev='hda' bus='ide'/>
    </disk>
    <controller type='usb' model='none'/>
    <serial type='file'><source path='{folder}/tick.log' append='on'/></serial>
    <memballoon model='none'/>
  </devices>
</domain>
"""


def measure(rounds: int) -> list[Row]:
    """Alternate the three, each time in a process of its own."""
    if shutil.which("qemu-system-x86_64") is None:
        raise Missing("QEMU is missing: apt install qemu-system-x86")
    from polyvisor.testing.counting import write_image

    with ExitStack() as left:
        folder = Path(left.enter_context(tempfile.TemporaryDirectory(prefix="pv-", dir="/tmp")))
        write_image(folder / "tick.img")
        (folder / "tick.xml").write_text(SPEC.format(folder=folder), encoding="utf-8")
        cycles = "9"

        def raw(how: str) -> Callable[[], Figures]:
            return lambda: child(sys.executable, "peers/qemu_raw.py", str(folder), cycles, how)

        sides = [ours("qemu_ours.py", str(folder), cycles), raw("plainly"), raw("well")]
        try:
            hosts = [
                left.enter_context(libvirt_host(folder / f"host-{name}", f"host-{name}"))
                for name in "ab"
            ]
            sides.append(peer("peers/qemu_libvirt.py", str(folder), cycles, *hosts))
        except Missing as missing:
            sys.stderr.write(f"qemu: without libvirtd: {missing}\n")
        mine, floor, best, *others = alternate(rounds, *sides)
    rows = [Row(name, mine[name], floor[name], TARGETS.get(name), beside="raw") for name in floor]
    rows.append(Row("downtime beyond raw's", mine["downtime"] - best["downtime"], most=DOWNTIME))
    rows += [Row(name, mine[name], best[name], beside="raw at its best") for name in best]
    for other in others:
        rows += [Row(name, mine[name], other[name], beside="libvirt") for name in other]
    return rows
