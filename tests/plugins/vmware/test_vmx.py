"""``vmware-vmx``: VMware's configurations, read and written, and what is refused."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyvisor import native
from polyvisor.errors import SpecError
from polyvisor.model import DomainSpec
from polyvisor.testing.strategies import specs
from polyvisor_vmware.format import VmxFormat

_spec = importlib.util.spec_from_file_location("vmx_suites", Path(__file__).with_name("suites.py"))
assert _spec is not None
assert _spec.loader is not None
suites = importlib.util.module_from_spec(_spec)
sys.modules["vmx_suites"] = suites
_spec.loader.exec_module(suites)

VMX = VmxFormat()
HEAD = 'config.version = "8"\nvirtualHW.version = "13"\ndisplayName = "a"\n'
XML = """<domain type='vmware'><name>a</name><memory unit='MiB'>64</memory><os>
<type>hvm</type></os><devices>{}</devices></domain>"""

#: The least share that passes. Two cases that do not read as upstream's have images that its
#: test says are missing, a third what its test makes up of the host.
SHARES = {"vmx2xml": 0.94, "xml2vmx": 1.0}


def vmx(text: str) -> DomainSpec:
    """Return the definition of a configuration."""
    return VMX.read(text.encode(), path="a.vmx")


@pytest.mark.parametrize("suite", suites.SUITES)
def test_what_upstream_expects_comes_out(suite: str) -> None:
    """Each of upstream's cases gives upstream's own text."""
    found = [*suites.results(suite)]
    if not found:
        pytest.skip("no libvirt test data: set POLYVISOR_CORPORA to an unpacked source tree")
    failed = [result for result in found if not result.passed]
    assert 1 - len(failed) / len(found) >= SHARES[suite], failed


@pytest.mark.parametrize("suite", suites.SUITES)
def test_the_page_says_what_the_suites_say(suite: str) -> None:
    """docs/conformance.md has these very figures."""
    found = [*suites.results(suite)]
    if not found:
        pytest.skip("no libvirt test data: set POLYVISOR_CORPORA to an unpacked source tree")
    counts = Counter(result.outcome for result in found)
    share = sum(result.passed for result in found) / len(found)
    cells = (suite, len(found), counts["equal"], counts["same"], f"{share:.1%}")
    row = f"| {' | '.join(map(str, cells))} |"
    page = Path(__file__).parents[3] / "docs" / "conformance.md"
    assert row in page.read_text(encoding="utf-8").splitlines()


def test_the_format_is_announced() -> None:
    """It is found by name, and by what a file says."""
    assert isinstance(native.open_format("vmware-vmx"), VmxFormat)
    assert native.identify(HEAD.encode(), path="x").name == "vmware-vmx"
    assert not VMX.recognises(b'name = "a"')


def test_names_have_no_case_and_values_have_codes() -> None:
    """Characters that cannot stand in a value are bytes of UTF-8 behind a bar or a percent."""
    spec = vmx(
        '#!/usr/bin/vmware\nCONFIG.VERSION = "8"\nvirtualhw.Version = "7" # seven\r\n\n'
        'displayname = "a%5cb|7C%c3%bc"\nAnnotation = "x|0Ay|22|C3|BC"\nmemsize = "64"\n'
        'memSize = "128"\n'
    )
    assert (spec.name, spec.description, spec.memory) == ("a\\b|ü", 'x\ny"ü', 64 << 20)
    text = VMX.write(spec)
    assert 'displayName = "a%5cb|7cü"\n' in text
    assert 'annotation = "x|0Ay|22ü"\n' in text
    again = vmx(text)
    assert (again.name, again.description) == (spec.name, spec.description)


def test_encodings() -> None:
    """The encoding that a file names counts, if it is one of text."""
    text = f'.encoding = "windows-1252"\n{HEAD}annotation = "ü"\n'
    assert VMX.read(text.encode("windows-1252"), path="a").description == "ü"
    for name in ("hex", "no-such", "ascii"):
        with pytest.raises(SpecError, match=rf"a:\d+: it is not text in {name}"):
            VMX.read(text.replace("windows-1252", name).encode("latin-1"), path="a")


def test_places_of_images() -> None:
    """Volumes are datastores; what has no folder is in the one given, or stays as it is."""
    text = f'{HEAD}scsi0.present = "true"\nscsi0:0.present = "true"\nscsi0:0.fileName = "{{}}"\n'
    for name, place in (("/vmfs/volumes/ds/a/b.vmdk", "[ds] a/b.vmdk"), ("b.vmdk", "[x] y/b.vmdk")):
        spec = VmxFormat("[x] y").read(text.format(name).encode(), path="a")
        assert spec.devices.disks[0].source.file == place
    spec = vmx(text.format("b.vmdk"))
    assert spec.devices.disks[0].source.file == "b.vmdk"
    assert 'scsi0:0.fileName = "b.vmdk"' in VMX.write(spec)


def test_wide_buses() -> None:
    """Unit 7 is the controller's own; newer machines have up to 64 units."""
    text = f'{HEAD}scsi1.present = "true"\nscsi1.virtualDev = "pvscsi"\n' + "".join(
        f'scsi1:{unit}.present = "true"\nscsi1:{unit}.fileName = "{unit}.vmdk"\n'
        for unit in (0, 8, 20)
    )
    spec = vmx(text)
    assert [disk.target.dev for disk in spec.devices.disks] == ["sdp", "sdw", "sdai"]
    assert [c.model for c in spec.devices.controllers] == [None, "vmpvscsi"]
    written = VMX.write(spec)
    assert 'scsi1:20.fileName = "20.vmdk"' in written
    assert 'scsi1.virtualDev = "pvscsi"' in written
    assert "scsi0" not in written


@pytest.mark.parametrize(
    ("text", "line", "fault"),
    [
        ("memsize = 4", 1, "in quotes"),
        ('config.version = "9"', 1, "config.version is 9"),
        ('config.version = "8"\nvirtualHW.version = "3"', 2, "virtualHW.version is 3"),
        ('config.version = "8"\nvirtualHW.version = "7"', None, "the machine has no name"),
        (f'{HEAD}memsize = "6"', 4, "multiple of 4"),
        (f'{HEAD}memsize = "much"', 4, "should be a number"),
        (f'{HEAD}numvcpus = "0"', 4, "can be 1 to"),
        (f'{HEAD}numvcpus = "2"\ncpuid.coresPerSocket = "4"', 5, "more than the 2 CPUs"),
        (f'{HEAD}numvcpus = "2"\nsched.cpu.affinity = "1"', 5, "should have 2"),
        (f'{HEAD}sched.cpu.affinity = "a"', 4, "not a list of CPUs"),
        (f'{HEAD}sched.cpu.shares = "-3"', 4, "can be a number, low"),
        (f'{HEAD}uuid.bios = "1"', 4, "16 bytes of a UUID"),
        (f'{HEAD}firmware = "x"', 4, "can be efi, bios"),
        (f'{HEAD}smbios.reflecthost = "x"', 4, "should be true or false"),
        (f'{HEAD}annotation = "|00"', 4, "has the character"),
        (f'{HEAD}scsi0.present = "true"\nscsi0.virtualDev = "x"', 5, "can be buslogic"),
        (f'{HEAD}ide0:0.present = "true"\nide0:0.fileName = "a.img"', 5, "which is unknown"),
        (f'{HEAD}ethernetX.present = "true"', 4, "which interface"),
        (f'{HEAD}ethernet0.present = "true"\nethernet0.connectionType = "hostonly"', 5, "no place"),
        (f'{HEAD}ethernet0.present = "true"\nethernet0.generatedAddress = "1"', 5, "MAC address"),
        (f'{HEAD}serial0.present = "true"\nserial0.fileType = "network"\n'
         'serial0.fileName = "tcp://x"', 6, "such as tcp://host:4001"),
        (f'{HEAD}parallel0.present = "true"', 4, "fileType is not set"),
        (f'{HEAD}isolation.tools.hgfs.disable = "false"\nsharedFolder.maxNum = "9999"', 5, "more"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, line: int | None, fault: str) -> None:
    """What is wrong, or what no definition can say, is named with file and line."""
    with pytest.raises(SpecError) as caught:
        vmx(text)
    assert caught.value.line == line
    assert fault in caught.value.message
    assert caught.value.message.startswith("a.vmx:")


@pytest.mark.parametrize(
    ("devices", "fault"),
    [
        ("<disk><source file='a.qcow2'/><target dev='sda'/></disk>", "should end with .vmdk"),
        ("<disk><source file='a.vmdk'/><target dev='vda'/></disk>", "use scsi, sata or ide"),
        ("<disk type='block'><source dev='/d'/><target dev='sda'/></disk>", "use an image"),
        ("<interface type='network'><source network='n'/></interface>", "use bridge"),
        ("<interface type='user'><model type='virtio'/></interface>", "no 'virtio'"),
        ("<graphics type='spice'/>", "use vnc"),
        ("<video><model type='qxl'/></video>", "use 'vmvga'"),
        ("<serial type='pty'/>", "use dev or file"),
        ("<filesystem type='block'><source dev='/a'/><target dir='b'/></filesystem>", "mount"),
    ],
)
def test_what_cannot_be_written(devices: str, fault: str) -> None:
    """What VMware does not have is refused in words, not left out."""
    with pytest.raises(SpecError, match=fault):
        VMX.write(DomainSpec.from_xml(XML.format(devices)))
    with pytest.raises(SpecError, match="use type 'vmware'"):
        VMX.write(DomainSpec.from_xml(XML.format("").replace("vmware", "kvm")))


@given(st.binary(max_size=200) | st.text('ab.:= "|%#\n1', max_size=80).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Nothing but ``SpecError`` comes of bytes that nobody would write."""
    for text in (data, HEAD.encode() + data):
        try:
            spec = VMX.read(text, path="a")
        except SpecError:
            continue
        assert spec.name


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(specs())
def test_any_definition_is_written_or_refused(spec: DomainSpec) -> None:
    """A definition that nobody would think of gives a configuration that reads as itself."""
    import attrs

    spec = attrs.evolve(spec, type="vmware")
    try:
        text = VMX.write(spec)
        text = VMX.write(VMX.read(text.encode(), path="a"))
    except SpecError:
        return
    assert VMX.write(VMX.read(text.encode(), path="a")) == text
