"""Machine definitions to measure with: a small one, and one of the size people have.

Also imported by the peers, which run under the system's Python: standard library only.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

__all__ = ["different", "large", "name", "small"]

SMALL = """\
<domain type='test'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='KiB'>32768</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='i686'>hvm</type>
  </os>
  <devices>
    <disk type='file' device='disk'>
      <source file='/var/lib/images/{name}.img'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='network'>
      <mac address='{mac}'/>
      <source network='default'/>
    </interface>
  </devices>
</domain>
"""

LARGE = Path(__file__).with_name("large.xml").read_text(encoding="utf-8")


def name(number: int) -> str:
    """Return the name of the machine with this number."""
    return f"guest-{number:06d}"


def _fill(template: str, number: int) -> str:
    low = number.to_bytes(3, "big")
    return template.format(
        name=name(number),
        uuid=uuid.UUID(int=0x70_6F_6C_79 << 96 | number),
        mac="52:54:00:" + ":".join(f"{byte:02x}" for byte in low),
    )


def small(number: int) -> str:
    """Return a definition of 19 lines."""
    return _fill(SMALL, number)


def large(number: int) -> str:
    """Return a definition of 152 lines."""
    return _fill(LARGE, number)


def different() -> Iterator[str]:
    """Yield 520 definitions of 152 lines, no two of which have the same names and sizes."""
    for number in range(5000, 5520):
        yield (
            large(number)
            .replace(">8388608<", f">{8388608 + 1024 * number}<")
            .replace(">52428800<", f">{52428800 + number}<")
            .replace("slot='0x05'", f"slot='0x{16 + number % 16:02x}'")
        )
