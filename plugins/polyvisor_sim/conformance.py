"""What the conformance suite is told of the simulator by ``polyvisor plugins --check``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from polyvisor.model import DomainSpec

__all__ = ["sim", "test"]

_GUEST = """<domain type='{}'><name>{}</name><memory unit='MiB'>4</memory><vcpu>1</vcpu>
<os><type>hvm</type></os></domain>"""


def sim(folder: Path) -> Mapping[str, Any]:
    """Return the arguments of a target of two hosts below a folder."""
    return {
        "uri": f"sim:///a?root={folder}/hosts",
        "peer": f"sim:///b?root={folder}/hosts",
        "files": folder / "hosts",
        "spec": lambda name: DomainSpec.from_xml(_GUEST.format("sim", escape(name))),
        "against": "simulator",
    }


def test(folder: Path) -> Mapping[str, Any]:
    """Return the arguments of a target of one host in memory."""
    return {
        "uri": "test:///default",
        "spec": lambda name: DomainSpec.from_xml(_GUEST.format("test", escape(name))),
        "shared": False,
        "against": "simulator",
    }
