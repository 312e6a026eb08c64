"""Makes pytest know the suite's marker; loaded by pytest through an entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

__all__ = ["pytest_configure"]


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker that names the features a test needs."""
    config.addinivalue_line(
        "markers",
        "polyvisor_requires(*features): needs these features of the driver's support table",
    )
