"""Writes into docs/reference/settings.md what each driver declares of its settings.

What stands between a comment ``<!-- settings: DRIVER -->`` and ``<!-- end -->`` is from the
plugins; a person writes the rest. Run with ``--update`` after a change of a plugin's settings;
tests/house/test_settings.py holds the page against them.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from polyvisor._settings import declared, words
from polyvisor.plugins import Registry

if TYPE_CHECKING:
    from polyvisor.driver import Setting

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"
PART = re.compile(r"(<!-- settings: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def settings() -> dict[str, tuple[Setting, ...]]:
    """Return what polyvisor's own drivers declare, by their names."""
    found = {}
    for status in Registry().statuses.values():
        if status.distribution == "polyvisor":
            for info in status.drivers:
                found[info.name] = declared(info, status.name) or ()
    return found


def table(declarations: tuple[Setting, ...]) -> str:
    """Return a row for each setting."""
    rows = ["| key | is | default | what it does |", "| --- | --- | --- | --- |"]
    for one in declarations:
        default = "" if one.default is None else f"`{json.dumps(one.default)}`"
        rows.append(f"| `{one.name}` | {words(one)} | {default} | {one.help} |")
    return "\n".join(rows)


def filled_in(page: str) -> str:
    """Return the page with its tables written anew."""
    known = settings()
    return PART.sub(lambda match: f"{match[1]}\n{table(known[match[2]])}\n\n{match[3]}", page)


def main() -> int:
    """Compare or update; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true", help="write the tables anew")
    page = PAGE.read_text(encoding="utf-8")
    now = filled_in(page)
    if parser.parse_args().update:
        PAGE.write_text(now, encoding="utf-8")
        return 0
    return int(now != page)


if __name__ == "__main__":
    sys.exit(main())
