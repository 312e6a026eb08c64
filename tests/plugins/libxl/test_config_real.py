"""What we read and make, beside Xen's own libraries: libxl 4.17 and xl's grammars."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from polyvisor.errors import SpecError
from polyvisor.model import DomainSpec
from polyvisor.testing.strategies import specs
from polyvisor_libxl.config.diskspec import DiskText, parse_disk
from polyvisor_libxl.config.grammar import Atom, Value, parse
from polyvisor_libxl.domconfig import from_json, normalised, to_json

pytestmark = pytest.mark.real

_spec = importlib.util.spec_from_file_location(
    "reallibxl", Path(__file__).with_name("reallibxl.py")
)
assert _spec is not None
assert _spec.loader is not None
reallibxl = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reallibxl)


@pytest.fixture(scope="module")
def xen():
    """Hold Xen's libraries."""
    try:
        return reallibxl.Xen()
    except OSError as error:
        pytest.skip(f"{error}: apt-get install libxenmisc4.17")


class Refused(Exception):
    """Our reader refused a disk."""


def refuse(fault: str) -> None:
    """Raise it."""
    raise Refused(fault)


GUEST = """<domain type='xen'><name>a</name><memory unit='MiB'>512</memory>
<vcpu cpuset='0-3'>2</vcpu><cputune><shares>300</shares></cputune>
<os><type>hvm</type><boot dev='cdrom'/></os>
<features><acpi/><apic/><viridian/><hap/><xen><passthrough state='on'/></xen></features>
<cpu mode='host-passthrough'><feature policy='disable' name='pni'/><feature policy='require'
name='rdcl-no'/><numa><cell id='0' cpus='0-1' memory='524288' unit='KiB'/></numa></cpu>
<clock offset='localtime' adjustment='-60'><timer name='tsc' mode='native'/><timer name='hpet'
present='no'/></clock><on_crash>coredump-restart</on_crash>
<devices><emulator>/q</emulator>
<disk type='block'><driver name='phy' discard='unmap'/><source dev='/dev/a'/>
<target dev='xvda'/></disk><disk device='cdrom'><target dev='hdc'/></disk>
<controller type='usb' model='qusb1' ports='3'/><controller type='xenbus' maxGrantFrames='9'/>
<interface type='bridge'><mac address='00:16:3e:00:00:01'/><source bridge='b'/>
<ip address='10.0.0.1'/><model type='e1000'/><bandwidth><outbound average='9'/></bandwidth>
</interface><serial type='pty'/><serial type='file'><source path='/s'/></serial>
<channel type='unix'><target type='xen' name='c'/></channel><sound model='ich6'/>
<graphics type='spice' autoport='yes' passwd='p'/><graphics type='vnc' keymap='de'/>
<hostdev type='pci'><source writeFiltering='no'><address bus='1' slot='2'/></source></hostdev>
<hostdev type='usb'><source><address bus='1' device='3'/></source></hostdev>
<input type='tablet' bus='usb'/><video><model type='qxl'/></video></devices></domain>"""


def test_libxl_takes_what_is_made_and_loses_nothing(xen) -> None:
    """Every field of a guest that has one of each comes back from libxl, under its own name."""
    made = to_json(DomainSpec.from_xml(GUEST))
    taken = xen.config(made)
    assert taken is not None
    assert normalised(taken) == normalised(made)
    # And what libxl writes is what is read of guests that it runs.
    assert normalised(to_json(from_json(taken))) == normalised(made)


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(spec=specs())
def test_libxl_takes_what_is_made_of_any_definition(xen, spec: DomainSpec) -> None:
    """What is not refused here is not refused by libxl, and means the same to it."""
    try:
        made = to_json(spec)
    except SpecError:
        return
    taken = xen.config(made)
    assert taken is not None
    assert normalised(taken) == normalised(made)


PIECES = (
    *("/a", "raw", "qcow2", "xvda", "hda", "rw", "ro", "r", "w", "cdrom", "devtype=cdrom"),
    *("devtype=disk", "format=raw", "format=qcow", "format=", "vdev=sda", "access=ro", "access="),
    *("backendtype=phy", "backendtype=qdisk", "target=/b,c", "target=", "backend=d", "discard"),
    *("no-discard", "hdc:cdrom", "hdc:disk", "phy:/x", "tap:aio:/y", "file:/z", "raw:/q"),
    *("empty", "direct-io-safe", "script=s", "iscsi:/a", "foo:/a", "backendtype=x", "devtype=x"),
    *("=x", "!", "x"),
)


def _fields(disk: DiskText) -> dict[str, object]:
    return {
        "pdev_path": disk.target or None,
        "vdev": disk.vdev,
        "format": disk.format or "raw",
        "readwrite": int(disk.writable),
        "is_cdrom": int(disk.cdrom),
        "backend": disk.backend,
        "backend_domname": disk.domain,
        "discard_enable": {None: None, True: "True", False: "False"}[disk.discard],
    }


def test_disks_are_read_as_xl_reads_them(xen) -> None:
    """Of any parts in any order xl takes what is taken here, and reads the same of it."""
    chance = random.Random(17)
    taken = 0
    for _ in range(10_000):
        text = ",".join(chance.choice(PIECES) for _ in range(chance.randint(1, 5)))
        theirs = xen.disk(text)
        try:
            ours = _fields(parse_disk(text, refuse))
        except Refused as refusal:
            # What a definition cannot say is refused here alone, as are disks without a name.
            known = ("no place", "needs a script", "add vdev")
            if theirs is None or any(word in str(refusal) for word in known):
                continue
            raise AssertionError(text) from refusal
        if theirs is None:
            # Shared disks are written so by libvirt, though xl does not take them back.
            assert "!" in text, text
            continue
        taken += 1
        # libxl leaves out what is zero or empty.
        assert {name: value for name, value in ours.items() if value} == {
            name: theirs[name] for name in ours if theirs.get(name)
        }, text
    assert taken > 500


TOKENS = (
    *"abc=[],;# 1\n",
    "+=", "= ", "'x'", '"y\\n"', "0x1f", "#z\n", "'p\\'q'", '"\\x41\\\\"', "= 'u'", "=[", "]\n",
)  # fmt: skip


def _plain(value: Value) -> object:
    if isinstance(value, Atom):
        return value.text
    return [item.text if isinstance(item, Atom) else "" for item in value.items]


def test_files_are_read_as_xl_reads_them(xen) -> None:
    """Whatever xl takes is taken here, with the same values."""
    chance = random.Random(4)
    taken = 0
    for _ in range(30_000):
        text = "".join(chance.choice(TOKENS) for _ in range(chance.randint(1, 14)))
        theirs = xen.settings(text.encode(), ["a", "b", "c"])
        if theirs is None:
            continue
        taken += 1
        ours = {name: _plain(value) for name, value in parse(text.encode(), path="a").items()}
        assert {name: ours[name] for name in ours if name in {"a", "b", "c"}} == theirs, text
    assert taken > 300
