"""What ``test:///default`` begins with beside its domain, as libvirt's test driver prints it.

From ``defaultConnXML`` of ``src/test/test_driver.c``.
"""

from __future__ import annotations

from polyvisor.state import ObjectRecord

__all__ = ["records"]

_NETWORK = """\
<network>
  <name>default</name>
  <uuid>dd8fe884-6c02-601e-7551-cca97df1c5df</uuid>
  <forward mode='nat'/>
  <bridge name='virbr0' stp='on' delay='0'/>
  <ip address='192.168.122.1' netmask='255.255.255.0'>
    <dhcp>
      <range start='192.168.122.2' end='192.168.122.254'/>
    </dhcp>
  </ip>
</network>
"""
_INTERFACE = """\
<interface type='ethernet' name='eth1'>
  <start mode='onboot'/>
  <mtu size='1492'/>
  <protocol family='ipv4'>
    <ip address='192.168.0.5' prefix='24'/>
    <route gateway='192.168.0.1'/>
  </protocol>
  <mac address='aa:bb:cc:dd:ee:ff'/>
</interface>
"""
_POOL = """\
<pool type='dir'>
  <name>default-pool</name>
  <uuid>dfe224cb-28fb-8dd0-c4b2-64eb3f0f4566</uuid>
  <source>
  </source>
  <target>
    <path>/default-pool</path>
  </target>
</pool>
"""
_DEVICE = """\
<device>
  <name>computer</name>
  <capability type='system'>
    <hardware>
      <vendor>Libvirt</vendor>
      <version>Test driver</version>
      <serial>123456</serial>
      <uuid>11111111-2222-3333-4444-555555555555</uuid>
    </hardware>
    <firmware>
      <vendor>Libvirt</vendor>
      <version>Test Driver</version>
      <release_date>01/22/2007</release_date>
    </firmware>
  </capability>
</device>
"""


def records() -> tuple[ObjectRecord, ...]:
    """Return the network, the interface, the pool and the device of the default host."""
    network, pool = "dd8fe884-6c02-601e-7551-cca97df1c5df", "dfe224cb-28fb-8dd0-c4b2-64eb3f0f4566"
    return (
        ObjectRecord("network", network, "default", _NETWORK, _NETWORK),
        ObjectRecord("interface", "eth1", "eth1", _INTERFACE, _INTERFACE),
        ObjectRecord("pool", pool, "default-pool", _POOL, _POOL),
        ObjectRecord(
            "nodedev", "computer", "computer", None, _DEVICE, data={"capabilities": ["system"]}
        ),
    )
