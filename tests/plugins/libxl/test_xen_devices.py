"""Devices, virtual CPUs and memory of guests that run on Xen."""

from __future__ import annotations

import json

import pytest

from polyvisor.errors import AlreadyExists, HypervisorError, InvalidArgument, NotFound
from polyvisor.events import EventKind

DISK = (
    "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/bin/sh'/>"
    "<target dev='{}' bus='xen'/></disk>"
)
NIC = (
    "<interface type='bridge'><mac address='00:16:3e:00:00:0{}'/><source bridge='br0'/></interface>"
)
PCI = (
    "<hostdev mode='subsystem' type='pci' managed='no'><source>"
    "<address domain='0x0000' bus='0x02' slot='0x03' function='0x1'/></source></hostdev>"
)


@pytest.fixture
def calls(domain, hosts):
    """Hold a function that gives what libxl was told of devices: what, and its JSON."""

    def told():
        (path,) = (hosts.root / "a.xen").glob("devices-*")
        lines = [line.split(" ", 2) for line in path.read_text().splitlines()]
        return [(f"{verb} {kind}", json.loads(text)) for verb, kind, text in lines]

    return told


def test_disks_come_and_go(domain, calls):
    """A disk is attached and detached by libxl, and is in the live definition meanwhile."""
    stream = domain.connection.events(timeout=20)
    domain.attach_device(DISK.format("xvdb"))
    domain.attach_device(DISK.format("xvdc"))
    assert [disk.target.dev for disk in domain.spec().devices.disks] == ["xvdb", "xvdc"]
    domain.detach_device(DISK.format("xvdb"))
    assert [disk.target.dev for disk in domain.spec().devices.disks] == ["xvdc"]
    told = calls()
    assert [(what, text["vdev"]) for what, text in told] == [
        ("add disk", "xvdb"),
        ("add disk", "xvdc"),
        ("remove disk", "xvdb"),
    ]
    assert told[0][1]["pdev_path"] == "/bin/sh"
    assert not domain.spec(inactive=True).devices.disks
    seen = [(event.kind, event.detail) for _, event in zip(range(3), stream, strict=False)]
    assert seen[0] == (EventKind.DEVICE_ADDED, "disk xvdb")
    assert seen[2] == (EventKind.DEVICE_REMOVED, "disk xvdb")


def test_interfaces_are_numbered_as_libxl_does(domain, calls):
    """An interface that is removed is told by the number that it got."""
    domain.attach_device(NIC.format(1))
    domain.attach_device(NIC.format(2))
    domain.detach_device(NIC.format(2))
    assert [(what, text["devid"], text["mac"]) for what, text in calls()] == [
        ("add nic", 0, "00:16:3e:00:00:01"),
        ("add nic", 1, "00:16:3e:00:00:02"),
        ("remove nic", 1, "00:16:3e:00:00:02"),
    ]


def test_a_pci_device_of_the_host(domain, calls):
    """A host device is handed over by its address."""
    domain.attach_device(PCI)
    assert calls() == [("add pci", {"bus": 2, "dev": 3, "func": 1})]


def test_what_cannot_be_attached(domain, hosts):
    """A device that is there, one that is not, and a kind that does not change: all in words."""
    domain.attach_device(DISK.format("xvdb"))
    with pytest.raises(AlreadyExists, match="disk xvdb"):
        domain.attach_device(DISK.format("xvdb"))
    with pytest.raises(NotFound, match="disk xvdz"):
        domain.detach_device(DISK.format("xvdz"))
    with pytest.raises(InvalidArgument, match="<disk>, <interface> or <hostdev>"):
        domain.attach_device("<rng model='virtio'><backend model='random'/></rng>")
    hosts.fault("libxl_device_disk_add -3")
    with pytest.raises(HypervisorError, match="ERROR_FAIL"):
        domain.attach_device(DISK.format("xvdc"))
    assert len(domain.spec().devices.disks) == 1


def test_the_definition_alone(domain):
    """With config alone the running guest is left as it is."""
    domain.attach_device(DISK.format("xvdb"), live=False, config=True)
    assert not domain.spec().devices.disks
    assert len(domain.spec(inactive=True).devices.disks) == 1


def test_vcpus_and_memory(host, hosts):
    """Both change while it runs, within what the domain may have, and in its definition."""
    spec = hosts.spec(memory=8192, more="")
    domain = host.domains.define(spec.to_xml().replace("<vcpu>1</vcpu>", "<vcpu>4</vcpu>"))
    domain.start()
    domain.set_vcpus(2)
    domain.set_memory(4 << 20, config=True)
    assert domain.stats()["vcpu.current"] == 2
    assert domain.info().memory == 4 << 20
    assert domain.spec(inactive=True).vcpus == 4
    assert domain.spec(inactive=True).current_memory == 4 << 20
    with pytest.raises(InvalidArgument, match="between 1 and the 4"):
        domain.set_vcpus(5)
    with pytest.raises(InvalidArgument, match="may have at most"):
        domain.set_memory(9 << 20)
