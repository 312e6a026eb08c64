"""This machine's devices, of files as Linux has them."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from polyvisor.errors import (
    HypervisorError,
    InvalidArgument,
    NotFound,
    OperationFailed,
    SemanticError,
    Unsupported,
)
from polyvisor.local.objects import MachineDevices
from polyvisor.model import NodeDeviceSpec
from polyvisor.model.node_device_capability import StorageCapability, UsbDeviceCapability
from polyvisor.model.node_device_mdev import MdevCapability, MdevTypesCapability
from polyvisor.model.node_device_pci import (
    BridgeCapability,
    PciCapability,
    PhysFunctionCapability,
    VirtFunctionsCapability,
)

CARD, PART, BRIDGE = "0000:01:00.0", "0000:01:00.1", "0000:00:01.0"
MDEV = "0a3f7b8e-5d5e-4f2e-9d39-9f2a5a3b6c11"


class Tree:
    """Files of a machine: a bridge, behind it a card with a virtual function; a USB stick; disks.

    Args:
        root: where they are.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sys = root / "sys"
        self.bridge = self.sys / f"devices/pci0000:00/{BRIDGE}"
        self.card, self.part = self.bridge / CARD, self.bridge / PART
        for path, kind in ((self.bridge, "0x060400"), (self.card, "0x020000"),
                           (self.part, "0x020000")):  # fmt: skip
            for name, value in (("class", kind), ("vendor", "0x8086"), ("device", "0x10fb"),
                                ("numa_node", "-1"), ("driver_override", "")):  # fmt: skip
                self.write(path / name, value)
            self.link(self.sys / f"bus/pci/devices/{path.name}", path)
        self.write(self.card / "sriov_totalvfs", "63")
        self.write(self.card / "numa_node", "1")
        self.link(self.card / "virtfn0", self.part)
        self.link(self.part / "physfn", self.card)
        group = self.sys / "kernel/iommu_groups/7"
        for path in (self.card, self.part):
            self.link(group / f"devices/{path.name}", path)
            self.link(path / "iommu_group", group)
        self.driver("ixgbe", self.card)
        self.write(self.sys / "bus/pci/drivers_probe", "")
        stick = self.sys / "devices/pci0000:00/usb1/1-2"
        for name, value in (("busnum", "1"), ("devnum", "5"), ("idVendor", "0951"),
                            ("idProduct", "1666"), ("product", "Stick"),
                            ("uevent", "DEVTYPE=usb_device\nDEVNAME=bus/usb/001/005")):  # fmt: skip
            self.write(stick / name, value)
        self.link(self.sys / "bus/usb/devices/1-2", stick)
        for name, size in (("vda", "2048"), ("loop0", "8")):
            disk = self.sys / f"devices/virtual/block/{name}"
            self.write(disk / "size", size)
            self.write(disk / "dev", "254:0" if name == "vda" else "7:0")
            self.write(disk / "queue/logical_block_size", "512")
            self.link(self.sys / f"block/{name}", disk)
        self.write(root / "run/udev/data/b254:0", "E:ID_SERIAL=se/rial\nE:ID_TYPE=disk")

    def write(self, path: Path, text: str) -> None:
        """Write a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")

    def link(self, path: Path, to: Path) -> None:
        """Make a link, in place of one that was there."""
        to.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(to)

    def driver(self, name: str, path: Path) -> Path:
        """Have a driver drive a device."""
        folder = self.sys / f"bus/pci/drivers/{name}"
        self.link(path / "driver", folder)
        self.write(folder / "unbind", "")
        return folder


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Hold the files of a machine."""
    return Tree(tmp_path)


@pytest.fixture
def devices(tree: Tree) -> MachineDevices:
    """Hold its devices."""
    return MachineDevices(root=f"{tree.root}/")


def capability(devices: MachineDevices, name: str) -> object:
    """Return what a device is."""
    (found,) = NodeDeviceSpec.from_xml(devices.xml(name)).capabilities
    return found


def test_devices_have_libvirts_names_and_places(devices: MachineDevices) -> None:
    """All that is there but block devices that are no drives; each hangs on what it is behind."""
    assert [one.name for one in devices.summaries()] == [
        "block_vda_se_rial", "computer", "pci_0000_00_01_0", "pci_0000_01_00_0",
        "pci_0000_01_00_1", "usb_1_2",
    ]  # fmt: skip
    assert devices.parent("pci_0000_01_00_0") == "pci_0000_00_01_0"
    assert devices.parent("pci_0000_00_01_0") == "computer"
    assert devices.parent("computer") is None
    assert devices.capabilities("usb_1_2") == ["usb_device"]
    with pytest.raises(NotFound):
        devices.get("pci_0000_09_00_0")


def test_pci_devices_say_what_belongs_together(devices: MachineDevices, tree: Tree) -> None:
    """Functions of one card, groups that a guest only gets whole, the node, the driver."""
    spec = NodeDeviceSpec.from_xml(devices.xml("pci_0000_01_00_0"))
    assert spec.path == f"/sys/devices/pci0000:00/{BRIDGE}/{CARD}"
    assert spec.driver is not None
    assert spec.driver.name == "ixgbe"
    (card,) = spec.capabilities
    assert isinstance(card, PciCapability)
    assert (card.pci_class, card.bus, card.numa_node) == (0x020000, 1, 1)
    assert card.product is not None
    assert card.product.id == 0x10FB
    (functions,) = card.capabilities
    assert isinstance(functions, VirtFunctionsCapability)
    assert functions.max_count == 63
    assert [one.function for one in functions.addresses] == [1]
    assert card.iommu_group is not None
    assert card.iommu_group.number == 7
    assert [one.function for one in card.iommu_group.addresses] == [0, 1]
    part = capability(devices, "pci_0000_01_00_1")
    assert isinstance(part, PciCapability)
    assert [type(one) for one in part.capabilities] == [PhysFunctionCapability]
    bridge = capability(devices, "pci_0000_00_01_0")
    assert isinstance(bridge, PciCapability)
    assert [type(one) for one in bridge.capabilities] == [BridgeCapability]


def test_other_devices_say_what_they_are(devices: MachineDevices) -> None:
    """A stick with its numbers and its file, a disk with its size and its serial."""
    stick = capability(devices, "usb_1_2")
    assert isinstance(stick, UsbDeviceCapability)
    assert (stick.bus, stick.device) == (1, 5)
    assert stick.product is not None
    assert (stick.product.id, stick.product.name) == (0x1666, "Stick")
    assert "<devnode type='dev'>/dev/bus/usb/001/005</devnode>" in devices.xml("usb_1_2")
    disk = capability(devices, "block_vda_se_rial")
    assert isinstance(disk, StorageCapability)
    assert (disk.size, disk.num_blocks, disk.serial) == (1 << 20, 2048, "se/rial")


def test_a_device_goes_to_guests_and_back(devices: MachineDevices, tree: Tree) -> None:
    """The kernel is told whose it is to be, to let go of it, and to look for its driver."""
    name = "pci_0000_01_00_0"
    with pytest.raises(Unsupported, match="modprobe vfio-pci"):
        devices.detach(name)
    (tree.sys / "bus/pci/drivers/vfio-pci").mkdir()
    # No kernel is there to bind it.
    with pytest.raises(OperationFailed, match="IOMMU"):
        devices.detach(name)
    assert (tree.card / "driver_override").read_text() == "vfio-pci"
    assert (tree.sys / "bus/pci/drivers/ixgbe/unbind").read_text() == CARD
    assert (tree.sys / "bus/pci/drivers_probe").read_text() == CARD
    vfio = tree.driver("vfio-pci", tree.card)
    devices.detach(name, "vfio")
    devices.reattach(name)
    assert (tree.card / "driver_override").read_text() == "\n"
    assert (vfio / "unbind").read_text() == CARD
    # What the host drives itself already is left to it.
    own = tree.driver("igb", tree.card)
    devices.reattach(name)
    assert (own / "unbind").read_text() == "\n"
    with pytest.raises(InvalidArgument, match="unknown driver name 'xen'"):
        devices.detach(name, "xen")
    with pytest.raises(InvalidArgument, match="not a PCI device"):
        devices.detach("usb_1_2")


def test_a_device_is_reset(devices: MachineDevices, tree: Tree) -> None:
    """If it has a way to be."""
    with pytest.raises(HypervisorError, match="no FLR"):
        devices.reset("pci_0000_01_00_0")
    tree.write(tree.card / "reset", "")
    devices.reset("pci_0000_01_00_0")
    assert (tree.card / "reset").read_text() == "1"


def test_mediated_devices_come_and_go(devices: MachineDevices, tree: Tree) -> None:
    """Of a type that the card has; nothing else is made, and nothing else removed."""
    types = tree.card / "mdev_supported_types/nvidia-11"
    for name, value in (("name", "GRID"), ("device_api", "vfio-pci"),
                        ("available_instances", "4"), ("create", "")):  # fmt: skip
        tree.write(types / name, value)
    card = capability(devices, "pci_0000_01_00_0")
    assert isinstance(card, PciCapability)
    (told,) = [one for one in card.capabilities if isinstance(one, MdevTypesCapability)]
    assert [(one.id, one.name, one.available_instances) for one in told.types] == [
        ("nvidia-11", "GRID", 4)
    ]
    assert devices.capabilities("pci_0000_01_00_0") == ["pci", "mdev_types"]
    xml = (
        f"<device><parent>pci_0000_01_00_0</parent><capability type='mdev'>"
        f"<type id='nvidia-11'/><uuid>{MDEV}</uuid></capability></device>"
    )
    with pytest.raises(OperationFailed, match="has made none"):
        devices.create(NodeDeviceSpec.from_xml(xml))
    assert (types / "create").read_text() == MDEV
    made = tree.card / MDEV
    tree.link(made / "mdev_type", types)
    tree.link(tree.sys / f"bus/mdev/devices/{MDEV}", made)
    name = devices.create(NodeDeviceSpec.from_xml(xml))
    assert name == f"mdev_{MDEV.replace('-', '_')}_0000_01_00_0"
    assert devices.parent(name) == "pci_0000_01_00_0"
    found = capability(devices, name)
    assert isinstance(found, MdevCapability)
    assert (found.mdev_type, found.uuid) == ("nvidia-11", UUID(MDEV))
    devices.destroy(name)
    assert (made / "remove").read_text() == "1"
    with pytest.raises(NotFound, match="nvidia-12"):
        devices.create(NodeDeviceSpec.from_xml(xml.replace("nvidia-11", "nvidia-12")))
    with pytest.raises(SemanticError, match="a parent and a type"):
        devices.create(NodeDeviceSpec.from_xml(xml.replace("<type id='nvidia-11'/>", "")))
    with pytest.raises(Unsupported, match="mediated"):
        devices.destroy("usb_1_2")
    with pytest.raises(Unsupported, match="mediated"):
        devices.create(NodeDeviceSpec.from_xml("<device><capability type='net'><interface>x"
                                               "</interface></capability></device>"))  # fmt: skip
