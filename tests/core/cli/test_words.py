"""Commands of a few words for media, links, volumes and pools, and those that print counts."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

MAC = "52:54:00:00:00:01"


def test_media_come_and_go(networked) -> None:
    """A drive says what is in the way; what is no drive for media is refused."""
    assert networked("change-media", "n", "hdc", "--eject").code == 1
    done = networked("change-media", "n", "hdc", "/images/cd", "--insert")
    assert (done.code, done.out) == (0, "Successfully inserted media.\n")
    assert "/images/cd" in networked("domblklist", "n").out
    assert "use --update" in networked("change-media", "n", "hdc", "/b", "--insert").err
    assert networked("change-media", "n", "/images/cd", "/b", "--update").code == 0
    done = networked("change-media", "n", "hdc", "--eject", "--print-xml")
    assert "<source" not in done.out
    assert "/b" in networked("domblklist", "n").out
    assert networked("change-media", "n", "hdc", "--eject").out == "Successfully ejected media.\n"
    assert " hdc      -" in networked("domblklist", "n").out
    assert "no drive for media" in networked("change-media", "n", "vda", "/b").err
    for wrong in (["--eject", "--insert"], ["/b", "--eject"], ["--update"]):
        assert networked("change-media", "n", "hdc", *wrong).code == 1


def test_cables_are_plugged_in_and_out(networked) -> None:
    """The state is in the definition; who has no such interface is told so."""
    assert networked("domif-getlink", "n", MAC).out == f"{MAC} up\n"
    assert networked("domif-setlink", "n", MAC, "down").out == "Device updated successfully\n"
    assert networked("domif-getlink", "n", MAC, "--json").facts == {"link": "down"}
    assert networked("domif-setlink", "n", "vnet7", "down").code == 1
    assert networked("domif-setlink", "n", MAC, "loose").code == 2


def test_devices_are_detached_by_a_few_words(networked) -> None:
    """Of more than one interface the address says which."""
    add = ("attach-interface", "n", "network", "default", "--mac")
    assert networked(*add, "52:54:00:00:00:02", "--config").code == 0
    done = networked("detach-interface", "n", "network", "--config")
    assert (done.code, "2 interfaces" in done.err) == (1, True)
    assert networked("detach-interface", "n", "network", "--mac", MAC, "--config").code == 0
    (left,) = networked("domiflist", "n", "--json").facts
    assert left["mac"] == "52:54:00:00:00:02"
    done = networked("detach-disk", "n", "vda", "--print-xml")
    assert "/images/n" in done.out
    assert networked("detach-disk", "n", "vda", "--config").out == "Disk detached successfully\n"
    assert "vda" not in networked("domblklist", "n").out
    assert networked("detach-disk", "n", "vda").code == 1


def test_counts_are_those_of_domstats(networked) -> None:
    """Under virsh's names; a machine that does not run has none."""
    for words in (["dommemstat", "n"], ["vcpuinfo", "n"], ["domblkstat", "n", "vda"]):
        assert networked(*words).code == 1
    assert networked("vcpucount", "n").out == (
        "maximum      config       1\ncurrent      config       1\n"
    )
    assert networked("start", "n").code == 0
    assert networked("dommemstat", "n").out.splitlines()[0] == "actual 8192"
    assert networked("vcpucount", "n", "--live", "--maximum").out == "1\n"
    assert networked("vcpucount", "n", "--live", "--config").code == 1
    (facts,) = networked("vcpuinfo", "n", "--json").facts
    assert (facts["vcpu"], facts["state"]) == (0, "running")
    assert "VCPU:           0\n" in networked("vcpuinfo", "n").out
    assert networked("cpu-stats", "n", "--json").facts["cpu_time"] >= 0
    assert networked("vncdisplay", "n").code == 1
    figures = networked("domstats", "n", "--vcpu", "--json").facts["n"]
    assert {name.partition(".")[0] for name in figures} == {"vcpu"}
    assert networked("domdirtyrate-calc", "n").code == 1
    networked("destroy", "n")


def test_volumes_are_filled_emptied_and_copied(polyvisor, tmp_path: Path) -> None:
    """By name in a pool, by path or by key; a part of one as well."""
    folder = tmp_path / "pool"
    folder.mkdir()
    done = polyvisor("pool-define-as", "p", "dir", "--target", str(folder))
    assert (done.code, done.out) == (0, "Pool p defined\n")
    assert polyvisor("pool-define-as", "q", "dir").code == 1
    uuid = polyvisor("pool-uuid", "p").out.strip()
    assert polyvisor("pool-name", uuid).out == "p\n"
    assert polyvisor("pool-start", "p").code == 0
    assert polyvisor("vol-create-as", "p", "a", "4K").code == 0
    (tmp_path / "in").write_bytes(b"0123456789")
    assert polyvisor("vol-upload", "a", "in", "--pool", "p", "--offset", "2").code == 0
    assert polyvisor("vol-clone", "a", "b", "--pool", "p").out == "Vol b cloned from a\n"
    path = polyvisor("vol-path", "b", "--pool", "p").out.strip()
    done = polyvisor("vol-download", path, "out", "--offset", "1", "--length", "4")
    assert done.code == 0
    assert (tmp_path / "out").read_bytes() == b"\x00012"
    key = polyvisor("vol-key", path).out.strip()
    assert polyvisor("vol-name", key).out == "b\n"
    assert polyvisor("vol-pool", path).out == "p\n"
    assert polyvisor("vol-pool", path, "--uuid").out.strip() == uuid
    done = polyvisor("pool-create-as", "t", "dir", "--target", str(tmp_path))
    assert (done.code, done.out) == (0, "Pool t created\n")


@pytest.fixture
def volume(polyvisor, tmp_path: Path) -> str:
    """Hold the path of a volume of 4 MiB, which begins with ``0123456789``."""
    (tmp_path / "pool").mkdir()
    assert polyvisor("pool-create-as", "p", "dir", "--target", str(tmp_path / "pool")).code == 0
    assert polyvisor("vol-create-as", "p", "a", "4M").code == 0
    (tmp_path / "in").write_bytes(b"0123456789")
    assert polyvisor("vol-upload", "a", "in", "--pool", "p").code == 0
    return str(tmp_path / "pool" / "a")


def test_a_file_is_whole_or_as_it_was(polyvisor, volume: str, tmp_path: Path) -> None:
    """Where there is no room, what stood there stays, and nothing is left beside it."""
    out = tmp_path / "out"
    out.write_bytes(b"before")
    here = sorted(tmp_path.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 19, limits[1]))
    try:
        done = polyvisor("vol-download", volume, "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert done.code == 1
    assert done.err == f"polyvisor: error: cannot write {out}: File too large\n"
    assert out.read_bytes() == b"before"
    assert sorted(tmp_path.iterdir()) == here


def test_links_are_followed_and_pipes_written_to(polyvisor, volume: str, tmp_path: Path) -> None:
    """What is no plain file stays what it is; a folder is refused."""
    (tmp_path / "link").symlink_to("real")
    for name in ("real", "link"):
        assert polyvisor("vol-download", volume, name, "--length", "4").code == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"0123"
    os.mkfifo(tmp_path / "pipe")
    end = os.open(tmp_path / "pipe", os.O_RDWR | os.O_NONBLOCK)
    try:
        assert polyvisor("vol-download", volume, "pipe", "--length", "4").code == 0
        assert os.read(end, 64) == b"0123"
    finally:
        os.close(end)
    assert (tmp_path / "pipe").is_fifo()
    assert "it is a folder" in polyvisor("vol-download", volume, "pool").err


def test_a_save_image_takes_no_devices_place(tick, tmp_path: Path) -> None:
    """A guest is not saved where something else than a file is, and runs on."""
    os.mkfifo(tmp_path / "pipe")
    assert tick("start", "tick").code == 0
    assert "it is no plain file" in tick("save", "tick", "pipe").err
    assert (tmp_path / "pipe").is_fifo()
    assert tick("domstate", "tick").out == "running\n"


@pytest.mark.parametrize("words", [["cpu-models", "x86_64"], ["maxvcpus"]])
def test_the_simulator_says_what_it_does_not_know(polyvisor, words: list[str]) -> None:
    """An error in words, and nothing invented."""
    done = polyvisor(*words)
    assert (done.code == 0) is (done.err == "")


def test_objects_are_edited_and_named(
    polyvisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is refused, or of another UUID, changes nothing, and the text is kept."""
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "$CHANGE" "$1"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(editor))
    (tmp_path / "net.xml").write_text("<network><name>edited</name><bridge name='br7'/></network>")
    assert polyvisor("net-define", "net.xml").code == 0
    uuid = polyvisor("net-uuid", "edited").out.strip()
    assert polyvisor("net-name", uuid).out == "edited\n"
    monkeypatch.setenv("CHANGE", "s/br7/br8/")
    assert polyvisor("net-edit", "edited").out == "Network edited edited\n"
    assert "br8" in polyvisor("net-dumpxml", "edited").out
    assert polyvisor("net-edit", "edited").out == "Network edited not changed\n"
    other = "0" if uuid[0] != "0" else "1"
    monkeypatch.setenv("CHANGE", f"s/<uuid>./<uuid>{other}/")
    done = polyvisor("net-edit", "edited")
    assert done.code == 1
    kept = Path(done.err.rpartition("your text is in ")[2].split()[0].rstrip("."))
    assert kept.exists()
    kept.unlink()
    assert polyvisor("net-uuid", "edited").out.strip() == uuid
    done = polyvisor("pool-define-as", "e", "dir", "--target", str(tmp_path))
    assert done.code == 0
    monkeypatch.setenv("CHANGE", f"s#<path>{tmp_path}<#<path>{tmp_path}/other<#")
    assert polyvisor("pool-edit", "e").out == "Storage pool e edited\n"
    assert f"{tmp_path}/other" in polyvisor("pool-dumpxml", "e").out
    (tmp_path / "f.xml").write_text("<filter name='f' chain='root'/>")
    assert polyvisor("nwfilter-define", "f.xml").code == 0
    monkeypatch.setenv("CHANGE", "s/chain='root'/chain='ipv4'/;s/chain=\"root\"/chain='ipv4'/")
    assert polyvisor("nwfilter-edit", "f").out == "Network filter f edited\n"
    assert "ipv4" in polyvisor("nwfilter-dumpxml", "f").out
