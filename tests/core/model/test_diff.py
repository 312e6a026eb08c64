"""What differs between two definitions, in words and as data, and what a guest notices of it."""

from __future__ import annotations

import json

import attrs
import pytest
from hypothesis import given, settings

from polyvisor.model import DomainSpec, NetworkSpec
from polyvisor.model.diff import ChangeKind, abi_difference, diff
from polyvisor.testing.strategies import specs

GUEST = """
<domain type='kvm'>
  <name>a</name>
  <uuid>4dea22b3-1d52-d8f3-2516-782e98ab3fa0</uuid>
  <memory unit='MiB'>64</memory>
  <vcpu cpuset='0-1' current='1'>2</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type><boot dev='hd'/></os>
  <features><acpi/></features>
  <clock offset='utc'/>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='none' queues='2'/>
      <source file='/a.img'/><target dev='vda' bus='virtio'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x04' function='0x0'/>
    </disk>
    <interface type='network'>
      <mac address='52:54:00:00:00:01'/><source network='n'/><target dev='tap0'/>
      <model type='virtio'/><driver name='vhost'/>
    </interface>
    <serial type='file'><source path='/a.log'/><target port='0'/></serial>
    <channel type='unix'><source path='/a.sock'/><target type='virtio' name='agent'/></channel>
    <tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>
    <watchdog model='i6300esb' action='reset'/>
    <memballoon model='virtio'><stats period='5'/></memballoon>
  </devices>
</domain>
"""
SPEC = DomainSpec.from_xml(GUEST)


def changed(old: str, new: str) -> DomainSpec:
    """Return the guest with a piece of its XML changed."""
    assert old in GUEST
    return DomainSpec.from_xml(GUEST.replace(old, new))


SEEN = [
    ("<name>a", "<name>b", "name"),
    ("782e98ab3fa0", "782e98ab3fa1", "uuid"),
    (">64<", ">128<", "memory"),
    (">2</vcpu>", ">4</vcpu>", "vcpu.count"),
    ("'q35'", "'pc'", "os.type.machine"),
    ("<acpi/>", "<acpi/><pae/>", "features.pae"),
    ("<clock offset='utc'/>", "<clock offset='utc'><timer name='hpet'/></clock>", "clock.timers"),
    ("'vda' bus='virtio'", "'vda' bus='sata'", "devices.disks[vda].target.bus"),
    ("queues='2'", "queues='4'", "devices.disks[vda].driver.queues"),
    ("cache='none'", "cache='none' packed='on'", "devices.disks[vda].driver.packed"),
    ("slot='0x04'", "slot='0x05'", "devices.disks[vda].address.slot"),
    ("<source file", "<readonly/><source file", "devices.disks[vda].readonly"),
    ("'52:54:00:00:00:01'", "'52:54:00:00:00:02'", "devices.interfaces[52:54:00:00:00:01]"),
    ("<model type='virtio'", "<model type='e1000'", "devices.interfaces"),
    ("port='0'", "port='1'", "devices.serials"),
    ("name='agent'", "name='other'", "devices.channels[agent]"),
    ("version='2.0'", "version='1.2'", "devices.tpms"),
    ("'i6300esb'", "'ib700'", "devices.watchdogs"),
    ("<watchdog ", "<watchdog model='ib700'/><watchdog ", "devices.watchdogs"),
]
UNSEEN = [
    ("<name>a</name>", "<name>a</name><title>t</title>"),
    ("cpuset='0-1'", "cpuset='2-3'"),
    ("<boot dev='hd'/>", "<boot dev='network'/>"),
    ("offset='utc'", "offset='localtime'"),
    ("cache='none'", "cache='writeback'"),
    ("file='/a.img'", "file='/b.img'"),
    ("network='n'", "network='other'"),
    ("<target dev='tap0'/>", ""),
    ("name='vhost'", "name='qemu'"),
    ("path='/a.log'", "path='/b.log'"),
    ("path='/a.sock'", "path='/b.sock'"),
    ("action='reset'", "action='poweroff'"),
    ("period='5'", "period='9'"),
    ("<tpm ", "<graphics type='vnc'/><tpm "),
]


@pytest.mark.parametrize(("old", "new", "path"), SEEN)
def test_the_first_thing_that_a_guest_notices_is_named(old: str, new: str, path: str) -> None:
    """Another machine is another one for the guest, as libvirt sees it."""
    found = abi_difference(SPEC, changed(old, new))
    assert found is not None
    assert found.path.startswith(path)
    assert str(found).startswith(path)


@pytest.mark.parametrize(("old", "new"), UNSEEN)
def test_what_is_behind_the_machine_may_change(old: str, new: str) -> None:
    """What the host has behind a device is no difference for the guest, but one in the words."""
    other = changed(old, new)
    assert abi_difference(SPEC, other) is None
    assert diff(SPEC, other)


def test_changes_are_words_and_data() -> None:
    """Each change has place, kind, old and new value, and says whether it can be made live."""
    other = changed("<name>a</name>", "<name>a</name><description>d</description>")
    [added] = diff(SPEC, other)
    assert (added.kind, added.old, added.new, added.live) == (ChangeKind.ADDED, None, "d", True)
    assert str(added) == "description added: d"
    [removed] = diff(other, SPEC)
    assert (removed.kind, str(removed)) == (ChangeKind.REMOVED, "description removed: d")
    [size] = diff(SPEC, changed(">64<", ">96<"))
    assert str(size) == "memory: 64 MiB → 96 MiB"
    assert size.live is False
    assert json.loads(json.dumps(size.to_dict()))["text"] == str(size)
    [cache] = diff(SPEC, changed("cache='none'", "cache='unsafe'"))
    assert cache.live is None


def test_a_device_in_front_of_others_is_one_addition() -> None:
    """Devices are matched by what a person calls them."""
    disk = "<disk type='file'><source file='/0.img'/><target dev='vdb'/></disk>"
    [change] = diff(SPEC, changed("<disk type", f"{disk}<disk type"))
    assert (change.path, change.kind) == ("devices.disks[vdb]", ChangeKind.ADDED)


def test_other_documents_are_compared_too() -> None:
    """Any two values of one class have a difference."""
    old = NetworkSpec.from_xml("<network><name>n</name><bridge name='b0'/></network>")
    new = NetworkSpec.from_xml("<network><name>n</name><bridge name='b1'/></network>")
    assert [str(change) for change in diff(old, new)] == ["bridge.name: b0 → b1"]


@given(specs(), specs())
@settings(max_examples=40)
def test_only_equal_values_have_no_difference(one: DomainSpec, two: DomainSpec) -> None:
    """Any two definitions that differ have a change, which is data; the same has none."""
    assert diff(one, one) == ()
    assert abi_difference(one, attrs.evolve(one)) is None
    changes = diff(one, two)
    assert bool(changes) == (one != two)
    json.dumps([change.to_dict() for change in changes])
