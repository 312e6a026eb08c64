"""Real Xen, where these tests run in its control domain; elsewhere see ``test_libxl.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from polyvisor.testing import Target
from polyvisor.testing.suite import *  # noqa: F403
from polyvisor_libxl.conformance import target as hosts
from polyvisor_libxl.probe import usable

pytestmark = pytest.mark.skipif(not usable().usable, reason=usable().reason)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    """This very host, with guests of its own kernel."""
    with Target.at(hosts, tmp_path) as target:
        yield target
