"""Finds fuzz targets, gives them seeds and feeds them bytes that nobody would write.

A target is a file of this folder with

- ``SEEDS``: globs below libvirt's test data, whose files are where mutation starts;
- ``one(data: bytes)``: does with the bytes what polyvisor does with bytes from outside, and
  returns. Whatever it raises is a defect: it catches the errors that bad input may cause;
- ``EXAMPLES`` (optional): seeds that stand in the file, for where there is no test data.

``python tests/fuzz TARGET --seconds 300`` runs one. With atheris installed its coverage leads
the way; without, inputs are cut, spliced and flipped, which finds less but needs nothing.
"""

from __future__ import annotations

import importlib.util
import os
import random
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import attrs

__all__ = ["Crash", "Target", "mutate", "names", "target"]

HERE = Path(__file__).resolve().parent
#: Larger seeds make each run slow and add nothing.
LARGEST = 64 * 1024
OURS = {"harness", "__main__"}


@attrs.frozen
class Target:
    """What reads bytes from outside, and where to begin."""

    name: str
    one: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


@attrs.frozen
class Crash:
    """An input that a target could not take."""

    data: bytes
    error: BaseException


def names() -> list[str]:
    """Return the names of all targets."""
    return sorted(
        path.stem
        for path in HERE.glob("*.py")
        if path.stem not in OURS and not path.stem.startswith("test_")
    )


def target(name: str) -> Target:
    """Return a target by name, with its seeds read."""
    module = _load(name)
    examples: Sequence[bytes] = getattr(module, "EXAMPLES", ())
    found = [*examples]
    root = corpora()
    for pattern in getattr(module, "SEEDS", ()) if root is not None else ():
        found += [path.read_bytes() for path in sorted(root.glob(pattern)) if path.is_file()]
    known = tuple(dict.fromkeys(seed for seed in found if len(seed) <= LARGEST))
    return Target(name, module.one, known)


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"fuzz_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def corpora() -> Path | None:
    """Return the folder of libvirt's test data, if there is one."""
    checkout = HERE.parents[1]
    named = os.environ.get("POLYVISOR_CORPORA")
    base = Path(named) if named else checkout.parent / "shared" / "corpora"
    for folder in (base, base / "tests", *sorted(base.glob("*")), *sorted(base.glob("*/tests"))):
        if (folder / "genericxml2xmlindata").is_dir():
            return folder
    return None


# --- mutation without coverage ----------------------------------------------------------------

#: Numbers at the edges of what fields hold.
NUMBERS = (b"0", b"-1", b"1", b"255", b"65536", b"4294967295", b"4294967296", b"0x")
NUMBERS += (b"9223372036854775807", b"18446744073709551616", str(2**70).encode(), b"9" * 400)
_number = re.compile(rb"(?:0x[0-9a-fA-F]+|[0-9]+)")
_word = re.compile(rb"[A-Za-z_][A-Za-z0-9_:.-]*|'[^'\n]{0,60}'|\"[^\"\n]{0,60}\"")


def mutate(seeds: Sequence[bytes], chance: random.Random) -> bytes:
    """Return an input made of one or two seeds."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 4)):
        _CHANGES[chance.randrange(len(_CHANGES))](data, seeds, chance)
    return bytes(data[: 4 * LARGEST])


def _span(data: bytearray, chance: random.Random) -> tuple[int, int]:
    begin = chance.randint(0, len(data))
    return begin, min(len(data), begin + int(chance.expovariate(1 / 40)))


def _flip(data: bytearray, _seeds: Sequence[bytes], chance: random.Random) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _overwrite(data: bytearray, _seeds: Sequence[bytes], chance: random.Random) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.choice((0, 0xFF, 0x7F, 0x80, 0x20, 0x3C, 0x26))


def _cut(data: bytearray, _seeds: Sequence[bytes], chance: random.Random) -> None:
    begin, end = _span(data, chance)
    del data[begin:end]


def _repeat(data: bytearray, _seeds: Sequence[bytes], chance: random.Random) -> None:
    begin, end = _span(data, chance)
    data[begin:begin] = data[begin:end] * chance.choice((1, 1, 2, 30))


def _truncate(data: bytearray, _seeds: Sequence[bytes], chance: random.Random) -> None:
    del data[chance.randint(0, len(data)) :]


def _splice(data: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    other = chance.choice(seeds)
    begin = chance.randint(0, len(other))
    data[slice(*_span(data, chance))] = other[begin : begin + chance.randint(1, 200)]


def _lines(data: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    lines = data.split(b"\n")
    others = chance.choice(seeds).split(b"\n")
    lines.insert(chance.randint(0, len(lines)), bytearray(chance.choice(others)))
    if len(lines) > 3 and chance.random() < 0.5:
        del lines[chance.randrange(len(lines))]
    data[:] = b"\n".join(lines)


def _renumber(data: bytearray, _seeds: Sequence[bytes], chance: random.Random) -> None:
    found = list(_number.finditer(data))
    if found:
        data[slice(*chance.choice(found).span())] = chance.choice(NUMBERS)


def _reword(data: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    found = list(_word.finditer(data))
    others = _word.findall(chance.choice(seeds))
    if found and others:
        data[slice(*chance.choice(found).span())] = chance.choice(others)


_CHANGES = (
    _flip, _overwrite, _cut, _repeat, _truncate, _splice, _lines, _lines,
    _renumber, _renumber, _reword, _reword, _reword,
)  # fmt: skip


def hunt(
    wanted: Target, *, seconds: float, runs: int | None = None, seed: int = 0
) -> tuple[int, Crash | None]:
    """Feed a target its seeds and then mutations of them.

    Args:
        wanted: the target.
        seconds: when to stop.
        runs: how many mutations at most.
        seed: of the generator of random numbers.

    Returns:
        How many inputs it took, and the one that it did not take, if any.
    """
    deadline = time.monotonic() + seconds
    chance = random.Random(seed)
    count = 0
    for data in wanted.seeds:
        if crash := attempt(wanted, data):
            return count, crash
        count += 1
        if time.monotonic() > deadline:
            return count, None
    while time.monotonic() < deadline and (runs is None or count < runs):
        data = mutate(wanted.seeds, chance)
        if crash := attempt(wanted, data):
            return count, crash
        count += 1
    return count, None


def attempt(wanted: Target, data: bytes) -> Crash | None:
    """Feed a target one input; return what it raised."""
    try:
        wanted.one(data)
    except Exception as error:  # noqa: BLE001 - whatever comes out is the find
        return Crash(data, error)
    return None
