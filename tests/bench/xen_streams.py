"""Writes the streams that are measured, a guest of 1 GiB, into the folder that is named."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from struct import pack

from polyvisor_libxl.streams import compose
from polyvisor_libxl.streams.compose import Guest

PAGES = (1 << 30) // 4096
BATCH = 1024
BODY = b"\x5a" * (BATCH * 4096)


def batches() -> Iterator[bytes]:
    """Yield the entries of each batch."""
    for start in range(0, PAGES, BATCH):
        yield pack(f"<{BATCH}Q", *range(start, start + BATCH))


def main(folder: Path) -> None:
    """Write them."""
    one = Guest(pages=1)
    found = compose.records(one)
    before = [record for record in found if record[0] in (0x02, 0x11, 0x12, 0x10)]
    after = [record for record in found if record[0] not in (0x01, 0x02, 0x03, 0x10, 0x11, 0x12)]
    frames = PAGES // 512
    with (folder / "v2").open("wb") as file:
        file.write(compose.libxl(compose.libxc(one, before), []))
        p2m = pack(f"<II{frames}Q", 0, PAGES - 1, *range(frames))
        file.write(compose.record(0x03, p2m))
        for entries in batches():
            size = 8 + len(entries) + len(BODY)
            file.write(pack("<IIII", 0x01, size, BATCH, 0) + entries + BODY)
        file.write(b"".join(compose.record(*record) for record in after))
        file.write(compose.record(0, b""))
    small = compose.legacy(one)
    # Where the frames of a small guest's P2M, one, and its batch of one page begin and end.
    frame = small.index(pack("<II", 4, 864)) + 8
    tail = frame + 8 + 4 + 8 + 4096
    with (folder / "legacy").open("wb") as file:
        file.write(pack("<Q", PAGES) + small[8:frame] + pack(f"<{frames}Q", *range(frames)))
        for entries in batches():
            file.write(pack("<i", BATCH) + entries + BODY)
        file.write(small[tail:])


main(Path(sys.argv[1]))
print(json.dumps({}))
