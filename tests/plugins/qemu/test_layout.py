"""Definitions as libvirt's QEMU driver keeps them: devices, models and places."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings

from polyvisor.errors import ConfigError, PolyvisorError, SemanticError
from polyvisor.model import Devices, DomainSpec
from polyvisor.testing.strategies import specs
from polyvisor_qemu.layout import Abilities, laid_out


def _guest(
    devices: str = "", *, arch: str = "x86_64", machine: str = "pc", kind: str = "qemu"
) -> DomainSpec:
    return DomainSpec.from_xml(
        f"<domain type='{kind}'><name>web</name><memory unit='MiB'>64</memory>"
        f"<os><type arch='{arch}' machine='{machine}'>hvm</type></os>"
        f"<devices>{devices}</devices></domain>"
    )


def _disks(count: int) -> str:
    return "".join(
        f"<disk><source file='/{n}'/><target dev='vd{chr(97 + n)}' bus='virtio'/></disk>"
        for n in range(count)
    )


def _place(device: object) -> tuple[int, int, int]:
    address = device.address  # type: ignore[attr-defined]
    return address.bus, address.slot, address.function


def _pci(spec: DomainSpec) -> list[tuple[str | None, int | None]]:
    return [(one.model, one.index) for one in spec.devices.controllers if one.type == "pci"]


def test_a_pc_gets_what_libvirt_gives_it() -> None:
    """Root, USB in the chips, mouse and keyboard, a balloon in the first free slot."""
    spec = laid_out(_guest())
    devices = spec.devices
    assert devices.emulator == "/usr/bin/qemu-system-x86_64"
    assert [(one.type, one.model) for one in devices.controllers] == [
        ("usb", "piix3-uhci"),
        ("pci", "pci-root"),
    ]
    assert _place(devices.controllers[0]) == (0, 1, 2)
    assert [(one.type, one.bus) for one in devices.inputs] == [
        ("mouse", "ps2"),
        ("keyboard", "ps2"),
    ]
    assert devices.memballoon is not None
    assert _place(devices.memballoon) == (0, 2, 0)
    assert devices.audios[0].type == "none"
    assert spec.cpu is not None
    assert spec.cpu.model is not None
    assert spec.cpu.model.name == "qemu64"


def test_a_q35_gets_a_port_for_each_device_and_one_more() -> None:
    """PCI Express devices each sit in a port of their own; ports share a slot."""
    spec = laid_out(_guest(_disks(2), machine="q35"))
    assert [_place(disk) for disk in spec.devices.disks] == [(2, 0, 0), (3, 0, 0)]
    ports = [one for one in spec.devices.controllers if one.model == "pcie-root-port"]
    assert [port.index for port in ports] == [1, 2, 3, 4, 5]
    assert [_place(port) for port in ports] == [(0, 1, n) for n in range(5)]
    assert ports[0].address is not None
    assert ports[0].address.multifunction  # type: ignore[union-attr]
    sata = next(one for one in spec.devices.controllers if one.type == "sata")
    assert _place(sata) == (0, 0x1F, 2)


def test_more_devices_than_slots_get_a_bridge() -> None:
    """A PC has 31 slots; what does not fit sits behind a bridge."""
    spec = laid_out(_guest(_disks(26) + "<rng model='virtio'><backend model='random'/></rng>" * 6))
    assert _pci(spec) == [("pci-root", 0), ("pci-bridge", 1)]
    assert {place[0] for place in map(_place, spec.devices.rngs)} == {0, 1}


def test_stated_places_are_kept() -> None:
    """And nothing else is put there."""
    first, second = (
        f"<disk><source file='/{name}'/><target dev='{name}' bus='virtio'/>{place}</disk>"
        for name, place in (("vda", "<address type='pci' slot='2'/>"), ("vdb", ""))
    )
    spec = laid_out(_guest(first + second))
    assert [_place(disk) for disk in spec.devices.disks] == [(0, 2, 0), (0, 3, 0)]
    with pytest.raises(SemanticError, match=r"two devices are at PCI address 0000:00:02\.0"):
        laid_out(
            _guest(
                "<rng model='virtio'><backend model='random'/><address type='pci' slot='2'/></rng>"
                * 2
            )
        )


def test_usb_devices_get_ports_and_hubs() -> None:
    """A hub is added when there are not enough; a definition that is known keeps what it has."""
    spec = _guest("<input type='tablet' bus='usb'/><redirdev bus='usb'/><redirdev bus='usb'/>")
    new = laid_out(spec)
    assert [hub.address.port for hub in new.devices.hubs] == ["1"]  # type: ignore[union-attr]
    assert new.devices.inputs[0].address.port == "2"  # type: ignore[union-attr]
    assert [one.address.port for one in new.devices.redirdevs] == [  # type: ignore[union-attr]
        "1.1",
        "1.2",
    ]
    old = laid_out(spec, new=False)
    assert not old.devices.hubs
    assert old.devices.inputs[0].address is None


def test_other_machines_have_other_buses() -> None:
    """Channels on IBM Z, registers on POWER, PCI Express or memory on ARM."""
    z = laid_out(_guest(_disks(1), arch="s390x", machine="s390-ccw-virtio"))
    address = z.devices.disks[0].address
    assert address is not None
    assert (address.type, address.devno) == ("ccw", 0)  # type: ignore[union-attr]
    assert z.devices.panics[0].model == "s390"
    power = laid_out(_guest("<serial type='pty'/>", arch="ppc64", machine="pseries"))
    assert power.devices.serials[0].address.reg == 0x30000000  # type: ignore[union-attr]
    arm = _guest(_disks(1), arch="aarch64", machine="virt")
    assert _place(laid_out(arm).devices.disks[0])[0] > 0
    plain = Abilities(devices=frozenset({"virtio-mmio"}))
    assert laid_out(arm, plain).devices.disks[0].address.type == "virtio-mmio"  # type: ignore[union-attr]


@given(specs())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_laid_out_stays(spec: DomainSpec) -> None:
    """Laying out again moves no device, or the definition is refused in words."""
    try:
        once = laid_out(spec)
    except PolyvisorError:
        return
    assert _in_order(laid_out(once)) == _in_order(once)
    assert DomainSpec.from_xml(once.to_xml()) == once


def _in_order(spec: DomainSpec) -> Devices:
    # Added controllers stand behind the others; read again, each type is in order, as libvirt's.
    controllers = sorted(spec.devices.controllers, key=repr)
    return attrs.evolve(spec.devices, controllers=tuple(controllers))


@pytest.mark.real
def test_real_qemu_starts_what_is_laid_out(hosts: Any) -> None:
    """With ``layout = "libvirt"`` a guest is defined with its places, and QEMU has them all."""
    more = (
        "<disk type='file'><source file='{}'/><target dev='vda' bus='virtio'/></disk>"
        "<interface type='user'/><rng model='virtio'><backend model='random'/></rng>"
    )
    spare = hosts.root / "spare.img"
    spare.write_bytes(bytes(1 << 20))
    with hosts.open(layout="libvirt") as host:
        domain = host.domains.define(hosts.counting(more=more.format(spare)))
        kept = domain.spec()
        assert _place(kept.devices.interfaces[0]) == (0, 2, 0)
        assert _place(kept.devices.disks[-1]) == (0, 3, 0)
        domain.start()
        hosts.wait_for_count()
        domain.destroy()


def test_an_unknown_layout_is_refused(hosts: Any) -> None:
    """The message names the setting."""
    with pytest.raises(ConfigError, match="setting layout is 'random'"):
        hosts.open(layout="random")


@pytest.mark.parametrize(
    ("machine", "devices", "message"),
    [
        ("pc", "<controller type='pci' index='0' model='pcie-root'/>", "'pc' has 'pci-root'"),
        ("q35", "<controller type='pci' index='0' model='pci-root'/>", "'q35' has 'pcie-root'"),
        (
            "pc",
            "<controller type='pci' index='1' model='pci-bridge'/>"
            "<controller type='pci' index='2' model='pci-expander-bus'>"
            "<address type='pci' bus='1' slot='1'/></controller>",
            "0000:01:01.0 cannot be plugged into a controller of model 'pci-bridge'",
        ),
        (
            "pc",
            "<hub type='usb'><address type='usb' bus='0' port='1'/></hub>"
            "<input type='tablet' bus='usb'><address type='usb' bus='0' port='1.9'/></input>",
            "USB port 1.9 is not there: there are 8",
        ),
        (
            "pc",
            "<input type='tablet' bus='usb'><address type='usb' bus='0' port='1.2'/></input>",
            "there is no hub at USB port 1",
        ),
        (
            "pc",
            "<controller type='pci' index='1' model='pci-expander-bus'><target><node>1</node>"
            "</target></controller>",
            "at NUMA node 1, and the guest has 0 cells",
        ),
        (
            "pc",
            "<channel type='unix'><source mode='connect'><reconnect enabled='yes' timeout='9'/>"
            "</source><target type='virtio' name='a'/></channel>",
            "a socket without path is listened at",
        ),
    ],
)
def test_places_that_are_not_there(machine: str, devices: str, message: str) -> None:
    """The message says what is at fault."""
    with pytest.raises(SemanticError, match=message):
        laid_out(_guest(devices, machine=machine))
