"""Definitions that contradict themselves are found out, all faults of them, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings

import polyvisor
from polyvisor.errors import SemanticError
from polyvisor.model import DomainSpec
from polyvisor.model.check import RULES, Problem, Rule, Severity, check, ensure
from polyvisor.testing.strategies import specs

ROOT = Path(__file__).parents[3]

HVM = "<os><type arch='x86_64' machine='q35'>hvm</type></os>"


def domain(inside: str = "", devices: str = "", *, before: str = HVM) -> DomainSpec:
    """Return a definition with something in it."""
    return DomainSpec.from_xml(
        f"<domain type='test'><name>a</name><memory>65536</memory><vcpu>4</vcpu>{inside}{before}"
        f"<devices>{devices}</devices></domain>"
    )


def disk(target: str = "<target dev='vda' bus='virtio'/>", rest: str = "", **given: str) -> str:
    """Return a disk."""
    attributes = "".join(f" {name}='{value}'" for name, value in given.items())
    source = "" if "<source" in rest else "<source file='/d'/>"
    return f"<disk{attributes}>{source}{target}{rest}</disk>"


def pci(slot: int) -> str:
    """Return an address."""
    return f"<address type='pci' domain='0' bus='0' slot='{slot}' function='0'/>"


NUMA = "<cpu><numa><cell id='0' cpus='0-1' memory='1'/><cell id='1' cpus='2-3' memory='1'/>"
NUMA_END = "</numa></cpu>"
MODULE = "<memory model='dimm'><target><size>1</size>{}</target>{}</memory>"
PTY = "<serial type='pty'><target type='isa-serial' port='{}'/></serial>"
NIC = "<interface type='user'><mac address='{}'/></interface>"

#: Rule, what breaks it beside and in the devices, and the element that is named.
BROKEN: list[tuple[str, str, str, str]] = [
    ("boot-menu-timeout", "", "", "domain/os/bootmenu"),
    ("loadparm", "", disk(rest="<boot order='1' loadparm='a?'/>"), "disk/boot"),
    ("init-missing", "", "", "domain/os"),
    ("firmware", "", "", "domain/os/loader"),
    ("life-cycle", "<on_reboot>coredump-destroy</on_reboot>", "", "domain/on_reboot"),
    ("timer", "<clock><timer name='pit' mode='auto'/></clock>", "", "domain/clock/timer"),
    (
        "smbios-uuid",
        "<uuid>4dea22b3-1d52-d8f3-2516-782e98ab3fa0</uuid><sysinfo type='smbios'><system>"
        "<entry name='uuid'>4dea22b3-1d52-d8f3-2516-782e98ab3fa1</entry></system></sysinfo>",
        "",
        "domain/sysinfo/system",
    ),
    ("iommu", "", "<iommu model='intel'><driver eim='on'/></iommu>", "iommu/driver"),
    ("tpm", "", "<tpm model='tpm-tis'/><tpm model='tpm-crb'/>", "tpm[2]"),
    ("shmem-name", "", "<shmem name='a/b'/>", "shmem"),
    ("vsock-cid", "", "<vsock><cid address='2'/></vsock>", "vsock/cid"),
    ("panic-twice", "", "<panic model='isa'/><panic model='isa'/>", "panic[2]"),
    ("filesystem", "", "<filesystem><source dir='/a'/></filesystem>", "filesystem"),
    (
        "id-map",
        "<idmap><uid start='0' target='1' count='1'/></idmap>",
        "",
        "domain/idmap",
    ),
    (
        "seclabel-twice",
        "<seclabel type='dynamic' model='dac'/><seclabel type='dynamic' model='dac'/>",
        "",
        "domain/seclabel[2]",
    ),
    (
        "blkio-twice",
        "<blkiotune><device><path>/a</path></device><device><path>/a</path></device></blkiotune>",
        "",
        "domain/blkiotune/device[2]",
    ),
    (
        "fibrechannel-appid",
        f"<resource><fibrechannel appid='{'x' * 129}'/></resource>",
        "",
        "domain/resource/fibrechannel",
    ),
    ("vcpu-current", "", "", "domain/vcpu"),
    ("vcpu-id", "<vcpus><vcpu id='4' enabled='yes'/></vcpus>", "", "domain/vcpus/vcpu"),
    (
        "cpu-topology",
        "<cpu><topology sockets='65536' dies='1' cores='65536' threads='1'/></cpu>",
        "",
        "domain/cpu/topology",
    ),
    ("cpu-cache", "<cpu><cache mode='emulate' level='2'/></cpu>", "", "domain/cpu/cache"),
    ("cpu-address-bits", "<cpu><maxphysaddr mode='emulate'/></cpu>", "", "domain/cpu/maxphysaddr"),
    ("iothread-id", "<iothreadids><iothread id='0'/></iothreadids>", "", "domain/iothreadids"),
    ("iothread-missing", "", disk(rest="<driver iothread='2'/>"), "disk/driver"),
    ("cputune-range", "<cputune><period>999</period></cputune>", "", "domain/cputune/period"),
    (
        "cputune-twice",
        "<cputune><vcpupin vcpu='0' cpuset='1'/><vcpupin vcpu='0' cpuset='2'/></cputune>",
        "",
        "domain/cputune/vcpupin[2]",
    ),
    (
        "resctrl-overlap",
        "<cputune><cachetune vcpus='0-1'/><cachetune vcpus='1-2'/></cputune>",
        "",
        "domain/cputune/cachetune[2]",
    ),
    (
        "numa-cells",
        "<cpu><numa><cell id='0' cpus='0-4' memory='1'/></numa></cpu>",
        "",
        "domain/cpu/numa/cell",
    ),
    (
        "numa-links",
        f"{NUMA}<interconnects><latency initiator='0' target='2' type='access' value='5'/>"
        f"</interconnects>{NUMA_END}",
        "",
        "domain/cpu/numa/interconnects/latency",
    ),
    (
        "numatune",
        "<numatune><memnode cellid='0' mode='strict' nodeset='0'/></numatune>",
        "",
        "domain/numatune/memnode",
    ),
    ("memory-missing", "", "", "domain/memory"),
    ("memory-most", "<maxMemory slots='1'>1024</maxMemory>", "", "domain/maxMemory"),
    (
        "memory-slot",
        "<maxMemory slots='1'>1048576</maxMemory>",
        MODULE.format("", "<address type='dimm' slot='1'/>"),
        "memory/address",
    ),
    ("memory-node", "", MODULE.format("<node>0</node>", ""), "memory/target/node"),
    (
        "memory-module",
        "",
        "<memory model='nvdimm'><target><size>1</size></target></memory>",
        "memory/source",
    ),
    (
        "hugepages-nodes",
        "<memoryBacking><hugepages><page size='2' nodeset='1'/></hugepages></memoryBacking>",
        "",
        "domain/memoryBacking/hugepages/page",
    ),
    (
        "smm-tseg",
        "<features><smm state='on'><tseg unit='KiB'>5</tseg></smm></features>",
        "",
        "domain/features/smm/tseg",
    ),
    (
        "alias-twice",
        "",
        "<shmem name='a'><alias name='ua-x'/></shmem><shmem name='b'><alias name='ua-x'/></shmem>",
        "shmem[2]/alias",
    ),
    (
        "boot-order",
        "",
        disk(rest="<boot order='1'/>") + disk("<target dev='vdb'/>", "<boot order='1'/>"),
        "disk[2]/boot",
    ),
    (
        "acpi-index-twice",
        "",
        disk(rest="<acpi index='7'/>") + disk("<target dev='vdb'/>", "<acpi index='7'/>"),
        "disk[2]/acpi",
    ),
    ("address-unassigned", "", disk(rest="<address type='unassigned'/>"), "disk/address"),
    (
        "address-twice",
        "",
        disk(rest=pci(4)) + disk("<target dev='vdb'/>", pci(4)),
        "disk[2]/address",
    ),
    (
        "usb-port",
        "",
        "<hub type='usb'><address type='usb' bus='0' port='1.2.3.4.5'/></hub>",
        "hub/address",
    ),
    (
        "zpci-id",
        "",
        disk(rest="<address type='pci' slot='4'><zpci uid='0'/></address>"),
        "disk/address/zpci",
    ),
    (
        "drive-address-twice",
        "",
        disk("<target dev='sda' bus='scsi'/>")
        + disk("<target dev='sdb' bus='scsi'/>", "<address type='drive' unit='0'/>"),
        "disk[2]",
    ),
    (
        "controller-twice",
        "",
        "<controller type='ide' index='0'/><controller type='ide' index='0'/>",
        "controller[2]",
    ),
    ("controller-pci", "", f"<controller type='pci' model='pci-root'>{pci(1)}</controller>",
     "controller/address"),
    (
        "usb-disabled",
        "",
        "<controller type='usb' model='none'/><hub type='usb'/>",
        "hub",
    ),
    (
        "usb-companion",
        "",
        "<controller type='usb' index='0' model='ich9-uhci1'><master startport='0'/></controller>",
        "controller",
    ),
    ("disk-target-missing", "", disk(""), "disk"),
    ("disk-target-twice", "", disk() + disk(), "disk[2]/target"),
    ("disk-target-name", "", disk("<target dev='xyz' bus='virtio'/>"), "disk/target"),
    ("disk-bus", "", disk("<target dev='fda' bus='virtio'/>", device="floppy"), "disk/target"),
    ("disk-address", "", disk("<target dev='sda' bus='sata'/>", pci(4)), "disk/address"),
    ("disk-source-missing", "", "<disk><target dev='vda'/></disk>", "disk"),
    ("disk-lun", "", disk(device="lun"), "disk"),
    (
        "disk-iotune",
        "",
        disk(rest="<iotune><total_bytes_sec>1</total_bytes_sec>"
             "<read_bytes_sec>1</read_bytes_sec></iotune>"),
        "disk/iotune",
    ),
    (
        "disk-virtio-option",
        "",
        disk("<target dev='sda' bus='scsi'/>", "<driver queues='4'/>"),
        "disk/driver",
    ),
    (
        "disk-vhostuser",
        "",
        disk(rest="<serial>1</serial><source type='unix' path='/s'/>", type="vhostuser"),
        "disk",
    ),
    (
        "disk-nvme-namespace",
        "",
        disk(rest="<source type='pci' namespace='0'/>", type="nvme"),
        "disk/source",
    ),
    ("disk-tray", "", disk("<target dev='vda' tray='open'/>"), "disk/target"),
    ("disk-vendor", "", disk(rest="<vendor>123456789</vendor>"), "disk/vendor"),
    ("disk-wwn", "", disk(rest="<wwn>12</wwn>"), "disk/wwn"),
    (
        "disk-startup-policy",
        "",
        disk(rest="<source file='/d' startupPolicy='requisite'/>"),
        "disk/source",
    ),
    (
        "disk-auth",
        "",
        disk(
            rest="<source protocol='rbd' name='a'><auth username='u'>"
            "<secret type='iscsi' usage='x'/></auth></source>",
            type="network",
        ),
        "disk/source/auth/secret",
    ),
    (
        "disk-source-part",
        "",
        disk(rest="<source file='/d'><snapshot name='s'/></source>"),
        "disk/source/snapshot",
    ),
    (
        "backing-chain",
        "",
        disk(rest="<source file='/d'/><backingStore type='file'/>"),
        "disk/backingStore",
    ),
    (
        "backing-loop",
        "",
        disk(
            rest="<source file='/d'/><backingStore type='file'><source file='/d'/></backingStore>"
        ),
        "disk/backingStore/source",
    ),
    ("mac-address", "", NIC.format("53:54:00:00:00:01"), "interface/mac"),
    ("mac-address-twice", "", NIC.format("52:54:00:00:00:01") * 2, "interface[2]/mac"),
    ("interface-source", "", "<interface type='bridge'/>", "interface"),
    (
        "interface-option",
        "",
        "<interface type='user'><port isolated='yes'/></interface>",
        "interface/port",
    ),
    (
        "interface-port",
        "",
        "<interface type='bridge'><source bridge='b'/><vlan><tag/></vlan></interface>",
        "interface/vlan/tag[1]",
    ),
    (
        "interface-port",
        "",
        "<interface type='bridge'><source bridge='b'/><virtualport type='midonet'>"
        "<parameters profileid='a'/></virtualport></interface>",
        "interface/virtualport/parameters",
    ),
    (
        "interface-teaming",
        "",
        "<interface type='user'><teaming type='transient'/></interface>",
        "interface/teaming",
    ),
    (
        "port-forward",
        "",
        "<interface type='user'><portForward proto='tcp'><range to='1'/></portForward></interface>",
        "interface/portForward/range",
    ),
    ("chardev-source", "", "<serial type='file'/>", "serial"),
    (
        "chardev-reconnect",
        "",
        "<serial type='tcp'><source mode='bind' host='h' service='1'>"
        "<reconnect enabled='yes' timeout='1'/></source></serial>",
        "serial/source",
    ),
    ("serial-port-twice", "", PTY.format(1) * 2, "serial[2]/target"),
    ("smartcard-address", "", f"<smartcard mode='host'>{pci(3)}</smartcard>", "smartcard/address"),
    (
        "video-together",
        "",
        "<video><model type='none'/></video><video><model type='vga'/></video>",
        "video[1]/model",
    ),
    ("video-option", "", "<video><model type='vga' vgamem='1'/></video>", "video/model"),
    (
        "graphics-listen",
        "",
        "<graphics type='vnc'><listen type='network'/></graphics>",
        "graphics/listen",
    ),
    ("audio-id", "", "<sound model='ac97'><audio id='3'/></sound>", "sound/audio"),
    ("input", "", "<input type='tablet' bus='ps2'/>", "input"),
    ("hostdev-twice", "", "<hostdev type='usb'><source><vendor id='1'/><product id='2'/></source>"
     "</hostdev>" * 2, "hostdev[2]"),
    ("hostdev-address", "", f"<hostdev type='usb'>{pci(3)}</hostdev>", "hostdev/address"),
    ("hostdev-source", "", "<hostdev type='mdev' model='vfio-pci'/>", "hostdev/source"),
    (
        "hostdev-ramfb",
        "",
        "".join(
            f"<hostdev type='mdev' model='vfio-pci' ramfb='on'><source><address uuid='{n}'/>"
            f"</source></hostdev>"
            for n in range(2)
        ),
        "hostdev[2]",
    ),
    ("hostdev-sgio", "", disk(device="lun", type="block", sgio="unfiltered",
     rest="<source dev='/d'/>"), "disk"),
]  # fmt: skip

#: What is broken outside the devices, in place of what :func:`domain` says there.
MACHINES = {
    "boot-menu-timeout": "<os><type>hvm</type><bootmenu enable='yes' timeout='65536'/></os>",
    "init-missing": "<os><type>exe</type></os>",
    "firmware": "<os firmware='efi'><type>hvm</type><loader>/l</loader></os>",
}


@pytest.mark.parametrize(("rule", "inside", "devices", "element"), BROKEN, ids=lambda x: x[:24])
def test_each_rule_finds_what_breaks_it(rule: str, inside: str, devices: str, element: str) -> None:
    """The finding names rule, element, fault and what would be right."""
    spec = domain(inside, devices, before=MACHINES.get(rule, HVM))
    if rule == "memory-missing":
        spec = DomainSpec.from_xml("<domain type='test'><name>a</name><memory>0</memory></domain>")
    if rule == "init-missing":
        spec = attrs.evolve(spec, type="lxc")
    if rule == "vcpu-current":
        spec = DomainSpec.from_xml(domain().to_xml().replace("<vcpu>", "<vcpu current='5'>"))
    found = [finding for finding in check(spec) if finding.rule == rule]
    where = element if element.startswith("domain") else f"domain/devices/{element}"
    assert any(finding.element.startswith(where) for finding in found), check(spec)
    assert all(finding.fault and finding.advice for finding in found)
    # Nothing but this rule is broken, unless one fault breaks two.
    assert len({finding.rule for finding in check(spec)}) <= 2


def test_each_rule_has_a_case() -> None:
    """No rule is without something that breaks it, and names are distinct."""
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
    assert {name for name, *_ in BROKEN} == set(names)


def test_each_rule_is_documented() -> None:
    """docs/checks.md has a line for each rule, with its sentence."""
    page, _, _ = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8").partition("\n## ")
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+?) \|$", page, re.MULTILINE)
    assert rows == [(rule.name, rule.summary) for rule in RULES]
    assert all(rule.summary[0].isupper() for rule in RULES)


LINES = """\
<domain type='test'>
  <name>a</name>
  <memory>1024</memory>
  <os><type>hvm</type><boot dev='hd'/></os>
  <devices>
    <disk><source file='/a'/><target dev='vda'/></disk>
    <disk>
      <source file='/b'/>
      <target dev='vda'/>
      <boot order='1'/>
    </disk>
    <interface type='user'><mac address='52:54:00:00:00:01'/></interface>
    <interface type='user'>
      <mac address='52:54:00:00:00:01'/>
    </interface>
  </devices>
</domain>
"""


def test_all_faults_are_found_with_their_lines() -> None:
    """Not only the first fault is told, and each with the line of its element."""
    found = check(DomainSpec.from_xml(LINES), source=LINES)
    assert [(one.rule, one.line, str(one.severity)) for one in found] == [
        ("boot-order", 4, "error"),
        ("disk-target-twice", 9, "error"),
        ("mac-address-twice", 14, "warning"),
    ]
    assert str(found[1]) == (
        "line 9: domain/devices/disk[2]/target: the target 'vda' is that of "
        "domain/devices/disk[1] already; give each disk a name of its own [disk-target-twice]"
    )
    assert found[1].to_dict()["element"] == "domain/devices/disk[2]/target"
    assert [one.line for one in check(DomainSpec.from_xml(LINES))] == [None] * 3


def test_defining_refuses_what_breaks_a_rule_and_tells_all_of_it(tmp_path: Path) -> None:
    """Defining and creating check; the error has all findings, lines and rule."""
    path = tmp_path / "wrong.xml"
    path.write_text(LINES)
    with polyvisor.open("test:///default") as host:
        for verb in (host.domains.define, host.domains.create):
            for source in (path, LINES, LINES.encode()):
                with pytest.raises(SemanticError) as caught:
                    verb(source)
                error = caught.value
                assert (error.rule, error.line) == ("boot-order", 4)
                assert [one.rule for one in error.findings] == ["boot-order", "disk-target-twice"]
                assert "and 1 more" in str(error)
                assert error.to_dict()["findings"][1]["line"] == 9
        assert "a" not in host.domains


def test_a_warning_hinders_nothing() -> None:
    """Two interfaces with one MAC address are told of, and defined."""
    spec = domain(devices=NIC.format("52:54:00:00:00:01") * 2)
    assert [one.severity for one in check(spec)] == [Severity.WARNING]
    assert check(spec, severity=Severity.ERROR) == ()
    ensure(spec)
    with polyvisor.open("test:///default") as host:
        assert host.domains.define(spec).name == "a"


def test_a_rule_may_be_for_some_hypervisors() -> None:
    """A rule with types holds for domains of these types alone."""
    never = Rule("never", "Never.", lambda spec: [Problem("domain", "x")], frozenset({"kvm"}))
    assert check(domain(), rules=[never]) == ()
    kvm = DomainSpec.from_xml(domain().to_xml().replace("'test'", "'kvm'"))
    assert [one.rule for one in check(kvm, rules=[never])] == ["never"]


@pytest.mark.parametrize(
    "devices",
    [
        # A console that is the serial port seen from the other side.
        "<serial type='pty'><alias name='ua-s'/></serial>"
        "<console type='pty'><target type='serial'/><alias name='ua-s'/></console>",
        # Companions share the number of their USB 2 controller.
        "<controller type='usb' index='0' model='ich9-ehci1'/>"
        "<controller type='usb' index='0' model='ich9-uhci1'><master startport='0'/></controller>",
        # Functions of one slot.
        disk(rest="<address type='pci' slot='4' function='0' multifunction='on'/>")
        + disk("<target dev='vdb'/>", "<address type='pci' slot='4' function='1'/>"),
        # Two interfaces that stand in for each other.
        NIC.format("52:54:00:00:00:01").replace("</int", "<teaming type='persistent'/></int")
        + NIC.format("52:54:00:00:00:01").replace(
            "</int", "<teaming type='transient' persistent='ua-x'/></int"
        ),
        # Drives without media.
        "<disk device='cdrom'><target dev='hda' bus='ide'/></disk>",
        # The names that are left for libvirt to choose.
        "<shmem name='a'><alias name='shmem0'/></shmem><shmem name='b'><alias name='shmem0'/>"
        "</shmem>",
    ],
)
def test_what_only_looks_wrong_is_left_alone(devices: str) -> None:
    """Things that libvirt allows beside each other are no findings."""
    assert check(domain(devices=devices)) == ()


@given(specs())
@settings(max_examples=50)
def test_any_spec_can_be_checked(spec: DomainSpec) -> None:
    """Checking finds or does not find; it does not fail, and each finding has its line."""
    text = spec.to_xml()
    for finding in check(spec, source=text):
        assert finding.line
        assert finding.element.startswith("domain")
