"""The Xen driver over the stand-in for libxl; on real Xen see ``tests/xen``."""

from __future__ import annotations

import re

import pytest

from polyvisor.model import DomainSpec
from polyvisor.testing import Target
from polyvisor.testing.suite import *  # noqa: F403

GUEST = """\
<domain type='xen'>
  <name>{name}</name>
  <memory unit='KiB'>4096</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='xenpv'>xen</type><kernel>/bin/sh</kernel></os>
</domain>
"""


@pytest.fixture
def target(tmp_path, standin) -> Target:
    """Two hosts under the test's own folder."""
    from xml.sax.saxutils import escape

    def ticks(domain):
        if domain.active:
            domain.stats()  # the guest catches up when it is looked at
        try:
            text = (tmp_path / f"console-{domain.uuid.hex}").read_text()
        except FileNotFoundError:
            return []
        return [int(number, 16) for number in re.findall(r"tick ([0-9A-F]+)\n", text)]

    return Target(
        uri=f"standin:///system?root={tmp_path}/a",
        peer=f"standin:///system?root={tmp_path}/b",
        spec=lambda name: DomainSpec.from_xml(GUEST.format(name=escape(name))),
        ticks=ticks,
        against="fake",
        consoles=False,  # xenconsoled is what makes them
    )
