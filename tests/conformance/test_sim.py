"""The simulator, as ``sim:///``: persistent and shared between processes."""

from __future__ import annotations

import pytest

from polyvisor.testing import Target
from polyvisor.testing.suite import *  # noqa: F403


@pytest.fixture
def target(tmp_path, counting_spec, serial_ticks) -> Target:
    """Two hosts under the test's own folder."""
    return Target(
        uri=f"sim:///a?root={tmp_path}/hosts",
        peer=f"sim:///b?root={tmp_path}/hosts",
        files=tmp_path / "hosts",
        spec=counting_spec("sim", 4),
        ticks=serial_ticks,
        against="simulator",
    )
