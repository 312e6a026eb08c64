"""The API in one process: polyvisor's ``test:///default`` beside libvirt's own driver."""

from __future__ import annotations

from harness import Row, alternate, ours, peer

__all__ = ["TITLE", "measure"]

TITLE = "In one process, 10,000 domains, beside libvirt-python's test driver"
DOMAINS = "10000"


def measure(rounds: int) -> list[Row]:
    """Alternate both libraries, each in a process of its own per round."""
    mine, other = alternate(
        rounds, ours("inprocess_ours.py", DOMAINS), peer("peers/inprocess.py", DOMAINS)
    )

    def row(what: str, key: str, most: float | None = None) -> Row:
        return Row(what, mine[key], other[key], most)

    return [
        row("list all domains", "list", 0.2),
        row("list all with name and state", "summaries"),
        row("look up by name", "by_name", 2.0),
        row("look up by UUID", "by_uuid"),
        row("`dumpxml`, unchanged, 19 lines", "xml", 1.0),
        row("`dumpxml`, unchanged, 152 lines", "xml_large", 1.0),
        row("define, 19 lines", "define"),
        row("define, 152 lines", "define_large"),
        row("start", "start"),
        row("destroy", "destroy"),
    ]
