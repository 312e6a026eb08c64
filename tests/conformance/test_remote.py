"""The simulator behind polyvisord, driven over libvirt's protocol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from polyvisor.testing import Target
from polyvisor.testing.suite import *  # noqa: F403
from polyvisor_remote.conformance import polyvisord


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run polyvisord as a process of its own and hold its socket."""
    with polyvisord(tmp_path_factory.mktemp("daemon")) as socket:
        yield socket


@pytest.fixture
def target(daemon: str, tmp_path: Path, counting_spec, serial_ticks) -> Target:
    """Two hosts under the test's own folder, behind one daemon."""
    where = f"root={quote(str(tmp_path))}&socket={quote(daemon)}"
    return Target(
        uri=f"sim+unix:///a?{where}",
        peer=f"sim+unix:///b?{where}",
        spec=counting_spec("sim", 4),
        ticks=serial_ticks,
        against="simulator",
        served=True,
        via="polyvisord",
    )
