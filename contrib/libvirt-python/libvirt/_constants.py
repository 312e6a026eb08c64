"""Numbers and names of libvirt's interface, from a table of them.

They are facts of its published headers (``include/libvirt/*.h``, 9.0): a name, ``=``, and its
number, or its text in quotes.
"""

from __future__ import annotations

from importlib.resources import files

__all__ = ["constants"]


def constants() -> dict[str, int | str]:
    """Return all of them by name."""
    table = files("libvirt").joinpath("constants.txt").read_text(encoding="ascii")
    found: dict[str, int | str] = {}
    for word in table.split():
        if word.startswith("VIR_"):
            name, _, value = word.partition("=")
            found[name] = value.strip('"') if value.startswith('"') else int(value)
    return found
