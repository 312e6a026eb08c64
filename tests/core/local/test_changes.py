"""Definitions are changed in parts, whether or not their hypervisor can change guests."""

from __future__ import annotations

import pytest

from polyvisor.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    OperationInvalid,
    Unsupported,
)
from polyvisor.events import EventKind

DISK = "<disk type='file'><source file='{}'/><target dev='{}' bus='virtio'/></disk>"
APP = "http://example.org/app"


def _disks(domain):
    disks = domain.spec(inactive=True).devices.disks
    return {disk.target.dev: disk.source.file for disk in disks}


def test_devices_of_a_definition(domain):
    """Disks come, change and go by their targets, and nothing else is mistaken for them."""
    domain.attach_device(DISK.format("/a", "vda"), config=True)
    domain.attach_device(DISK.format("/b", "vdb"), config=True)
    assert _disks(domain) == {"vda": "/a", "vdb": "/b"}
    with pytest.raises(AlreadyExists, match="disk vda"):
        domain.attach_device(DISK.format("/c", "vda"), config=True)
    domain.update_device(DISK.format("/c", "vda"), config=True)
    assert _disks(domain) == {"vda": "/c", "vdb": "/b"}
    domain.detach_device(DISK.format("/whatever", "vda"), config=True)
    assert _disks(domain) == {"vdb": "/b"}
    for change in (domain.detach_device, domain.update_device):
        with pytest.raises(NotFound, match="disk vda"):
            change(DISK.format("/a", "vda"), config=True)
    with pytest.raises(InvalidArgument, match="one device"):
        domain.attach_device(DISK.format("/a", "vda") * 2, config=True)


def test_an_interface_without_mac_means_the_only_one(domain):
    """What is told apart by an address that is not given must be alone."""
    nic = "<interface type='user'>{}</interface>"
    domain.attach_device(nic.format("<mac address='52:54:00:00:00:01'/>"), config=True)
    domain.attach_device(nic.format("<mac address='52:54:00:00:00:02'/>"), config=True)
    with pytest.raises(NotFound):
        domain.detach_device(nic.format(""), config=True)
    domain.detach_device(nic.format("<mac address='52:54:00:00:00:01'/>"), config=True)
    domain.detach_device(nic.format(""), config=True)
    assert not domain.spec(inactive=True).devices.interfaces


def test_a_running_guest_is_left_alone_by_who_cannot_change_it(domain):
    """Live changes are refused in words before anything has changed; the definition is free."""
    domain.start()
    for change in (
        lambda: domain.attach_device(DISK.format("/a", "vda")),
        lambda: domain.update_device(DISK.format("/a", "vda")),
        lambda: domain.detach_device(DISK.format("/a", "vda")),
        lambda: domain.set_vcpus(1),
        lambda: domain.set_memory(1 << 20, config=True),
    ):
        with pytest.raises(Unsupported):
            change()
    assert domain.spec(inactive=True).current_memory in (None, 4 << 20)
    domain.attach_device(DISK.format("/a", "vda"), live=False, config=True)
    assert _disks(domain) == {"vda": "/a"}
    assert not domain.spec().devices.disks


def test_sizes_of_a_definition(domain):
    """The most and the present numbers of vCPUs and bytes hold together."""
    domain.set_max_vcpus(4)
    domain.set_vcpus(3, config=True)
    assert domain.spec().vcpus == 3
    domain.set_max_vcpus(2)
    assert domain.spec().vcpus == 2
    with pytest.raises(InvalidArgument, match="between 1 and the 2"):
        domain.set_vcpus(3, config=True)
    domain.set_memory(3 << 20, config=True)
    domain.set_max_memory(2 << 20)
    assert (domain.spec().memory, domain.spec().current_memory) == (2 << 20, 2 << 20)
    with pytest.raises(InvalidArgument, match="may have at most"):
        domain.set_memory(3 << 20, config=True)
    with pytest.raises(InvalidArgument, match="say whether"):
        domain.set_vcpus(1, live=False)
    domain.start()
    with pytest.raises(OperationInvalid, match="keeps the most"):
        domain.set_max_memory(8 << 20, live=True)


def test_texts(domain, host):
    """Title and description change in all definitions that there are, unless it is said."""
    stream = host.events(timeout=10)
    domain.set_title("one line")
    domain.start()
    domain.set_description("some\nlines")
    domain.set_title("now", live=True)
    assert (domain.spec().title, domain.spec().description) == ("now", "some\nlines")
    assert domain.spec(inactive=True).title == "one line"
    assert domain.spec(inactive=True).description == "some\nlines"
    assert [line.title for line in host.domains.summaries()] == ["one line"]
    domain.set_title(None)
    assert domain.spec().title is domain.spec(inactive=True).title is None
    with pytest.raises(InvalidArgument, match="one line"):
        domain.set_title("two\nlines")
    seen = [next(stream) for _ in range(2)]
    assert (seen[0].kind, seen[0].detail) == (EventKind.METADATA_CHANGED, "title")


def test_metadata_by_namespace(domain):
    """An element is put in with a prefix, told without, and leaves others as they are."""
    domain.set_metadata(APP, "app", "<note level='3'>keep<b/></note>")
    domain.set_metadata("urn:other", "o", "<thing/>")
    text = domain.xml()
    assert f'<app:note xmlns:app="{APP}" level="3">' in text.replace("'", '"')
    assert domain.metadata(APP) == "<note level='3'>keep<b/></note>"
    domain.set_metadata(APP, "app", "<note/>")
    assert domain.metadata(APP) == "<note/>"
    domain.set_metadata(APP, None, None)
    assert domain.metadata(APP) is None
    assert domain.metadata("urn:other") == "<thing/>"
    domain.set_metadata("urn:other", None, None)
    assert domain.spec().metadata is None
    with pytest.raises(InvalidArgument, match="prefix"):
        domain.set_metadata(APP, "a b", "<note/>")
