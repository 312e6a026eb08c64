"""Guests of real QEMU weighed, limited and placed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from polyvisor.errors import HypervisorError, NotFound, OperationInvalid, Unsupported
from polyvisor.model.tuning import CpuTune
from polyvisor_qemu.cgroups import CgroupTree
from polyvisor_qemu.qmp import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyvisor.model import DomainSpec

    Hosts = Any
    Make = Callable[..., DomainSpec]

pytestmark = pytest.mark.real

LAST = (os.cpu_count() or 1) - 1


def _monitor(hosts: Hosts, command: str) -> Any:
    (path,) = hosts.root.glob("a/session/*/*/*/events")
    with Monitor(str(path), timeout=20) as monitor:
        return monitor.execute(command)


def _threads(hosts: Hosts) -> tuple[int, dict[int, int]]:
    (pid,) = hosts.processes()
    cpus = _monitor(hosts, "query-cpus-fast")
    return pid, {one["cpu-index"]: one["thread-id"] for one in cpus}


def _writable(controller: str) -> CgroupTree:
    """Return the host's control groups, if guests can have some."""
    tree = CgroupTree.of_host()
    place = tree.places.get(controller)
    if place is None or controller in tree.unified or not os.access(place, os.W_OK):
        pytest.skip(f"this kernel has no writable control groups of version 1 for {controller}")
    return tree


def _groups(tree: CgroupTree, controller: str, pid: int) -> Path:
    return Path(f"{tree.places[controller]}/machine/qemu-{pid}.polyvisor")


def test_pins_hold_from_the_start(hosts: Hosts, make_spec: Make) -> None:
    """Threads are where the definition wants them before the guest runs."""
    more = (
        f"<cputune><vcpupin vcpu='1' cpuset='{LAST}'/><emulatorpin cpuset='0'/></cputune>"
        f"<iothreads>1</iothreads>"
    )
    domain = hosts.open().domains.define(make_spec(vcpus=2, more=more))
    domain.start(paused=True)
    pid, vcpus = _threads(hosts)
    assert os.sched_getaffinity(vcpus[1]) == {LAST}
    assert os.sched_getaffinity(vcpus[0]) == os.sched_getaffinity(0)
    (iothread,) = _monitor(hosts, "query-iothreads")
    assert os.sched_getaffinity(iothread["thread-id"]) == {0}
    assert os.sched_getaffinity(pid) == {0}


def test_pins_of_a_guest_that_runs(hosts: Hosts, make_spec: Make) -> None:
    """A pin moves the thread at once, and is told; a vCPU that is not there has no place."""
    domain = hosts.open().domains.create(make_spec(vcpus=2))
    pid, vcpus = _threads(hosts)
    domain.tuning.pin(0, [LAST])
    domain.tuning.pin("emulator", [0])
    assert os.sched_getaffinity(vcpus[0]) == {LAST}
    assert os.sched_getaffinity(vcpus[1]) == os.sched_getaffinity(0)
    for tid in map(int, os.listdir(f"/proc/{pid}/task")):
        if tid not in vcpus.values():
            assert os.sched_getaffinity(tid) == {0}
    assert domain.tuning.pins()[0] == {LAST}
    assert domain.tuning.pins()["emulator"] == {0}


def test_io_threads_have_places(hosts: Hosts, make_spec: Make) -> None:
    """They are pinned as they run and for the next start; one that is not there is not found."""
    more = "<iothreads>3</iothreads><iothreadids><iothread id='5'/></iothreadids>"
    domain = hosts.open().domains.define(make_spec(more=more))
    assert {"iothread1", "iothread2", "iothread5"} <= domain.tuning.pins().keys()
    domain.tuning.pin("iothread1", [LAST], live=False, config=True)
    domain.start(paused=True)

    def places() -> dict[str, set[int]]:
        return {
            one["id"]: os.sched_getaffinity(one["thread-id"])
            for one in _monitor(hosts, "query-iothreads")
        }

    assert places()["iothread1"] == {LAST}
    domain.tuning.pin("iothread5", [0], live=True, config=True)
    assert places()["iothread5"] == {0}
    assert {name: domain.tuning.pins(live=True)[name] for name in places()} == places()
    assert domain.tuning.pins(live=False)["iothread5"] == {0}
    assert domain.tuning.pins(live=False)["iothread2"] == os.sched_getaffinity(0)
    for live in (True, False):
        with pytest.raises(NotFound, match="iothread3"):
            domain.tuning.pin("iothread3", [0], live=live, config=not live)


def test_a_vcpu_that_is_not_plugged_in_has_no_place(hosts: Hosts, make_spec: Make) -> None:
    """It is refused now, and can be said for later."""
    spec = make_spec(machine="q35", vcpus=1)
    spec = attrs.evolve(spec, vcpu=attrs.evolve(spec.vcpu, count=2, current=1))
    domain = hosts.open().domains.define(spec)
    domain.start()
    with pytest.raises(OperationInvalid):
        domain.tuning.pin(1, [LAST], live=True)
    domain.tuning.pin(1, [LAST], config=True)
    assert domain.tuning.pins(live=False)[1] == {LAST}


def test_limits_of_a_disk(hosts: Hosts) -> None:
    """QEMU has the limits that are set; a total takes the place of reads and writes."""
    domain = hosts.open().domains.create(hosts.counting())

    def told() -> dict[str, Any]:
        (one,) = [one for one in _monitor(hosts, "query-block") if "inserted" in one]
        inserted: dict[str, Any] = one["inserted"]
        return inserted

    domain.tuning.set(
        "blkdeviotune",
        {"read_bytes_sec": 1 << 20, "write_iops_sec": 500, "write_iops_sec_max": 900},
        "hda",
    )
    inserted = told()
    assert (inserted["bps_rd"], inserted["iops_wr"]) == (1 << 20, 500)
    assert inserted["iops_wr_max"] == 900
    domain.tuning.set("blkdeviotune", {"total_bytes_sec": 1 << 22, "group_name": "g"}, "hda")
    inserted = told()
    assert (inserted["bps"], inserted["bps_rd"], inserted["iops_wr"]) == (1 << 22, 0, 500)
    assert inserted["group"] == "g"
    assert domain.tuning.get("blkdeviotune", "hda")["total_bytes_sec"] == 1 << 22
    domain.tuning.set(
        "blkdeviotune", {"total_bytes_sec": 0, "write_iops_sec": 0, "write_iops_sec_max": 0}, "hda"
    )
    inserted = told()
    assert (inserted["bps"], inserted["iops_wr"]) == (0, 0)


def test_shares_of_cpu_time(hosts: Hosts, make_spec: Make) -> None:
    """Shares and quotas are the kernel's, of the whole guest, its vCPUs and the emulator."""
    tree = _writable("cpu")
    domain = hosts.open().domains.create(make_spec(vcpus=2))
    pid, vcpus = _threads(hosts)
    domain.tuning.set("schedinfo", {"cpu_shares": 512, "global_quota": 150_000})
    domain.tuning.set("schedinfo", {"vcpu_period": 50_000, "vcpu_quota": 20_000})
    domain.tuning.set("schedinfo", {"emulator_quota": 30_000})
    group = _groups(tree, "cpu", pid)
    assert (group / "cpu.shares").read_text() == "512\n"
    assert (group / "cpu.cfs_quota_us").read_text() == "150000\n"
    for number, tid in vcpus.items():
        inner = group / f"vcpu{number}"
        assert (inner / "tasks").read_text().split() == [str(tid)]
        assert (inner / "cpu.cfs_period_us").read_text() == "50000\n"
        assert (inner / "cpu.cfs_quota_us").read_text() == "20000\n"
    assert str(pid) in (group / "emulator" / "tasks").read_text().split()
    assert domain.tuning.get("schedinfo")["vcpu_quota"] == 20_000
    domain.tuning.set("schedinfo", {"vcpu_quota": -1})
    assert (group / "vcpu0" / "cpu.cfs_quota_us").read_text() == "-1\n"
    domain.destroy()
    assert not group.exists()


def test_a_quota_holds(hosts: Hosts) -> None:
    """A guest with a fiftieth of a CPU gets no more than that, and its vCPU is throttled."""
    tree = _writable("cpu")
    share = CpuTune(period=100_000, quota=2_000)
    hosts.open().domains.create(attrs.evolve(hosts.counting(), cputune=share))
    pid, _ = _threads(hosts)
    stat = _groups(tree, "cpu", pid) / "vcpu0" / "cpu.stat"
    deadline = time.monotonic() + 30
    while True:
        told = dict(line.split() for line in stat.read_text().splitlines())
        if int(told["nr_throttled"]) > 2:
            break
        assert time.monotonic() < deadline, told
        time.sleep(0.05)


def test_limits_of_memory(hosts: Hosts, make_spec: Make) -> None:
    """The kernel limits the memory of the whole QEMU; limits are widened and narrowed."""
    tree = _writable("memory")
    limits = "<memtune><hard_limit unit='MiB'>512</hard_limit></memtune>"
    domain = hosts.open().domains.define(make_spec(more=limits))
    domain.start()
    pid, _ = _threads(hosts)
    group = _groups(tree, "memory", pid)
    limit = group / "memory.limit_in_bytes"
    assert int(limit.read_text()) == 512 << 20
    assert str(pid) in (group / "cgroup.procs").read_text().split()
    domain.tuning.set("memtune", {"hard_limit": 768 << 20, "soft_limit": 256 << 20})
    assert int(limit.read_text()) == 768 << 20
    assert int((group / "memory.soft_limit_in_bytes").read_text()) == 256 << 20
    domain.tuning.set("memtune", {"hard_limit": 0})
    assert int(limit.read_text()) > 1 << 50
    with pytest.raises(Unsupported):
        domain.tuning.set("memtune", {"min_guarantee": 1 << 20})
    os.kill(pid, 9)
    deadline = time.monotonic() + 30
    while domain.active:
        assert time.monotonic() < deadline, "the guest is gone, and nobody says so"
        time.sleep(0.05)
    domain.start()
    assert not group.exists()


def test_limits_of_the_hosts_devices(hosts: Hosts, make_spec: Make) -> None:
    """Rates of a block device of the host are limited; what is no such device is refused."""
    tree = _writable("blkio")
    devices = [f"/dev/{name}" for name in os.listdir("/sys/block")]
    device = next((one for one in devices if Path(one).is_block_device()), None)
    if device is None:
        pytest.skip("the host has no block device")
    domain = hosts.open().domains.create(make_spec())
    pid, _ = _threads(hosts)
    domain.tuning.set("blkiotune", {"device_read_bytes_sec": f"{device},1048576"})
    rates = _groups(tree, "blkio", pid) / "blkio.throttle.read_bps_device"
    assert rates.read_text().split()[-1] == "1048576"
    with pytest.raises(HypervisorError):
        domain.tuning.set("blkiotune", {"device_read_bytes_sec": "/dev/null,1"})


def test_nodes_of_memory(hosts: Hosts, make_spec: Make) -> None:
    """The nodes change while it runs, the mode does not."""
    tree = _writable("cpuset")
    domain = hosts.open().domains.create(make_spec())
    pid, _ = _threads(hosts)
    domain.tuning.set("numatune", {"numa_nodeset": "0"})
    assert (_groups(tree, "cpuset", pid) / "cpuset.mems").read_text() == "0\n"
    with pytest.raises(OperationInvalid):
        domain.tuning.set("numatune", {"numa_mode": "interleave"})


def test_without_control_groups(hosts: Hosts, make_spec: Make, tmp_path: Path) -> None:
    """A host that has none is said to have none."""
    (tmp_path / "mounts").write_text("proc /proc proc rw 0 0\n")
    with pytest.raises(Unsupported, match="no control groups"):
        CgroupTree.of_host(str(tmp_path / "mounts")).controller("cpu", "schedinfo")
