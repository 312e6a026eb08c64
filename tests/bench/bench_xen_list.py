"""Listing the domains of a Xen host, on the stand-in for libxl: our own share of it."""

from __future__ import annotations

from harness import Row, alternate, ours

__all__ = ["TITLE", "measure"]

TITLE = "Xen, 1,000 running domains on the stand-in for libxl"


def measure(rounds: int) -> list[Row]:
    """Run it ``rounds`` times; there is no peer without Xen."""
    (mine,) = alternate(rounds, ours("xen_list_ours.py", "1000"))
    return [
        Row("list all domains with name and state", mine["summaries"], most=0.020),
        Row("look up by name", mine["by_name"]),
        Row("ask for a state", mine["state"]),
    ]
