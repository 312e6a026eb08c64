"""polyvisor's conformance suite, held against processes that count."""

from __future__ import annotations

import re
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from polyvisor.model import DomainSpec
from polyvisor.testing import Target
from polyvisor.testing.suite import *  # noqa: F403

COUNTING = 'i=0; while :; do echo "tick $i." >> "$0"; i=$((i+1)); sleep 0.01; done'
DOMAIN = """<domain type='proc'><name>{}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
<os><type>exe</type><init>/bin/sh</init><initarg>-c</initarg><initarg>{}</initarg>
<initarg>{}</initarg></os></domain>"""


@pytest.fixture
def target(tmp_path: Path) -> Target:
    """A host under the test's own folder, whose guests count into a file there."""
    counted = tmp_path / "counted"
    counted.touch()
    return Target(
        uri=f"proc:///a?root={tmp_path}",
        spec=lambda name: DomainSpec.from_xml(
            DOMAIN.format(escape(name), escape(COUNTING), escape(str(counted)))
        ),
        ticks=lambda _: [int(found) for found in re.findall(r"tick (\d+)\.", counted.read_text())],
    )
