"""Devices of all kinds that come to a running guest of real QEMU, and those that do not."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.errors import AlreadyExists, HypervisorError, NotFound, PolyvisorError, Unsupported
from polyvisor_qemu.qmp import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable

    Hosts = Any
    Make = Callable[..., Any]

pytestmark = pytest.mark.real

USB = "<controller type='usb' model='qemu-xhci' index='0'/>"


def _ask(hosts: Hosts, command: str, **given: Any) -> Any:
    with Monitor(str(next(hosts.root.rglob("control")))) as monitor:
        return monitor.execute(command, **given)


def _devices(hosts: Hosts) -> dict[str, str]:
    told = _ask(hosts, "qom-list", path="/machine/peripheral")
    return {one["name"]: one["type"].removeprefix("child<").removesuffix(">")
            for one in told if one["name"] != "type"}  # fmt: skip


@pytest.fixture
def start(hosts: Hosts, make_spec: Make) -> Callable[..., Any]:
    """Hold a function that starts a guest with devices."""

    def started(devices: str = "", **given: Any) -> Any:
        spec = make_spec(devices=devices, more="<features><acpi/></features>", **given)
        domain = hosts.open().domains.define(spec)
        domain.start()
        return domain

    return started


def test_controllers(hosts: Hosts, start: Callable[..., Any]) -> None:
    """Controllers come, and devices to them; those without a number get the next free one."""
    domain = start(USB)
    for xml, name, kind in (
        ("<controller type='scsi' model='virtio-scsi'/>", "scsi0", "virtio-scsi-pci"),
        ("<controller type='scsi' index='1' model='virtio-scsi'/>", "scsi1", "virtio-scsi-pci"),
        ("<controller type='virtio-serial'/>", "virtio-serial0", "virtio-serial-pci"),
        ("<controller type='usb' model='qemu-xhci' index='1'/>", "usb1", "qemu-xhci"),
        ("<controller type='usb' model='qemu-xhci'/>", "usb2", "qemu-xhci"),
    ):
        domain.attach_device(xml, live=True, config=True)
        assert _devices(hosts)[name] == kind
    with pytest.raises(AlreadyExists):
        domain.attach_device("<controller type='scsi' index='1' model='virtio-scsi'/>", live=True)
    path = hosts.root / "disk"
    path.write_bytes(bytes(1 << 20))
    disk = (
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{path}'/>"
        "<target dev='sdh' bus='scsi'/>"
        "<address type='drive' controller='1' bus='0' target='0' unit='0'/></disk>"
    )
    domain.attach_device(disk, live=True, config=True)
    where = {"path": "/machine/peripheral/scsi1-0-0-0", "property": "parent_bus"}
    assert "/scsi1/" in _ask(hosts, "qom-get", **where)
    channel = "<channel type='pty'><target type='virtio' name='a.b'/></channel>"
    domain.attach_device(channel, live=True, config=True)
    domain.detach_device(channel, live=True, config=True)
    domain.detach_device(disk, live=True, config=True)
    there = set(_devices(hosts))
    domain.destroy()
    domain.start()
    assert set(_devices(hosts)) == there


def test_controllers_on_demand(hosts: Hosts, start: Callable[..., Any]) -> None:
    """A disk or channel that needs a controller brings it; both stand in the definition."""
    domain = start()
    path = hosts.root / "disk"
    path.write_bytes(bytes(1 << 20))
    disk = (
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{path}'/>"
        "<target dev='sda' bus='scsi'/></disk>"
    )
    domain.attach_device(disk, live=True, config=True)
    domain.attach_device(
        "<channel type='null'><target type='virtio' name='a.b'/></channel>", live=True, config=True
    )
    kinds = set(_devices(hosts).values())
    assert {"scsi-hd", "virtserialport", "virtio-serial-pci"} <= kinds
    held = domain.spec().devices
    assert [one.type for one in held.controllers if one.type in ("scsi", "virtio-serial")] == [
        "scsi", "virtio-serial",
    ]  # fmt: skip
    assert [one.target.dev for one in held.disks] == ["sda"]
    assert held.disks[0].alias in _devices(hosts)
    assert len(held.channels) == 1
    domain.detach_device(disk, live=True, config=True)
    assert domain.spec().devices.disks == ()
    domain.attach_device(disk, live=True, config=True)
    there = set(_devices(hosts))
    domain.destroy()
    domain.start()
    assert set(_devices(hosts)) == there


def test_usb(hosts: Hosts, start: Callable[..., Any]) -> None:
    """What hangs on USB comes and goes without the guest's help."""
    domain = start(USB)
    before = _devices(hosts)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for xml, kind in (
            (
                f"<redirdev bus='usb' type='tcp'><source mode='connect' host='127.0.0.1' "
                f"service='{port}'/><protocol type='raw'/></redirdev>",
                "usb-redir",
            ),
            ("<input type='keyboard' bus='usb'/>", "usb-kbd"),
            ("<input type='tablet' bus='usb'/>", "usb-tablet"),
            ("<serial type='pty'><target type='usb-serial' port='1'/></serial>", "usb-serial"),
            ("<hub type='usb'/>", "usb-hub"),
        ):
            domain.attach_device(xml, live=True)
            ((_, came),) = _devices(hosts).items() - before.items()
            assert came == kind
            domain.detach_device(xml, live=True)
            assert _devices(hosts) == before
            assert _ask(hosts, "query-chardev")
    labels = {one["label"] for one in _ask(hosts, "query-chardev")}
    assert not [one for one in labels if one.startswith(("charredir", "charserial"))]


def test_on_pci(hosts: Hosts, start: Callable[..., Any]) -> None:
    """Shared memory, sound, consoles, and ports on PCI come as well."""
    domain = start("<controller type='virtio-serial' index='0'/>")
    name = f"pvtest{os.getpid()}"
    for xml, kind in (
        (
            f"<shmem name='{name}'><model type='ivshmem-plain'/><size unit='M'>1</size></shmem>",
            "ivshmem-plain",
        ),
        ("<sound model='ac97'/>", "AC97"),
        ("<serial type='null'><target type='pci-serial' port='1'/></serial>", "pci-serial"),
        ("<input type='keyboard' bus='virtio'/>", "virtio-keyboard-pci"),
        ("<console type='null'><target type='virtio' port='1'/></console>", "virtconsole"),
    ):
        before = _devices(hosts)
        domain.attach_device(xml, live=True)
        ((_, came),) = _devices(hosts).items() - before.items()
        assert came == kind
    os.unlink(f"/dev/shm/{name}")


REFUSED = {
    "<video><model type='virtio'/></video>": r"videos are not plugged in",
    "<graphics type='vnc' autoport='yes'/>": r"graphics are not plugged in",
    "<tpm model='tpm-tis'><backend type='emulator'/></tpm>": r"tpms are not plugged in",
    "<panic model='isa'/>": r"panics are not plugged in",
    "<lease><lockspace>a</lockspace><key>b</key><target path='/c'/></lease>": (
        r"leases are not plugged in"
    ),
    "<memballoon model='virtio'/>": r"memballoon is not plugged in",
    "<iommu model='intel'/>": r"iommu is not plugged in",
    "<parallel type='null'><target port='0'/></parallel>": r"does not support hotplug",
    "<serial type='null'><target type='isa-serial' port='1'/></serial>": r"not support hotplug",
    "<controller type='pci' model='pci-bridge' index='9'/>": r"no free place",
    "<hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/><product id='0x5678'/>"
    "</source></hostdev>": r"this host has no USB device 1234:5678",
    "<hostdev mode='subsystem' type='pci' managed='no'><source>"
    "<address domain='0x0000' bus='0xff' slot='0x1f' function='0x7'/></source></hostdev>": (
        r"no such host device|No such file"
    ),
}


@pytest.mark.parametrize("xml", list(REFUSED))
def test_refused(hosts: Hosts, start: Callable[..., Any], xml: str) -> None:
    """What cannot come is refused in words, by us or by QEMU, and the guest is as before."""
    domain = start(USB.replace("index='0'", "index='0' ports='4'"))
    before = _devices(hosts), domain.xml()
    chardevs = {one["label"] for one in _ask(hosts, "query-chardev")}
    with pytest.raises(PolyvisorError, match=REFUSED[xml]) as caught:
        domain.attach_device(xml, live=True)
    assert isinstance(caught.value, Unsupported | HypervisorError | NotFound)
    assert (_devices(hosts), domain.xml()) == before
    assert {one["label"] for one in _ask(hosts, "query-chardev")} == chardevs


def test_vsock(hosts: Hosts, start: Callable[..., Any]) -> None:
    """Sockets between host and guest come where the kernel has them; else that is said."""
    domain = start()
    xml = "<vsock model='virtio'><cid auto='no' address='4711'/></vsock>"
    if not os.path.exists("/dev/vhost-vsock"):
        with pytest.raises(HypervisorError, match="cannot open /dev/vhost-vsock"):
            domain.attach_device(xml, live=True)
        assert domain.spec().devices.vsock is None
        domain.attach_device(xml, live=False, config=True)
        assert domain.spec(inactive=True).devices.vsock.cid.address == 4711
        domain.detach_device(xml, live=False, config=True)
        assert domain.spec(inactive=True).devices.vsock is None
        return
    domain.attach_device(xml, live=True)
    assert _devices(hosts)["vsock0"] == "vhost-vsock-pci"
    with pytest.raises(AlreadyExists):
        domain.attach_device(xml, live=True)


def test_parts_of_the_machine_stay(hosts: Hosts, start: Callable[..., Any]) -> None:
    """What QEMU does not let go is refused in its words, and stays in the definition."""
    devices = "<serial type='null'><target type='isa-serial' port='0'/></serial>"
    domain = start(devices)
    before = domain.xml()
    with pytest.raises(HypervisorError, match="does not support hotplug"):
        domain.detach_device(devices, live=True)
    assert domain.xml() == before
