"""The domain, as those who import the model meet it."""

from __future__ import annotations

import subprocess
import sys
from uuid import UUID

import attrs
import pytest

import polyvisor.model
from polyvisor.errors import SchemaError
from polyvisor.model import Devices, DomainSpec, Os, Vcpu
from polyvisor.model.devices.address import PciAddress
from polyvisor.model.devices.disk import Disk
from polyvisor.model.devices.hostdev import PciHostdev

GUEST = """\
<domain type='kvm' id='3' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web</name>
  <uuid>4dea22b3-1d52-d8f3-2516-782e98ab3fa0</uuid>
  <title>web server</title>
  <metadata>
    <sim:guest xmlns:sim="urn:sim" rate="5">
      <sim:more>text</sim:more>
    </sim:guest>
  </metadata>
  <memory unit='KiB'>4194304</memory>
  <currentMemory unit='KiB'>2097152</currentMemory>
  <vcpu placement='static' current='2'>4</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <boot dev='hd'/>
    <boot dev='network'/>
  </os>
  <features>
    <acpi/>
    <apic eoi='on'/>
    <vmport state='off'/>
  </features>
  <on_reboot>restart</on_reboot>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/images/web.qcow2'/>
      <target dev='vda' bus='virtio'/>
      <alias name='ua-root'/>
      <address type='pci' domain='0x0000' bus='0x04' slot='0x1f' function='0x0'/>
    </disk>
    <serial type='pty'>
      <target type='isa-serial' port='0'/>
    </serial>
    <hostdev mode='subsystem' type='pci' managed='yes'>
      <source>
        <address domain='0x0000' bus='0x06' slot='0x02' function='0x0'/>
      </source>
    </hostdev>
    <memballoon model='none'/>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-s'/>
  </qemu:commandline>
</domain>
"""


@pytest.fixture
def spec() -> DomainSpec:
    """A domain with something of everything."""
    return DomainSpec.from_xml(GUEST)


def test_fields_have_the_elements_names(spec: DomainSpec) -> None:
    """Values are typed; sizes are bytes."""
    assert (spec.type, spec.id, spec.name) == ("kvm", 3, "web")
    assert spec.uuid == UUID("4dea22b3-1d52-d8f3-2516-782e98ab3fa0")
    assert (spec.memory, spec.current_memory) == (4 << 30, 2 << 30)
    assert spec.vcpu == Vcpu(placement="static", count=4, current=2)
    assert spec.vcpus == 2
    assert (spec.os.arch, spec.os.machine, spec.os.boot) == ("x86_64", "q35", ("hd", "network"))
    assert spec.features is not None
    assert spec.features.acpi
    assert not spec.features.pae
    assert spec.features.vmport is False
    assert (spec.on_reboot, spec.on_crash) == ("restart", None)


def test_devices_are_grouped_by_kind_and_iterable(spec: DomainSpec) -> None:
    """Each kind has its tuple; iterating goes through all."""
    (disk,) = spec.devices.disks
    assert disk.source is not None
    assert disk.source.file == "/images/web.qcow2"
    assert disk.alias == "ua-root"
    assert disk.address == PciAddress(domain=0, bus=4, slot=31, function=0)
    assert [type(device).__name__ for device in spec.devices] == [
        "Disk",
        "Serial",
        "PciHostdev",
        "Memballoon",
    ]
    assert isinstance(spec.devices.hostdevs[0], PciHostdev)


def test_libvirts_layout_is_kept(spec: DomainSpec) -> None:
    """What libvirt printed comes out byte for byte, namespaces and all."""
    assert spec.to_xml() == GUEST


def test_unchanged_text_is_made_once(spec: DomainSpec) -> None:
    """The text is kept on the value and not on changed copies of it."""
    assert spec.to_xml() is spec.to_xml()
    copy = attrs.evolve(spec, name="copy")
    assert "<name>copy</name>" in copy.to_xml()
    assert spec == DomainSpec.from_xml(GUEST)


def test_a_domain_built_by_hand_is_written() -> None:
    """Only type, name and memory have to be given."""
    spec = DomainSpec(type="test", name="t", memory=1 << 20)
    assert spec.to_xml() == (
        "<domain type='test'>\n  <name>t</name>\n  <memory unit='KiB'>1024</memory>\n"
        "  <os/>\n  <devices>\n  </devices>\n</domain>\n"
    )
    assert DomainSpec.from_xml(spec.to_xml()) == spec
    assert (spec.os, spec.devices, spec.vcpus) == (Os(), Devices(), 1)
    with_disk = attrs.evolve(spec, devices=Devices(disks=(Disk(type="block"),)))
    assert DomainSpec.from_xml(with_disk.to_xml()) == with_disk


def test_a_missing_uuid_is_given(spec: DomainSpec) -> None:
    """A domain keeps its UUID, and gets one if it has none."""
    assert spec.with_uuid() is spec
    bare = attrs.evolve(spec, uuid=None)
    assert bare.with_uuid().uuid is not None
    assert bare.with_uuid(UUID(int=5)).uuid == UUID(int=5)


def test_metadata_is_found_by_namespace(spec: DomainSpec) -> None:
    """Namespace and name decide, not the prefix."""
    found = spec.metadata_element("urn:sim", "guest")
    assert found is not None
    assert found.attrib == {"rate": "5"}
    assert "<sim:more>text</sim:more>" in found.xml
    assert spec.metadata_element("urn:other", "guest") is None
    assert spec.metadata_element("urn:sim", "other") is None


@pytest.mark.parametrize(
    "name", ["", "  ", "a/b", "a\nb", "x" * 10_000, ".", "..", "ä" * 121], ids=range(8)
)
def test_names_that_cannot_be_files_are_refused(name: str) -> None:
    """A name is refused when read and when written."""
    shown = name.replace("\n", "&#10;")
    with pytest.raises(SchemaError, match="name"):
        DomainSpec.from_xml(f"<domain type='t'><name>{shown}</name><memory>1</memory></domain>")
    with pytest.raises(SchemaError, match="name"):
        DomainSpec(type="test", name=name, memory=1024).to_xml()


@pytest.mark.parametrize(
    ("inside", "element"),
    [
        ("<memory>1</memory>", "domain"),
        ("<name>x</name>", "domain"),
        ("<name>x</name><memory>1180591620717411303424</memory>", "domain/memory"),
        ("<name>x</name><memory>1</memory><vcpu>-1</vcpu>", "domain/vcpu"),
        ("<name>x</name><memory>1</memory><vcpu>0</vcpu>", "domain/vcpu"),
        ("<name>x</name><memory>1</memory><uuid>12</uuid>", "domain/uuid"),
        ("<name>x</name><memory unit='stone'>1</memory>", "domain/memory"),
        ("<name>x</name><memory>1</memory><on_crash>explode</on_crash>", "domain/on_crash"),
        (
            "<name>x</name><memory>1</memory><devices><disk/><disk type='flie'/></devices>",
            "domain/devices/disk[2]",
        ),
    ],
)
def test_wrong_domains_are_refused(inside: str, element: str) -> None:
    """Missing, malformed and out-of-range values name their element."""
    with pytest.raises(SchemaError) as caught:
        DomainSpec.from_xml(f"<domain type='test'>{inside}</domain>")
    assert caught.value.element == element
    assert caught.value.line == 1


def test_importing_builds_only_what_is_used() -> None:
    """A domain without devices imports no device's module, and the package alone no class."""
    code = (
        "import sys, polyvisor.model\n"
        "assert not [m for m in sys.modules if m.startswith('polyvisor.model.')]\n"
        "polyvisor.model.DomainSpec.from_xml("
        "\"<domain type='test'><name>x</name><memory>1</memory></domain>\").to_xml()\n"
        "loaded = {m for m in sys.modules if m.startswith('polyvisor.model.devices.')}\n"
        "assert not loaded, loaded\n"
        "assert 'lxml' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_public_names_exist() -> None:
    """Each public name can be imported, and no other."""
    for name in polyvisor.model.__all__:
        assert getattr(polyvisor.model, name).__doc__
    assert set(polyvisor.model.__all__) <= set(dir(polyvisor.model))
    with pytest.raises(AttributeError):
        polyvisor.model.Nothing  # noqa: B018


def test_a_prefix_of_metadata_may_be_declared_on_the_root() -> None:
    """An element of the metadata is found, and complete when taken out, wherever its prefix is."""
    spec = DomainSpec.from_xml(
        "<domain type='test' xmlns:app='urn:app'><name>t</name><memory>1</memory>"
        "<metadata><app:note level='1'>kept</app:note></metadata></domain>"
    )
    found = spec.metadata_element("urn:app", "note")
    assert found is not None
    assert found.text == "kept"
    assert found.xml == '<app:note xmlns:app="urn:app" level="1">kept</app:note>'
    assert DomainSpec.from_xml(spec.to_xml()).metadata_element("urn:app", "note") == found


NAMESPACES = {
    "qemu": "<{0}:commandline><{0}:arg value='-nodefaults'/></{0}:commandline>",
    "lxc": "<{0}:namespace><{0}:shareipc type='name' value='other'/></{0}:namespace>",
    "bhyve": "<{0}:commandline><{0}:arg value='-s'/></{0}:commandline>",
    "xen": "<{0}:commandline><{0}:arg value='-v'/></{0}:commandline>",
    "vmware": "<{0}:datacenterpath>here/there</{0}:datacenterpath>",
}


@pytest.mark.parametrize("name", NAMESPACES)
@pytest.mark.parametrize("prefix", ["own", "other"])
def test_a_hypervisors_own_elements_are_typed(name: str, prefix: str) -> None:
    """They are read under any prefix, and written with libvirt's and its declaration."""
    prefix = name if prefix == "own" else prefix
    uri = f"http://libvirt.org/schemas/domain/{name}/1.0"
    spec = DomainSpec.from_xml(
        f"<domain type='test' xmlns:{prefix}='{uri}'><name>t</name><memory>1</memory>"
        f"{NAMESPACES[name].format(prefix)}</domain>"
    )
    field = next(
        field
        for field in ("commandline", "namespace", "datacenterpath")
        if getattr(spec, f"{name}_{field}", None) is not None
    )
    assert f"<domain type='test' xmlns:{name}='{uri}'>" in spec.to_xml().replace(
        f" xmlns:other='{uri}'", ""
    )
    bare = DomainSpec(
        type="test",
        name="t",
        memory=1024,
        **{f"{name}_{field}": getattr(spec, f"{name}_{field}")},
    )
    again = DomainSpec.from_xml(bare.to_xml())
    assert again == bare
    assert f"xmlns:{name}='{uri}'" in bare.to_xml()


def test_what_cannot_be_normalised_is_refused_as_a_definition() -> None:
    """A unit that only counts when pages are counted in KiB is refused by name."""
    spec = DomainSpec.from_xml(
        "<domain type='kvm'><name>a</name><memory>1</memory><memoryBacking><hugepages>"
        "<page size='2' unit='leaves'/></hugepages></memoryBacking></domain>"
    )
    with pytest.raises(SchemaError, match="domain 'a' has no normal form: 'leaves' is not"):
        spec.normalised()


def test_most_memory_in_any_unit() -> None:
    """The most memory is read in the unit that it states, and written in KiB."""
    text = (
        "<domain type='qemu'><name>a</name><memory>1024</memory>"
        "<maxMemory slots='4' unit='GiB'>2</maxMemory><os><type>hvm</type></os></domain>"
    )
    spec = DomainSpec.from_xml(text)
    assert spec.max_memory is not None
    assert spec.max_memory.size == 2 << 30
    assert "<maxMemory slots='4' unit='KiB'>2097152</maxMemory>" in spec.to_xml()
    with pytest.raises(SchemaError, match="not a unit"):
        DomainSpec.from_xml(text.replace("GiB", "stone"))
