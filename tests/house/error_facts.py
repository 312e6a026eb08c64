"""Writes into docs/errors.md what polyvisor.errors knows: the table, and each code's facts.

What stands between a comment ``<!-- facts: … -->`` and ``<!-- end -->`` is from the classes;
a person writes the rest. Run with ``--update`` after a change of polyvisor.errors;
tests/house/test_docs.py holds the page against it.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from pathlib import Path

from polyvisor import errors
from polyvisor.errors import PolyvisorError

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
PART = re.compile(r"(<!-- facts: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def tree() -> list[type[PolyvisorError]]:
    """Return all errors, in the order of the module."""
    return [kind for name, kind in vars(errors).items() if name in errors.__all__]


def link(kind: type[PolyvisorError]) -> str:
    """Return a link to the section of an error."""
    return f"[`{kind.code}`](#{kind.code})"


def marked_down(text: str) -> str:
    """Turn a docstring's markup into that of the page, on one line."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text.replace("``", "`"))
    return " ".join(text.split())


def meaning(kind: type[PolyvisorError]) -> str:
    """Return the first paragraph of the docstring."""
    return marked_down((inspect.getdoc(kind) or "").partition("\n\n")[0])


def data(kind: type[PolyvisorError]) -> list[tuple[str, str]]:
    """Return what the class adds to an error's data, and what each is."""
    _, _, text = (inspect.getdoc(kind) or "").partition("\nArgs:\n")
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE)
    return [(name, marked_down(words)) for name, words in found if name != "message"]


def table() -> str:
    """Return a row for each error."""
    rows = [
        f"| {link(kind)} | `{kind.__name__}` | {kind.libvirt} | {meaning(kind)} |"
        for kind in tree()
    ]
    return "\n".join(["| code | class | libvirt | means |", "| --- | --- | --- | --- |", *rows])


def facts(kind: type[PolyvisorError]) -> str:
    """Return what is known of one error."""
    lines = [meaning(kind), ""]
    line = f"`polyvisor.errors.{kind.__name__}`, libvirt's number {kind.libvirt}"
    if kind is not PolyvisorError:
        (parent,) = kind.__bases__
        line += f"; a kind of {link(parent)}"
    kinds = [link(other) for other in tree() if kind in other.__bases__]
    if kinds and kind is not PolyvisorError:
        line += f"; kinds of it: {', '.join(kinds)}"
    lines.append(f"{line}.")
    if data(kind):
        lines += ["", "Its data:", "", *(f"- `{name}`: {words}" for name, words in data(kind))]
    numbers = vars(kind).get("NUMBERS")
    if numbers:
        told = ", ".join(f"{what} {number}" for what, number in numbers.items())
        lines += ["", f"libvirt's number by kind: {told}."]
    return "\n".join(lines)


def filled_in(page: str) -> str:
    """Return the page with its facts written anew."""
    known = {kind.code: kind for kind in tree()}

    def part(match: re.Match[str]) -> str:
        text = table() if match[2] == "all" else facts(known[match[2]])
        return f"{match[1]}\n{text}\n\n{match[3]}"

    return PART.sub(part, page)


def main() -> int:
    """Compare or update; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true", help="write the facts anew")
    page = PAGE.read_text(encoding="utf-8")
    now = filled_in(page)
    if parser.parse_args().update:
        PAGE.write_text(now, encoding="utf-8")
        return 0
    return int(now != page)


if __name__ == "__main__":
    sys.exit(main())
