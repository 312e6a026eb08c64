"""Commands for disks, interfaces and agents of domains."""

from __future__ import annotations

import pytest


def test_disks_and_interfaces_are_listed_as_virsh_does(networked) -> None:
    """An empty drive has a dash; with details there are types, as JSON all of it."""
    assert networked("domblklist", "n").out == (
        " Target   Source\n---------------------\n vda      /images/n\n hdc      -\n"
    )
    lines = networked("domblklist", "n", "--details").out.splitlines()
    assert lines[0].split() == ["Type", "Device", "Target", "Source"]
    assert lines[3].split() == ["file", "cdrom", "hdc", "-"]
    assert networked("domblklist", "n", "--json").facts[0] == {
        "type": "file",
        "device": "disk",
        "target": "vda",
        "source": "/images/n",
    }
    lines = networked("domiflist", "n").out.splitlines()
    assert lines[2].split() == ["-", "network", "default", "virtio", "52:54:00:00:00:01"]
    assert networked("domiflist", "n", "--inactive", "--json").facts[0]["source"] == "default"


def test_disks_and_interfaces_of_a_few_words(networked) -> None:
    """They are attached as said, or only printed; words that mean nothing are refused."""
    done = networked("attach-disk", "n", "/dev/sdx", "vdb", "--cache", "none", "--config",
                     "--subdriver", "raw", "--mode", "shareable", "--serial", "7")  # fmt: skip
    assert (done.code, done.out) == (0, "Disk attached successfully\n")
    shown = networked("dumpxml", "n").out
    assert "<source dev='/dev/sdx'/>" in shown
    assert "<driver type='raw' cache='none'/>" in shown
    assert "<shareable/>" in shown
    done = networked("attach-disk", "n", "/x", "vdc", "--print-xml", "--type", "cdrom")
    assert "<disk type='file' device='cdrom'>" in done.out
    assert "vdc" not in networked("dumpxml", "n").out
    done = networked("attach-interface", "n", "bridge", "br0", "--model", "e1000",
                     "--mac", "52:54:00:00:00:02", "--persistent")  # fmt: skip
    assert (done.code, done.out) == (0, "Interface attached successfully\n")
    assert networked("domiflist", "n", "--json").facts[1] == {
        "interface": None,
        "type": "bridge",
        "source": "br0",
        "model": "e1000",
        "mac": "52:54:00:00:00:02",
    }
    assert networked("attach-interface", "n", "bridge").code == 1
    assert networked("attach-interface", "n", "user", "x").code == 1
    assert networked("attach-interface", "n", "nonsense", "--config").code == 1
    assert networked("attach-disk", "n", "/x", "vdd", "--targetbus", "x", "--config").code == 1


def test_addresses_of_no_interface(tick) -> None:
    """The header is virsh's, and there is nothing below it."""
    done = tick("domifaddr", "tick")
    assert done.code == 0
    assert done.out == (" Name       MAC address          Protocol     Address\n" + "-" * 79 + "\n")
    assert tick("domifaddr", "tick", "--json").facts == []


@pytest.mark.parametrize(
    "line",
    [
        "domblkinfo n vda",
        "domblkinfo n --all",
        "blockresize n vda 1G",
        "blockpull n vda",
        "blockcommit n vda --active",
        "blockcopy n vda /copy --format raw",
        "blockjob n vda",
        "domfsfreeze n",
        "domfsthaw n",
        "domfstrim n",
        "domfsinfo n",
        "domhostname n",
        "domtime n",
        "domtime n --now",
        "guestinfo n",
        "domifaddr n --source agent",
        "qemu-agent-command n {}",
    ],
)
def test_what_the_hypervisor_cannot_is_said(networked, line: str) -> None:
    """The simulator works on no disks and has no agents: one line says so."""
    done = networked(*line.split(), "--json")
    assert done.code == 1
    assert '"unsupported"' in done.err
    assert networked(*line.split()).err.count("\n") == 1


def test_contradictions_are_refused(networked) -> None:
    """Two ways at once, or neither."""
    for line in (
        "domblkinfo n",
        "domblkinfo n vda --all",
        "blockcopy n vda /x --pivot --finish",
        "blockcommit n vda --pivot --keep-overlay",
        "domtime n --now --sync",
    ):
        assert "--json" not in networked(*line.split()).err
        assert networked(*line.split()).code == 1
