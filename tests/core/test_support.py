"""The support table answers for every feature."""

from __future__ import annotations

import pytest

from polyvisor.support import FEATURES, Support, SupportStatus, SupportTable


def test_answers_may_be_short() -> None:
    """A status alone, or a reason alone, is enough."""
    table = SupportTable(
        {
            "events": SupportStatus.SUPPORTED,
            "storage": "comes with the storage issue",
            "migration.live": Support(SupportStatus.VERSIONED, "needs 4.2", since="4.2"),
        }
    )
    assert table.usable("events")
    assert table["storage"] == Support(
        SupportStatus.NOT_IMPLEMENTED, "comes with the storage issue"
    )
    assert not table.usable("migration.live")
    assert table["secrets"].status is SupportStatus.UNKNOWN
    assert set(table) == set(FEATURES)


def test_a_versioned_feature_may_be_usable_here() -> None:
    """The hypervisor at hand decides whether a versioned feature works."""
    answer = Support(SupportStatus.VERSIONED, "since 4.2", since="4.2", usable=True)
    assert SupportTable({"events": answer}).usable("events")


def test_an_unknown_feature_is_refused() -> None:
    """A misspelt feature cannot be stated."""
    with pytest.raises(KeyError, match="evnts"):
        SupportTable({"evnts": SupportStatus.SUPPORTED})
