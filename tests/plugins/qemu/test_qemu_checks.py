"""QEMU's own rules find what its machines cannot have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import polyvisor
from polyvisor.errors import SemanticError
from polyvisor.model import DomainSpec
from polyvisor.model.check import check
from polyvisor_qemu.checks import RULES

ROOT = Path(__file__).parents[3]


def domain(inside: str, devices: str, machine: str, arch: str) -> DomainSpec:
    """Return a definition of a machine with something in it."""
    return DomainSpec.from_xml(
        f"<domain type='kvm'><name>a</name><memory>65536</memory>{inside}"
        f"<os><type arch='{arch}' machine='{machine}'>hvm</type></os>"
        f"<devices>{devices}</devices></domain>"
    )


DISK = "<disk><driver type='{}'/><source file='/d'/><target dev='{}' bus='{}'/>{}</disk>"
HUB = "<hub type='usb'><address type='usb' bus='0' port='{}'/></hub>"
ROOT_BUS = "<controller type='pci' index='0' model='{}'/>"
PANIC = "<panic model='{}'><address type='isa' iobase='0x505'/></panic>"

#: Rule, what is in the machine and its devices, machine, architecture, element.
BROKEN = [
    ("qemu-pci-root", "", ROOT_BUS.format("pcie-root"), "pc", "x86_64", "controller"),
    ("qemu-pci-root", "", ROOT_BUS.format("pci-root"), "q35", "x86_64", "controller"),
    ("qemu-feature", "<features><gic version='2'/></features>", "", "q35", "x86_64", "/gic"),
    ("qemu-feature", "<features><gic/></features>", "", "versatilepb", "aarch64", "/gic"),
    ("qemu-feature", "<features><htm state='on'/></features>", "", "pc", "x86_64", "/htm"),
    ("qemu-feature", "<features><acpi/></features>", "", "virt", "aarch64", "/acpi"),
    (
        "qemu-cpu",
        "<cpu><feature policy='disable' name='sve'/><feature name='sve128'/></cpu>",
        "",
        "virt",
        "aarch64",
        "domain/cpu/feature[2]",
    ),
    ("qemu-timer", "<clock><timer name='tsc'/></clock>", "", "virt", "aarch64", "domain/clock"),
    ("qemu-memory-hotplug", "<maxMemory slots='1'>131072</maxMemory>", "", "q35", "x86_64", "/max"),
    ("qemu-disk", "", DISK.format("cow", "vda", "virtio", ""), "q35", "x86_64", "disk/driver"),
    (
        "qemu-disk",
        "",
        DISK.format("qcow2", "vda", "virtio", "<shareable/>"),
        "pc",
        "x86_64",
        "disk",
    ),
    (
        "qemu-disk",
        "",
        DISK.format("raw", "vda", "virtio", "<vendor>x</vendor>"),
        "pc",
        "x86_64",
        "v",
    ),
    (
        "qemu-queue-size",
        "",
        "<interface type='user'><model type='virtio'/><driver rx_queue_size='500'/></interface>",
        "q35",
        "x86_64",
        "interface/driver",
    ),
    ("qemu-iommu", "", "<iommu model='intel'/>", "pc", "x86_64", "iommu"),
    (
        "qemu-tpm",
        "",
        "<tpm model='tpm-tis'><backend type='emulator' version='1.2'/></tpm>",
        "virt",
        "aarch64",
        "tpm/backend",
    ),
    ("qemu-port", "", "<parallel type='pty'/>", "s390-ccw-virtio", "s390x", "parallel"),
    (
        "qemu-port",
        "",
        "<serial type='pty'><target type='sclp-serial'/></serial>",
        "q35",
        "x86_64",
        "serial/target",
    ),
    ("qemu-panic-address", "", PANIC.format("pseries"), "pseries", "ppc64le", "panic/address"),
    (
        "qemu-display",
        "",
        "<graphics type='egl-headless'/><graphics type='spice'><gl enable='yes'/></graphics>",
        "q35",
        "x86_64",
        "graphics[2]",
    ),
    (
        "qemu-input-model",
        "",
        "<input type='keyboard' bus='virtio' model='virtio-transitional'/>",
        "q35",
        "x86_64",
        "input",
    ),
    (
        "qemu-zpci",
        "",
        DISK.format(
            "raw", "vda", "virtio", "<address type='pci' slot='4'><zpci uid='1'/></address>"
        ),
        "q35",
        "x86_64",
        "disk/address/zpci",
    ),
    ("qemu-usb", "", HUB.format("1.2"), "q35", "x86_64", "hub/address"),
    ("qemu-usb", "", HUB.format("1") + HUB.format("1.9"), "q35", "x86_64", "hub[2]/address"),
    (
        "qemu-usb",
        "",
        "<controller type='usb' index='0' model='qemu-xhci' ports='16'/>",
        "q35",
        "x86_64",
        "controller",
    ),
]


@pytest.mark.parametrize(("rule", "inside", "devices", "machine", "arch", "element"), BROKEN)
def test_each_rule_finds_what_breaks_it(rule, inside, devices, machine, arch, element) -> None:
    """The finding names rule, element, fault and advice; other hypervisors do not mind."""
    spec = domain(inside, devices, machine, arch)
    found = check(spec, rules=RULES)
    assert [one.rule for one in found] == [rule]
    assert element in found[0].element
    assert found[0].fault
    assert found[0].advice
    other = DomainSpec.from_xml(spec.to_xml().replace("type='kvm'", "type='xen'", 1))
    assert check(other, rules=RULES) == ()


def test_each_rule_has_a_case_and_a_line_in_the_documentation() -> None:
    """No rule is without something that breaks it, nor missing in docs/checks.md."""
    assert {rule for rule, *_ in BROKEN} == {rule.name for rule in RULES}
    page = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    section = page.partition("\n## QEMU")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+?) \|$", section, re.MULTILINE)
    assert rows == [(rule.name, rule.summary) for rule in RULES]


def test_defining_for_qemu_applies_them() -> None:
    """The plugin's rules count wherever a definition of its type is checked."""
    spec = domain("", "<iommu model='intel'/>", "pc", "x86_64")
    text = spec.to_xml().replace("type='kvm'", "type='qemu'", 1)
    with polyvisor.open("sim:///default") as host, pytest.raises(SemanticError) as caught:
        host.domains.define(text)
    assert caught.value.rule == "qemu-iommu"
