"""Rules for the traffic of guests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.model import NwFilterSpec
from polyvisor_remote.server._families.objects import counted, reference
from polyvisor_remote.server._families.routine import Family

if TYPE_CHECKING:
    from polyvisor.driver import NwFilters

FILTERS: Family[NwFilters] = Family(
    "nwfilter", "nwfilters", "nwfilter", lambda driver: driver.nwfilters
)
FILTERS.serve_lookups()
FILTERS.serve_definitions(NwFilterSpec, inactive_xml=False, flagged=True)


@FILTERS.serves("connect_list_all_nwfilters", flags=None)
def list_all(part: NwFilters, arguments: Any) -> tuple[list[Any], int]:
    """Return them."""
    found = list(map(reference, part.summaries()))
    return counted(found, arguments, 0, "connect_list_all_nwfilters")


@FILTERS.serves("connect_num_of_nwfilters")
def num(part: NwFilters, arguments: Any) -> tuple[int]:
    """Count them."""
    return (len(part.summaries()),)


@FILTERS.serves("connect_list_nwfilters")
def list_names(part: NwFilters, arguments: Any) -> tuple[list[str]]:
    """Name them."""
    return ([one.name for one in part.summaries()][: max(0, arguments.maxnames)],)
