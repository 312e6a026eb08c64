"""What polyvisor's conformance suite has to know of ``proc``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from polyvisor.model import DomainSpec

__all__ = ["target"]

COUNTING = 'i=0; while :; do echo "tick $i." >> "$0"; i=$((i+1)); sleep 0.01; done'
DOMAIN = """<domain type='proc'><name>{}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
<os><type>exe</type><init>/bin/sh</init><initarg>-c</initarg><initarg>{}</initarg>
<initarg>{}</initarg></os></domain>"""


def target(folder: Path) -> Mapping[str, Any]:
    """Return the arguments of a ``polyvisor.testing.Target``: processes that count into a file."""
    counted = folder / "counted"
    counted.touch()
    return {
        "uri": f"proc:///a?root={folder}/hosts",
        "files": folder / "hosts",
        "spec": lambda name: DomainSpec.from_xml(
            DOMAIN.format(escape(name), escape(COUNTING), escape(str(counted)))
        ),
        "ticks": lambda _: [
            int(found) for found in re.findall(r"tick (\d+)\.", counted.read_text())
        ],
    }
