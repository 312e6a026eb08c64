"""What of a definition stands on QEMU's command line, and what real QEMU makes of it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyvisor.errors import SemanticError, SpecError
from polyvisor.model import DomainSpec
from polyvisor.native import open_format
from polyvisor.states import DomainState
from polyvisor_qemu.cmdline import Host
from polyvisor_qemu.cmdline import build as built
from polyvisor_qemu.qmp import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable

    # The conftest's own class; tests are no package that could be imported from.
    Hosts = Any
    Make = Callable[..., DomainSpec]


def build(spec: DomainSpec) -> list[str]:
    """Return a definition's command line."""
    return built(spec.with_uuid(), "qemu").args


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
    """So does the path of an image; a file that is written is handed over open."""
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
    assert words == ["file", "id=charserial0", "path=/dev/fdset/0", "append=on"]
    assert path not in words


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


@pytest.mark.parametrize(
    ("devices", "element", "told"),
    [
        ("<teleporter range='5'/>", "teleporter", "remove it"),
        ("<interface type='network'><source network='n'/></interface>", "interface[0]", "'user'"),
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
        ("<serial type='file'/>", "serial0", "which file"),
        ("<serial type='nmdm'><source master='a' slave='b'/></serial>", "serial0", "'nmdm'"),
        (
            "<channel type='pty'><target type='xen' name='a'/></channel>",
            "channel[0]",
            "'xen'",
        ),
        (
            "<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>",
            "channel[0]",
            "needs <graphics type='spice'>",
        ),
        ("<graphics type='rdp'/>", "graphics[0]", "'rdp'"),
        ("<video><model type='xen'/></video>", "video[0]", "'xen'"),
        ("<rng model='virtio'><backend model='egd'/></rng>", "rng[0]/backend", "'egd'"),
        ("<memballoon model='xen'/>", "memballoon", "use 'virtio'"),
        ("<controller type='usb' model='vt82c686b-uhci'/>", "controller", "vt82c686b"),
        ("<controller type='xenbus'/>", "controller", "xenbus"),
        ("<input type='passthrough' bus='virtio'/>", "input[0]/source", "passthrough"),
        (
            "<hostdev mode='capabilities' type='net'><source><interface>a</interface></source>"
            "</hostdev>",
            "hostdev[0]",
            "containers",
        ),
        ("<shmem name='a'><model type='ivshmem'/></shmem>", "shmem[0]", "ivshmem-plain"),
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
        (
            {"more": "<cpu><topology sockets='3' cores='1' threads='1'/></cpu>"},
            "domain/cpu/topology",
        ),
        ({"more": "<on_reboot>rename-restart</on_reboot>"}, "domain/on_reboot"),
    ],
)
def test_refused_machine(given: dict[str, str], element: str, make_spec: Make) -> None:
    """So is what stands beside the devices."""
    with pytest.raises(SemanticError) as caught:
        build(make_spec(**given))
    assert caught.value.element == element


SECRETS = """
<disk type='network'><auth username='u'><secret type='iscsi' usage='words'/></auth>
  <source protocol='iscsi' name='iqn.2020-01.a:b/1'><host name='h'/></source>
  <target dev='vda' bus='virtio'/></disk>
<graphics type='vnc' passwd='hunter2'/>
<graphics type='spice' passwd='hunter3'/>
"""


def test_no_secret_on_the_command_line(make_spec: Make) -> None:
    """Of a secret only a descriptor is told; passwords of screens go through the monitor."""
    line = built(make_spec(devices=SECRETS).with_uuid(), "qemu")
    assert "hunter" not in " ".join(line.args)
    (secret,) = (w for w in map(json.loads, values_of(line.args, "object"))
                 if w["qom-type"] == "secret")  # fmt: skip
    assert secret["file"] == f"/proc/self/fd/{next(iter(line.descriptors))}"
    told = [(name, given["password"]) for name, given in line.commands]
    assert told == [("set_password", "hunter2"), ("set_password", "hunter3")]


DESCRIPTION = {
    "interface-types": ["uefi"],
    "mapping": {
        "device": "flash",
        "executable": {"filename": "/fw/code.fd", "format": "raw"},
        "nvram-template": {"filename": "/fw/vars.fd", "format": "raw"},
    },
    "targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}],
    "features": ["acpi-s3"],
}


def test_firmware(tmp_path: Path, make_spec: Make) -> None:
    """Firmware is chosen by what is asked for, its variables are copied from its template."""
    secure = {**DESCRIPTION, "features": ["secure-boot", "requires-smm"]}
    secure["mapping"] = {
        **DESCRIPTION["mapping"],  # type: ignore[dict-item]
        "executable": {"filename": "/fw/secure.fd", "format": "raw"},
    }
    (tmp_path / "30-plain.json").write_text(json.dumps(DESCRIPTION))
    (tmp_path / "40-secure.json").write_text(json.dumps(secure))
    (tmp_path / "50-broken.json").write_text("{")
    host = Host(firmware=(str(tmp_path),), nvram="/nv")

    def line(feature: str = "") -> Any:
        text = make_spec(machine="q35").to_xml().replace("<os>", "<os firmware='efi'>")
        text = text.replace("</type>", f"</type>{feature}")
        return built(DomainSpec.from_xml(text).with_uuid(), "qemu", host)

    plain = line()
    nodes = [json.loads(value) for value in values_of(plain.args, "blockdev")]
    assert nodes[0]["filename"] == "/fw/code.fd"
    assert nodes[2]["filename"] == "/nv/guest_VARS.fd"
    assert plain.templates == {"/nv/guest_VARS.fd": "/fw/vars.fd"}
    asked = line("<firmware><feature enabled='yes' name='secure-boot'/></firmware>")
    assert "smm=on" in value_of(asked.args, "machine")
    assert json.loads(values_of(asked.args, "blockdev")[0])["filename"] == "/fw/secure.fd"
    with pytest.raises(SemanticError, match="install one"):
        line("<firmware><feature enabled='yes' name='enrolled-keys'/></firmware>")


def test_throttling(make_spec: Make) -> None:
    """A disk's limits are set through the monitor before the guest runs."""
    line = built(
        make_spec(
            devices="<disk type='file'><source file='/x'/><target dev='vda' bus='virtio'/>"
            "<iotune><read_bytes_sec>1024</read_bytes_sec></iotune></disk>"
        ).with_uuid(),
        "qemu",
    )
    ((command, given),) = line.commands
    assert command == "block_set_io_throttle"
    assert given["id"] == "/machine/peripheral/virtio-disk0/virtio-backend"
    assert (given["bps_rd"], given["bps"]) == (1024, 0)


def test_passed_on_as_it_is(make_spec: Make) -> None:
    """What ``<qemu:commandline>`` says comes last, and its variables are set."""
    text = (
        make_spec()
        .to_xml()
        .replace("<domain ", "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0' ")
    )
    more = "<qemu:commandline><qemu:arg value='-foo'/><qemu:env name='A' value='b'/>"
    text = text.replace("</domain>", f"{more}</qemu:commandline></domain>")
    line = built(DomainSpec.from_xml(text).with_uuid(), "qemu")
    assert line.args[-1] == "-foo"
    assert line.environment == {"A": "b"}


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
    "<controller type='pci' index='2' model='pcie-root-port'>"
    f"<target chassis='2' port='0x9'/>{pci(2)}</controller>"
    f"<controller type='pci' index='3' model='pcie-to-pci-bridge'>{pci(0, bus=2)}</controller>"
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
    ("pc", "<interface type='user'/>", ["rtl8139"]),
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
    ("pc", "<video><model type='default'/></video>", ["cirrus-vga"]),
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
    ("pc", "<hub type='usb'/>", ["usb-hub"]),
    ("pc", "<shmem name='polyvisor-test'><model type='ivshmem-plain'/><size unit='M'>4</size>"
     "</shmem>", ["ivshmem-plain"]),
    ("q35", "<iommu model='intel'/>", ["intel-iommu"]),
    ("pc", "<filesystem type='mount'><source dir='FOLDER'/><target dir='b'/></filesystem>",
     ["virtio-9p-pci"]),
    ("pc", "<serial type='udp'><source mode='connect' host='127.0.0.1' service='1'/></serial>",
     ["isa-serial"]),
    ("pc", "<serial type='file'><source path='FOLDER/log'/></serial>", ["isa-serial"]),
    ("pc", "<sound model='usb'/>", ["usb-audio"]),
    ("pc", "<controller type='scsi' model='lsisas1078'/>" + disk("sda", "scsi"),
     ["megasas", "scsi-hd"]),
    ("pc", "<graphics type='vnc' passwd='x'/>", ["cirrus-vga"]),
    ("pc", "<graphics type='vnc'><listen type='socket'/></graphics>", ["cirrus-vga"]),
    ("pc", disk("vda", "virtio", more="<iotune><total_iops_sec>9</total_iops_sec></iotune>"),
     ["virtio-blk-pci"]),
]  # fmt: skip


#: Devices that no element asks for.
USUAL = Counter(
    {"piix3-usb-uhci": 1, "virtio-balloon-pci": 1, "qemu-xhci": 1, "pcie-root-port": 16,
     "virtio-serial-pci": 1, "VGA": 1, "isa-fdc": 1, "pcie-pci-bridge": 1, "lsi53c895a": 1,
     "usb-hub": 1}
)  # fmt: skip


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
    there = Counter(plugged(hosts))
    assert not Counter(kinds) - there
    # What libvirt's machines have of themselves, and what devices need.
    assert not there - Counter(kinds) - USUAL
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
            monitor.execute("qom-get", path=f"/machine/peripheral/{name}", property="bootindex")
            for name in ("ide0-0-0", "ide0-1-0")
        ]
    assert found == [2, 1]


# For people


def test_domxml_to_native(tmp_path: Path, make_spec: Make) -> None:
    """The command line is written as a shell takes it, for a definition in a file."""
    (tmp_path / "guest.xml").write_text(make_spec("it's, one").to_xml())
    done = subprocess.run(
        [sys.executable, "-m", "polyvisor", "domxml-to-native", "qemu-argv", "guest.xml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    words = shlex.split(done.stdout.replace("\\\n", " "))
    assert words[0].endswith("qemu-system-x86_64")
    assert words[1:3] == ["-name", "guest=it's,, one,debug-threads=on"]
    with pytest.raises(SpecError, match="cannot be read"):
        open_format("qemu-argv").read(b"qemu -S", path="x.args")


class _Helped(Host):
    def helps(self, path: str) -> bool:
        return path == "/dev/there"


@pytest.mark.parametrize(
    ("kind", "driver", "path", "helped"),
    [
        ("kvm", "", "/dev/there", True),
        ("kvm", "", "/dev/missing", False),
        ("kvm", "<driver name='vhost'/>", "/dev/missing", True),
        ("kvm", "<driver name='qemu'/>", "/dev/there", False),
        ("qemu", "<driver name='vhost'/>", "/dev/there", False),
    ],
)
def test_vhost(kind: str, driver: str, path: str, helped: bool, make_spec: Make) -> None:
    """The kernel's helper is used under KVM if it is there, and must be if it is asked for."""
    devices = (
        f"<interface type='bridge'><source bridge='b'/><model type='virtio'/>{driver}"
        f"<backend vhost='{path}'/></interface>"
    )
    line = built(make_spec(kind=kind, devices=devices), "qemu", _Helped())
    (netdev,) = (json.loads(value) for value in values_of(line.args, "netdev"))
    assert netdev.get("vhost", False) is helped
    paths = [getattr(one, "path", None) for one in line.descriptors.values()]
    assert paths == ["/dev/net/tun", *([path] if helped else [])]


def test_features_that_qemu_does_not_know(make_spec: Make) -> None:
    """They are left out, as by libvirt: there is nothing to turn off."""
    cpu = (
        "<cpu><model>Icelake-Server</model><feature policy='disable' name='pconfig'/>"
        "<feature policy='disable' name='mpx'/></cpu>"
    )
    assert split(value_of(build(make_spec(more=cpu)), "cpu")) == ["Icelake-Server", "mpx=off"]
