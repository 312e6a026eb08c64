"""A guest on its way to libvirtd whose QEMU there dies: it has one owner all the time."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from test_virsh_qemu_migration import PLACE, Pair, pair

import polyvisor
from polyvisor.errors import PolyvisorError

pytestmark = [pytest.mark.real, pytest.mark.slow]

__all__ = ["pair"]


def qemu_there(pair: Pair) -> int:
    """Return the process of libvirt's QEMU."""
    return int((pair.folder / "l/run/qemu/g.pid").read_text())


def gone(pid: int) -> bool:
    """Say whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def kill(pair: Pair, *, noticed: bool) -> None:
    """Kill it; if it is to be noticed, wait until libvirtd has cleared it away."""
    pid = qemu_there(pair)
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while not gone(pid) or (noticed and "g" in pair.virsh("theirs", "list", "--all", "--name")):
        assert time.monotonic() < deadline, "it does not end"
        time.sleep(0.02)


@pytest.mark.parametrize("kept", [False, True], ids=["transient", "persistent"])
@pytest.mark.parametrize("noticed", [False, True], ids=["at-once", "noticed"])
def test_its_qemu_dies_before_finish(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, noticed: bool, kept: bool
) -> None:
    """All was sent and it stands still here: libvirtd's refusal lets it go on, as one guest."""
    pair.virsh("ours", "define", f"{pair.folder}/g.xml")
    pair.virsh("ours", "start", "g")
    pair.wait_for_count()
    with polyvisor.open(pair.uris["ours"]) as here, polyvisor.open(pair.uris["theirs"]) as there:
        arriving = there.driver.migration
        assert arriving is not None
        finish = arriving.finish
        asked: list[bool] = []

        def dying(*words: Any, cancelled: bool) -> Any:
            asked.append(cancelled)
            if not cancelled:
                assert here.domains["g"].state == "paused"
                kill(pair, noticed=noticed)
            return finish(*words, cancelled=cancelled)

        monkeypatch.setattr(arriving, "finish", dying)
        with pytest.raises(PolyvisorError) as caught:
            here.domains["g"].migrate(there, uri=PLACE, unsafe=True, persistent=kept)
        assert asked[0] is False
        assert "the domain is on the source as before" in str(caught.value) or (
            "it is on the source as before" in str(caught.value)
        ), caught.value
        assert pair.where() == ["ours"]
        pair.wait_for_count()
        assert here.domains["g"].status() == ("running", "migration canceled") or (
            here.domains["g"].state == "running"
        )
        # What is left of it there does not hinder the next attempt.
        monkeypatch.undo()
        moved = here.domains["g"].migrate(there, uri=PLACE, unsafe=True, persistent=kept)
        assert moved.state == "running"
    assert pair.where() == ["theirs"]
    pair.wait_for_count()
    counted = pair.lines()
    assert counted == sorted(counted), "the guest was started anew"
    assert len(set(counted)) == len(counted), "two guests counted"


def test_its_qemu_dies_as_the_stream_flows(pair: Pair) -> None:
    """Nothing has stopped here yet; the guest goes on, and says what broke."""
    pair.virsh("ours", "create", f"{pair.folder}/g.xml")
    pair.wait_for_count()
    done: list[int] = []

    def progress(told: Any) -> None:
        if told.processed and not done:
            done.append(1)
            kill(pair, noticed=False)

    with polyvisor.open(pair.uris["ours"]) as here, polyvisor.open(pair.uris["theirs"]) as there:
        with pytest.raises(PolyvisorError, match="on the source as before"):
            here.domains["g"].migrate(
                there, uri=PLACE, unsafe=True, bandwidth=1 << 20, progress=progress
            )
        assert done
        assert pair.where() == ["ours"]
        pair.wait_for_count()
