"""A definition is made of a few words, with defaults in layers for the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import polyvisor
from polyvisor.errors import InvalidArgument, SchemaError
from polyvisor.model import DomainSpec
from polyvisor.model.build import LAYERS, SETTINGS, Defaults, settings
from polyvisor.model.check import check
from polyvisor.model.devices.disk import Disk, DiskTarget
from polyvisor.model.devices.watchdog import Watchdog
from polyvisor.plugins import Registry


def build(**words: Any) -> DomainSpec:
    """Return a definition with little said."""
    return DomainSpec.build(**{"name": "web", "memory": "2 GiB", "arch": "x86_64", **words})


def test_ten_lines_make_a_machine() -> None:
    """What is said is there, the rest is usual, nothing contradicts itself, and it reads back."""
    spec = build(
        vcpus=2,
        disks=["/srv/web.qcow2", "/dev/vg/data"],
        cdrom="/iso/debian.iso",
        interfaces=["network:default", "bridge:br0"],
        graphics="vnc",
        boot=["hd", "cdrom"],
        title="The web",
        on_crash="preserve",
    )
    assert (spec.memory, spec.vcpus, spec.title, spec.on_crash) == (
        2 << 30,
        2,
        "The web",
        "preserve",
    )
    assert (spec.os.machine, spec.os.boot) == ("q35", ("hd", "cdrom"))
    assert [(d.type, d.device, d.driver and d.driver.type) for d in spec.devices.disks] == [
        ("file", "disk", "qcow2"),
        ("block", "disk", "raw"),
        ("file", "cdrom", "raw"),
    ]
    targets = [(d.target.dev, d.target.bus) for d in spec.devices.disks if d.target]
    assert targets == [("vda", "virtio"), ("vdb", "virtio"), ("sda", "sata")]
    assert [(nic.type, nic.model) for nic in spec.devices.interfaces] == [
        ("network", "virtio"),
        ("bridge", "virtio"),
    ]
    assert spec.cpu is not None
    assert spec.cpu.mode == "host-passthrough"
    assert len(spec.devices.serials) == len(spec.devices.consoles) == 1
    assert check(spec) == ()
    assert DomainSpec.from_xml(spec.to_xml()) == spec
    assert DomainSpec.from_toml(spec.to_toml()) == spec


def test_disks_may_be_paths_data_or_disks() -> None:
    """Short words stand for where a value lies; names are chosen where none is given."""
    spec = build(
        disks=[
            Path("/a.img"),
            {"path": "/b.vmdk", "bus": "sata", "cache": "none", "readonly": True},
            Disk(target=DiskTarget(dev="vda", bus="virtio"), device="cdrom"),
            {"type": "network", "source": {"protocol": "rbd", "name": "p/i"}, "format": "raw"},
        ]
    )
    disks = spec.devices.disks
    assert [d.target.dev for d in disks if d.target] == ["vdb", "sda", "vda", "vdc"]
    driver = disks[1].driver
    assert driver is not None
    assert (driver.type, driver.cache, disks[1].readonly) == ("vmdk", "none", True)
    with pytest.raises(SchemaError, match=r"disks\.readonyl"):
        build(disks=[{"path": "/a", "readonyl": True}])


def test_names_go_on_beyond_the_alphabet() -> None:
    """The twenty-seventh disk is vdaa."""
    spec = build(disks=[f"/{n}" for n in range(28)])
    assert spec.devices.disks[27].target is not None
    assert spec.devices.disks[27].target.dev == "vdab"


@pytest.mark.parametrize(
    "domain_type", ["kvm", "qemu", "xen", "bhyve", "lxc", "vmware", "sim", "test"]
)
@pytest.mark.parametrize("arch", ["x86_64", "aarch64", "s390x", "ppc64le", "riscv64"])
def test_each_hypervisor_and_architecture_gives_a_sound_machine(domain_type, arch) -> None:
    """Whatever is built breaks no rule and survives XML."""
    spec = build(
        type=domain_type, arch=arch, disks=["/a", {"path": "/b"}], cdrom="/c", graphics="vnc",
        interfaces=["bridge:br0"],
    )  # fmt: skip
    assert check(spec, rules=Registry().check_rules()) == ()
    assert DomainSpec.from_xml(spec.to_xml()) == spec


def test_layers_count_in_turn_and_words_count_most() -> None:
    """A later layer counts more than an earlier one, and what is said more than all."""
    mine = Defaults({"disk_bus": "scsi", "machine": "pc"}, types=frozenset({"kvm"}))
    layers = (*LAYERS, mine)
    assert settings("qemu", "x86_64", layers)["machine"] == "q35"
    assert settings("kvm", "x86_64", layers)["machine"] == "pc"
    spec = build(layers=layers, disks=["/a", {"path": "/b", "bus": "usb"}], machine="q35")
    assert spec.os.machine == "q35"
    assert [d.target.bus for d in spec.devices.disks if d.target] == ["scsi", "usb"]
    for domain_type, arch in (("kvm", "x86_64"), ("xen", "aarch64"), ("what", "ever")):
        assert set(settings(domain_type, arch)) == set(SETTINGS)
    with pytest.raises(InvalidArgument, match="did you mean 'machine'"):
        build(layers=[*LAYERS, Defaults({"machin": "pc"})])


def test_any_device_and_any_field_can_be_added() -> None:
    """Devices find their place by their class; fields are values or plain data."""
    spec = build(
        devices=[Watchdog(model="i6300esb")],
        max_memory={"slots": 4, "size": "4 GiB"},
        uuid="4dea22b3-1d52-d8f3-2516-782e98ab3fa0",
    )
    assert spec.devices.watchdogs == (Watchdog(model="i6300esb"),)
    assert spec.max_memory is not None
    assert spec.max_memory.size == 4 << 30
    assert str(spec.uuid).startswith("4dea22b3")
    for wrong in ({"titel": "x"}, {"titel": None}):
        with pytest.raises((SchemaError, InvalidArgument), match="did you mean 'title'"):
            build(**wrong)
    with pytest.raises(InvalidArgument, match="no device"):
        build(devices=[DiskTarget(dev="vda")])
    with pytest.raises(SchemaError):
        build(memory="much")


@pytest.mark.parametrize("uri", ["sim:///default", "test:///default"])
def test_what_a_host_builds_starts_there(uri: str) -> None:
    """The host's own type is chosen, and the result runs."""
    with polyvisor.open(uri) as host:
        spec = host.domains.build(name="built", memory="16 MiB", vcpus=2)
        domain = host.domains.define(spec)
        domain.start()
        assert domain.active
        assert domain.info().vcpus == 2
        domain.destroy()
        domain.undefine()
