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
