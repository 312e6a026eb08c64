"""Changing a domain: devices, virtual CPUs, memory; and the host's own devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from polyvisor.errors import NotFound, PolyvisorError
from polyvisor.testing._target import Target, requires

if TYPE_CHECKING:
    from polyvisor.connection import Connection
    from polyvisor.domain import Domain

__all__ = ["TestDevices", "TestHostDevices", "TestIoThreads", "TestSizes"]


@requires("devices.attach")
class TestDevices:
    """A device comes and goes in those definitions that it was said of."""

    def test_in_the_definition(self, domain: Domain, target: Target, tmp_path: Path) -> None:
        """What is attached to the definition stands in it, once, until it is detached."""
        device = target.device(_image(tmp_path))
        domain.attach_device(device, live=False, config=True)
        assert domain.xml(inactive=True).count("added.img") == 1
        with pytest.raises(PolyvisorError):
            domain.attach_device(device, live=False, config=True)
        assert domain.xml(inactive=True).count("added.img") == 1
        domain.detach_device(device, live=False, config=True)
        assert "added.img" not in domain.xml(inactive=True)
        with pytest.raises(PolyvisorError):
            domain.detach_device(device, live=False, config=True)

    def test_in_the_running_guest(self, domain: Domain, target: Target, tmp_path: Path) -> None:
        """What is attached to the guest is not there at its next start."""
        domain.start()
        domain.attach_device(target.device(_image(tmp_path)))
        assert "added.img" in domain.xml()
        assert "added.img" not in domain.xml(inactive=True)
        domain.destroy()
        domain.start()
        assert "added.img" not in domain.xml()
        domain.destroy()

    def test_what_is_no_device(self, domain: Domain) -> None:
        """A document that is none is refused, and nothing changes."""
        before = domain.xml(inactive=True)
        for wrong in ("", "<disk", "<nothing/>"):
            with pytest.raises(PolyvisorError):
                domain.attach_device(wrong, live=False, config=True)
        assert domain.xml(inactive=True) == before


class TestSizes:
    """Virtual CPUs and memory change where it is said."""

    @requires("devices.vcpus")
    def test_vcpus_of_the_definition(self, domain: Domain) -> None:
        """The most is set first, then how many of them are on."""
        domain.set_max_vcpus(4)
        domain.set_vcpus(2, live=False, config=True)
        vcpu = domain.spec(inactive=True).vcpu
        assert vcpu is not None
        assert (vcpu.current, vcpu.count) == (2, 4)
        with pytest.raises(PolyvisorError):
            domain.set_vcpus(5, live=False, config=True)

    @requires("devices.memory")
    def test_memory_of_the_definition(self, domain: Domain) -> None:
        """The most is set first, then how much of it the guest has."""
        had = domain.spec().memory
        domain.set_max_memory(2 * had)
        domain.set_memory(had + (had // 2), live=False, config=True)
        spec = domain.spec(inactive=True)
        assert (spec.memory, spec.current_memory) == (2 * had, had + had // 2)
        with pytest.raises(PolyvisorError):
            domain.set_memory(4 * had, live=False, config=True)

    @requires("devices.vcpus")
    def test_a_guest_has_what_its_definition_says(self, host: Connection, target: Target) -> None:
        """A guest with two virtual CPUs runs with two."""
        domain = host.domains.define(target.spec("guest"))
        domain.set_max_vcpus(2)
        domain.set_vcpus(2, live=False, config=True)
        domain.start()
        assert domain.info().vcpus == 2
        domain.destroy()


@requires("devices.iothreads")
class TestIoThreads:
    """I/O threads come, change and go where it is said."""

    def test_of_the_definition(self, domain: Domain) -> None:
        """They keep their numbers; what is there comes once, what is not there cannot go."""
        for number in (2, 5):
            domain.add_iothread(number, live=False, config=True)
        with pytest.raises(PolyvisorError):
            domain.add_iothread(2, live=False, config=True)
        domain.set_iothread(5, {"thread_pool_max": 8}, live=False, config=True)
        domain.remove_iothread(2, live=False, config=True)
        with pytest.raises(PolyvisorError):
            domain.remove_iothread(2, live=False, config=True)
        spec = domain.spec(inactive=True)
        assert spec.iothreadids is not None
        assert [(one.id, one.thread_pool_max) for one in spec.iothreadids.iothreads] == [(5, 8)]
        for wrong in ({"nothing": 1}, {"thread_pool_max": 0}, {"poll_max_ns": 1}):
            with pytest.raises(PolyvisorError):
                domain.set_iothread(5, wrong, live=False, config=True)

    def test_of_the_running_guest(self, domain: Domain) -> None:
        """The guest's are its own; its definition stays as it was."""
        domain.start()
        domain.add_iothread(3)
        domain.set_iothread(3, {"poll_max_ns": 1000, "thread_pool_min": 1, "thread_pool_max": 8})
        assert domain.spec().iothreads == 1
        assert domain.spec(inactive=True).iothreads is None
        domain.remove_iothread(3)
        with pytest.raises(PolyvisorError):
            domain.set_iothread(3, {"poll_max_ns": 1000})
        assert domain.spec().iothreads is None
        domain.destroy()


class TestHostDevices:
    """What the host has is listed, told and found."""

    @requires("node-devices")
    def test_node_devices(self, host: Connection) -> None:
        """Each is found by its name, and its document reads."""
        for one in host.node_devices:
            assert host.node_devices[one.name] == one
            assert one.spec().name == one.name
        with pytest.raises(NotFound):
            host.node_devices["no such device"]

    @requires("interfaces")
    def test_interfaces(self, host: Connection) -> None:
        """Each is found by its name, and its document reads."""
        for one in host.interfaces:
            assert host.interfaces[one.name] == one
            assert one.spec().name == one.name
        with pytest.raises(NotFound):
            host.interfaces["no such one"]


def _image(folder: Path) -> Path:
    """Make the file behind a disk."""
    path = folder / "added.img"
    path.write_bytes(bytes(1 << 20))
    return path
