"""polyvisor's conformance suite, held against processes that count."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from polyvisor_proc.target import target as hosts

from polyvisor.testing import Target
from polyvisor.testing.suite import *  # noqa: F403


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    """A host under the test's own folder."""
    with Target.at(hosts, tmp_path) as target:
        yield target
