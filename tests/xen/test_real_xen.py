"""The driver on real Xen 4.17, beside xl and libvirt; see ``inside/one.py`` for what is done."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.real, pytest.mark.xen]

WHO = ("polyvisor", "virsh", "xl")


def test_every_part_ran(one):
    """No part of the job broke off; those that take long have tests of their own."""
    failed = {name: text for name, text in one.items() if name.startswith("failed-")}
    assert not failed.keys() - {"failed-speed", "failed-hvm"}, failed


def test_the_host(one):
    """Xen's version is told, and the control domain is a domain that refuses to be destroyed."""
    assert one["host"][0] == "Xen"
    assert one["host"][1].startswith("4.17")
    assert ["Domain-0", 0, "running"] in one["control"]
    assert one["control-refused"] == "operation-invalid"


@pytest.mark.parametrize("kind", ["pv", "pvh", pytest.param("hvm", marks=pytest.mark.slow)])
def test_no_count_is_lost(one, kind):
    """A guest of each kind counts on after suspending, saving and restoring as if nothing was."""
    seen = one[f"kind-{kind}"]
    assert seen["states"] == ["shut off", "running"]
    assert seen["whole"]
    assert seen["counted"][1] > seen["counted"][0]


def test_what_xl_started(one):
    """A domain of xl's is found with its definition, saved and restored, and goes when it goes."""
    seen = one["foreign"]
    assert seen == {
        "persistent": False,
        "kernel": "/opt/guest/vmlinux",
        "memory": 96 << 20,
        "paused": "paused",
        "left": False,
        "whole": True,
    }
    assert one["foreign-gone"]


def test_a_crash(one):
    """A guest that panics is heard of, and cleared away as its definition says."""
    assert one["crash"] == {
        "events": ["started/booted", "stopped/crashed"],
        "status": ["shut off", "crashed"],
    }


def test_what_a_crash_leaves(one):
    """A core with the guest's memory, or the guest as it is, as on_crash says."""
    ((magic, size),) = one["crashes"]["coredump-destroy"].pop("cores")
    assert magic == b"\x7fELF".hex()
    assert size >= 90
    assert one["crashes"] == {
        "coredump-destroy": {"status": ["shut off", "crashed"], "listed": False},
        "preserve": {"status": ["crashed", "panicked"], "cores": [], "listed": True},
    }


def test_renamed_and_restarted(one):
    """With rename-restart the old guest stays as a domain of its own until it is destroyed."""
    assert one["kept"] == {
        "name": True,
        "other": True,
        "kernel": "/opt/guest/vmlinux",
        "states": ["in shutdown", "running"],
        "in xl's list": 2,
    }
    assert one["kept-left"] == ["kept"]


def test_the_control_domain_makes_room(one):
    """It gives up at least what a guest needs beyond what is free."""
    assert one["ballooned"]["given"] >= 64


def test_a_reboot(one):
    """A guest that is rebooted begins anew, and is there once."""
    assert one["rebooted"] == {"listed": 1, "state": "running"}


def test_what_xl_tells_of_guests(one):
    """`xl list -l` is read as the definition that it is, and the same is made of it again.

    But for what libxl fills in itself, and shadow memory, which libvirt's driver always says.
    """
    seen = one["described"]
    filled_in = {f"/c_info/{name}" for name in ("domid", "run_hotplug_scripts")}
    filled_in |= {
        f"/b_info/{name}" for name in ("sched_params", "claim_mode", "arch_x86", "shadow_memkb")
    }
    for facts in seen.values():
        assert set(facts.pop("differs")) <= filled_in | {"/on_soft_reset"}, one["described"]
    kernel = "/opt/guest/vmlinux"
    assert seen == {
        "told": {"memory": 96, "kernel": kernel, "vcpus": 2, "on crash": "preserve"},
        "told-pvh": {"memory": 112, "kernel": kernel, "vcpus": 1, "on crash": "destroy"},
    }


def test_what_changes_while_it_runs(one):
    """Of its two vCPUs one goes, of its 128 MiB a fifth, and it counts on."""
    assert one["changes"] == {"memory": 100, "vcpus": 1, "whole": True}


def test_devices_come_and_go(one):
    """Disks, of a file and of a block device, and an interface: all seen, used, kept, and gone."""
    assert one["devices"] == {
        "said": [
            "DISK xvdb gone",
            "DISK xvdb made for xvdb",
            "DISK xvdc gone",
            "DISK xvdc made for xvdc",
            "NET eth0 00:16:3e:0a:0b:0c",
            "NET eth0 gone",
        ],
        "written": ["written by the guest"] * 2,
        "ports": 1,
        "listed": 2,
        "held": [2, 1],
        "left": [0, 0],
        "left of Xen's": 0,
        "whole": True,
    }


def test_images_pass_between_three(one):
    """Saved by each of polyvisor, virsh and xl, restored by each: all nine count on."""
    table = one["interop"]
    print(f"\n{'saved by':>12} | " + " | ".join(f"{who:>12}" for who in WHO))
    for saver in WHO:
        print(f"{saver:>12} | " + " | ".join(f"{table[saver][who][:12]:>12}" for who in WHO))
    assert table == {saver: dict.fromkeys(WHO, "counts on") for saver in WHO}


def test_console_and_core(one):
    """The console carries what the guest says and ends with it; the core has its pages."""
    seen = one["seat"]
    assert "TICK" in seen["heard"]
    assert seen["second"] == "busy"
    assert seen["core"]["magic"] == b"\x7fELF".hex()
    assert seen["core"]["size"] >= 96 << 20
    assert seen["pages"]
    assert (seen["state"], seen["whole"], seen["ended"]) == ("running", True, True)


def test_a_restore_that_is_cancelled(one):
    """Given up at any point, it leaves no domain and the image, which is restored later."""
    *cancelled, last = one["given-up"]["errors"]
    assert set(cancelled) <= {"Cancelled"}
    assert last in ("Cancelled", "none")
    assert "Cancelled" in one["given-up"]["errors"]
    assert one["given-up"]["whole"]


def test_killed_while_saving(one):
    """Killed at ten points, the earlier image is whole and the guest counts on."""
    assert len(one["killed"]) == 10
    for seen in one["killed"]:
        assert seen.get("whole"), seen
        assert seen["earlier"] or seen.get("new"), seen
    assert one["left"] == []


def test_the_cookie_is_libvirts(one):
    """Our migration cookie is the one that libvirt makes for the same domain."""
    assert one["cookies"]["ours"] == one["cookies"]["theirs"]


def test_libvirt_takes_our_cookie(one):
    """Libvirt does the same with our cookie as with its own, and refuses what we refuse."""
    answers = {
        # The port may be another each time.
        which: text.rpartition(":")[0] if text.startswith("tcp://") else text
        for which, text in one["prepared"].items()
    }
    assert answers["ours"] == answers["ours with facts"] == answers["libvirt's"]
    assert "version '3' is not supported" in answers["of version 3"]
    assert "not NULL terminated" in answers["without NUL"]


@pytest.mark.slow
def test_saved_and_restored_beside_xl(one):
    """Turn by turn with xl the guest counts on; how long either takes is printed."""
    # The least of each: what else runs on this machine only adds.
    figures = {name: min(values) for name, values in one["speed"].items()}
    print(f"\n{figures}")
    assert figures.keys() == {"save", "restore", "xl save", "xl restore"}
    assert one["speed-whole"]
