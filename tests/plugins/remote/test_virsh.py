"""virsh drives polyvisord, and prints what it prints of libvirt's own test driver."""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Served, need, run, served

pytestmark = pytest.mark.real

TEST = "test:///default"
SIM_GUEST = """<domain type='sim'><name>{0}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
<os><type>hvm</type></os></domain>"""

#: Whole sessions, since each connection begins with a fresh host.
SAME = [
    "list --all",
    "list --all --uuid",
    "list --inactive --name",
    "version",
    "hostname",
    "nodeinfo",
    "capabilities",
    "domcapabilities",
    "domid test",
    "domuuid test",
    "domname 1",
    "domstate test",
    "domstate nosuch",
    "dominfo nosuch",
    "dumpxml test",
    "dumpxml --inactive test",
    "desc test",
    "desc --title test",
    "domblklist test",
    "desc test words; desc test; desc test --title one; desc test --title",
    "metadata test urn:x --set '<a><b/></a>' --key x; metadata test urn:x; dumpxml test",
    "metadata test urn:x",
    "setmem test 1000000; dumpxml test",
    "vcpupin test 0 0-3; vcpupin test 0",
    "emulatorpin test 1; emulatorpin test",
    "send-key test 30",
    "vcpupin test 100 0,1",
    "domiflist test",
    "domcontrol test",
    "vcpucount test",
    "start test",
    "autostart test; list --all --autostart; autostart --disable test",
    "suspend test; resume test; domstate test --reason",
    "reboot test",
    "shutdown test; list --all; domstate --reason test",
    "destroy test; list --all; start test; list",
    "destroy test; undefine test; list --all",
    "undefine test; list --all --transient",
    "snapshot-list test",
    "snapshot-create-as test s1; snapshot-list test --name",
    "snapshot-create-as test s1; snapshot-create-as test s2 words; snapshot-list test --tree",
    "snapshot-create-as test s1; snapshot-current test --name; snapshot-info test s1",
    "snapshot-create-as test s1; snapshot-create-as test s2; snapshot-parent test s2",
    "snapshot-create-as test s1; snapshot-revert test s1; domstate test",
    "snapshot-create-as test s1; snapshot-delete test s1; snapshot-list test",
    "snapshot-create-as test s1; snapshot-create-as test s2; snapshot-delete test s1 --children; "
    "snapshot-list test",
    "nodememstats",
    "net-list --all",
    "net-info default",
    "net-dumpxml default",
    "net-destroy default; net-list --all; net-start default; net-list",
    "net-autostart default; net-list --autostart; net-autostart --disable default",
    "net-uuid default",
    "pool-list --all",
    "pool-list --all --details",
    "pool-info default-pool",
    "pool-dumpxml default-pool",
    "pool-destroy default-pool; pool-list --all; pool-start default-pool; pool-list",
    "pool-refresh default-pool",
    "vol-list default-pool",
    "vol-create-as default-pool a 10M; vol-list default-pool --details; "
    "vol-info --pool default-pool a; vol-delete --pool default-pool a",
    "vol-create-as default-pool a 10M; vol-dumpxml --pool default-pool a",
    "vol-create-as default-pool a 10M; vol-path --pool default-pool a; vol-pool /default-pool/a; "
    "vol-clone --pool default-pool a b",
    "iface-list --all",
    "iface-dumpxml eth1",
    "iface-destroy eth1; iface-list --all; iface-start eth1; iface-mac eth1",
    "nodedev-dumpxml computer",
    "qemu-monitor-command test info",
]


#: What is refused, in words of our own behind virsh's.
REFUSED = [
    "suspend test; suspend test",
    "resume test",
    "destroy test; destroy test",
    "destroy test; reboot test",
    "dominfo nosuch",
    "snapshot-create-as test s1; snapshot-create-as test s1",
    "snapshot-delete test nosuch",
    "restore /nonexistent/image",
    "define /dev/null",
]


@pytest.fixture(scope="module")
def virsh() -> str:
    """Return the path of virsh."""
    return need("virsh", "libvirt-clients")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Return a daemon."""
    with served(tmp_path_factory.mktemp("virsh") / "host") as found:
        yield found


def ask(virsh: str, uri: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run virsh and return what it said, without its copyright of whom it talked to."""
    done = run(virsh, "-c", uri, *words)
    assert done.returncode >= 0, done
    return done


def said(virsh: str, uri: str, session: str) -> tuple[int, str]:
    """Return exit status and words of a session."""
    done = ask(virsh, uri, session)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("session", SAME)
def test_what_virsh_prints_is_the_same(virsh: str, host: Served, session: str) -> None:
    """Exit status and every word are those of libvirt's test driver in virsh's own process."""
    assert said(virsh, host.uri(), session) == said(virsh, TEST, session)


@pytest.mark.parametrize("session", REFUSED)
def test_what_is_refused_is_the_same(virsh: str, host: Served, session: str) -> None:
    """The same things are impossible, and virsh says the same of them before our own words."""
    ours, theirs = said(virsh, host.uri(), session), said(virsh, TEST, session)
    assert ours[0] == theirs[0] == 1
    kinds = [
        [words.partition(": ")[0] for words in re.split(r"(?m)^error: ", each[1])]
        for each in (ours, theirs)
    ]
    assert kinds[0][:-1] == kinds[1][:-1]
    assert len(ours[1].split("error: ")[-1]) > 10


def test_a_read_only_virsh_looks_and_changes_nothing(virsh: str, host: Served) -> None:
    """``virsh -r`` prints the same and is refused in the same words."""
    for session in ("list --all", "dumpxml test", "dominfo test", "destroy test"):
        ours = run(virsh, "-r", "-c", host.uri(), *session.split())
        theirs = run(virsh, "-r", "-c", TEST, *session.split())
        assert ours.returncode == theirs.returncode
        if session == "destroy test":
            assert "read only access prevents virDomainDestroy" in ours.stderr
        elif not session.startswith("dominfo"):
            assert ours.stdout == theirs.stdout


def test_a_simulated_guest_from_definition_to_the_end(virsh: str, host: Served) -> None:
    """Define, start, save, restore, managed save, snapshots, figures, undefine."""
    folder = host.folder
    xml, image = folder / "g.xml", folder / "g.save"
    xml.write_text(SIM_GUEST.format("g"))
    uri = host.uri("sim")

    def ok(*words: str) -> str:
        done = ask(virsh, uri, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "defined from" in ok("define", str(xml))
    assert "started" in ok("start", "g", "--paused")
    ok("resume", "g")
    assert "state.state=1" in ok("domstats", "g", "--state")
    assert "Job type:         None" in ok("domjobinfo", "g")
    ok("save", "g", str(image), "--verbose")
    assert "<name>g</name>" in ok("save-image-dumpxml", str(image))
    ok("restore", str(image), "--paused")
    assert "paused" in ok("domstate", "g")
    ok("managedsave", "g", "--running")
    assert re.search(r"g +saved", ok("list", "--all", "--managed-save"))
    assert "<name>g</name>" in ok("managedsave-dumpxml", "g")
    ok("start", "g")
    assert "running" in ok("domstate", "g")
    ok("snapshot-create-as", "g", "one", "words")
    assert "<description>words</description>" in ok("snapshot-dumpxml", "g", "one")
    ok("snapshot-revert", "g", "one", "--running")
    ok("snapshot-delete", "g", "one")
    ok("reset", "g")
    ok("destroy", "g", "--graceful")
    ok("undefine", "g", "--managed-save", "--snapshots-metadata")
    assert "g" not in ok("list", "--all", "--name").split()


def test_virsh_hears_of_events(virsh: str, host: Served) -> None:
    """``virsh event --loop`` prints each change, whoever causes it."""
    uri = host.uri("sim")
    xml = host.folder / "e.xml"
    xml.write_text(SIM_GUEST.format("e"))
    command = [virsh, "-c", uri, "event", "--all", "--loop", "--timeout", "6"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listening:
        time.sleep(2)
        for words in (("define", str(xml)), ("start", "e"), ("suspend", "e"), ("resume", "e"),
                      ("destroy", "e"), ("undefine", "e")):  # fmt: skip
            assert ask(virsh, uri, *words).returncode == 0
        heard, _ = listening.communicate(timeout=30)
    kinds = re.findall(r"event 'lifecycle' for domain '?e'?: (.*)", heard)
    assert kinds == [
        "Defined Added",
        "Started Booted",
        "Suspended Paused",
        "Resumed Unpaused",
        "Stopped Destroyed",
        "Undefined Removed",
    ]


def test_virsh_migrates_between_two_daemons(virsh: str, tmp_path: Path) -> None:
    """Live, with the definition, watched by ``--verbose``: it runs over there and only there."""
    with served(tmp_path / "a") as a, served(tmp_path / "b") as b:
        xml = tmp_path / "m.xml"
        xml.write_text(SIM_GUEST.format("m"))
        assert ask(virsh, a.uri("sim"), "define", str(xml)).returncode == 0
        assert ask(virsh, a.uri("sim"), "start", "m").returncode == 0
        done = ask(virsh, a.uri("sim"), "migrate", "--live", "--persistent", "--undefinesource",
                   "--verbose", "m", b.uri("sim"))  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "running" in ask(virsh, b.uri("sim"), "domstate", "m").stdout
        assert ask(virsh, a.uri("sim"), "domstate", "m").returncode == 1
        done = ask(virsh, b.uri("sim"), "migrate", "--live", "m", b.uri("sim"))
        assert done.returncode == 1
        assert "running" in ask(virsh, b.uri("sim"), "domstate", "m").stdout
        assert ask(virsh, b.uri("sim"), "destroy", "m").returncode == 0


def test_guests_live_on_when_the_daemon_goes(virsh: str, tmp_path: Path) -> None:
    """After a restart the next daemon has the same guests, still running."""
    xml = tmp_path / "l.xml"
    xml.write_text(SIM_GUEST.format("l"))
    with served(tmp_path / "h") as first:
        assert ask(virsh, first.uri("sim"), "define", str(xml)).returncode == 0
        assert ask(virsh, first.uri("sim"), "start", "l").returncode == 0
    with served(tmp_path / "h") as second:
        assert "running" in ask(virsh, second.uri("sim"), "domstate", "l").stdout
        assert ask(virsh, second.uri("sim"), "destroy", "l").returncode == 0


def test_virsh_carries_the_content_of_volumes(virsh: str, host: Served, tmp_path: Path) -> None:
    """``vol-upload`` and ``vol-download``, with and without holes."""
    up, down, sparse = (tmp_path / name for name in ("up", "down", "sparse"))
    content = bytes(range(256)) * 4096
    up.write_bytes(content + bytes(1 << 20) + content)
    done = ask(virsh, host.uri(), "; ".join([
        "vol-create-as default-pool v 4M",
        f"vol-upload --pool default-pool v {up}",
        f"vol-download --pool default-pool v {down}",
        f"vol-upload --pool default-pool v {up} --sparse",
        f"vol-download --pool default-pool v {sparse} --sparse",
    ]))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert down.read_bytes() == sparse.read_bytes() == up.read_bytes() + bytes(1 << 20)
    assert sparse.stat().st_blocks < down.stat().st_blocks


PORT_GUEST = """<domain type='sim'><name>port</name><memory unit='MiB'>4</memory><vcpu>1</vcpu>
<os><type>hvm</type></os><devices><serial type='pty'/></devices></domain>"""


def test_a_console_a_picture_and_a_core(virsh: str, tmp_path: Path) -> None:
    """Lines of the guest come through virsh's console until ^]; screen and memory are files."""
    with served(tmp_path / "h") as host:
        uri = host.uri("sim")
        (tmp_path / "port.xml").write_text(PORT_GUEST)
        assert ask(virsh, uri, f"create {tmp_path}/port.xml").returncode == 0
        ours, theirs = os.openpty()
        shown = subprocess.Popen(
            [virsh, "-c", uri, "console", "port"], stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        found, end = b"", time.monotonic() + 20
        while b"tick 00" not in found and time.monotonic() < end:
            if select.select([ours], [], [], 1)[0]:
                found += os.read(ours, 4096)
        os.write(ours, b"\x1d")
        assert shown.wait(20) == 0, found
        os.close(ours)
        assert b"tick 00" in found
        said_of = ask(virsh, uri, f"screenshot port {tmp_path}/shot; dump port {tmp_path}/core")
        assert said_of.returncode == 0, said_of
        assert (tmp_path / "shot").read_bytes()[:4] == b"\x89PNG"
        assert (tmp_path / "core").stat().st_size == 4 << 20
        assert ask(virsh, uri, "destroy port").returncode == 0
