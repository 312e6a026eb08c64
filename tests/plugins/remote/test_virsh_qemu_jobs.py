"""Figures of jobs, as virsh gets them from libvirtd and from polyvisord of the same guest."""

from __future__ import annotations

import subprocess
import time

import pytest
from test_virsh_qemu_migration import PLACE, Pair, pair

import polyvisor
from polyvisor.events import EventKind
from polyvisor.jobstats import FIGURES, JobOutcome

pytestmark = [pytest.mark.real, pytest.mark.slow]

__all__ = ["pair"]

SIDES = ("ours", "theirs")
MEMORY = 32 << 20
#: Figures that are there or not as it happens: what is 0 is left out, or a clock is too coarse.
CHANCE = frozenset({"memory_bps", "time_elapsed_net", "downtime_net"})
#: Memory of a guest that is some seconds under way at 1 MiB/s, though nothing is in it.
LARGE = 3 << 30


def told(pair: Pair, side: str, *options: str) -> tuple[int, dict[str, int | str]]:
    """Return a job's type and figures as virsh prints them raw."""
    lines = pair.virsh(side, "domjobinfo", "g", "--rawstats", *options).splitlines()
    facts: dict[str, int | str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(": ")
        if colon:
            facts[name] = int(value) if value.isdigit() else value
    return int(lines[0].removeprefix("Job type: ")), facts


def completed(pair: Pair, side: str) -> dict[str, int]:
    """Return the figures of the last job, which must be completed, and hold what is always so."""
    kind, kept = told(pair, side, "--completed", "--keep-completed")
    assert kind == 3
    again = told(pair, side, "--completed")
    assert again == (kind, kept), "they were not kept"
    assert told(pair, side, "--completed") == (0, {}), "they were not dropped"
    return numbers(kept)


def numbers(facts: dict[str, int | str]) -> dict[str, int]:
    """Return figures, all of which libvirt knows, by name."""
    assert set(facts) <= {"operation", *FIGURES}
    return {name: int(value) for name, value in facts.items()}


def sane(figures: dict[str, int], memory: int = MEMORY, *, over: bool = True) -> None:
    """Hold what is true of a whole guest on its way, whoever tells it."""
    assert memory <= figures["memory_total"] <= memory + MEMORY
    assert 0 < figures["memory_processed"] <= figures["memory_total"]
    disk = figures.get("disk_total", 0)
    assert figures["data_total"] == figures["memory_total"] + disk
    assert figures["data_processed"] >= figures["memory_processed"]
    pages = figures["memory_constant"] + figures["memory_normal"]
    assert figures["memory_page_size"] == 4096
    assert figures["memory_normal_bytes"] == figures["memory_normal"] * 4096
    # Memory may be sent again; what is left was not sent at all or was changed since. QEMU
    # counts on while it tells.
    counted = pages * 4096 + figures["memory_remaining"]
    assert counted + (0 if over else 8 << 20) >= figures["memory_total"]
    assert figures["memory_iteration"] >= 1
    assert figures["memory_postcopy_requests"] == 0
    assert 0 < figures["time_elapsed"] < 60_000
    assert figures["setup_time"] <= figures["time_elapsed"]
    if over:
        assert figures["memory_remaining"] == 0
        assert figures["downtime"] <= figures["time_elapsed"]


def same(found: dict[str, dict[str, int]]) -> None:
    """Hold that both sides tell the same figures, of the same order of magnitude."""
    ours, theirs = (found[side] for side in SIDES)
    assert set(ours) - CHANCE == set(theirs) - CHANCE
    assert ours["operation"] == theirs["operation"]
    for name in ("memory_total", "memory_processed", "memory_constant", "memory_normal_bytes"):
        if name in ours:
            assert theirs[name] / 4 <= ours[name] <= theirs[name] * 4, name


def started(pair: Pair, side: str) -> None:
    """Let a side run the guest, which it keeps the definition of."""
    pair.virsh(side, "define", f"{pair.folder}/g.xml")
    pair.virsh(side, "start", "g")
    pair.wait_for_count()


def test_a_save(pair: Pair) -> None:
    """What a domain is saved with is told of it while it is shut off, and once."""
    found = {}
    for side in SIDES:
        started(pair, side)
        pair.virsh(side, "save", "g", f"{pair.folder}/{side}.image")
        found[side] = completed(pair, side)
        sane(found[side])
        assert found[side]["operation"] == 2
        pair.virsh(side, "undefine", "g")
    same(found)


def test_a_dump_of_the_whole_guest(pair: Pair) -> None:
    """It has the figures of a save; the guest runs on."""
    found = {}
    for side in SIDES:
        started(pair, side)
        pair.virsh(side, "dump", "g", f"{pair.folder}/{side}.core")
        found[side] = completed(pair, side)
        sane(found[side])
        assert found[side]["operation"] == 8
        pair.virsh(side, "destroy", "g")
        pair.virsh(side, "undefine", "g")
    same(found)


def test_a_dump_of_memory(pair: Pair) -> None:
    """Ours is told of like any other; libvirt forgets it, and has no figures to compare."""
    for side in SIDES:
        started(pair, side)
        pair.virsh(side, "dump", "g", f"{pair.folder}/{side}.core", "--memory-only")
        if side == "theirs":
            assert told(pair, side, "--completed") == (0, {})
        else:
            figures = completed(pair, side)
            assert set(figures) == {
                "operation", "time_elapsed", "memory_total", "memory_processed", "memory_remaining",
            }  # fmt: skip
            assert figures["memory_total"] == figures["memory_processed"] >= MEMORY
            assert figures["memory_remaining"] == 0
        pair.virsh(side, "destroy", "g")
        pair.virsh(side, "undefine", "g")


@pytest.mark.parametrize("driven", [(), ("--p2p",)], ids=["direct", "p2p"])
def test_a_migration(pair: Pair, driven: tuple[str, ...]) -> None:
    """Both ways, the source's figures and the destination's are libvirt's, each from the other's.

    What the destination says comes from the source's cookie, and what the source says of the
    time that the guest stood still from the destination's.
    """
    sources, destinations = {}, {}
    started(pair, "ours")
    for source, target in (SIDES, SIDES[::-1]):
        pair.virsh(
            source, "migrate", "g", pair.uris[target], PLACE, "--live", "--unsafe", "--persistent",
            *driven,
        )  # fmt: skip
        pair.wait_for_count()
        sources[source], destinations[target] = completed(pair, source), completed(pair, target)
        for figures in (sources[source], destinations[target]):
            sane(figures)
            assert figures["downtime"] > 0
        there = destinations[target]
        assert (sources[source]["operation"], there["operation"]) == (5, 4)
        for name, value in there.items():
            if name not in CHANCE | {"operation", "time_elapsed"}:
                assert sources[source][name] == value, name
        assert there["time_elapsed"] <= sources[source]["time_elapsed"] + 100
    same(sources)
    same(destinations)


def test_what_is_told_while_it_runs(pair: Pair) -> None:
    """A slow migration says as much of itself as libvirt's does, of the same kind."""
    xml = (pair.folder / "g.xml").read_text()
    (pair.folder / "g.xml").write_text(xml.replace("'MiB'>32<", f"'MiB'>{LARGE >> 20}<"))
    found = {}
    for source, target in (SIDES, SIDES[::-1]):
        started(pair, source)
        leaving = subprocess.Popen(
            [
                "virsh", "-c", pair.uris[source], "migrate", "g", pair.uris[target], PLACE,
                "--live", "--unsafe", "--bandwidth", "1",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 120
            job = None
            with polyvisor.open(pair.uris[source]) as host:
                domain = host.domains["g"]
                # Asked at once and without a pause: it does not last for long.
                while job is None or not job.figures["memory_processed"]:
                    assert leaving.poll() is None, leaving.communicate()
                    assert time.monotonic() < deadline, f"{source} tells {job}"
                    job = domain.job_statistics()
                assert (job.operation, job.outcome) == ("migration", JobOutcome.RUNNING)
                assert domain.job_statistics(completed=True) is None
                domain.abort_job()
            assert leaving.wait(120) == 1
        finally:
            leaving.kill()
            leaving.communicate()
        found[source] = dict(job.figures)
        sane(found[source], LARGE, over=False)
        assert told(pair, source, "--completed") == (0, {}), "it was cancelled"
        assert pair.where() == [source]
        pair.virsh(source, "destroy", "g")
        pair.virsh(source, "undefine", "g")
    ours, theirs = (found[side] for side in SIDES)
    assert set(ours) - CHANCE == set(theirs) - CHANCE
    assert ours["memory_total"] == theirs["memory_total"]


def test_the_event(pair: Pair) -> None:
    """Its figures are those of the source that is asked afterwards, on either side."""
    started(pair, "ours")
    for source, target in (SIDES, SIDES[::-1]):
        with polyvisor.open(pair.uris[source]) as host:
            stream = host.events(timeout=30)
            pair.virsh(
                source, "migrate", "g", pair.uris[target], PLACE, "--live", "--unsafe",
                "--persistent",
            )  # fmt: skip
            event = next(one for one in stream if one.kind is EventKind.JOB_COMPLETED)
            assert event.detail == "migration"
            figures = completed(pair, source)
            del figures["operation"]
            assert dict(event.data) == figures
