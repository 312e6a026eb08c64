"""The data of libvirt's own tests, and the one form in which two documents are compared."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from lxml import etree

__all__ = ["Case", "canonical", "cases", "corpora", "tree"]

ROOT = Path(__file__).resolve().parents[2]


@cache
def corpora() -> Path | None:
    """Return the folder with libvirt's test data: of the corpora, or ``tests`` of its sources."""
    named = os.environ.get("POLYVISOR_CORPORA")
    for base in [Path(named)] if named else [ROOT.parent / "shared" / "corpora"]:
        for folder in (
            base,
            base / "tests",
            *sorted(base.glob("*")),
            *sorted(base.glob("*/tests")),
        ):
            if (folder / "genericxml2xmlindata").is_dir():
                return folder
    return None


class Case(NamedTuple):
    """One call of a macro in one of upstream's tests."""

    suite: str
    macro: str
    name: str
    refused: bool


@cache
def cases() -> Mapping[str, list[Case]]:
    """Return the cases of each suite that upstream's tests list."""
    folder = corpora()
    found: dict[str, list[Case]] = defaultdict(list)
    table = folder / "cases.tsv" if folder is not None else None
    if table is not None and table.is_file():
        for line in table.read_text().splitlines()[1:]:
            suite, macro, name, refused = line.split("\t")
            found[suite].append(Case(suite, macro, name, refused == "1"))
    return found


def tree(xml: str | bytes) -> etree._Element:
    """Return a document's root without comments and text of nothing but layout."""
    data = xml.encode() if isinstance(xml, str) else xml
    root = etree.fromstring(data, etree.XMLParser(remove_comments=True, resolve_entities=False))
    for node in root.iter():
        node.text = None if not (node.text or "").strip() else node.text
        node.tail = None if not (node.tail or "").strip() else node.tail
    return root


def canonical(xml: str | bytes) -> bytes:
    """Return a document in the one form in which two are compared."""
    return etree.tostring(tree(xml), method="c14n")
