"""The test bed, and what one boot of it has found out."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bed import TOOLS, Bed, folder
from emulated import SECONDS, Host, Outcome, pair

#: Before each test gets a home of its own.
FOLDER = folder()


@pytest.fixture(scope="session")
def bed() -> Bed:
    """Hold the built test bed; skips where it cannot be built."""
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        pytest.skip(f"the Xen test bed needs: apt install {' '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("the Xen test bed is built and booted by root")
    return Bed.ready(FOLDER)


@pytest.fixture(scope="session")
def one(
    request: pytest.FixtureRequest, bed: Bed, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outcome]:
    """Hold what ``inside/one.py`` has seen on one host; the slow parts if a test is about them."""
    slow = any(item.get_closest_marker("slow") for item in request.session.items)
    parts = "all" if slow else ""
    host = Host(bed.path, tmp_path_factory.mktemp("one"), "one.py", parts=parts)
    try:
        yield host.wait(SECONDS + 100)
    finally:
        host.end()


@pytest.fixture(scope="session")
def two(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Hold what ``inside/two.py`` has seen on two hosts."""
    return pair(bed.path, tmp_path_factory.mktemp("two"), "two.py", SECONDS + 100)
