"""Guests of QEMU that move between polyvisord and libvirtd, as virsh sends them."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from served import need, run, served

import polyvisor
from polyvisor.testing.counting import write_image

pytestmark = [pytest.mark.real, pytest.mark.slow]

GUEST = """<domain type='qemu'><name>g</name>
<uuid>6f7a2a2e-52f6-4cf9-a8a4-4ac1bb5f4a12</uuid>
<memory unit='MiB'>32</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type></os><features><acpi/></features>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='raw'/>
<source file='{disk}'/><target dev='hda' bus='ide'/></disk>
<interface type='user'><mac address='52:54:00:11:22:33'/><model type='virtio'/></interface>
<serial type='file'><source path='{serial}' append='on'/><target port='0'/></serial>
<memballoon model='virtio'/></devices></domain>"""
CONFIG = "[plugins.qemu]\nlayout = 'libvirt'\nmigration_ports = [{first}, {last}]\n"
PORTS = "migration_port_min = {first}\nmigration_port_max = {last}\n"
#: Where to listen; names of hosts need not lead anywhere here.
PLACE = "tcp:127.0.0.1"


@attrs.frozen
class Pair:
    """polyvisord (``ours``) and libvirtd (``theirs``) with one counting guest between them."""

    folder: Path
    uris: dict[str, str]

    def virsh(self, side: str, *words: str, ok: bool = True) -> str:
        """Run virsh on a side and return what it prints."""
        done = run(need("virsh", "libvirt-clients"), "-c", self.uris[side], *words, timeout=120)
        assert (done.returncode == 0) is ok, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def lines(self) -> list[str]:
        """Return what was counted so far, without a line that is still being written."""
        serial = self.folder / "serial"
        text = serial.read_text() if serial.exists() else ""
        return text[: text.rfind("\n") + 1].split()[1::2]

    def wait_for_count(self) -> None:
        """Wait until a few further lines were counted."""
        wanted = len(self.lines()) + 3
        deadline = time.monotonic() + 60
        while len(self.lines()) < wanted:
            assert time.monotonic() < deadline, f"the guest counted {len(self.lines())}"
            time.sleep(0.02)

    def where(self) -> list[str]:
        """Return the sides on which the guest runs."""
        listed = {side: self.virsh(side, "list", "--name").split() for side in self.uris}
        return [side for side, names in listed.items() if "g" in names]


@pytest.fixture
def pair(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """Hold both daemons; the guest is defined nowhere and in ``g.xml``."""
    need("qemu-system-x86_64", "qemu-system-x86")
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "bench")
    from harness import Missing
    from libvirt_host import libvirt_host

    folder = own_home / "m"
    folder.mkdir()
    write_image(folder / "tick.img")
    guest = GUEST.format(disk=folder / "tick.img", serial=folder / "serial")
    (folder / "g.xml").write_text(guest)
    # Ports of this process alone: QEMU listens for IPv6 only where another test has IPv4's.
    first = 20000 + os.getpid() % 700 * 16
    config = CONFIG.format(first=first, last=first + 7)
    ports = PORTS.format(first=first + 8, last=first + 15)
    try:
        with (
            served(folder / "p", config=config) as daemon,
            libvirt_host(folder / "l", "host-m", settings=ports) as theirs,
        ):
            uris = {"ours": daemon.uri("qemu", "/system"), "theirs": theirs}
            try:
                yield Pair(folder, uris)
            finally:
                for uri in uris.values():
                    run("virsh", "-c", uri, "destroy", "g")
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize(
    "driven", [(), ("--p2p",), ("--p2p", "--tunnelled")], ids=["direct", "p2p", "tunnelled"]
)
def test_there_and_back(pair: Pair, driven: tuple[str, ...]) -> None:
    """From ours to theirs and back, no count lost, one owner each time; kept where asked."""
    pair.virsh("ours", "define", f"{pair.folder}/g.xml")
    pair.virsh("ours", "start", "g")
    pair.wait_for_count()
    for source, target in (("ours", "theirs"), ("theirs", "ours"), ("ours", "theirs")):
        place = () if "--tunnelled" in driven else (PLACE,)
        pair.virsh(
            source, "migrate", "g", pair.uris[target], *place, "--live", "--unsafe", "--persistent",
            "--undefinesource", *driven,
        )  # fmt: skip
        assert pair.where() == [target]
        pair.wait_for_count()
        assert "g" in pair.virsh(target, "list", "--all", "--persistent", "--name").split()
        assert "g" not in pair.virsh(source, "list", "--all", "--name").split()
    counted = pair.lines()
    assert counted == sorted(counted), "the guest was started anew"
    assert len(set(counted)) == len(counted)


def test_one_that_is_refused_runs_on(pair: Pair) -> None:
    """A name that is taken over there, on either side: the guest is where it was."""
    for source, target in (("ours", "theirs"), ("theirs", "ours")):
        pair.virsh(source, "create", f"{pair.folder}/g.xml")
        other = (pair.folder / "g.xml").read_text().replace("4a12</uuid>", "4a13</uuid>")
        (pair.folder / "other.xml").write_text(other)
        pair.virsh(target, "define", f"{pair.folder}/other.xml")
        told = pair.virsh(
            source, "migrate", "g", pair.uris[target], PLACE, "--live", "--unsafe", ok=False
        )
        assert "'g'" in told
        assert pair.where() == [source]
        pair.wait_for_count()
        pair.virsh(source, "destroy", "g")
        pair.virsh(target, "undefine", "g")


@pytest.mark.parametrize("way", ["--copy-storage-all", "--copy-storage-inc"])
@pytest.mark.parametrize("driven", [(), ("--p2p",)], ids=["direct", "p2p"])
def test_a_disk_comes_along(pair: Pair, way: str, driven: tuple[str, ...]) -> None:
    """From ours to theirs and back, over NBD as either names it: the copies are equal."""
    disks = {side: pair.folder / f"{side}.img" for side in pair.uris}
    for path in disks.values():
        path.write_bytes(bytes(8 << 20))
    with disks["ours"].open("r+b") as image:
        image.seek(1 << 20)
        image.write(bytes(range(256)) * 4096)
    more = (
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
        f"<source file='{disks['ours']}'/><target dev='vdb' bus='virtio'/></disk><interface"
    )
    guest = (pair.folder / "g.xml").read_text().replace("<interface", more, 1)
    (pair.folder / "g.xml").write_text(guest)
    pair.virsh("ours", "create", f"{pair.folder}/g.xml")
    pair.wait_for_count()
    for source, target in (("ours", "theirs"), ("theirs", "ours")):
        told = pair.virsh(source, "dumpxml", "--migratable", "g")
        (pair.folder / "x.xml").write_text(told.replace(str(disks[source]), str(disks[target])))
        pair.virsh(
            source, "migrate", "g", pair.uris[target], PLACE, "--live", "--unsafe", way,
            "--migrate-disks", "vdb", "--xml", f"{pair.folder}/x.xml", *driven,
        )  # fmt: skip
        assert pair.where() == [target]
        pair.wait_for_count()
        assert disks["ours"].read_bytes() == disks["theirs"].read_bytes()
        disks[source].write_bytes(bytes(8 << 20))
    assert bytes(range(256)) * 4096 in disks["ours"].read_bytes()


@pytest.mark.parametrize("client", ["virsh", "polyvisor"])
@pytest.mark.parametrize("source", ["ours", "theirs"])
def test_a_time_limit(pair: Pair, source: str, client: str) -> None:
    """A guest that writes faster than it is sent is stopped when its time is up, and arrives."""
    write_image(pair.folder / "tick.img", writing=True)
    target = {"ours": "theirs", "theirs": "ours"}[source]
    pair.virsh(source, "create", f"{pair.folder}/g.xml")
    pair.wait_for_count()
    if client == "virsh":
        pair.virsh(
            source, "migrate", "g", pair.uris[target], PLACE, "--live", "--unsafe",
            "--bandwidth", "1", "--timeout", "2",
        )  # fmt: skip
    else:
        with polyvisor.open(pair.uris[source]) as here, polyvisor.open(pair.uris[target]) as there:
            domain = here.domains["g"]
            # What does not arrive is taken for an error in the end.
            late = threading.Timer(90, domain.abort_job)
            late.start()
            try:
                domain.migrate(there, bandwidth=1 << 20, timeout=2, uri=PLACE, unsafe=True)
            finally:
                late.cancel()
    assert pair.where() == [target]
    assert pair.virsh(target, "domstate", "g").strip() == "running"
    pair.wait_for_count()


@pytest.mark.parametrize("source", ["ours", "theirs"])
def test_post_copy(pair: Pair, source: str) -> None:
    """After a pass over memory, as virsh wants it, the guest goes on over there without the rest.

    It writes faster than it could be sent, so without that it would never arrive.
    """
    write_image(pair.folder / "tick.img", writing=True)
    target = {"ours": "theirs", "theirs": "ours"}[source]
    pair.virsh(source, "create", f"{pair.folder}/g.xml")
    pair.wait_for_count()
    events = subprocess.Popen(
        ["virsh", "-c", pair.uris[source], "event", "--all", "--loop", "--timeout", "100"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        pair.virsh(
            source, "migrate", "g", pair.uris[target], PLACE, "--live", "--unsafe", "--postcopy",
            "--postcopy-after-precopy", "--bandwidth", "1",
        )  # fmt: skip
        assert pair.where() == [target]
        pair.wait_for_count()
        deadline = time.monotonic() + 60
        while (told := pair.virsh(target, "domstate", "g", "--reason")).split() != [
            "running",
            "(migrated)",
        ]:
            assert time.monotonic() < deadline, told
            time.sleep(0.1)
    finally:
        events.terminate()
        heard, _ = events.communicate(timeout=20)
    assert "Suspended Post-copy" in heard, heard
    counted = pair.lines()
    assert counted == sorted(counted), "the guest was started anew"
