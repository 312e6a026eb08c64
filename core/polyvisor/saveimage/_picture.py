"""A picture of a guest's memory by kind of page, with a legend, as PNG.

Drawn with Pillow, which the extra ``picture`` installs.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from polyvisor.errors import Unsupported

if TYPE_CHECKING:
    from polyvisor.saveimage._findings import MemoryMap

__all__ = ["picture"]

#: Width of the map, in pixels, and how high it may become before cells stand for more pages.
_WIDTH, _HEIGHT = 1024, 2048
_MARGIN, _LABELS, _LINE = 24, 96, 26
_BACKGROUND, _INK, _FAINT = (255, 255, 255), (32, 32, 32), (120, 120, 120)
_NOTHING = (238, 238, 238)
#: Rows without pages of which more than this follow each other are left out.
_GAP = 4
_BREAK = 18


def picture(memory: MemoryMap, *, title: str) -> bytes:
    """Draw a guest's memory, a cell for each page or for some of them, with addresses.

    Args:
        memory: of :func:`~polyvisor.saveimage.examine`.
        title: stands above.

    Returns:
        A PNG file.

    Raises:
        Unsupported: Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise Unsupported(
            "a picture of memory is drawn with Pillow, which is not installed: "
            "pip install 'polyvisor[picture]'"
        ) from error

    each, columns, rows = _rows(memory)
    cell = max(1, _WIDTH // columns)
    counts = memory.counts()
    kinds = [kind for kind in memory.kinds if kind.name in counts]
    bands = list(_bands(sorted(rows)))
    height = sum(last - first + 1 for first, last in bands) * cell + _BREAK * (len(bands) - 1)
    top = _MARGIN + 2 * _LINE
    size = (
        _MARGIN + _LABELS + columns * cell + _MARGIN,
        top + height + _LINE + _LINE * len(kinds) + _MARGIN,
    )
    canvas = Image.new("RGB", size, _BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    large, small = ImageFont.load_default(20), ImageFont.load_default(14)
    left = _MARGIN + _LABELS

    draw.text((_MARGIN, _MARGIN - 4), title, fill=_INK, font=large)
    scale = "a cell is a page" if each == 1 else f"a cell is {each} pages, the rarest kind shown"
    row = _amount(columns * each * memory.page_size)
    draw.text((_MARGIN, _MARGIN + _LINE), f"{scale}; a row is {row}", fill=_FAINT, font=small)
    palette = [*_NOTHING, *(part for kind in memory.kinds for part in kind.colour)]
    y = top
    for number, (first, last) in enumerate(bands):
        if number:
            draw.text((left, y), "…", fill=_FAINT, font=small)
            y += _BREAK
        data = b"".join(rows.get(one, bytes(columns)) for one in range(first, last + 1))
        part = Image.frombytes("P", (columns, last - first + 1), data)
        part.putpalette(palette)
        high = (last - first + 1) * cell
        part = part.resize((columns * cell, high), Image.Resampling.NEAREST)
        canvas.paste(part.convert("RGB"), (left, y))
        _addresses(draw, small, (first, last), cell, y, columns * each * memory.page_size)
        y += high
    y += _LINE // 2
    for kind in kinds:
        draw.rectangle((left, y + 3, left + 16, y + 19), fill=kind.colour, outline=_FAINT)
        count = counts[kind.name]
        text = f"{kind.name}: {count:,} pages, {_amount(count * memory.page_size)}"
        draw.text((left + 26, y + 3), text, fill=_INK, font=small)
        y += _LINE
    out = io.BytesIO()
    canvas.save(out, "PNG", optimize=True)
    return out.getvalue()


def _rows(memory: MemoryMap) -> tuple[int, int, dict[int, bytes]]:
    """Return how many pages a cell stands for, cells in a row, and the rows with pages."""
    chunk = memory.CHUNK
    pages = len(memory.chunks) * chunk
    columns = 64
    while columns < _WIDTH and pages / columns > columns:
        columns *= 2
    each = 1
    while pages / each / columns > _HEIGHT and each < chunk:
        each *= 2
    rows: dict[int, bytearray] = {}
    for number, kinds in memory.chunks.items():
        cells = kinds if each == 1 else _merged(kinds, each)
        start = number * chunk // each
        for at in range(0, len(cells), columns):
            some = bytes(cells[at : at + columns])
            if some.strip(b"\0"):
                row, column = divmod(start + at, columns)
                line = rows.setdefault(row, bytearray(columns))
                line[column : column + len(some)] = some
    return each, columns, {row: bytes(line) for row, line in rows.items()}


def _merged(kinds: bytes | bytearray, each: int) -> bytes:
    """Return of every ``each`` pages the kind that comes last in the table.

    Normal pages come first there, so that the few of other kinds stay visible.
    """
    return bytes(map(max, *(kinds[at::each] for at in range(each))))


def _bands(rows: list[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last of rows that are drawn in one piece."""
    if not rows:
        yield 0, 0
        return
    first = last = rows[0]
    for row in rows[1:]:
        if row - last > _GAP:
            yield first, last
            first = row
        last = row
    yield first, last


def _addresses(draw: Any, font: Any, band: tuple[int, int], cell: int, top: int, size: int) -> None:
    """Write addresses beside rows, as often as there is room for them."""
    first, last = band
    step = 1
    while step * cell < _LINE:
        step *= 2
    shown = -step
    for row in range(first, last + 1):
        if (row == first or row % step == 0) and row - max(shown, first - step) >= step:
            text = _amount(row * size)
            y = top + (row - first) * cell
            draw.text((_MARGIN + _LABELS - 8, y - 2), text, fill=_FAINT, font=font, anchor="ra")
            shown = row


def _amount(size: int) -> str:
    """Return a number of bytes as people say it."""
    for shift, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << shift:
            return f"{size / (1 << shift):.4g} {unit}"
    return str(size)
