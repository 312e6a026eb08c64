"""Runs in the control domain of one host: devices come to a running guest and go again.

The guest says on its console what it sees of them (``files/guest_init.c``), and writes to disks.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from guests import Counter, note, run, until, xl, xml

if TYPE_CHECKING:
    import polyvisor

DISK = """\
<disk type='{type}' device='disk'>
  <driver name='phy' type='raw'/><source {attribute}='{path}'/><target dev='{dev}' bus='xen'/>
</disk>
"""
NIC = """\
<interface type='bridge'>
  <mac address='00:16:3e:0a:0b:0c'/><source bridge='bed0'/>
</interface>
"""
#: The device that ``emulated.py`` gives the host for this.
ADDRESS = "0000:00:10.0"
PCIBACK = Path("/sys/bus/pci/drivers/pciback")
PCI = """\
<hostdev mode='subsystem' type='pci' managed='no'>
  <source><address domain='0x0000' bus='0x00' slot='0x10' function='0x0'/></source>
</hostdev>
"""


def _image(name: str) -> Path:
    path = Path(f"/tmp/{name}.disk")
    path.write_bytes(f"made for {name}\n".encode().ljust(1 << 20, b"\0"))
    return path


def devices(host: polyvisor.Connection) -> None:
    """Disks of a file and of a block device, and a network interface: each comes and goes.

    Between coming and going, the guest is saved and restored with them.
    """
    file, behind = _image("xvdb"), _image("xvdc")
    loop = run("losetup", "-f", "--show", str(behind)).strip()
    run("ip", "link", "add", "name", "bed0", "type", "bridge")
    run("ip", "link", "set", "bed0", "up")
    attached = {
        "xvdb": DISK.format(type="file", attribute="file", path=file, dev="xvdb"),
        "xvdc": DISK.format(type="block", attribute="dev", path=loop, dev="xvdc"),
        "eth0": NIC,
    }
    domain = host.domains.create(xml("plugged", 27, memory=112))
    counter = Counter("plugged")
    counter.wait()
    for text in attached.values():
        domain.attach_device(text)
    until(lambda: len(counter.said()) >= 3, 120)
    ports = os.listdir("/sys/class/net/bed0/brif")
    listed = len(xl("block-list", "plugged").splitlines()) - 1
    domain.save("/tmp/plugged.image")
    domain = host.domains.restore("/tmp/plugged.image")
    os.unlink("/tmp/plugged.image")
    counter.wait()
    held = domain.spec().devices
    for text in attached.values():
        domain.detach_device(text)
    until(lambda: sum("gone" in line for line in counter.said()) >= 3, 120)
    left = domain.spec().devices
    note(
        "devices",
        {
            "said": sorted(counter.said()),
            "written": [path.read_bytes()[512:532].decode() for path in (file, behind)],
            "ports": len(ports),
            "listed": listed,
            "held": [len(held.disks), len(held.interfaces)],
            "left": [len(left.disks), len(left.interfaces)],
            "left of Xen's": len(xl("block-list", "plugged").splitlines()[1:]),
            "whole": counter.whole(),
        },
    )
    domain.destroy()
    run("losetup", "-d", loop)
    run("ip", "link", "del", "bed0")
    for path in (file, behind):
        path.unlink()


def passed_through(host: polyvisor.Connection) -> None:
    """A PCI device of the host comes to a PV guest, without an IOMMU, and goes."""
    # As `xl pci-assignable-add` does, but for the quarantine that takes an IOMMU.
    (PCIBACK / "new_slot").write_text(ADDRESS)
    (PCIBACK / "bind").write_text(ADDRESS)
    domain = host.domains.create(xml("passed", 28, memory=112))
    counter = Counter("passed")
    counter.wait()
    domain.attach_device(PCI)
    until(lambda: len(counter.said()) >= 1, 120)
    listed = xl("pci-list", "passed").split()
    domain.detach_device(PCI)
    until(lambda: len(counter.said()) >= 2, 120)
    note(
        "passed-through",
        {
            "said": counter.said(),
            "listed": ADDRESS in listed,
            "left": xl("pci-list", "passed").count(ADDRESS),
            "held": len(domain.spec().devices.hostdevs),
            "whole": counter.whole(),
        },
    )
    domain.destroy()
    (PCIBACK / "unbind").write_text(ADDRESS)
    (PCIBACK / "remove_slot").write_text(ADDRESS)
