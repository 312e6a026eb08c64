"""The legacy stream: what is sound converts to what is sound, the rest is refused."""

from __future__ import annotations

import io

from polyvisor.errors import SaveImageError
from polyvisor_libxl.bareimage import LegacyStreamFormat, LibxlStreamFormat
from polyvisor_libxl.streams import compose
from polyvisor_libxl.streams.compose import Guest
from polyvisor_libxl.streams.convert import to_migration_v2
from polyvisor_libxl.streams.source import MemorySource

_LEGACY, _V2 = LegacyStreamFormat(), LibxlStreamFormat()
_BARE = dict.fromkeys(range(6), 14)
EXAMPLES = (
    compose.legacy(Guest(pages=6, kinds=_BARE)),
    compose.legacy(Guest(pages=6, kinds=_BARE, width=4), word=4, unmapped=2),
    compose.legacy(Guest(pages=6, kinds=_BARE, pv=False)),
    compose.legacy(Guest(pages=6, kinds={**_BARE, 5: 15}, pv=False, batch=3), word=4),
)


def one(data: bytes) -> None:
    """Verify a stream and convert it: both say the same of it."""
    found = _LEGACY.verify(io.BytesIO(data), path="stream", strict=False, limit=20)
    assert all(0 <= finding.offset <= len(data) for finding in found.findings)
    out = io.BytesIO()
    try:
        to_migration_v2(MemorySource(data), out, path="stream", stated=1)
    except SaveImageError:
        assert not found.ok or not found.complete or data.startswith(b"LibxlFmt")
        return
    trailing = {finding.rule for finding in found.faults} <= {
        "stream.trailing",
        "image.stream-version",
    }
    assert found.ok or trailing or data.startswith(b"LibxlFmt")
    if found.ok:
        again = _V2.verify(io.BytesIO(out.getvalue()), path="stream", strict=False, limit=20)
        assert {one.rule for one in again.faults} <= {
            # What a stream may leave out, and no converter can make up.
            "libxc.complete.records",
        }
