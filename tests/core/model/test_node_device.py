"""Devices of the host, as those who import the model meet them."""

from __future__ import annotations

import jsonschema
import pytest

from polyvisor.errors import SchemaError
from polyvisor.model import NodeDeviceSpec, schema
from polyvisor.model.node_device_mdev import MdevCapability
from polyvisor.model.node_device_pci import IommuGroup, PciCapability, VpdCapability

CARD = """
<device>
  <name>pci_0000_42_00_0</name>
  <parent>computer</parent>
  <driver><name>vfio-pci</name></driver>
  <capability type='pci'>
    <class>0x020000</class>
    <domain>0</domain>
    <bus>66</bus>
    <slot>0</slot>
    <function>0</function>
    <product id='0xa2d6'>ConnectX-6</product>
    <vendor id='0x15b3'/>
    <capability type='vpd'>
      <name>card</name>
      <fields access='readonly'><vendor_field index='0'>PCIeGen4 x8</vendor_field></fields>
    </capability>
    <capability type='virt_functions' maxCount='16'/>
    <iommuGroup number='65'><address domain='0x0000' bus='0x42' slot='0x00' function='0x0'/>
    </iommuGroup>
    <pci-express><link validity='cap' port='0' speed='16' width='8'/></pci-express>
  </capability>
</device>
"""


def test_a_pci_device() -> None:
    """What it can do is typed, and written in libvirt's order."""
    device = NodeDeviceSpec.from_xml(CARD)
    assert device.parent_name == "computer"
    (pci,) = device.capabilities
    assert isinstance(pci, PciCapability)
    assert (pci.bus, pci.pci_class) == (66, 0x020000)
    assert pci.vendor is not None
    assert pci.vendor.id == 0x15B3
    vpd = pci.capabilities[0]
    assert isinstance(vpd, VpdCapability)
    assert vpd.fields[0].vendor_fields[0].value == "PCIeGen4 x8"
    (kept,) = device.definition().capabilities
    assert isinstance(kept, PciCapability)
    assert [one.type for one in kept.capabilities] == ["virt_functions", "vpd"]
    assert "<vendor id='0x15b3'/>" in device.to_xml()
    for again in (
        NodeDeviceSpec.from_xml(device.to_xml()),
        NodeDeviceSpec.from_toml(device.to_toml()),
        NodeDeviceSpec.from_json(device.to_json()),
    ):
        assert again == device
    jsonschema.Draft202012Validator(schema(NodeDeviceSpec)).validate(device.to_dict())


def test_a_mediated_device_to_be_made() -> None:
    """It needs a parent and a type; libvirt adds what it does not know."""
    device = NodeDeviceSpec.from_dict(
        {
            "parent": {"name": "pci_0000_00_02_0"},
            "capabilities": [{"type": "mdev", "mdev_type": "i915-GVTg_V5_8"}],
        }
    )
    (mdev,) = device.definition().capabilities
    assert isinstance(mdev, MdevCapability)
    assert mdev.iommu_group == IommuGroup(number=0)
    assert "<type id='i915-GVTg_V5_8'/>" in device.to_xml()


def test_a_virtual_hba_to_be_made() -> None:
    """Its parent may be named by world wide names."""
    device = NodeDeviceSpec.from_xml(
        "<device><parent wwnn='2000f4e9d4eb02c9' wwpn='2001f4e9d4eb02c9'/>"
        "<capability type='scsi_host'><capability type='fc_host'/></capability></device>"
    )
    assert device.parent is not None
    assert device.parent.wwpn == "2001f4e9d4eb02c9"
    assert device.parent_name is None
    assert NodeDeviceSpec.from_xml(device.to_xml()) == device


@pytest.mark.parametrize(
    ("capability", "message"),
    [
        ("type='pic'", "capability: attribute type: 'pic' is not a known type; did you mean 'pci'"),
        ("", "attribute type is missing"),
        ("type='pci'", "device/capability: has no <domain>"),
        ("type='css'><cssid>0xff</cssid", "cssid: 0xff is out of range"),
        ("type='ccw'><cssid>0</cssid><ssid>4</ssid", "ssid: 4 is out of range"),
        ("type='drm'><type>tender</type", "'tender' is not a known value"),
        ("type='vdpa'", "has no <chardev>"),
    ],
)
def test_devices_that_libvirt_refuses(capability: str, message: str) -> None:
    """The message names line, element and what would be right."""
    end = "" if ">" not in capability else "></capability"
    tail = "/>" if not end else f"{end}>"
    with pytest.raises(SchemaError, match=message):
        NodeDeviceSpec.from_xml(f"<device><capability {capability}{tail}</device>")
