"""The command line in this process, and the machine of the examples."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from polyvisor.cli import main

NETWORKED = """<domain type='test'><name>n</name><memory unit='MiB'>8</memory><vcpu>1</vcpu>
<os><type>hvm</type></os><devices><disk type='file' device='disk'><source file='/images/n'/>
<target dev='vda' bus='virtio'/></disk><disk type='file' device='cdrom'>
<target dev='hdc' bus='ide'/><readonly/></disk>
<interface type='network'><mac address='52:54:00:00:00:01'/><source network='default'/>
<model type='virtio'/></interface></devices></domain>"""
EXAMPLES = Path(__file__).parents[3] / "examples"


@attrs.frozen
class Ran:
    """What a command line did."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> Any:
        """The JSON document on standard output."""
        return json.loads(self.out)


@pytest.fixture
def polyvisor(capsys, monkeypatch, tmp_path) -> Callable[..., Ran]:
    """Hold a function that runs a command line in a folder with the example."""
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        code = main(list(arguments))
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture
def tick(polyvisor) -> Callable[..., Ran]:
    """Hold the same, with a domain ``tick`` defined on the host that is the default."""
    done = polyvisor("define", "examples/tick.xml")
    assert done == Ran(0, "Domain 'tick' defined from examples/tick.xml\n", "")
    return polyvisor


@pytest.fixture
def networked(polyvisor, tmp_path):
    """Hold the command line with a domain ``n`` that has disks and an interface."""
    (tmp_path / "n.xml").write_text(NETWORKED.replace("'test'", "'sim'"))
    assert polyvisor("define", "n.xml").code == 0
    return polyvisor
