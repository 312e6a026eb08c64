"""Capabilities of hosts and hypervisors, and CPUs as documents of their own."""

from __future__ import annotations

import jsonschema
import pytest

from polyvisor.errors import SchemaError
from polyvisor.model import Capabilities, Cpu, DomainCapabilities, HostCpu, schema

HOST = """
<capabilities>
  <host>
    <cpu>
      <arch>x86_64</arch>
      <model>EPYC</model>
      <counter name='tsc' frequency='2596991000' scaling='no'/>
      <feature name='vme'/>
      <pages unit='KiB' size='4'/>
    </cpu>
    <topology>
      <cells num='1'>
        <cell id='0'>
          <memory unit='KiB'>16175540</memory>
          <pages unit='KiB' size='4'>4043885</pages>
          <cpus num='1'><cpu id='0' socket_id='0' die_id='0' core_id='0' siblings='0'/></cpus>
        </cell>
      </cells>
    </topology>
  </host>
  <guest>
    <os_type>hvm</os_type>
    <arch name='x86_64'>
      <wordsize>64</wordsize>
      <machine canonical='pc-i440fx-7.2' maxCpus='255'>pc</machine>
      <domain type='kvm'/>
    </arch>
    <features><acpi default='on' toggle='yes'/></features>
  </guest>
</capabilities>
"""

GUEST = """
<domainCapabilities>
  <path>/usr/bin/qemu-system-x86_64</path>
  <domain>kvm</domain>
  <arch>x86_64</arch>
  <vcpu max='255'/>
  <cpu>
    <mode name='host-passthrough' supported='yes'/>
    <mode name='host-model' supported='yes'><model fallback='forbid'>EPYC</model></mode>
    <mode name='custom' supported='yes'>
      <model usable='no' deprecated='yes' vendor='Intel'>Icelake-Client</model>
    </mode>
  </cpu>
  <devices>
    <disk supported='yes'><enum name='bus'><value>ide</value><value>virtio</value></enum></disk>
  </devices>
  <features><genid supported='yes'/></features>
</domainCapabilities>
"""


def test_a_hosts_capabilities() -> None:
    """CPU, cells and guests are typed; sizes are bytes."""
    found = Capabilities.from_xml(HOST)
    assert found.host.cpu is not None
    assert found.host.cpu.counter is not None
    assert found.host.cpu.counter.frequency == 2596991000
    assert found.host.topology is not None
    assert found.host.topology.cells is not None
    assert found.host.topology.cells.cells[0].memory == 16175540 * 1024
    (guest,) = found.guests
    assert guest.arch.machines[0].canonical == "pc-i440fx-7.2"
    _same_in_every_form(found)


def test_a_domains_capabilities() -> None:
    """What a hypervisor supports can be asked by name."""
    found = DomainCapabilities.from_xml(GUEST)
    assert found.max_vcpus == 255
    assert found.devices is not None
    assert found.devices.disk is not None
    assert found.devices.disk.allowed("bus") == ("ide", "virtio")
    assert found.devices.disk.allowed("model") is None
    assert found.cpu is not None
    assert found.cpu.mode("custom").models[0].usable == "no"
    assert found.cpu.mode("maximum") is None
    _same_in_every_form(found)


def test_cpus_are_documents_too() -> None:
    """Those of guests, and those of hosts that are compared or made a common one of."""
    guest = Cpu.from_xml("<cpu mode='host-model'><feature policy='require' name='vmx'/></cpu>")
    assert guest.features[0].policy == "require"
    host = HostCpu.from_xml("<cpu><arch>x86_64</arch><model>EPYC</model></cpu>")
    assert host.model == "EPYC"
    _same_in_every_form(guest)
    _same_in_every_form(host)


def _same_in_every_form(value: Capabilities | DomainCapabilities | Cpu | HostCpu) -> None:
    cls = type(value)
    for again in (
        cls.from_xml(value.to_xml()),
        cls.from_toml(value.to_toml()),
        cls.from_json(value.to_json()),
        cls.from_dict(value.to_dict()),
    ):
        assert again == value
    jsonschema.Draft202012Validator(schema(cls)).validate(value.to_dict())


@pytest.mark.parametrize(
    ("cls", "xml", "message"),
    [
        (Capabilities, "<capabilities/>", "has no <host>"),
        (DomainCapabilities, "<domainCapabilities/>", "has no <path>"),
        (
            DomainCapabilities,
            GUEST.replace("name='custom'", "name='costum'"),
            "line 10: .*'costum' is not a known name; did you mean 'custom'",
        ),
        (Cpu, "<cpu mode='any'/>", "cpu: attribute mode: 'any' is not a known value"),
        (HostCpu, "<cpus/>", "a host CPU starts with <cpu>"),
    ],
)
def test_what_is_not_such_a_document(
    cls: type[Capabilities | DomainCapabilities | Cpu | HostCpu], xml: str, message: str
) -> None:
    """The message names line, element and what would be right."""
    with pytest.raises(SchemaError, match=message):
        cls.from_xml(xml)
