"""Guests of QEMU that virsh lets go on at another host before all of their memory is there."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import attrs
import pytest
from relay import Relay
from served import run, served
from test_virsh_qemu_migration import PLACE, Pair, pair

from polyvisor.testing.counting import write_image

__all__ = ["pair"]
pytestmark = [pytest.mark.real, pytest.mark.slow]

MIGRATED, GONE = "running (migrated)", "gone"
#: How often a guest is sent off until it is cut off in time.
TRIES = 5


def wait_for(pair: Pair, side: str, *wanted: str) -> None:
    """Wait until a side says something of the guest's state."""
    deadline = time.monotonic() + 60
    while (told := state(pair, side)) not in wanted:
        assert time.monotonic() < deadline, f"{side}: {told}, not {wanted}"
        time.sleep(0.05)


def state(pair: Pair, side: str) -> str:
    """Return what a side says of the guest's state; ``GONE`` if it has none."""
    done = run("virsh", "-c", pair.uris[side], "domstate", "g", "--reason")
    return " ".join(done.stdout.split()) or GONE


WAYS = [("ours", "theirs"), ("theirs", "ours"), ("ours", "others")]


@pytest.fixture
def three(pair: Pair) -> Iterator[Pair]:
    """Hold a second polyvisord as well (``others``)."""
    with served(pair.folder / "q") as daemon:
        uris = {**pair.uris, "others": daemon.uri("qemu", "/system")}
        found = attrs.evolve(pair, uris=uris)
        try:
            yield found
        finally:
            if "others" in found.where():
                found.virsh("others", "destroy", "g")


@pytest.mark.parametrize("by_job", [False, True], ids=["network", "domjobabort"])
@pytest.mark.parametrize("driven", [(), ("--p2p",)], ids=["direct", "p2p"])
@pytest.mark.parametrize(("source", "target"), WAYS)
def test_cut_off_and_taken_up_again(
    three: Pair, source: str, target: str, driven: tuple[str, ...], by_job: bool
) -> None:
    """Either side keeps its half, and says so, until the same command goes on with it."""
    pair = three
    write_image(pair.folder / "tick.img", writing=True)
    move = ["migrate", "g", pair.uris[target], "--live", "--unsafe", "--postcopy", *driven]
    for _ in range(TRIES):
        pair.virsh(source, "create", f"{pair.folder}/g.xml")
        pair.wait_for_count()
        code, told = cut_off(pair, source, target, move, by_job=by_job)
        if state(pair, target) != MIGRATED:
            break
        # On a busy machine it may have arrived before it was cut off.
        pair.virsh(target, "destroy", "g")
        (pair.folder / "serial").unlink()
    else:
        pytest.fail(f"{TRIES} times the guest had arrived before it was cut off")
    assert code == 1, told
    wait_for(pair, source, "paused (post-copy failed)")
    wait_for(pair, target, "running (post-copy failed)")
    with Relay() as relay:
        take_up(pair, source, [*move, "--postcopy-resume", *relay.words])
    assert pair.where() == [target]
    wait_for(pair, target, MIGRATED)
    pair.wait_for_count()
    counted = pair.lines()
    assert counted == sorted(counted), "the guest was started anew"


def take_up(pair: Pair, source: str, move: list[str]) -> None:
    """Have a migration go on, as soon as libvirt's source has noticed that it does not."""
    deadline = time.monotonic() + 10
    while (done := run("virsh", "-c", pair.uris[source], *move)).returncode != 0:
        assert "is still running" in done.stderr, done.stderr
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.05)


def cut_off(
    pair: Pair, source: str, target: str, move: list[str], *, by_job: bool = False
) -> tuple[int, str]:
    """Migrate, and cut the stream off once the guest runs over there; return what virsh did.

    Args:
        pair: the daemons.
        source: which one sends.
        target: which one receives.
        move: what virsh is told.
        by_job: abort the source's job, and leave the network alone.
    """
    with Relay() as relay:
        slow = ("--postcopy-after-precopy", "--bandwidth", "1", "--postcopy-bandwidth", "1")
        moving = subprocess.Popen(
            ["virsh", "-c", pair.uris[source], *move, *slow, *relay.words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            wait_for(pair, source, "paused (post-copy)", GONE)
            wait_for(pair, target, "running (post-copy)", MIGRATED)
            # All of QEMU stands still while an interrupt waits for the page of its vector, and
            # then nobody can tell it to go on. One that is due comes at once, so let it have that.
            time.sleep(0.2)
            if by_job:
                pair.virsh(source, "domjobabort", "--postcopy", "g")
            else:
                relay.cut()
            told, _ = moving.communicate(timeout=100)
        finally:
            moving.kill()
            moving.communicate()
    return moving.returncode, told


@pytest.mark.parametrize("way", ["--copy-storage-all", "--copy-storage-inc"])
@pytest.mark.parametrize(("source", "target"), WAYS)
def test_a_disk_comes_along(three: Pair, source: str, target: str, way: str) -> None:
    """The copy is equal when the guest is switched, and is written to over there alone."""
    pair = three
    write_image(pair.folder / "tick.img", writing=True)
    mine, theirs = (pair.folder / f"{side}.img" for side in (source, target))
    filled = bytes(1 << 20) + bytes(range(256)) * 2048 + bytes(1 << 20)
    mine.write_bytes(filled)
    theirs.write_bytes(bytes(len(filled)))
    more = (
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
        f"<source file='{mine}'/><target dev='vdb' bus='virtio'/></disk><interface"
    )
    guest = (pair.folder / "g.xml").read_text().replace("<interface", more, 1)
    (pair.folder / "g.xml").write_text(guest)
    pair.virsh(source, "create", f"{pair.folder}/g.xml")
    pair.wait_for_count()
    told = pair.virsh(source, "dumpxml", "--migratable", "g")
    (pair.folder / "x.xml").write_text(told.replace(str(mine), str(theirs)))
    pair.virsh(
        source, "migrate", "g", pair.uris[target], PLACE, "--live", "--unsafe", way,
        "--migrate-disks", "vdb", "--xml", f"{pair.folder}/x.xml",
        "--postcopy", "--postcopy-after-precopy", "--bandwidth", "1",
    )  # fmt: skip
    assert pair.where() == [target]
    wait_for(pair, target, MIGRATED)
    pair.wait_for_count()
    assert theirs.read_bytes() == filled
    order = 'qemu-io -d /machine/peripheral/virtio-disk1/virtio-backend "write -P 7 0 4k"'
    told = pair.virsh(target, "qemu-monitor-command", "g", "--hmp", order)
    assert "rror" not in told
    pair.virsh(target, "destroy", "g")
    assert theirs.read_bytes()[:4096] == bytes([7]) * 4096
    assert mine.read_bytes() == filled


def test_not_over_several_connections(pair: Pair) -> None:
    """QEMU would lose the guest in the end; on either side of a migration that is said before."""
    for source, target in (("ours", "theirs"), ("theirs", "ours")):
        pair.virsh(source, "create", f"{pair.folder}/g.xml")
        told = pair.virsh(
            source, "migrate", "g", pair.uris[target], PLACE, "--live", "--unsafe", "--postcopy",
            "--parallel", ok=False,
        )  # fmt: skip
        assert "QEMU 7.2 takes both and loses the guest" in told
        assert pair.where() == [source]
        pair.wait_for_count()
        pair.virsh(source, "destroy", "g")
