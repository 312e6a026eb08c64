"""Real QEMU with a boot sector that counts, under software emulation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from polyvisor.testing import Target
from polyvisor.testing.suite import *  # noqa: F403
from polyvisor_qemu.conformance import target as hosts

pytestmark = pytest.mark.real


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    """Two hosts under the test's own folder, and the boot sector's disk."""
    with Target.at(hosts, tmp_path) as target:
        yield target
