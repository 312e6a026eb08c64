"""``polyvisor plugins --settings``: what a driver can be told."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("driver", ["sim", "test", "qemu", "libxl", "remote"])
def test_the_command_prints_them(polyvisor, driver: str) -> None:
    """For a person as a table, for programs as JSON."""
    done = polyvisor("plugins", "--settings", driver)
    assert done.code == 0
    facts = polyvisor("plugins", "--settings", driver, "--json").facts
    assert facts
    for one in facts:
        assert set(one) == {"name", "type", "default", "help"}
        assert f"{one['name']} " in done.out


def test_the_command_knows_the_nearest_driver(polyvisor) -> None:
    """A wrong name, and a wrong mixture."""
    done = polyvisor("plugins", "--settings", "qemo")
    assert done.code != 0
    assert "no driver is called 'qemo'; did you mean 'qemu'?" in done.err
    assert polyvisor("plugins", "--settings", "qemu", "--check", "qemu").code == 2
