"""The simulator, as ``test:///default``: in memory, each connection a world of its own."""

from __future__ import annotations

import pytest

from polyvisor.testing import Target
from polyvisor.testing.suite import *  # noqa: F403


@pytest.fixture
def target(counting_spec, serial_ticks) -> Target:
    """One host in this process."""
    return Target(
        uri="test:///default",
        spec=counting_spec("test", 4),
        shared=False,
        ticks=serial_ticks,
        against="simulator",
    )
