"""Interfaces of the host, as those who import the model meet them."""

from __future__ import annotations

import pytest

from polyvisor.errors import SchemaError
from polyvisor.model import InterfaceSpec
from polyvisor.model.interface import (
    Bond,
    InterfaceBridge,
    InterfacePart,
    InterfaceVlan,
    IpProtocol,
    MiiMonitor,
    ProtocolIp,
    VlanInterface,
)


def test_interfaces_stand_in_each_other() -> None:
    """A bridge holds a bond that holds cards; every form gives it back."""
    card = InterfacePart(type="ethernet", name="eth0", mac="52:54:00:00:00:01")
    bond = Bond(mode="802.3ad", miimon=MiiMonitor(freq=100), interfaces=(card,))
    vlan = InterfaceVlan(tag=42, interface=VlanInterface(name="eth1"))
    bridge = InterfaceSpec(
        type="bridge",
        name="br0",
        start="onboot",
        mtu=9000,
        protocols=(IpProtocol(family="ipv4", ips=(ProtocolIp(address="10.0.0.2", prefix=8),)),),
        bridge=InterfaceBridge(
            stp=False,
            delay="0.01",
            interfaces=(
                InterfacePart(type="bond", name="bond0", bond=bond),
                InterfacePart(type="vlan", name="eth1.42", vlan=vlan),
            ),
        ),
    )
    assert InterfaceSpec.from_xml(bridge.to_xml()) == bridge
    assert InterfaceSpec.from_json(bridge.to_json()) == bridge
    assert InterfaceSpec.from_toml(bridge.to_toml()) == bridge


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<interface name='a'/>", "has no attribute type"),
        ("<interface type='ethernet'/>", "has no attribute name"),
        ("<interface type='ehternet' name='a'/>", "did you mean 'ethernet'"),
        ("<interface type='bridge' name='a'/>", "type 'bridge' has no <bridge>"),
        ("<interface type='bond' name='a'/>", "type 'bond' has no <bond>"),
        ("<interface type='vlan' name='a'/>", "type 'vlan' has no <vlan>"),
        ("<interface type='vlan' name='a'><vlan tag='5000'/></interface>", "has no <interface>"),
        (
            "<interface type='vlan' name='a'><vlan tag='5000'><interface name='b'/></vlan>"
            "</interface>",
            "interface/vlan: the tag 5000 is out of range",
        ),
        (
            "<interface type='ethernet' name='a'><start mode='boot'/></interface>",
            "interface/start: attribute mode: 'boot' is not a known value; did you mean 'onboot'",
        ),
        (
            "<interface type='ethernet' name='a'><protocol family='ipx'/></interface>",
            "attribute family: 'ipx' is not a known value",
        ),
        (
            "<interface type='bond' name='a'><bond>\n<interface type='vlan' name='b'>"
            "<vlan tag='1'><interface name='c'/></vlan></interface></bond></interface>",
            "line 2: interface/bond/interface: .*'vlan' is not part of a bond",
        ),
        (
            "<interface type='bridge' name='a'><bridge>"
            "<interface type='bridge' name='b'/></bridge></interface>",
            "a bridge is not part of another interface",
        ),
        (
            "<interface type='bond' name='a'><bond><miimon freq='often'/></bond></interface>",
            "attribute freq: 'often' is not a whole number",
        ),
        (
            "<interface type='bond' name='a'><bond><arpmon interval='1'/></bond></interface>",
            "has no attribute target",
        ),
    ],
)
def test_interfaces_that_libvirt_refuses(xml: str, message: str) -> None:
    """The message names line, element and what would be right."""
    with pytest.raises(SchemaError, match=message):
        InterfaceSpec.from_xml(xml)
