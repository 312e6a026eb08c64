"""What the conformance suite is told of Xen by ``polyvisor plugins --check``.

The least machine is a paravirtual guest of this host's own kernel, whose initial ramdisk has one
program that does nothing but wait.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import polyvisor
from polyvisor.errors import HypervisorError, OperationInvalid
from polyvisor.model import DomainSpec

__all__ = ["ramdisk", "target"]

_GUEST = """<domain type='xen'><name>{name}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='xenpv'>xen</type><kernel>{kernel}</kernel>
<initrd>{initrd}</initrd><cmdline>console=hvc0 quiet</cmdline></os></domain>"""

# mov eax, 34 (pause, asm/unistd_64.h); syscall; again
_WAIT = bytes.fromhex("b822000000 0f05 ebf7")
_BASE = 0x400000


def target(folder: Path) -> Mapping[str, Any]:
    """Return the arguments of a target that is this very host, so there is no second one.

    Raises:
        HypervisorError: the kernel that this host runs is not in ``/boot``.
        OperationInvalid: the host has guests, all of which the suite would destroy.
    """
    uri = f"xen:///system?root={folder}/hosts"
    with polyvisor.open(uri) as host:
        if found := [domain.name for domain in host.domains]:
            raise OperationInvalid(
                f"the suite destroys all guests of a host, and this one has {', '.join(found)}; "
                f"run it on a Xen host without any"
            )
    kernel, initrd = f"/boot/vmlinuz-{os.uname().release}", folder / "initrd"
    if not os.path.exists(kernel):
        raise HypervisorError(f"there is no {kernel} for a guest to run")
    initrd.write_bytes(ramdisk())

    def spec(name: str) -> DomainSpec:
        xml = _GUEST.format(name=escape(name), kernel=kernel, initrd=escape(str(initrd)))
        return DomainSpec.from_xml(xml)

    return {
        "uri": uri,
        "spec": spec,
        "files": folder / "hosts",
        "shuts_down": False,  # nothing in the guest listens
        "slow": 5.0,
    }


def ramdisk() -> bytes:
    """Return an initial ramdisk whose ``/init`` waits for signals that never come."""
    header = 64 + 56
    # elf(5): a program for x86-64 of one segment, which is the whole file.
    program = struct.pack("<4s5B7x", b"\x7fELF", 2, 1, 1, 0, 0)
    program += struct.pack("<HHIQQQI6H", 2, 62, 1, _BASE + header, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    size = header + len(_WAIT)
    program += struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    program += _WAIT
    return _entry(b"init", 0o100755, program) + _entry(b"TRAILER!!!", 0, b"")


def _entry(name: bytes, mode: int, data: bytes) -> bytes:
    """Return a file of an archive (cpio(5), "New ASCII Format")."""
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name + b"\0"
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
