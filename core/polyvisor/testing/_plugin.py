"""Makes pytest know the suite's marker and reports; loaded by pytest through an entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

__all__ = ["pytest_addoption", "pytest_configure"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that asks for a report."""
    group = parser.getgroup("polyvisor", "conformance of polyvisor's drivers")
    group.addoption(
        "--polyvisor-report",
        action="append",
        default=[],
        metavar="PATH",
        help="write the support matrix with its evidence to PATH, as a page if it ends with "
        ".html, as data if with .json, else as text; '-' prints it; may be given several times",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker that names the features a test needs, and the reporter."""
    config.addinivalue_line(
        "markers",
        "polyvisor_requires(*features): needs these features of the driver's support table",
    )
    if config.getoption("--polyvisor-report"):
        from polyvisor.testing._reporter import Reporter

        config.pluginmanager.register(Reporter(config), "polyvisor-report")
