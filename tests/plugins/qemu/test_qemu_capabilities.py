"""What QEMU can do on this host: asked once, kept, and said as libvirt says it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.errors import InvalidArgument
from polyvisor.model import Capabilities, DomainCapabilities

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

    # The conftest's own class; tests are no package that could be imported from.
    Hosts = Any
    Make = Callable[..., DomainSpec]

REAPER = Path(__file__).resolve().parents[2] / "bench" / "reaper.py"

pytestmark = pytest.mark.real

#: Devices of which libvirt and we say the same on any host: what, and which attribute.
COMMON = [
    ("disk", "diskDevice"), ("disk", "bus"), ("disk", "model"), ("video", "modelType"),
    ("hostdev", "mode"), ("hostdev", "startupPolicy"), ("hostdev", "subsysType"),
    ("rng", "model"), ("rng", "backendModel"), ("tpm", "model"), ("redirdev", "bus"),
]  # fmt: skip


def virsh(folder: Path, *words: str) -> str:
    """Return what libvirt says, with its QEMU driver within virsh itself.

    Args:
        folder: where it keeps all; short, since its sockets are in it.
        words: the command.
    """
    program = shutil.which("virsh")
    if program is None:
        pytest.skip("virsh is not installed")
    folder.mkdir()
    done = subprocess.run(
        # libvirt waits for the end of what it asked; here nobody else would reap it.
        [sys.executable, str(REAPER), program, "-c", f"qemu:///embed?root={folder}", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"libvirt does not say it here: {done.stderr.strip()[-200:]}")
    return done.stdout


def test_as_libvirt_says(hosts: Hosts) -> None:
    """Machine, limits, CPU models and devices are what libvirt says of the same emulator."""
    told = virsh(hosts.root / "v", "domcapabilities", "--virttype", "qemu")
    theirs = DomainCapabilities.from_xml(told)
    ours = hosts.open().domain_capabilities(emulator=theirs.path, kind="qemu")
    for field in ("path", "domain", "machine", "arch", "max_vcpus", "iothreads", "memory_backing"):
        assert getattr(ours, field) == getattr(theirs, field), field
    for kind, attribute in COMMON:
        mine, other = (getattr(side.devices, kind).allowed(attribute) for side in (ours, theirs))
        assert mine == other, (kind, attribute)
    for field in ("gic", "vmcoreinfo", "genid", "backing_store_input", "backup"):
        assert getattr(ours.features, field) == getattr(theirs.features, field), field
    models = [
        {one.name: one.usable for one in side.cpu.mode("custom").models if one.usable != "unknown"}
        for side in (ours, theirs)
    ]
    both = models[0].keys() & models[1].keys()
    assert len(both) > 40
    assert {name: models[0][name] for name in both} == {name: models[1][name] for name in both}


def test_machines_as_libvirt_says(hosts: Hosts) -> None:
    """The capabilities name the same machine types, aliases and limits, the default first."""
    theirs = Capabilities.from_xml(virsh(hosts.root / "v", "capabilities"))
    ours = Capabilities.from_xml(hosts.open().capabilities())
    assert {guest.arch.name for guest in theirs.guests} <= {
        guest.arch.name for guest in ours.guests
    }
    mine = {guest.arch.name: guest for guest in ours.guests}
    for guest in theirs.guests:
        sides = [
            {(one.name, one.canonical, one.max_cpus) for one in side.machines}
            for side in (mine[guest.arch.name].arch, guest.arch)
        ]
        assert sides[0] == sides[1]
        first, other = (
            side.machines[0].canonical or side.machines[0].name
            for side in (mine[guest.arch.name].arch, guest.arch)
        )
        assert first == other


@pytest.fixture
def counted(tmp_path: Path) -> tuple[Path, Callable[[], int]]:
    """Hold an emulator that notes down each of its runs, and how many there were."""
    real = shutil.which("qemu-system-x86_64")
    if real is None:
        pytest.skip("qemu-system-x86_64 is not installed")
    notes, program = tmp_path / "runs", tmp_path / "emulator"
    program.write_text(f'#!/bin/sh\necho run >>{notes}\nexec {real} "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program, lambda: notes.read_text().count("run") if notes.exists() else 0


def test_asked_once(counted: tuple[Path, Callable[[], int]], hosts: Hosts, make_spec: Make) -> None:
    """A binary is asked once, by whatever process; another one of that name is asked anew."""
    program, runs = counted
    host = hosts.open(emulator=str(program))
    first = host.domain_capabilities(kind="qemu", arch="x86_64")
    asked = runs()
    assert asked >= 1
    assert hosts.open(emulator=str(program)).domain_capabilities(kind="qemu") == first
    assert host.domain_capabilities(kind="qemu", machine="q35").machine != first.machine
    assert runs() == asked
    host.domains.create(make_spec(), paused=True)
    assert runs() == asked + 1, "to start a guest is one run"
    facts = program.stat()
    os.utime(program, ns=(facts.st_atime_ns, facts.st_mtime_ns + 10**9))
    host.domain_capabilities(kind="qemu")
    assert runs() > asked + 1


def test_what_is_not_there(hosts: Hosts) -> None:
    """An emulator, machine or type that is not there is refused in words."""
    host = hosts.open()
    for wanted, words in (
        ({"machine": "pc-i440fx-99.0"}, "no machine type"),
        ({"kind": "xen"}, "use 'kvm' or 'qemu'"),
        ({"emulator": "/nowhere/qemu"}, "no emulator"),
        ({"arch": "vax"}, "no emulator"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            host.domain_capabilities(**wanted)


@pytest.mark.parametrize(("alias", "family"), [("pc", "pc-i440fx-"), ("q35", "pc-q35-")])
def test_a_guest_keeps_its_machine(alias: str, family: str, hosts: Hosts, make_spec: Make) -> None:
    """An alias is kept as the version that it stands for now; a version stays what it is."""
    host = hosts.open()
    domain = host.domains.define(make_spec(machine=alias))
    kept = domain.spec().os.machine
    assert kept == host.domain_capabilities(kind="qemu", machine=alias).machine
    assert kept.startswith(family)
    old = host.domains.define(make_spec("old", machine=f"{family}6.0"))
    assert old.spec().os.machine == f"{family}6.0"
