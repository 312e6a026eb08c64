"""This machine's pages, nodes, merging of pages and firmware, of files as Linux has them."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from polyvisor.errors import HypervisorError, InvalidArgument, OperationFailed, Unsupported
from polyvisor.local import (
    ThisMachine,
    machine_nodes,
    machine_shape,
    machine_topology,
    machine_uuid,
)

if TYPE_CHECKING:
    from polyvisor.model.sysinfo import SysinfoTable

BASE = os.sysconf("SC_PAGE_SIZE")
HUGE = 2 << 20


def write(path: Path, text: object) -> None:
    """Write a file of the kernel's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


@pytest.fixture
def root(tmp_path: Path) -> str:
    """Hold files of a machine with two nodes, numbered 0 and 2, of two CPUs each."""
    system = tmp_path / "sys/devices/system"
    for node, cpus, distance in ((0, "0-1", "10 21"), (2, "2-3", "21 10")):
        at = system / f"node/node{node}"
        row = f"Node {node} MemTotal: {8192 + node} kB\nNode {node} MemFree: {4096 + node * 4} kB"
        write(at / "meminfo", row)
        write(at / "cpulist", cpus)
        write(at / "distance", distance)
        write(at / "hugepages/hugepages-2048kB/nr_hugepages", 1 + node)
        write(at / "hugepages/hugepages-2048kB/free_hugepages", node)
    for cpu in range(4):
        at = system / f"cpu/cpu{cpu}/topology"
        write(at / "physical_package_id", cpu // 2)
        write(at / "die_id", -1)
        write(at / "core_id", 0)
        write(at / "thread_siblings_list", f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}")
    pool = tmp_path / "sys/kernel/mm/hugepages/hugepages-2048kB"
    write(pool / "nr_hugepages", 4)
    write(pool / "free_hugepages", 2)
    for name, value in (("pages_to_scan", 100), ("sleep_millisecs", 20), ("full_scans", 7)):
        write(tmp_path / "sys/kernel/mm/ksm" / name, value)
    return f"{tmp_path}/"


def test_pages_are_counted_by_size_and_node(root: str) -> None:
    """Of one node, and of all together."""
    machine = ThisMachine(root=root)
    assert machine.free_pages(0) == {BASE: (4096 << 10) // BASE, HUGE: 0}
    assert machine.free_pages(2) == {BASE: (4104 << 10) // BASE, HUGE: 2}
    assert machine.free_pages(None) == {BASE: (8200 << 10) // BASE, HUGE: 2}
    with pytest.raises(InvalidArgument, match="no NUMA node 1"):
        machine.free_pages(1)


def test_huge_pages_are_reserved(root: str) -> None:
    """So many, or so many more; of a node or wherever."""
    machine = ThisMachine(root=root)
    machine.reserve_pages(HUGE, 5, cell=2, add=False)
    machine.reserve_pages(HUGE, 3, cell=2, add=True)
    machine.reserve_pages(HUGE, 9, cell=None, add=False)
    sys = Path(root) / "sys"
    node = sys / "devices/system/node/node2/hugepages/hugepages-2048kB/nr_hugepages"
    assert node.read_text() == "8"
    assert (sys / "kernel/mm/hugepages/hugepages-2048kB/nr_hugepages").read_text() == "9"
    with pytest.raises(OperationFailed, match="3072 is not available on node 0"):
        machine.reserve_pages(3 << 20, 1, cell=0, add=False)
    with pytest.raises(Unsupported, match="can't be modified"):
        machine.reserve_pages(BASE, 1, cell=None, add=False)


def test_merging_is_told_and_set(root: str) -> None:
    """What the kernel has of it, by its names; only what steers it can be set."""
    machine = ThisMachine(root=root)
    machine.set_sharing({"sleep_millisecs": 50})
    assert machine.sharing() == {"pages_to_scan": 100, "sleep_millisecs": 50, "full_scans": 7}
    for name in ("full_scans", "merge_across_nodes", "../x"):
        with pytest.raises(InvalidArgument, match="cannot be set"):
            machine.set_sharing({name: 1})
    shutil.rmtree(f"{root}sys/kernel/mm/ksm")
    with pytest.raises(Unsupported, match="KSM"):
        machine.sharing()


def test_nodes_have_their_memory_and_cpus(root: str) -> None:
    """Pages that are huge are not counted among the others; what is not known is 0."""
    topology = machine_topology(root=root)
    assert topology.cells is not None
    first, second = topology.cells.cells
    assert (first.id, second.id, second.memory) == (0, 2, 8194 << 10)
    base = ((8192 << 10) - HUGE) // BASE
    assert [(one.size, one.count) for one in first.pages] == [(BASE >> 10, base), (2048, 1)]
    assert second.distances is not None
    assert [(one.id, one.value) for one in second.distances.siblings] == [(0, 21), (2, 10)]
    assert second.cpus is not None
    found = [(one.id, one.socket_id, one.die_id, one.siblings) for one in second.cpus.cpus]
    assert found == [(2, 1, 0, "2-3"), (3, 1, 0, "2-3")]


def test_cpus_have_a_shape(root: str) -> None:
    """Sockets in a node, cores in a socket, threads in a core; without one, all are cores."""
    assert machine_shape(root=root) == (1, 1, 2)
    write(Path(root) / "sys/devices/system/node/node0/cpulist", "0")
    assert machine_shape(root=root) == (1, 3, 1)


def test_a_kernel_without_nodes_has_one(tmp_path: Path) -> None:
    """All memory and all CPUs are in it."""
    write(tmp_path / "proc/meminfo", "MemTotal: 1024 kB\nMemFree: 512 kB")
    write(tmp_path / "sys/devices/system/cpu/online", "0-1")
    root = f"{tmp_path}/"
    assert machine_nodes(root=root) == (0,)
    cells = machine_topology(root=root).cells
    assert cells is not None
    (cell,) = cells.cells
    assert (cell.memory, cell.distances) == (1 << 20, None)
    assert cell.cpus is not None
    assert [one.id for one in cell.cpus.cpus] == [0, 1]
    assert ThisMachine(root=root).free_pages(None) == {BASE: (512 << 10) // BASE}
    with pytest.raises(HypervisorError):
        machine_topology(root=f"{tmp_path}/nothing/")


def test_a_machine_is_told_from_others(tmp_path: Path) -> None:
    """By its firmware, unless that says nothing; else by its system."""
    root = f"{tmp_path}/"
    assert machine_uuid(root=root) is None
    write(tmp_path / "etc/machine-id", "0123456789abcdef0123456789abcdef")
    made = machine_uuid(root=root)
    assert made is not None
    assert machine_uuid(root=root) == made != UUID("0123456789abcdef0123456789abcdef")
    firmware = tmp_path / "sys/class/dmi/id/product_uuid"
    write(firmware, "00000000-0000-0000-0000-000000000000")
    assert machine_uuid(root=root) == made
    write(firmware, "4C4C4544-0044-4810-8034-B8C04F333332")
    assert str(machine_uuid(root=root)) == "4c4c4544-0044-4810-8034-b8c04f333332"


def table(kind: int, handle: int, body: bytes, *strings: str) -> bytes:
    """Return a table of SMBIOS (its specification, 6.1)."""
    texts = b"".join(text.encode() + b"\0" for text in strings) or b"\0"
    return struct.pack("<BBH", kind, 4 + len(body), handle) + body + texts + b"\0"


def memory(handle: int, size: int) -> bytes:
    """Return the table of a memory device of so many MiB; 0 is an empty place."""
    body = struct.pack(
        "<5H5B2H5B", 0x1000, 0xFFFE, 72, 64, size, 9, 0, 1, 2, 26, 0x80, 2400, 3, 4, 5, 6, 1
    )
    return table(17, handle, body, f"DIMM {handle & 15}", "BANK 0", "MemCo", "M1", "M2", "M3")


def firmware() -> bytes:
    """Return tables as dmidecode dumps them: an entry point, and behind it the tables."""
    bios = struct.pack("<BBHBBQ2B4B", 1, 2, 0xF000, 3, 0, 8, 0, 0, 4, 2, 255, 255)
    system = struct.pack("<4B16s3B", 1, 2, 3, 4, bytes(range(16)), 6, 5, 6)
    tables = (
        table(0, 0, bios, "SeaMaker", "1.2.3", "04/01/2014"),
        table(1, 1, system, "Acme", "Anvil", "v1", "SN-1", "SKU-9", "Family <x>"),
        table(11, 2, b"\2", "first", "second & last"),
        memory(0x10, 8192),
        memory(0x11, 0),
        table(127, 3, b""),
    )
    data = b"".join(tables)
    entry = bytearray(struct.pack("<5s7BIQ", b"_SM3_", 0, 24, 3, 0, 0, 1, 0, len(data), 32))
    entry[5] = -sum(entry) & 255
    return bytes(entry).ljust(32, b"\0") + data


def named(table: SysinfoTable | None) -> dict[str | None, str | None]:
    """Return the entries of a table."""
    assert table is not None
    return {one.name: one.value for one in table.entries}


@pytest.mark.real
def test_firmware_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What dmidecode reads of real tables has libvirt's names; empty places are left out."""
    real = shutil.which("dmidecode", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if real is None:
        pytest.skip("dmidecode is not installed: apt install dmidecode")
    (tmp_path / "tables").write_bytes(firmware())
    program = tmp_path / "dmidecode"
    program.write_text(f'#!/bin/sh\nexec {real} "$@" --from-dump {tmp_path}/tables\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = ThisMachine().sysinfo()
    assert named(found.bios) == {
        "vendor": "SeaMaker", "version": "1.2.3", "date": "04/01/2014", "release": "4.2",
    }  # fmt: skip
    assert named(found.system) == {
        "manufacturer": "Acme", "product": "Anvil", "version": "v1", "serial": "SN-1",
        "uuid": "03020100-0504-0706-0809-0a0b0c0d0e0f", "sku": "SKU-9", "family": "Family <x>",
    }  # fmt: skip
    (device,) = found.memory_devices
    assert named(device)["size"] == "8 GB"
    assert named(device)["locator"] == "DIMM 0"
    assert found.oem_strings is not None
    assert [one.value for one in found.oem_strings.entries] == ["first", "second & last"]
    assert found.chassis is None
    assert type(found).from_xml(found.to_xml()) == found


def test_firmware_that_says_nothing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why there is nothing to read: dmidecode's own words, or that it is missing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unsupported, match="apt install dmidecode"):
        ThisMachine().sysinfo()
    program = tmp_path / "dmidecode"
    program.write_text("#!/bin/sh\necho '/dev/mem: no' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(Unsupported, match="/dev/mem: no") as caught:
        ThisMachine().sysinfo()
    assert caught.value.libvirt_number == 67
