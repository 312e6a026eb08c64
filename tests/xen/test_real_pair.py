"""Migration between two real Xen hosts, polyvisor on both; see ``inside/two.py``."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.real, pytest.mark.xen]


def test_every_part_ran(two):
    """No part of the job broke off."""
    assert not {name: text for name, text in two.items() if name.startswith("failed-")}


def test_live(two):
    """A PVH guest moves while it counts, and no count is lost on the way."""
    seen = two["live"]
    print(f"\nlive migration of 112 MiB: {seen['seconds']} s")
    assert (seen["here"], seen["there"]) == ("shut off", "running")
    assert seen["whole"]
    assert seen["reports"] > 1
    assert seen["grows"]


def test_stopped(two):
    """A PV guest moves standing still, and a transient one is forgotten at its source."""
    assert two["stopped"] == {"left": False, "whole": True}


def test_what_is_undone(two):
    """Cancelled, or failing on either side: the guest counts on here, nothing is left there."""
    assert len(two["undone"]) == 4
    for name, seen in two["undone"].items():
        assert seen["error"], name
        assert (seen["left"], seen["state"], seen["whole"]) == ([], "running", True), (name, seen)


def test_peer_to_peer(two):
    """A guest moves driven by its source: a process of ours, and back, tunnelled, polyvisord."""
    seen = two["peer-to-peer"]
    print(f"\npeer to peer, there and back: {seen.pop('seconds')} s")
    assert seen == {
        "left": False,
        "whole there": True,
        "left there": False,
        "here": "running",
        "whole": True,
    }


@pytest.mark.parametrize("kind", ["pvh", "pv"])
def test_virsh_between_libvirt_and_polyvisord(two, kind):
    """By virsh a guest moves from libvirt's daemon to ours and back; no count is lost."""
    seen = two["libvirt"][kind]
    print(f"\nlibvirt to polyvisord and back, {kind}: {seen['seconds']} s")
    assert (seen["there"], seen["whole there"], seen["left"]) == ("running", True, False)
    assert (seen["here"], seen["whole"], seen["left there"]) == ("running", True, False)


def test_into_libvirt(two):
    """A guest of ours moves to libvirt's daemon inside our connection to it."""
    seen = two["into libvirt"]
    print(f"\nto libvirt, tunnelled: {seen.pop('seconds')} s")
    assert seen == {"left": False, "there": "running", "whole": True}


def test_killed_while_migrating(two):
    """Killed at ten points, exactly one side has the guest, and it counts on."""
    assert len(two["killed"]) == 10
    for seen in two["killed"]:
        assert (seen["here"] == "running") != bool(seen["there"]), seen
        assert seen.get("whole"), seen
