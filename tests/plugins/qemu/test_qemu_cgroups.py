"""Guests of real QEMU in control groups of version 2, as far as this host has controllers there."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor_qemu.cgroups import CgroupTree, remove

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyvisor.model import DomainSpec

    Hosts = Any
    Make = Callable[..., DomainSpec]

pytestmark = pytest.mark.real


def _threads(pid: int) -> set[str]:
    return set(os.listdir(f"/proc/{pid}/task"))


def test_a_guest_is_put_into_its_group(hosts: Hosts, make_spec: Make) -> None:
    """The group is made with its controller on, has the whole QEMU, and goes with it."""
    tree = CgroupTree.of_host()
    # Which one does not matter: what is done to get into a group is the same for all.
    controller = next(iter(sorted(tree.unified)), None)
    if controller is None or not os.access(tree.places[controller], os.W_OK):
        pytest.skip("this kernel has no writable control groups of version 2 free")
    domain = hosts.open().domains.create(make_spec(vcpus=2))
    (pid,) = hosts.processes()
    group = Path(tree.group(controller, pid))
    try:
        assert controller in (group / "cgroup.controllers").read_text().split()
        assert (group / "cgroup.procs").read_text().split() == [str(pid)]
        deadline = time.monotonic() + 20
        while set((group / "cgroup.threads").read_text().split()) != _threads(pid):
            # QEMU's workers come and go.
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert f"0::/machine/{group.name}\n" in Path(f"/proc/{pid}/cgroup").read_text()
        # A second time it is there already.
        assert tree.group(controller, pid) == str(group)
    finally:
        domain.destroy()
        remove(pid)
    assert not group.exists()


#: What a kernel with all controllers would have in a guest's group; these are plain files.
FILES = {
    "cpu.weight": "100",
    "cpu.max": "max 100000",
    "memory.max": "max",
    "memory.high": "max",
    "memory.swap.max": "max",
    "io.weight": "default 100",
    "io.max": "",
    "cpuset.mems": "",
    "cgroup.procs": "",
    "cgroup.threads": "",
    "cgroup.subtree_control": "cpu memory io cpuset",
}
NODES = "<numatune><memory mode='strict' nodeset='0'/></numatune>"


def _files(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


def test_values_are_written_as_version_2_takes_them(
    hosts: Hosts, make_spec: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into a folder of plain files, where a kernel with these controllers is not to be had.

    What the kernel makes of them is not seen here; the formats are those of its
    Documentation/admin-guide/cgroup-v2.rst.
    """
    root = _files(hosts.root / "fake")
    _files(root / "machine")
    controllers = ("cpu", "memory", "io", "cpuset")
    fake = CgroupTree(dict.fromkeys(controllers, str(root)), frozenset(controllers))
    monkeypatch.setattr(CgroupTree, "of_host", classmethod(lambda cls: fake))
    # So that a start makes no group of itself, before the files are there.
    domain = hosts.open().domains.create(make_spec(vcpus=2))
    (pid,) = hosts.processes()
    group = _files(root / "machine" / f"qemu-{pid}.polyvisor")
    inner = _files(group / "vcpu1")
    _files(group / "vcpu0")

    def holds(name: str, folder: Path = group) -> str:
        """Return what a file holds, and empty it: the kernel forgets what was there before."""
        found = (folder / name).read_text()
        (folder / name).write_text(FILES[name] if name == "cpu.max" else "")
        return found

    def tune(values: dict[str, int | str], what: str) -> None:
        for name in FILES:
            if not name.startswith("cgroup.") and name != "cpu.max":
                (group / name).write_text("")
        domain.tuning.set(what, values, live=True)

    (group / "cpu.max").write_text("max 100000")
    tune({"cpu_shares": 300, "global_quota": 20000}, "schedinfo")
    assert holds("cpu.weight") == "300"
    assert holds("cpu.max") == "20000 100000"
    (inner / "cpu.max").write_text("max 100000")
    tune({"vcpu_period": 50000, "vcpu_quota": 10000}, "schedinfo")
    assert holds("cpu.max", inner) == "10000 50000"
    assert (inner / "cgroup.threads").read_text() in _threads(pid)
    tune({"cpu_shares": 0, "global_quota": 0}, "schedinfo")
    assert holds("cpu.weight") == "100"
    assert holds("cpu.max").startswith("max ")
    tune({"hard_limit": 1 << 30, "soft_limit": 1 << 29, "swap_hard_limit": 3 << 29}, "memtune")
    assert holds("memory.max") == str(1 << 30)
    assert holds("memory.high") == str(1 << 29)
    # Swap alone, where version 1 counts memory as well.
    assert holds("memory.swap.max") == str(1 << 29)
    tune({"hard_limit": 0, "swap_hard_limit": 0}, "memtune")
    assert (holds("memory.max"), holds("memory.swap.max")) == ("max", "max")
    tune({"weight": 250}, "blkiotune")
    assert holds("io.weight") == "250"
    device = next((one for one in Path("/dev").iterdir() if one.is_block_device()), None)
    if device is not None:
        seen = device.stat().st_rdev
        number = f"{os.major(seen)}:{os.minor(seen)}"
        tune({"device_read_bytes_sec": f"{device},4096"}, "blkiotune")
        assert holds("io.max") == f"{number} rbps=4096"
        tune({"device_write_iops_sec": f"{device},0"}, "blkiotune")
        assert holds("io.max") == f"{number} wiops=max"
        tune({"device_weight": f"{device},700"}, "blkiotune")
        assert holds("io.weight") == f"{number} 700"
    domain.destroy()
    nodes = hosts.open().domains.create(make_spec("nodes", more=NODES))
    (pid,) = hosts.processes()
    group = root / "machine" / f"qemu-{pid}.polyvisor"
    if not group.exists():
        _files(group)
    (group / "cpuset.mems").write_text("")
    nodes.tuning.set("numatune", {"numa_nodeset": "0"}, live=True)
    assert (group / "cpuset.mems").read_text() == "0"
    nodes.destroy()
