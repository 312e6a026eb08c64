"""Domain XML: read, written, checked, normalised, and read again."""

from __future__ import annotations

from polyvisor.errors import SpecError
from polyvisor.model import DomainSpec
from polyvisor.model.check import check

SEEDS = (
    "genericxml2xmlindata/*.xml",
    "qemuxml2argvdata/*.xml",
    "lxcxml2xmldata/*.xml",
    "bhyvexml2argvdata/*.xml",
    "libxlxml2domconfigdata/*.xml",
)
EXAMPLES = (
    b"<domain type='kvm'><name>a</name><memory unit='MiB'>64</memory></domain>",
    b"""<domain type='qemu' id='3'>
  <name>web</name>
  <uuid>4dea22b3-1d52-d8f3-2516-782e98ab3fa0</uuid>
  <metadata><x:y xmlns:x='urn:x'>1</x:y></metadata>
  <memory unit='KiB'>219136</memory>
  <vcpu placement='static' cpuset='0-3,^2'>2</vcpu>
  <cputune><vcpupin vcpu='0' cpuset='1'/></cputune>
  <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os>
  <features><acpi/><hyperv><relaxed state='on'/></hyperv></features>
  <cpu mode='custom'><model>core2duo</model><numa><cell cpus='0' memory='64'/></numa></cpu>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/><source file='/a'/><target dev='vda' bus='virtio'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x04' function='0x0'/>
    </disk>
    <interface type='user'><mac address='52:54:00:00:00:01'/></interface>
    <console type='pty'/><graphics type='vnc'/><hostdev type='usb'><source/></hostdev>
  </devices>
</domain>
""",
)


def one(data: bytes) -> None:
    """Read a definition or refuse it; what was read is checked, written and read again."""
    try:
        spec = DomainSpec.from_xml(data)
    except SpecError:
        return
    assert DomainSpec.from_xml(spec.to_xml()) == spec
    for finding in check(spec, source=data):
        assert finding.line
        assert finding.fault
    try:
        normal = spec.normalised()
    except SpecError:
        return
    # What is carried unread may be the twin of what is left out, and take its place.
    if '"extra"' not in spec.to_json():
        assert DomainSpec.from_xml(normal.to_xml()) == normal
