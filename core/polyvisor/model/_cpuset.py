"""Sets of CPUs and of nodes, ``"0-3,^2,8"``, and how libvirt writes them."""

from __future__ import annotations

from collections.abc import Iterable

from polyvisor.model._codecs import STR, Codec, Fault

__all__ = ["CPUSET", "compact", "members"]

#: More than libvirt's own bound for any of its sets (VIR_DOMAIN_CPUMASK_LEN, domain_conf.h).
MOST = 65536
_ADVICE = "use numbers and ranges, as in 0-3,^2,8"


def members(text: str) -> list[int]:
    """Return what a set holds, in order.

    Args:
        text: as virBitmapParse (virbitmap.c) reads it.

    Raises:
        Fault: it is not a set.
    """
    found: set[int] = set()
    for part in text.split(","):
        word = part.strip()
        without = word.startswith("^")
        first, dash, last = word[without:].partition("-")
        first, last = first.strip(), last.strip() if dash else first.strip()
        if not (first.isdecimal() and last.isdecimal() and (first + last).isascii()):
            raise Fault(f"{text!r} is not a set of numbers", _ADVICE)
        low, high = int(first[:9]), int(last[:9])
        if low > high or (without and dash):
            raise Fault(f"{part.strip()!r} in {text!r} is not a range", _ADVICE)
        if high >= MOST:
            raise Fault(f"{high} in {text!r} is out of range", f"use numbers below {MOST}")
        if without:
            found.discard(low)
        else:
            found.update(range(low, high + 1))
    return sorted(found)


def compact(numbers: Iterable[int]) -> str:
    """Return a set as libvirt writes it: ``"0-1,3"``.

    Args:
        numbers: what it holds, in order.
    """
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(f"{low}-{high}" if high > low else str(low) for low, high in ranges)


def _read(text: str) -> str:
    if not isinstance(text, str):
        raise Fault(f"{text!r} is not text", _ADVICE)
    known = _texts.get(text)
    if known is None:
        known = compact(members(text))
        if not known:
            raise Fault(f"{text!r} holds nothing", _ADVICE)
        if len(_texts) < 512:
            _texts[text] = known
    return known


_texts: dict[str, str] = {}

#: A set as text in libvirt's form; never empty.
CPUSET = Codec(_read, lambda value: STR.write(_read(value)))
