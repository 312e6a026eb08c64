"""Commands that change, tune, watch and dump domains."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from polyvisor.cli._where import size
from polyvisor.errors import InvalidArgument


def test_sizes_are_virshs() -> None:
    """A bare number counts KiB; two letters without i are decimal."""
    assert [size(text) for text in ("1", "1K", "1kb", "2MiB", "3b")] == [
        1024,
        1024,
        1000,
        2 << 20,
        3,
    ]
    with pytest.raises(InvalidArgument, match="not a size"):
        size("many")


def test_sizes_devices_and_texts(tick, tmp_path) -> None:
    """What is changed is shown by the commands that print it."""
    assert tick("setvcpus", "tick", "3", "--maximum", "--config").code == 0
    assert tick("setvcpus", "tick", "2").code == 0
    assert tick("dominfo", "tick", "--json").facts["vcpus"] == 2
    memory = tick("dominfo", "tick", "--json").facts["max_memory"]
    assert tick("setmaxmem", "tick", str(memory // 1024 * 2)).code == 0
    assert tick("setmem", "tick", str(memory // 1024)).code == 0
    assert tick("dominfo", "tick", "--json").facts["max_memory"] == 2 * memory
    device = tmp_path / "disk.xml"
    device.write_text("<disk type='file'><source file='/a'/><target dev='vdq'/></disk>")
    done = tick("attach-device", "tick", str(device), "--config")
    assert (done.code, done.out) == (0, "Device attached successfully\n")
    assert "vdq" in tick("dumpxml", "tick").out
    device.write_text("<disk type='file'><source file='/b'/><target dev='vdq'/></disk>")
    assert tick("update-device", "tick", str(device), "--config").code == 0
    assert "/b" in tick("dumpxml", "tick").out
    assert tick("detach-device", "tick", str(device), "--config").code == 0
    assert "vdq" not in tick("dumpxml", "tick").out
    assert tick("desc", "tick", "--title").out == "No title for domain: tick\n"
    assert tick("desc", "tick", "--title", "a", "title").code == 0
    assert tick("desc", "tick", "--title").out == "a title\n"
    space = "http://example.org/x"
    assert tick("metadata", "tick", space, "--set", "<a/>", "--key", "x").code == 0
    assert tick("metadata", "tick", space).out == "<a/>\n"
    assert tick("metadata", "tick", space, "--remove").code == 0
    assert tick("metadata", "tick", space).code == 1
    assert tick("setmem", "tick", "1", "--current", "--live").code == 1


def test_tuning(tick) -> None:
    """Each command tells what it was given before."""
    assert tick("schedinfo", "tick", "cpu_shares=300").code == 0
    assert tick("schedinfo", "tick", "--json").facts == {"cpu_shares": 300}
    assert tick("memtune", "tick", "--hard-limit", "1G").code == 0
    assert tick("memtune", "tick").out == f"hard_limit     : {1 << 30}\n"
    assert tick("blkiotune", "tick", "--weight", "200").code == 0
    assert tick("blkiotune", "tick", "--json").facts == {"weight": 200}
    assert tick("numatune", "tick", "--mode", "strict", "--nodeset", "0").code == 0
    assert tick("numatune", "tick", "--json").facts["numa_mode"] == "strict"
    assert tick("vcpupin", "tick", "0", "0").code == 0
    assert tick("vcpupin", "tick", "--json").facts["0"] == "0"
    assert tick("emulatorpin", "tick", "0").code == 0
    assert tick("emulatorpin", "tick", "--json").facts == {"emulator": "0"}
    assert tick("vcpupin", "tick", "0", "x").code == 1


def test_screen_keys_and_cores(tick, tmp_path) -> None:
    """A picture, a core, and a key that shuts the guest down."""
    tick("start", "tick")
    shot = tick("screenshot", "tick", "shot.png")
    assert shot.out == "Screenshot saved to shot.png, with type of image/png\n"
    assert (tmp_path / "shot.png").stat().st_size > 50
    assert tick("dump", "tick", "core", "--memory-only", "--format", "elf").code == 0
    assert (tmp_path / "core").read_bytes()[:4] == b"\x7fELF"
    assert tick("send-key", "tick", "KEY_NOSUCH").code == 1
    assert tick("send-key", "tick", "KEY_LEFTCTRL", "KEY_A").code == 0
    assert tick("destroy", "tick").code == 0


def test_a_console_until_its_escape(tick, tmp_path) -> None:
    """Lines are shown until ^] is typed."""
    text = tick("dumpxml", "tick").out
    tick("undefine", "tick")
    (tmp_path / "pty.xml").write_text(
        text.partition("<serial")[0].partition("</devices>")[0]
        + "<serial type='pty'/></devices></domain>"
    )
    done = tick("run", "pty.xml")
    assert done.code == 0, done
    shown = subprocess.Popen(
        [sys.executable, "-m", "polyvisor", "console", "tick"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ,
    )
    assert shown.stdout is not None
    lines = [shown.stdout.readline() for _ in range(3)]
    assert any(line.startswith(b"tick ") for line in lines), lines
    out, _ = shown.communicate(b"\x1d", timeout=20)
    assert shown.returncode == 0, out
    tick("destroy", "tick")
