"""Devices, sizes, tuning, ports, screens and cores of simulated guests."""

from __future__ import annotations

import os
import select
import struct
import time
import zlib

import pytest

import polyvisor
from polyvisor.errors import InvalidArgument, NotFound, OperationInvalid, Unsupported

XML = """
<domain type='sim'><name>guest</name><memory unit='MiB'>4</memory>
<vcpu>4</vcpu><os><type>hvm</type></os>
<devices><interface type='user'><mac address='52:54:00:00:00:01'/><target dev='net0'/></interface>
<serial type='pty'/></devices></domain>
"""
DISK = "<disk type='file'><source file='{}'/><target dev='vda' bus='virtio'/></disk>"


@pytest.fixture
def guest(own_home):
    """Hold a running guest with four vCPUs and a serial port."""
    with polyvisor.open(f"sim:///parts?root={own_home / 'sim'}") as host:
        domain = host.domains.define(XML)
        domain.start()
        yield domain
        if domain.active:
            domain.destroy()


def test_devices_of_a_running_guest(guest):
    """They come, change and go in the live definition alone, unless it is said."""
    guest.attach_device(DISK.format("/a"))
    guest.update_device(DISK.format("/b"))
    (disk,) = guest.spec().devices.disks
    assert disk.source.file == "/b"
    assert not guest.spec(inactive=True).devices.disks
    guest.detach_device(DISK.format("/b"))
    assert not guest.spec().devices.disks


def test_sizes_of_a_running_guest(guest):
    """The balloon and the vCPUs that are on are the guest's; CPU time never goes back."""
    before = guest.info().cpu_time
    guest.set_vcpus(1)
    guest.set_memory(2 << 20)
    info = guest.info()
    assert (info.vcpus, info.memory) == (1, 2 << 20)
    assert info.cpu_time >= before
    guest.set_vcpus(3)
    assert guest.info().cpu_time >= info.cpu_time


def test_values_are_kept(guest):
    """Each group tells what was set, live and in the definition apart from each other."""
    tuning = guest.tuning
    guest.attach_device(DISK.format("/a"))
    tuning.set("schedinfo", {"cpu_shares": 512, "vcpu_quota": -1})
    tuning.set("blkiotune", {"weight": 300, "device_weight": "/dev/x,200"}, live=True)
    tuning.set("numatune", {"numa_mode": "strict", "numa_nodeset": "0"}, live=True)
    tuning.set("blkdeviotune", {"read_bytes_sec": 5, "write_bytes_sec": 6}, "vda", live=True)
    tuning.set("domiftune", {"inbound.average": 100, "inbound.peak": 200}, "net0", live=True)
    assert tuning.get("schedinfo") == {"cpu_shares": 512, "vcpu_quota": -1}
    assert tuning.get("schedinfo", live=False) == {}
    assert tuning.get("blkiotune") == {"weight": 300, "device_weight": "/dev/x,200"}
    assert tuning.get("numatune") == {"numa_mode": "strict", "numa_nodeset": "0"}
    assert tuning.get("domiftune", "net0") == {"inbound.average": 100, "inbound.peak": 200}
    assert tuning.get("blkdeviotune", "vda") == {"read_bytes_sec": 5, "write_bytes_sec": 6}
    tuning.set("blkdeviotune", {"total_bytes_sec": 7}, "vda", live=True)
    assert tuning.get("blkdeviotune", "vda") == {"total_bytes_sec": 7}
    tuning.set("domiftune", {"inbound.average": 0}, "net0", live=True)
    assert guest.spec().devices.interfaces[0].bandwidth is None
    with pytest.raises(NotFound):
        tuning.get("blkdeviotune", "vdz")
    for group, values in (
        ("numatune", {"numa_mode": "none"}),
        ("blkiotune", {"device_weight": "/dev/x"}),
        ("schedinfo", {"cpu_shares": "many"}),
    ):
        with pytest.raises(InvalidArgument):
            tuning.set(group, values)


def _read(fd, words, seconds=20):
    """Read until some words have come."""
    found, end = b"", time.monotonic() + seconds
    while words not in found and time.monotonic() < end:
        if select.select([fd], [], [], 1)[0]:
            piece = os.read(fd, 4096)
            if not piece:
                break
            found += piece
    return found


def test_a_port_shows_lines_as_they_are_printed(guest):
    """Two readers see the guest count, and the end when it stops."""
    fds = [guest.open_console(), guest.open_console("serial0")]
    try:
        assert all(b"tick 00" in _read(fd, b"\n") for fd in fds)
        os.write(fds[0], b"nobody listens\n")
        assert b"tick" in _read(fds[0], b"\n")
        guest.destroy()
        for fd in fds:
            rest = _read(fd, b"no such words")
            assert b"nobody" not in rest
    finally:
        for fd in fds:
            os.close(fd)
    with pytest.raises(OperationInvalid):
        guest.open_console()


def test_a_port_that_is_not_there(guest):
    """An unknown alias is told in words."""
    with pytest.raises(NotFound, match="serial7"):
        guest.open_console("serial7")


def test_the_screen_shows_text(guest, tmp_path):
    """The picture is PNG with dots where the guest has printed."""
    with_line = guest.open_console()
    assert _read(with_line, b"\n")
    os.close(with_line)
    assert guest.screenshot(tmp_path / "shot.png") == "image/png"
    data = (tmp_path / "shot.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    at = data.index(b"IDAT")
    (length,) = struct.unpack(">I", data[at - 4 : at])
    dots = zlib.decompress(data[at + 4 : at + 4 + length])
    assert len(dots) == height * (1 + width // 8)
    assert any(dots)
    with pytest.raises(NotFound):
        guest.screenshot(tmp_path / "none", screen=1)
    assert not (tmp_path / "none").exists()


def test_keys(guest):
    """The power key shuts down; a code that Linux lacks and another set are refused."""
    with pytest.raises(OperationInvalid, match="no key"):
        guest.send_keys([5000])
    with pytest.raises(Unsupported):
        guest.send_keys([1], codeset="usb")
    with pytest.raises(InvalidArgument):
        guest.send_keys([])
    guest.send_keys([30])
    guest.send_keys([116])
    guest.wait(timeout=20)


def test_a_core_is_the_memory(guest, tmp_path):
    """The raw core and the segment of the ELF core are the guest's memory, byte for byte."""
    guest.suspend()
    guest.dump(tmp_path / "raw")
    guest.dump(tmp_path / "elf", memory_only=True)
    raw, elf = (tmp_path / "raw").read_bytes(), (tmp_path / "elf").read_bytes()
    assert len(raw) == 4 << 20
    offset, size = struct.unpack_from("<QQQQ", elf, 64 + 8)[0], struct.unpack_from("<Q", elf, 96)[0]
    assert elf[offset : offset + size] == raw
    with pytest.raises(Unsupported):
        guest.dump(tmp_path / "other", core_format="kdump-zlib")
