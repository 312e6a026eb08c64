"""The conformance kit: a pytest suite that any driver can be held against.

A plugin's tests adopt it with an import and one fixture::

    import pytest
    from polyvisor.testing import Target
    from polyvisor.testing.suite import *  # noqa: F403

    @pytest.fixture
    def target(tmp_path):
        return Target(uri=f"mine:///a?root={tmp_path}", spec=a_function_that_makes_a_spec)

The tests ask for features of the driver's support table, never for a driver's name. What
the table claims is tested; what it does not claim must refuse with
:class:`~polyvisor.errors.Unsupported`.
"""

from __future__ import annotations

from polyvisor.testing._target import Target, requires

__all__ = ["Target", "requires"]
