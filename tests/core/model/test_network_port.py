"""Ports of virtual networks, as those who import the model meet them."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyvisor.errors import SchemaError
from polyvisor.model import NetworkPortSpec
from polyvisor.model.devices.hostdev import HostPciAddress
from polyvisor.model.devices.interface import Bandwidth, BandwidthLimit, Vlan, VlanTag
from polyvisor.model.network_port import (
    BridgePlug,
    DirectPlug,
    HostdevPciPlug,
    NetworkPlug,
    PortOwner,
)

PORT = """\
<networkport>
  <uuid>5d744f21-ba4a-4d6e-bdb2-30a35ff3207d</uuid>
  <owner>
    <name>web</name>
    <uuid>3f5b2b3a-5d7e-4d3a-9d51-6f5b1d3c1a10</uuid>
  </owner>
  <group>web1</group>
  <mac address='52:54:00:7b:35:93'/>
  <bandwidth classID='5'>
    <inbound average='1000' peak='4000' floor='2000' burst='1024'/>
    <outbound average='128' peak='256' burst='32768'/>
  </bandwidth>
  <vlan trunk='yes'>
    <tag id='729'/>
    <tag id='6'/>
  </vlan>
  <port isolated='yes'/>
  <rxfilters trustGuest='yes'/>
  <plug type='bridge' bridge='virbr0' macTableManager='libvirt'/>
</networkport>
"""
UUID1 = UUID("5d744f21-ba4a-4d6e-bdb2-30a35ff3207d")
OWNER = PortOwner(name="web", uuid=UUID("3f5b2b3a-5d7e-4d3a-9d51-6f5b1d3c1a10"))


def test_a_port_is_written_in_libvirts_order() -> None:
    """A document in libvirt's own form is read and written without a change."""
    port = NetworkPortSpec.from_xml(PORT)
    assert port.to_xml() == PORT
    assert port.plug == BridgePlug(bridge="virbr0", mac_table_manager="libvirt")
    assert port.definition() == port


@given(
    plug=st.one_of(
        st.builds(NetworkPlug, bridge=st.sampled_from(["virbr0", "br-1"])),
        st.builds(BridgePlug, bridge=st.just("br0"), mac_table_manager=st.just("kernel")),
        st.builds(DirectPlug, dev=st.just("eth0"), mode=st.sampled_from(["vepa", "private"])),
        st.builds(
            HostdevPciPlug,
            managed=st.sampled_from([True, False, None]),
            driver=st.sampled_from(["vfio", None]),
            address=st.just(HostPciAddress(domain=0, bus=3, slot=0, function=1)),
        ),
        st.none(),
    ),
    tag=st.integers(0, 4095),
    average=st.integers(1, 2**32 - 1),
)
def test_ports_survive_every_form(plug: NetworkPlug | None, tag: int, average: int) -> None:
    """XML, dict, JSON and TOML give equal ports back."""
    port = NetworkPortSpec(
        uuid=UUID1,
        owner=OWNER,
        mac="52:54:00:7b:35:93",
        vlan=Vlan(tags=(VlanTag(id=tag),)),
        bandwidth=Bandwidth(inbound=BandwidthLimit(average=average, floor=1)),
        plug=plug,
    )
    assert NetworkPortSpec.from_xml(port.to_xml()) == port
    assert NetworkPortSpec.from_dict(port.to_dict()) == port
    assert NetworkPortSpec.from_json(port.to_json()) == port
    assert NetworkPortSpec.from_toml(port.to_toml()) == port


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<uuid>5d744f21-ba4a-4d6e-bdb2-30a35ff3207d</uuid>", "", "has no <uuid>"),
        ("<name>web</name>", "", "line 3: networkport/owner: has no <name>"),
        ("<mac address='52:54:00:7b:35:93'/>", "", "the port has no <mac>"),
        ("52:54:00:7b:35:93", "52:54", "line 8: networkport/mac: .* not a MAC address"),
        ("type='bridge'", "type='brigde'", "line 19: networkport/plug: .* did you mean 'bridge'"),
        (" bridge='virbr0'", "", "networkport/plug: has no attribute bridge"),
        ("'libvirt'", "'libvirtd'", "did you mean 'libvirt'"),
        ("id='6'", "id='4096'", r"line 15: networkport/vlan/tag\[2\]: the tag 4096 is out of"),
        ("average='128' peak='256'", "peak='256'", "line 11: .*outbound: there is no average"),
        ("average='128'", "average='1' floor='1'", "outbound: floor cannot be asked for here"),
        ("type='bridge' bridge='virbr0'", "type='direct'", "has no attribute dev"),
        ("type='bridge'", "type='hostdev-pci'", "has no <address>"),
    ],
)
def test_ports_that_libvirt_refuses(old: str, new: str, message: str) -> None:
    """The message names line, element and what would be right."""
    assert old in PORT
    with pytest.raises(SchemaError, match=message):
        NetworkPortSpec.from_xml(PORT.replace(old, new))
