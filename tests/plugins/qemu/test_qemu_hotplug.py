"""Devices that come and go while a guest of real QEMU runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.errors import HypervisorError, NotFound, OperationFailed, PolyvisorError, Unsupported
from polyvisor.events import EventKind
from polyvisor.states import DomainState
from polyvisor_qemu.qmp import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyvisor.model import DomainSpec

    Hosts = Any
    Make = Callable[..., DomainSpec]

pytestmark = pytest.mark.real

SCSI = "<controller type='scsi' model='virtio-scsi'/>"
DISK = (
    "<disk type='file' device='{}'><driver name='qemu' type='raw'/>{}"
    "<target dev='{}' bus='{}'/></disk>"
)
ACPI = "<features><acpi/></features>"
USB = "<controller type='usb' model='qemu-xhci' ports='8'/>"


def _disk(path: object, target: str, bus: str) -> str:
    return DISK.format("disk", f"<source file='{path}'/>", target, bus)


@pytest.fixture
def start(hosts: Hosts, make_spec: Make) -> Callable[..., Any]:
    """Hold a function that defines and starts a guest; it returns the domain and its devices."""

    def started(devices: str = "") -> tuple[Any, Any]:
        host = hosts.open()
        domain = host.domains.define(make_spec(devices=devices, more=ACPI))
        domain.start()
        return domain, host._driver

    return started


def _ask(hosts: Hosts, command: str, **given: Any) -> Any:
    with Monitor(str(next(hosts.root.rglob("control")))) as monitor:
        return monitor.execute(command, **given)


def _devices(hosts: Hosts) -> set[str]:
    return {one["name"] for one in _ask(hosts, "qom-list", path="/machine/peripheral")}


def _image(hosts: Hosts, name: str) -> Any:
    path = hosts.root / name
    path.write_bytes(bytes(1 << 20))
    return path


KINDS = {
    "input": "<input type='tablet' bus='usb'/>",
    "rng": "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>",
    "interface": "<interface type='user'><mac address='52:54:00:11:22:33'/>"
    "<model type='virtio'/></interface>",
    "channel": "<channel type='unix'><source mode='bind' path='{root}/sock'/>"
    "<target type='virtio' name='a.b.0'/></channel>",
    "pty": "<channel type='pty'><target type='virtio' name='a.b.1'/></channel>",
    "watchdog": "<watchdog model='i6300esb' action='reset'/>",
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_attach(hosts: Hosts, start: Callable[..., Any], kind: str) -> None:
    """A device of each kind comes, with a name that QEMU knows and, where it has one, a place."""
    domain, driver = start("<controller type='virtio-serial' index='0'/>")
    events = driver.events.stream(timeout=1)
    before = _devices(hosts)
    xml = KINDS[kind].format(root=hosts.root)
    driver.devices.attach(domain.uuid, xml, live=True, config=True)
    (name,) = _devices(hosts) - before
    found = [
        one
        for field in ("inputs", "rngs", "interfaces", "channels", "watchdogs")
        for one in getattr(domain.spec().devices, field)
        if one.alias == name
    ]
    assert len(found) == 1
    assert found[0].address is not None
    assert EventKind.DEVICE_ADDED in [event.kind for event in events]
    domain.destroy()
    domain.start()
    assert len(_devices(hosts)) == len(before) + 1


@pytest.mark.parametrize("bus", ["scsi", "usb"])
def test_disk_comes_and_goes(hosts: Hosts, start: Callable[..., Any], bus: str) -> None:
    """A disk comes, another one, they go in any order, and their files are let go of."""
    domain, driver = start(SCSI + USB + _disk(_image(hosts, "sda"), "sda", bus))
    first = _devices(hosts)
    for target in ("sdb", "sdc"):
        xml = _disk(_image(hosts, target), target, bus)
        driver.devices.attach(domain.uuid, xml, live=True, config=False)
    assert len(_devices(hosts)) == len(first) + 2
    names = [one["node-name"] for one in _ask(hosts, "query-named-block-nodes", flat=True)]
    assert len(names) == len(set(names)) == 6
    figures = domain.stats()
    assert [figures[f"block.{n}.name"] for n in range(3)] == ["sda", "sdb", "sdc"]
    assert all(f"block.{n}.rd.reqs" in figures for n in range(3))
    for target in ("sda", "sdc", "sdb"):
        xml = _disk(hosts.root / target, target, bus)
        driver.devices.detach(domain.uuid, xml, live=True, config=False)
        assert str(hosts.root / target) not in str(_ask(hosts, "query-named-block-nodes"))
    assert domain.spec().devices.disks == ()
    assert _ask(hosts, "query-named-block-nodes") == []
    # The definition has kept its own.
    assert len(domain.spec(inactive=True).devices.disks) == 1
    driver.devices.attach(
        domain.uuid, _disk(hosts.root / "sda", "sda", bus), live=True, config=False
    )
    assert len(_devices(hosts)) == len(first)


def test_guest_that_does_not_let_go(
    hosts: Hosts, start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest without a system keeps a PCI device; that is said in time, and nothing is lost."""
    monkeypatch.setattr("polyvisor_qemu.unplugging.LETTING_GO", 0.5)
    domain, driver = start(_disk(_image(hosts, "vda"), "vda", "virtio"))
    begun = time.monotonic()
    with pytest.raises(OperationFailed, match=r"has not let go of virtio-disk0 in 0\.5 s"):
        driver.devices.detach(
            domain.uuid, _disk(hosts.root / "vda", "vda", "virtio"), live=True, config=False
        )
    assert time.monotonic() - begun < 5
    assert len(domain.spec().devices.disks) == 1
    assert "virtio-disk0" in _devices(hosts)


def test_by_alias(hosts: Hosts, start: Callable[..., Any]) -> None:
    """A device goes by its name, one from the start too; an event has the name."""
    domain, driver = start(SCSI + USB + _disk(_image(hosts, "sda"), "sda", "scsi"))
    domain.attach_device(KINDS["input"], live=True)
    events = driver.events.stream(timeout=1)
    for name in ("scsi0-0-0-0", "input0"):
        domain.detach_device_alias(name, live=True)
        assert name not in _devices(hosts)
    told = [event.data["device"] for event in events if event.kind is EventKind.DEVICE_REMOVED]
    assert told == ["scsi0-0-0-0", "input0"]
    with pytest.raises(NotFound, match="none called 'input0'"):
        domain.detach_device_alias("input0", live=True)
    named = KINDS["input"].replace("/>", "><alias name='ua-mine'/></input>")
    domain.attach_device(named, live=False, config=True)
    domain.detach_device_alias("ua-mine", live=False, config=True)
    assert domain.spec(inactive=True).devices.inputs == ()


def test_refused(hosts: Hosts, start: Callable[..., Any]) -> None:
    """What QEMU refuses is told in its words, and nothing of it is left."""
    domain, driver = start(SCSI)
    before = domain.xml()
    xml = _disk(hosts.root / "missing", "sdb", "scsi")
    with pytest.raises(HypervisorError, match="No such file"):
        driver.devices.attach(domain.uuid, xml, live=True, config=True)
    assert domain.xml() == before
    assert _ask(hosts, "query-named-block-nodes") == []
    with pytest.raises(Unsupported, match="panics are not plugged in"):
        driver.devices.attach(domain.uuid, "<panic model='isa'/>", live=True, config=False)


def test_medium(hosts: Hosts, start: Callable[..., Any]) -> None:
    """A CD is put in, changed, and taken out; the definition follows."""
    one, two = _image(hosts, "one.iso"), _image(hosts, "two.iso")
    domain, driver = start(DISK.format("cdrom", "", "hdc", "ide"))

    def inserted() -> str | None:
        (drive,) = _ask(hosts, "query-block")
        return drive["inserted"]["file"] if "inserted" in drive else None

    for path in (one, two, None, one):
        source = "" if path is None else f"<source file='{path}'/>"
        xml = DISK.format("cdrom", source, "hdc", "ide")
        driver.devices.update(domain.uuid, xml, live=True, config=True)
        assert inserted() == (None if path is None else str(path))
        (disk,) = domain.spec().devices.disks
        assert (disk.source.file if disk.source is not None else None) == (
            None if path is None else str(path)
        )
    names = [node["node-name"] for node in _ask(hosts, "query-named-block-nodes", flat=True)]
    assert len(names) == 2
    xml = DISK.format("cdrom", "<source file='/no/such'/>", "hdc", "ide")
    with pytest.raises(HypervisorError, match="No such file"):
        driver.devices.update(domain.uuid, xml, live=True, config=False)
    assert inserted() == str(one)


def test_balloon(hosts: Hosts, start: Callable[..., Any]) -> None:
    """VCPUs are plugged in up to the most; the balloon gets its target; both are written down."""
    domain, driver = start("<memballoon model='virtio'/>")
    driver.resources.set_memory(domain.uuid, 8 << 20, live=True, config=True)
    assert domain.spec().current_memory == 8 << 20
    assert domain.spec(inactive=True).current_memory == 8 << 20
    assert domain.state is DomainState.RUNNING


def test_vcpus(hosts: Hosts, make_spec: Make) -> None:
    """VCPUs are plugged in up to the most; one that a guest keeps is said to stay."""
    host = hosts.open()
    text = make_spec().to_xml().replace("<vcpu>1</vcpu>", "<vcpu current='1'>4</vcpu>")
    domain = host.domains.create(text)
    host._driver.resources.set_vcpus(domain.uuid, 3, live=True, config=False)
    assert len(_ask(hosts, "query-cpus-fast")) == 3
    assert domain.spec().vcpus == 3
    assert domain.stats()["vcpu.current"] == 3
    with pytest.raises(PolyvisorError):
        host._driver.resources.set_vcpus(domain.uuid, 5, live=True, config=False)
