"""What of a definition stands on QEMU's command line, and what real QEMU makes of it."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyvisor.errors import SemanticError
from polyvisor.states import DomainState
from polyvisor_qemu import argv
from polyvisor_qemu.qmp import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyvisor.model import DomainSpec

    # The conftest's own class; tests are no package that could be imported from.
    Hosts = Any
    Make = Callable[..., DomainSpec]


def build(spec: DomainSpec) -> list[str]:
    """Return a definition's command line."""
    return argv.build(spec.with_uuid(), "qemu")


def values_of(line: list[str], option: str) -> list[str]:
    """Return the values of an option, in order."""
    return [value for word, value in pairwise(line) if word == f"-{option}"]


def value_of(line: list[str], option: str) -> str:
    """Return the value of an option that is there once."""
    (value,) = values_of(line, option)
    return value


def split(value: str) -> list[str]:
    """Take ``key=value,…`` apart as QEMU does (util/keyval.c): a comma is doubled within."""
    parts = value.replace(",,", "\0").split(",")
    return [part.replace("\0", ",") for part in parts]


# What a definition may say

_WORDS = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\uffff\ufffe"),
    min_size=1,
    max_size=30,
)


@given(name=_WORDS.filter(lambda name: name.strip() == name and name not in (".", "..")))
def test_any_name(name: str, make_spec: Make) -> None:
    """A name stays one value, whatever is in it."""
    words = split(value_of(build(make_spec(name)), "name"))
    assert words == [f"guest={name}", "debug-threads=on"]


@given(name=_WORDS)
def test_any_path(name: str, make_spec: Make) -> None:
    """So does the path of a file, in JSON and in ``key=value``."""
    from xml.sax.saxutils import escape

    path = f"/tmp/{name}"
    source = f'<source file="{escape(path, {chr(34): "&quot;"})}"/>'
    serial = source.replace("file=", "path=")
    line = build(
        make_spec(
            devices=f"<disk type='file'>{source}<target dev='vda' bus='virtio'/></disk>"
            f"<serial type='file'>{serial}</serial>"
        )
    )
    nodes = [json.loads(value) for value in values_of(line, "blockdev")]
    assert nodes[0]["filename"] == path
    words = split(value_of(line, "chardev"))
    assert words == ["file", "id=serial0", f"path={path}", "append=off"]


def test_nothing_reaches_the_command_line_as_an_option(make_spec: Make) -> None:
    """Every other word begins with a dash and what a definition says never is one of them."""
    line = build(make_spec("-name", devices="<serial type='pty'/>"))
    options = [word for word in line[1:] if word.startswith("-")]
    assert "-name" in options
    assert options.count("-name") == 1


def test_stopped_and_shut_in(make_spec: Make) -> None:
    """Every guest begins stopped, without QEMU's own devices and files, in its sandbox."""
    line = build(make_spec())
    assert {"-S", "-nodefaults", "-no-user-config"} <= set(line)
    assert "spawn=deny" in value_of(line, "sandbox")


@pytest.mark.parametrize(
    ("more", "option", "words"),
    [
        ("", "machine", {"acpi=off", "usb=off"}),
        ("<features><vmport state='off'/></features>", "machine", {"vmport=off"}),
        ("<clock offset='utc'><timer name='hpet' present='no'/></clock>", "machine", {"hpet=off"}),
        ("<clock offset='localtime'/>", "rtc", {"base=localtime"}),
        ("<cpu mode='host-passthrough'/>", "cpu", {"max"}),
        ("<cpu mode='maximum'/>", "cpu", {"max"}),
        (
            "<cpu><model>Nehalem</model><feature name='avx' policy='require'/>"
            "<feature name='vmx' policy='disable'/></cpu>",
            "cpu",
            {"Nehalem", "avx=on", "vmx=off"},
        ),
        ("<cpu><topology sockets='1' cores='2' threads='2'/></cpu>", "smp", {"4", "cores=2"}),
        ("<on_poweroff>preserve</on_poweroff>", "action", {"shutdown=pause", "reboot=reset"}),
        ("<on_reboot>destroy</on_reboot>", "action", {"shutdown=poweroff", "reboot=shutdown"}),
    ],
)
def test_machine(more: str, option: str, words: set[str], make_spec: Make) -> None:
    """What stands beside the devices is passed on."""
    assert words <= set(split(value_of(build(make_spec(vcpus=4, more=more)), option)))


def test_acpi(make_spec: Make) -> None:
    """ACPI is there if it is asked for, as libvirt has it."""
    line = build(make_spec(more="<features><acpi/></features>"))
    assert "acpi" not in value_of(line, "machine")


# What this driver does not do

HOSTDEV = (
    "<hostdev mode='subsystem' type='pci'><source>"
    "<address domain='0' bus='0' slot='2' function='0'/></source></hostdev>"
)


@pytest.mark.parametrize(
    ("devices", "element", "told"),
    [
        (HOSTDEV, "hostdev", "remove it"),
        ("<tpm model='tpm-tis'><backend type='emulator'/></tpm>", "tpm", "remove it"),
        (
            "<filesystem type='mount'><source dir='/a'/><target dir='b'/></filesystem>",
            "filesystem",
            "remove it",
        ),
        ("<hub type='usb'/>", "hub", "remove it"),
        ("<smartcard mode='host'/>", "smartcard", "remove it"),
        ("<shmem name='a'><size unit='M'>4</size></shmem>", "shmem", "remove it"),
        ("<vsock model='virtio'><cid auto='yes'/></vsock>", "vsock", "remove it"),
        ("<iommu model='intel'/>", "iommu", "remove it"),
        (
            "<memory model='dimm'><target><size unit='MiB'>64</size></target></memory>",
            "memory",
            "remove it",
        ),
        ("<teleporter range='5'/>", "teleporter", "remove it"),
        ("<interface type='bridge'><source bridge='b'/></interface>", "interface[0]", "use 'user'"),
        ("<interface type='network'><source network='n'/></interface>", "interface[0]", "'user'"),
        (
            "<disk type='network'><source protocol='nbd' name='x'/><target dev='vda'/></disk>",
            "disk[0]/source",
            "type 'network'",
        ),
        ("<disk type='file'><target dev='vda'/></disk>", "disk[0]/source", "which file"),
        (
            "<disk type='file'><source file='/x'/><target dev='xvda' bus='xen'/></disk>",
            "disk[0]",
            "bus 'xen'",
        ),
        (
            "<disk type='file'><source file='/x'/><target dev='sda' bus='sata'/><readonly/></disk>",
            "disk[0]/readonly",
            "cannot be read-only",
        ),
        ("<serial type='udp'><source host='a' service='1'/></serial>", "serial0", "type 'udp'"),
        ("<serial type='file'/>", "serial0", "which file"),
        (
            "<channel type='unix'><target type='guestfwd' address='10.0.2.1' port='1'/></channel>",
            "channel[0]",
            "'guestfwd'",
        ),
        (
            "<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>",
            "channel[0]",
            "needs <graphics type='spice'>",
        ),
        ("<graphics type='vnc' passwd='x'/>", "graphics[0]", "password"),
        ("<graphics type='sdl'/>", "graphics[0]", "'sdl'"),
        ("<video><model type='xen'/></video>", "video[0]", "'xen'"),
        ("<sound model='pcspk'/>", "sound[0]", "'pcspk'"),
        ("<rng model='virtio'><backend model='egd'/></rng>", "rng[0]/backend", "'egd'"),
        ("<memballoon model='xen'/>", "memballoon", "use 'virtio'"),
        ("<panic model='hyperv'/>", "panic", "use 'isa'"),
        ("<controller type='usb' model='vt82c686b-uhci'/>", "controller", "vt82c686b"),
        ("<controller type='scsi' model='vmpvscsi'/>", "controller", "vmpvscsi"),
        ("<controller type='xenbus'/>", "controller", "xenbus"),
        ("<input type='passthrough' bus='virtio'/>", "input[0]", "passthrough"),
    ],
)
def test_refused_device(devices: str, element: str, told: str, make_spec: Make) -> None:
    """A device that cannot be built is refused: which one, and what stands in the way."""
    with pytest.raises(SemanticError) as caught:
        build(make_spec(devices=devices))
    assert caught.value.element == f"domain/devices/{element}"
    assert caught.value.message.startswith("domain 'guest': domain/devices/")
    assert told in caught.value.message


@pytest.mark.parametrize(
    ("given", "element"),
    [
        ({"more": "<maxMemory slots='2' unit='GiB'>1</maxMemory>"}, "domain/maxMemory"),
        (
            {"more": "<memoryBacking><hugepages/></memoryBacking>"},
            "domain/memoryBacking/hugepages",
        ),
        (
            {"more": "<cpu><topology sockets='3' cores='1' threads='1'/></cpu>"},
            "domain/cpu/topology",
        ),
        (
            {"more": "<cpu><numa><cell id='0' cpus='0' memory='16384'/></numa></cpu>"},
            "domain/cpu/numa",
        ),
        ({"more": "<on_reboot>rename-restart</on_reboot>"}, "domain/on_reboot"),
        ({"boot": "<loader type='pflash'>/x</loader>"}, "domain/os/loader"),
    ],
)
def test_refused_machine(given: dict[str, str], element: str, make_spec: Make) -> None:
    """So is what stands beside the devices."""
    with pytest.raises(SemanticError) as caught:
        build(make_spec(**given))
    assert caught.value.element == element


# What real QEMU makes of it

DISK = (
    "<disk type='file' device='{device}'><source file='FOLDER/{dev}.img'/>"
    "<target dev='{dev}' bus='{bus}'/>{more}</disk>"
)


def disk(dev: str, bus: str, device: str = "disk", more: str = "", driver: str = "") -> str:
    """Return a disk; the test puts the folder of its image in."""
    return DISK.format(device=device, dev=dev, bus=bus, more=more + driver)


def pci(slot: int, bus: int = 0, function: int = 0) -> str:
    """Return a PCI address."""
    return f"<address type='pci' domain='0' bus='{bus}' slot='{slot}' function='{function}'/>"


ICH9_USB = """
    <controller type='usb' index='0' model='ich9-ehci1'/>
    <controller type='usb' index='0' model='ich9-uhci1'><master startport='0'/></controller>
    <controller type='usb' index='0' model='ich9-uhci2'><master startport='2'/></controller>
    <controller type='usb' index='0' model='ich9-uhci3'><master startport='4'/></controller>
"""
ROOT_PORTS = (
    "<controller type='pci' index='0' model='pcie-root'/>"
    "<controller type='pci' index='1' model='pcie-root-port'>"
    f"<target chassis='1' port='0x8'/>{pci(1)}</controller>"
    "<controller type='pci' index='2' model='pcie-to-pci-bridge'/>"
)

DEVICES = [
    ("pc", disk("hda", "ide"), ["ide-hd"]),
    ("pc", disk("hda", "ide") + disk("hdd", "ide"), ["ide-hd", "ide-hd"]),
    ("pc", disk("hdc", "ide", "cdrom"), ["ide-cd"]),
    ("pc", "<disk type='file' device='cdrom'><target dev='hda' bus='ide'/></disk>", ["ide-cd"]),
    ("q35", disk("sda", "sata") + disk("sdb", "sata", "cdrom"), ["ide-hd", "ide-cd"]),
    ("pc", disk("vda", "virtio", more="<readonly/><serial>WD-1</serial>"), ["virtio-blk-pci"]),
    ("pc", disk("vda", "virtio", driver="<driver name='qemu' cache='none' io='native'/>"),
     ["virtio-blk-pci"]),
    ("pc", disk("vda", "virtio", driver="<driver name='qemu' cache='unsafe' io='threads' "
     "discard='unmap'/>"), ["virtio-blk-pci"]),
    ("pc", disk("sda", "scsi"), ["lsi53c895a", "scsi-hd"]),
    ("pc", "<controller type='scsi' model='virtio-scsi'/>" + disk("sda", "scsi"),
     ["virtio-scsi-pci", "scsi-hd"]),
    ("pc", disk("sda", "usb"), ["piix3-usb-uhci", "usb-storage"]),
    ("pc", disk("fda", "fdc", "floppy"), ["floppy"]),
    ("pc", disk("vda", "virtio", more=pci(9)), ["virtio-blk-pci"]),
    ("q35", ROOT_PORTS + disk("vda", "virtio", more=pci(0, bus=1)),
     ["pcie-pci-bridge", "pcie-root-port", "virtio-blk-pci"]),
    ("pc", "<controller type='pci' index='1' model='pci-bridge'/>", ["pci-bridge"]),
    ("pc", "<interface type='user'/>", ["virtio-net-pci"]),
    ("pc", "<interface type='user'><mac address='52:54:00:00:00:01'/><model type='e1000'/>"
     "<boot order='1'/></interface>", ["e1000"]),
    ("pc", "<interface type='user'><model type='virtio'/></interface>"
     "<interface type='user'><model type='rtl8139'/></interface>", ["rtl8139", "virtio-net-pci"]),
    ("pc", "<serial type='pty'/><serial type='null'/><parallel type='null'/>",
     ["isa-parallel", "isa-serial", "isa-serial"]),
    ("pc", "<console type='pty'/>", ["isa-serial"]),
    ("pc", "<serial type='unix'><source mode='bind' path='FOLDER/a,b'/></serial>", ["isa-serial"]),
    ("pc", "<serial type='tcp'><source mode='bind' host='127.0.0.1' service='0'/></serial>",
     ["isa-serial"]),
    ("pc", "<channel type='unix'><source mode='bind'/><target type='virtio' "
     "name='org.qemu.guest_agent.0'/></channel>", ["virtio-serial-pci", "virtserialport"]),
    ("pc", "<controller type='virtio-serial' index='0'/><channel type='pty'><target type='virtio' "
     "name='a,b'/></channel>", ["virtio-serial-pci", "virtserialport"]),
    ("pc", "<controller type='usb' model='none'/><input type='mouse' bus='ps2'/>", []),
    ("pc", "<input type='tablet' bus='usb'/><input type='keyboard' bus='usb'/>",
     ["piix3-usb-uhci", "usb-kbd", "usb-tablet"]),
    ("q35", "<input type='mouse' bus='usb'/>", ["qemu-xhci", "usb-mouse"]),
    ("pc", "<input type='tablet' bus='virtio'/><input type='mouse' bus='virtio'/>"
     "<input type='keyboard' bus='virtio'/>",
     ["virtio-keyboard-pci", "virtio-mouse-pci", "virtio-tablet-pci"]),
    ("pc", ICH9_USB + "<input type='tablet' bus='usb'/>",
     ["ich9-usb-ehci1", "ich9-usb-uhci1", "ich9-usb-uhci2", "ich9-usb-uhci3", "usb-tablet"]),
    ("q35", ICH9_USB, ["ich9-usb-ehci1", "ich9-usb-uhci1", "ich9-usb-uhci2", "ich9-usb-uhci3"]),
    ("pc", "<controller type='usb' model='nec-xhci' ports='4'/>", ["nec-usb-xhci"]),
    ("pc", "<controller type='usb' model='ehci'/>", ["usb-ehci"]),
    ("pc", "<graphics type='vnc' port='-1' autoport='yes'/><video><model type='vga'/></video>",
     ["VGA"]),
    ("pc", "<video><model type='cirrus'/></video>", ["cirrus-vga"]),
    ("pc", "<video><model type='default'/></video>", ["VGA"]),
    ("pc", "<video><model type='vmvga'/></video>", ["vmware-svga"]),
    ("q35", "<video><model type='bochs'/></video>", ["bochs-display"]),
    ("pc", "<video><model type='none'/></video>", []),
    ("pc", "<sound model='ich6'/>", ["hda-duplex", "intel-hda"]),
    ("q35", "<sound model='ich9'/>", ["hda-duplex", "ich9-intel-hda"]),
    ("pc", "<sound model='ac97'/><sound model='es1370'/>", ["AC97", "ES1370"]),
    ("pc", "<rng model='virtio'><rate bytes='1024' period='500'/>"
     "<backend model='random'>/dev/urandom</backend></rng>", ["virtio-rng-pci"]),
    ("pc", "<rng model='virtio'><backend model='builtin'/></rng>", ["virtio-rng-pci"]),
    ("pc", "<watchdog model='i6300esb' action='poweroff'/>", ["i6300esb"]),
    ("pc", "<watchdog model='ib700' action='dump'/>", ["ib700"]),
    ("q35", "<watchdog model='itco' action='reset'/>", []),
    ("pc", "<memballoon model='virtio' autodeflate='on'/>", ["virtio-balloon-pci"]),
    ("pc", "<memballoon model='none'/>", []),
    ("pc", "<panic model='isa'/>", ["pvpanic"]),
]  # fmt: skip


def with_images(hosts: Hosts, devices: str) -> str:
    """Put the folder of the test in, and make the images that stand in it."""
    for name in re.findall(r"FOLDER/(\w+\.img)", devices):
        (hosts.root / name).write_bytes(bytes(1 << 20))
    return devices.replace("FOLDER", str(hosts.root))


def plugged(hosts: Hosts) -> list[str]:
    """Return the kinds of devices that the one guest there is was given, sorted."""
    with Monitor(str(next(hosts.root.rglob("control")))) as monitor:
        kinds = []
        for place in ("/machine/peripheral", "/machine/peripheral-anon"):
            kinds += [entry["type"] for entry in monitor.execute("qom-list", path=place)]
    return sorted(kind[6:-1] for kind in kinds if kind.startswith("child<"))


@pytest.mark.real
@pytest.mark.parametrize(("machine", "devices", "kinds"), DEVICES)
def test_device(
    machine: str, devices: str, kinds: list[str], hosts: Hosts, make_spec: Make
) -> None:
    """QEMU accepts each kind of device that the driver does not refuse, and has it then."""
    spec = make_spec(machine=machine, memory=32, devices=with_images(hosts, devices))
    domain = hosts.open().domains.create(spec, paused=True)
    assert plugged(hosts) == sorted(kinds)
    domain.resume()
    assert domain.state is DomainState.RUNNING
    domain.destroy()


@pytest.mark.real
@pytest.mark.parametrize(
    ("machine", "more"),
    [
        ("pc", "<features><acpi/><apic/><vmport state='off'/></features>"),
        ("q35", "<features><acpi/><smm state='off'/></features>"),
        (
            "pc",
            "<clock offset='localtime'><timer name='hpet' present='no'/>"
            "<timer name='pit' tickpolicy='delay'/><timer name='rtc' tickpolicy='catchup'/>"
            "</clock>",
        ),
        ("pc", "<cpu mode='host-model'/>"),
        ("pc", "<cpu><model>Nehalem</model><feature name='x2apic' policy='disable'/></cpu>"),
        ("pc", "<cpu><topology sockets='1' dies='1' cores='2' threads='2'/></cpu>"),
        (
            "pc",
            "<on_poweroff>preserve</on_poweroff><on_reboot>destroy</on_reboot>"
            "<on_crash>preserve</on_crash>",
        ),
    ],
)
def test_real_machine(machine: str, more: str, hosts: Hosts, make_spec: Make) -> None:
    """QEMU accepts what stands beside the devices."""
    spec = make_spec(machine=machine, memory=32, vcpus=4, more=more)
    domain = hosts.open().domains.create(spec, paused=True)
    with Monitor(str(next(hosts.root.rglob("control")))) as monitor:
        assert len(monitor.execute("query-cpus-fast")) == 4
    domain.destroy()


@pytest.mark.real
def test_boot_order(hosts: Hosts, make_spec: Make) -> None:
    """The devices that boot, by ``<os>`` or for themselves, have their places."""
    devices = with_images(hosts, disk("hda", "ide") + disk("hdc", "ide", "cdrom"))
    spec = make_spec(boot="<boot dev='cdrom'/><boot dev='hd'/>", devices=devices)
    hosts.open().domains.create(spec, paused=True)
    with Monitor(str(next(hosts.root.rglob("control")))) as monitor:
        found = [
            monitor.execute("qom-get", path=f"/machine/peripheral/disk{n}", property="bootindex")
            for n in range(2)
        ]
    assert found == [2, 1]
