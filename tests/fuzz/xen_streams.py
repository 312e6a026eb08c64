"""libxl's and libxc's streams: every input is either sound or a list of findings."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from polyvisor_libxl.bareimage import LibxlStreamFormat
from polyvisor_libxl.streams import compose
from polyvisor_libxl.streams.compose import Guest, Order
from polyvisor_libxl.streams.report import Figures, Report
from polyvisor_libxl.streams.source import MemorySource
from polyvisor_libxl.streams.walk import walk

if TYPE_CHECKING:
    from polyvisor.saveimage import VerifiesStream

_FORM: VerifiesStream = LibxlStreamFormat()


def _stream(guest: Guest, version: int = 3, order: Order = "<") -> bytes:
    # Blobs and pages are what nobody looks into: short ones leave room for what matters.
    found = [
        (kind, body[:64] if kind in (4, 5, 6, 9) else body)
        for kind, body in compose.records(guest, version=version, order=order)
        if kind != 7
    ]
    inner = compose.libxc(guest, found, version=version, order=order)
    return compose.libxl(inner, compose.tail(guest, order=order), order=order)


_BARE = dict.fromkeys(range(6), 14)
_ROUND = [(4, b""), (5, bytes(8))]
EXAMPLES = (
    _stream(Guest(pages=6, kinds=_BARE)),
    _stream(Guest(pages=6, kinds=_BARE), 2),
    _stream(Guest(pages=6, kinds=_BARE, width=4)),
    _stream(Guest(pages=6, kinds={**_BARE, 0: 0}, pv=False)),
    _stream(Guest(pages=6, kinds=_BARE, pv=False), 2, ">"),
    _stream(Guest(pages=6, kinds=_BARE))[24:],
    compose.libxl(
        compose.libxc(Guest(pv=False), [(0x10, b""), (0x0E, b"")])
        + b"".join(compose.record(*record) for record in _ROUND)
        + compose.record(0x0E, b""),
        [*_ROUND],
    ),
)


def one(data: bytes) -> None:
    """Verify a stream; it is gone through once and no further than it goes."""
    found = _FORM.verify(io.BytesIO(data), path="stream", strict=True, limit=20)
    assert len(found.findings) <= 20
    assert all(0 <= finding.offset <= len(data) for finding in found.findings)
    assert found.checked <= len(data)
    assert found.findings or found.complete
    figures = Figures(memory=True)
    walk(MemorySource(data), Report(limit=5), figures)
    figures.plain()
