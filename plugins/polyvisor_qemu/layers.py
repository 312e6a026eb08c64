"""The images of a disk's chain: which one is meant, and how those above call it."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from polyvisor.errors import InvalidArgument

if TYPE_CHECKING:
    from polyvisor.local import Hold
    from polyvisor_qemu.nodes import Opened

__all__ = ["committed", "layer", "relative_name"]


def layer(hold: Hold, chain: list[Opened], target: str, word: str) -> Opened:
    """Return the image with a path, or at a place such as ``vda[2]``, counted from the top.

    Raises:
        InvalidArgument: the chain has none such.
    """
    for one in chain:
        if one.path == word:
            return one
    place = re.fullmatch(r"(.*)\[(\d+)\]", word)
    if place is not None and place[1] == target and int(place[2]) < len(chain):
        return chain[int(place[2])]
    raise InvalidArgument(
        f"{hold.operation} of {hold.known.name!r}: {word} is not in the chain "
        f"{', '.join(one.path for one in chain)}"
    )


def committed(
    hold: Hold, chain: list[Opened], target: str, upper: Opened, base: str | None, *, shallow: bool
) -> Opened:
    """Return the image that takes a commit's data.

    Args:
        hold: the domain.
        chain: the disk's images.
        target: its name.
        upper: the topmost one that is merged.
        base: what was said of it, if anything.
        shallow: it is the one right below.

    Raises:
        InvalidArgument: there is none such.
    """
    lower = chain[-1] if base is None else layer(hold, chain, target, base)
    if not shallow:
        return lower
    below = chain.index(upper) + 1
    if below >= len(chain) or (base is not None and lower is not chain[below]):
        raise InvalidArgument(
            f"{hold.operation} of {hold.known.name!r}: {lower.path} does not lie right below "
            f"{upper.path}"
        )
    return chain[below]


def relative_name(hold: Hold, chain: list[Opened], above: Opened, lower: Opened) -> str:
    """Return how an image calls one further below, of the names that those between have.

    Raises:
        OperationInvalid: a name is not relative (virStorageSourceGetRelativeBackingPath).
    """
    found = ""
    for one in chain[chain.index(above) : chain.index(lower)]:
        name = one.backing or ""
        if not name or os.path.isabs(name) or re.match(r"[a-z][a-z0-9+.-]*:", name):
            raise hold.invalid(
                f"{one.path} calls the image below it {name!r}, which is not relative, so that "
                f"relative names cannot be kept"
            )
        found = os.path.join(os.path.dirname(found), name)
    return found
