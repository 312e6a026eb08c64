"""What the first-party drivers tell the conformance suite of themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from polyvisor.model import DomainSpec
from polyvisor.testing.counting import read_ticks

if TYPE_CHECKING:
    from polyvisor.domain import Domain

# The least machine that counts aloud on its serial port, into a file that outlives it.
COUNTING = """\
<domain type='{type}'>
  <name>{name}</name>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>1</vcpu>
  <os><type>hvm</type></os>
  <devices>
    {devices}
    <serial type='file'><source path='{serial}' append='on'/><target port='0'/></serial>
  </devices>
</domain>
"""


@pytest.fixture
def counting_spec(tmp_path: Path) -> Callable[..., Callable[[str], DomainSpec]]:
    """Hold a function that makes a function that makes definitions of a counting guest."""

    def of(type_: str, memory: int, devices: str = "") -> Callable[[str], DomainSpec]:
        def make(name: str) -> DomainSpec:
            from xml.sax.saxutils import escape

            return DomainSpec.from_xml(
                COUNTING.format(
                    type=type_,
                    name=escape(name),
                    memory=memory,
                    devices=devices,
                    serial=tmp_path / "serial",
                )
            )

        return make

    return of


@pytest.fixture
def serial_ticks(tmp_path: Path) -> Callable[[Domain], Sequence[int]]:
    """Hold a function that gives the numbers a guest has counted so far."""

    def ticks(domain: Domain) -> Sequence[int]:
        if domain.active:
            domain.stats()  # the simulator's guest catches up when it is looked at
        return read_ticks(tmp_path / "serial")

    return ticks
