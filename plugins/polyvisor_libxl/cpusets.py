"""Sets of CPUs and nodes: ``"0-3,^2,8"`` as text, numbers in libxl's JSON."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["LARGEST", "compact", "members"]

#: More than any host has, and than libvirt's own bound (VIR_DOMAIN_CPUMASK_LEN).
LARGEST = 65535


def members(text: str) -> list[int] | None:
    """Return what a set holds, in order; ``None`` if it is not one or holds nothing."""
    found: set[int] = set()
    for part in text.split(","):
        word = part.strip()
        without = word.startswith("^")
        first, dash, last = word[without:].partition("-")
        first, last = first.strip(), last.strip() if dash else first.strip()
        if not all(end.isdecimal() and end.isascii() and len(end) < 6 for end in (first, last)):
            return None
        low, high = int(first), int(last)
        if low > high or high > LARGEST or (without and dash):
            return None
        if without:
            found.discard(low)
        else:
            found.update(range(low, high + 1))
    return sorted(found) or None


def compact(numbers: Iterable[int]) -> str:
    """Return a set in its shortest form: ``"0-1,3"``.

    Args:
        numbers: what it holds, in any order.
    """
    ranges: list[list[int]] = []
    for one in sorted(set(numbers)):
        if ranges and one == ranges[-1][1] + 1:
            ranges[-1][1] = one
        else:
            ranges.append([one, one])
    return ",".join(f"{low}-{high}" if high > low else str(low) for low, high in ranges)
