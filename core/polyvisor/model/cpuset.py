"""Sets of CPUs and of NUMA nodes as text: ``"0-3,^2,8"``."""

from __future__ import annotations

from polyvisor.errors import InvalidArgument
from polyvisor.model import _cpuset
from polyvisor.model._codecs import Fault
from polyvisor.model._cpuset import compact

__all__ = ["compact", "members"]


def members(text: str) -> list[int]:
    """Return what a set holds, in order.

    Args:
        text: numbers and ranges with commas between; ``^2`` takes one out again.

    Raises:
        InvalidArgument: it is not a set.
    """
    try:
        return _cpuset.members(text)
    except Fault as fault:
        raise InvalidArgument(f"{fault}; {fault.advice}") from fault
