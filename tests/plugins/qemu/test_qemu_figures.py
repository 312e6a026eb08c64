"""Figures of running guests: the images below disks, and how fast memory is written to."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from polyvisor.errors import InvalidArgument, OperationInvalid, Unsupported
from polyvisor.testing.counting import write_image

if TYPE_CHECKING:
    from conftest import Hosts
    from polyvisor.domain import Domain

pytestmark = pytest.mark.real

MIB = 1 << 20
CHAIN = """<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
<source file='{}'/><target dev='vda' bus='virtio'/></disk>
<disk type='file' device='cdrom'><target dev='hdc' bus='ide'/><readonly/></disk>"""


def measured(domain: Domain) -> dict[str, Any]:
    """Return the outcome of a measurement when it is there."""
    deadline = time.monotonic() + 60
    while (found := domain.stats(groups={"dirtyrate"}))["dirtyrate.calc_status"] != 2:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return {
        name.removeprefix("dirtyrate."): value
        for name, value in found.items()
        if name.startswith("dirtyrate.")
    }


def test_how_fast_memory_is_written_to_is_measured(hosts: Hosts) -> None:
    """While that runs, no other begins; what would crash QEMU is refused, and the guest runs on."""
    write_image(hosts.root / "tick.img", writing=True)
    # Of smaller memories QEMU takes no samples.
    domain = hosts.open().domains.define(hosts.counting(memory=256))
    with pytest.raises(OperationInvalid):
        domain.measure_dirty_rate()
    domain.start()
    hosts.wait_for_count()
    figures = domain.stats()
    assert figures["dirtyrate.calc_status"] == 0
    assert "dirtyrate.megabytes_per_second" not in figures
    for seconds in (0, 61):
        with pytest.raises(InvalidArgument, match="from 1 to 60"):
            domain.measure_dirty_rate(seconds)
    with pytest.raises(InvalidArgument, match="page-sampling, dirty-bitmap, dirty-ring"):
        domain.measure_dirty_rate(mode="guess")
    for mode in ("dirty-bitmap", "dirty-ring"):
        with pytest.raises(Unsupported, match="needs KVM"):
            domain.measure_dirty_rate(mode=mode)
    domain.measure_dirty_rate(2)
    with pytest.raises(OperationInvalid, match="measur"):
        domain.measure_dirty_rate()
    found = measured(domain)
    assert (found["calc_period"], found["calc_mode"]) == (2, "page-sampling")
    # No more than the 1 MiB at a time, whatever pages the samples hit.
    assert 0 <= found["megabytes_per_second"] < 64
    hosts.wait_for_count()
    domain.destroy()


def test_kvm_knows_what_is_written_to(hosts: Hosts) -> None:
    """By its log of pages, which a guest with a ring has not, and of each vCPU by that ring."""
    from polyvisor_qemu.probe import emulator_for, kvm_works

    works, why = kvm_works(emulator_for(None, {}) or "", str(hosts.root / "cache"))
    if not works:
        pytest.skip(f"this kernel has no KVM that works: {why}")
    spec = attrs.evolve(hosts.counting(), type="kvm")
    domain = hosts.open().domains.define(spec)
    domain.start()
    with pytest.raises(Unsupported, match="<dirty-ring state='on'/>"):
        domain.measure_dirty_rate(mode="dirty-ring")
    domain.measure_dirty_rate(mode="dirty-bitmap")
    found = measured(domain)
    assert found["calc_mode"] == "dirty-bitmap"
    assert found["megabytes_per_second"] >= 0
    everything = domain.stats()
    for name in ("vcpu.0.exits.sum", "vm.pages_4k.cur"):
        assert everything[name] >= 0
    assert not [one for one in domain.stats(groups={"vm"}) if one.startswith("vcpu.0.")]
    domain.destroy()


def test_images_below_a_disk_are_counted(hosts: Hosts) -> None:
    """Each is a device of its own with its sizes, if that is asked for; numbers go on."""
    names = [f"{hosts.root}/{name}.qcow2" for name in ("top", "middle", "base")]
    below: list[str] = []
    for number, name in enumerate(reversed(names)):
        image = ["qemu-img", "create", "-q", "-f", "qcow2", *below, name, f"{number + 1}M"]
        subprocess.run(image, check=True, timeout=60)
        below = ["-F", "qcow2", "-b", name]
    domain = hosts.open().domains.define(hosts.counting(more=CHAIN.format(names[0])))
    domain.start()
    hosts.wait_for_count()
    plain = domain.stats(groups={"block"})
    assert plain["block.count"] == 3
    assert plain["block.1.backingIndex"] != plain["block.0.backingIndex"]
    deep = domain.stats(backing=True)
    assert deep["block.count"] == 5
    for place, name in enumerate(names, 1):
        assert deep[f"block.{place}.name"] == "vda"
        assert deep[f"block.{place}.path"] == name
        assert deep[f"block.{place}.capacity"] == (4 - place) * MIB
        assert deep[f"block.{place}.physical"] == plain["block.1.physical"]
    assert deep["block.1.rd.reqs"] >= 0
    assert "block.2.rd.reqs" not in deep
    assert deep["block.4.name"] == "hdc"
    ((_, again),) = domain.connection.domains.stats(groups={"block"}, backing=True)
    assert again.keys() <= deep.keys()
    assert again["block.3.path"] == names[2]
    domain.destroy()


def test_groups_that_are_not_wanted_are_not_asked_for(hosts: Hosts) -> None:
    """What is cheap may be there all the same."""
    domain = hosts.open().domains.define(hosts.counting())
    domain.start()
    hosts.wait_for_count()
    everything = domain.stats()
    assert everything["cpu.haltpoll.success.time"] == 0
    for group in ("cpu", "vcpu", "block", "dirtyrate", "balloon", "net"):
        found = domain.stats(groups={group})
        wanted = {name for name in everything if name.partition(".")[0] == group}
        assert wanted <= found.keys(), group
        assert len(found) < len(everything)
    assert "block.count" not in domain.stats(groups={"cpu", "net"})
    domain.destroy()
