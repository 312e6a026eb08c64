"""Through a whole stream, whichever it is: told from its own first bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor_libxl.streams.legacy import LegacySink, LegacyWalker, looks_legacy
from polyvisor_libxl.streams.libxc import LibxcWalker
from polyvisor_libxl.streams.libxl import Ended, LibxlWalker
from polyvisor_libxl.streams.report import Figures, Report, Stop
from polyvisor_libxl.streams.tables import LIBXC_ID, LIBXC_MARKER, LIBXL_IDENT

if TYPE_CHECKING:
    from polyvisor_libxl.streams.source import Source

__all__ = ["detect", "walk"]

#: Enough of a stream to tell what it is.
HEAD = 16
_LEGACY, _V2 = 1, 2
_SAID = {_LEGACY: "version 1, legacy", _V2: "version 2, migration V2"}


def detect(head: bytes, stated: int | None = None) -> str:
    """Return what a stream is: ``"libxl"``, ``"libxc"`` or ``"legacy"``.

    Args:
        head: its first :data:`HEAD` bytes, fewer if it has no more.
        stated: what a header in front of it says, for streams that look like neither:
            1 legacy, 2 migration V2.
    """
    if head.startswith(LIBXL_IDENT):
        return "libxl"
    if head.startswith(LIBXC_MARKER) or head[8:12] == LIBXC_ID:
        return "libxc"
    if stated == _LEGACY or looks_legacy(head):
        return "legacy"
    return "libxl"


def walk(source: Source, report: Report, figures: Figures, *, stated: int | None = None) -> None:
    """Go through a stream to its end; what is wrong is in the report.

    Args:
        source: stands at the first byte of the stream.
        report: takes the faults.
        figures: takes the counts.
        stated: version of the stream that a header in front of it states.
    """
    start = source.position
    try:
        kind = detect(source.peek(HEAD), stated)
        found = _LEGACY if kind == "legacy" else _V2
        figures.facts["stream_version"] = found
        if stated is not None and found != stated:
            report.fault(
                "image.stream-version",
                start,
                "",
                f"the header states a stream of {_SAID[stated]}, but this is one of {_SAID[found]}",
            )
        if kind == "libxl":
            LibxlWalker(source, report, figures).run()
        elif kind == "libxc":
            figures.facts["stream"] = "libxc, without libxl's around it"
            walker = LibxcWalker(source, report, figures)
            walker.headers()
            while not walker.run():
                pass
        else:
            LegacyWalker(source, report, figures, LegacySink()).run()
        if source.peek(1):
            report.fault("stream.trailing", source.position, "", "the image does not end here")
    except Stop:
        report.complete = False
    except Ended:
        pass
