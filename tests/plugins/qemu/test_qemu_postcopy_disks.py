"""Real guests that go on at the destination before all of their memory is there, with disks."""

from __future__ import annotations

import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from halves import ENDLESS, MEMORY, POSTCOPY, SLOW, need_faults, switching, until

from polyvisor.errors import MigrationError, NotFound
from polyvisor.model import DomainSpec
from polyvisor.states import DomainState, DomainStatus, StateReason
from polyvisor_qemu.qmp import Monitor

if TYPE_CHECKING:
    from polyvisor.domain import Domain

    # The conftest's own class; tests are no package that could be imported from.
    Hosts = Any

pytestmark = [pytest.mark.real, pytest.mark.slow]

MIGRATED = DomainStatus(DomainState.RUNNING, StateReason.MIGRATED)
#: Bytes of the disk, and of each thing that is written to it.
SIZE, PIECE = 1 << 20, 1 << 16


@pytest.fixture(autouse=True)
def _faults() -> None:
    need_faults()


def tool(*words: str) -> str:
    """Run one of QEMU's tools for images and return what it says."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@attrs.frozen
class Moving:
    """A guest with a disk, and where the copy of that is to be.

    Attributes:
        hosts: where it runs.
        way: what of the disk is copied.
        form: the format of both images.
        images: the disk on either host.
    """

    hosts: Hosts
    way: str
    form: str
    images: dict[str, Path]

    @property
    def spec(self) -> DomainSpec:
        """The guest as it is on the first host."""
        return self.hosts.counting(
            memory=MEMORY,
            more=f"<disk type='file' device='disk'><driver name='qemu' type='{self.form}'/>"
            f"<source file='{self.images['a']}'/><target dev='vdb' bus='virtio'/></disk>",
        )

    def means(self, domain: Domain) -> dict[str, Any]:
        """Return what takes the disk along to the second host, by post-copy."""
        xml = domain.spec().to_xml().replace(str(self.images["a"]), str(self.images["b"]))
        return {
            "post_copy": True,
            "copy_storage": self.way,
            "disks": ["vdb"],
            "spec": DomainSpec.from_xml(xml),
        }

    def monitor(self, side: str) -> Path:
        """Return a monitor that nobody holds: one side sends by one, the other watches."""
        (path,) = self.hosts.root.glob(f"{side}/**/{'events' if side == 'a' else 'control'}")
        return path

    def write(self, side: str, byte: int) -> None:
        """Have the guest write to its disk, through the device."""
        path = self.monitor(side)
        device = "qemu-io -d /machine/peripheral/virtio-disk1/virtio-backend"
        with Monitor(str(path)) as monitor:
            for order in (f"write -P {byte} {byte * PIECE} {PIECE}", "flush"):
                line = f'{device} "{order}"'
                told = monitor.execute("human-monitor-command", command_line=line)
                assert told == "", told

    def exports(self, side: str) -> list[Any]:
        """Return what a host's QEMU still lets others have of the guest's disks."""
        path = self.monitor(side)
        with Monitor(str(path)) as monitor:
            found: list[Any] = monitor.execute("query-block-exports")
            return found

    def written(self, side: str) -> list[int]:
        """Return what was written to an image that nobody uses."""
        raw = self.hosts.root / "raw"
        tool("qemu-img", "convert", "-f", self.form, "-O", "raw", str(self.images[side]), str(raw))
        found = raw.read_bytes()
        pieces = {byte: found[byte * PIECE :][:PIECE] for byte in range(1, SIZE // PIECE)}
        return [byte for byte, piece in pieces.items() if piece == bytes([byte]) * PIECE]


@pytest.fixture(params=["all", "incremental"])
def moving(request: pytest.FixtureRequest, hosts: Hosts) -> Moving:
    """Hold a guest with a filled disk: a raw image, or what lies over one that both hosts have."""
    images = {side: hosts.root / f"disk-{side}" for side in "ab"}
    if request.param == "all":
        form = "raw"
        tool("qemu-img", "create", "-q", "-f", "raw", str(images["a"]), str(SIZE))
    else:
        form, base = "qcow2", str(hosts.root / "base")
        tool("qemu-img", "create", "-q", "-f", "raw", base, str(SIZE))
        tool("qemu-io", "-f", "raw", "-c", f"write -P 1 {PIECE} {PIECE}", base)
        for path in images.values():
            words = ("-q", "-f", "qcow2", "-b", base, "-F", "raw")
            tool("qemu-img", "create", *words, str(path), str(SIZE))
    tool("qemu-io", "-f", form, "-c", f"write -P 2 {2 * PIECE} {PIECE}", str(images["a"]))
    return Moving(hosts, request.param, form, images)


def test_both_halves_have_one_disk(hosts: Hosts, moving: Moving) -> None:
    """The copy is equal when the guest is switched; from there on the other one alone counts."""
    here, there = hosts.open("a"), hosts.open("b")
    domain = here.domains.create(moving.spec)
    hosts.wait_for_count()
    halves = []

    def look() -> None:
        halves.append((domain.status(), there.domains["guest"].status()))
        hosts.wait_for_count()
        assert moving.exports("b") == []
        moving.write("b", 4)
        domain.steer_migration(post_copy_bandwidth=1 << 40)

    phases = []
    switch = switching(domain, look, there)

    def progress(told: Any) -> None:
        if told.phase == "memory" and "memory" not in phases:
            moving.write("a", 3)  # After its disk was copied once.
        phases.append(told.phase)
        switch(told)

    moved = domain.migrate(
        there,
        bandwidth=SLOW,
        post_copy_bandwidth=ENDLESS,
        progress=progress,
        **moving.means(domain),
    )
    assert halves == [
        (
            DomainStatus(DomainState.PAUSED, POSTCOPY),
            DomainStatus(DomainState.RUNNING, POSTCOPY),
        )
    ]
    assert {"disks", "memory", "post-copy"} <= set(phases)
    assert moved.status() == MIGRATED
    hosts.wait_for_count()
    moving.write("b", 5)
    assert len(hosts.processes()) == 1
    moved.destroy()
    below = [1] if moving.way == "incremental" else []
    assert moving.written("b") == [*below, 2, 3, 4, 5]
    assert moving.written("a") == [*below, 2, 3]


def test_cut_off_and_taken_up_again(hosts: Hosts, moving: Moving) -> None:
    """What takes it up says of disks what was said before, and they are not copied anew."""
    here, there = hosts.open("a"), hosts.open("b")
    domain = here.domains.create(moving.spec)
    hosts.wait_for_count()
    means = moving.means(domain)

    def cut() -> None:
        moving.write("b", 4)
        domain.steer_migration(post_copy_pause=True)

    with pytest.raises(MigrationError, match="cut off before all of its memory"):
        domain.migrate(
            there,
            bandwidth=SLOW,
            post_copy_bandwidth=ENDLESS,
            progress=switching(domain, cut, there),
            **means,
        )
    assert domain.status() == DomainStatus(DomainState.PAUSED, StateReason.POSTCOPY_FAILED)
    moved = domain.migrate(there, post_copy_resume=True, **means)
    assert moved.status() == MIGRATED
    hosts.wait_for_count()
    moving.write("b", 5)
    moved.destroy()
    assert moving.written("b")[-3:] == [2, 4, 5]


#: Where the process that drives it dies, and who has the guest then.
DEATHS = {
    "before the copy ends": ("die_in(Mirrors, 'end')", "a"),
    "when the copy has ended": ("die_in(Monitor, 'execute', 'migrate-continue')", "a"),
    "before finish": ("die_in(LocalMigration, 'finish')", "b"),
    "in finish": ("die_in(polyvisor.local._launch, 'let_run')", "b"),
}
DYING = """
import signal
import polyvisor.local._launch
from polyvisor.local._migration import LocalMigration
from polyvisor_qemu.mirrors import Mirrors
from polyvisor_qemu.qmp import Monitor

def die_in(owner, name, first=None):
    plain = getattr(owner, name)
    def die(*args, **kwargs):
        if first in (None, *args[1:2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(*args, **kwargs)
    setattr(owner, name, die)

def progress(told):
    if told.processed and told.phase == "memory":
        domain.steer_migration(post_copy=True)

peer, way, spec, death = sys.argv[1:]
domain = polyvisor.open(uri).domains["guest"]
exec(death)
domain.migrate(
    polyvisor.open(peer), bandwidth=100_000, post_copy=True, post_copy_bandwidth=400_000,
    progress=progress, undefine_source=True, copy_storage=way, disks=["vdb"], spec=spec,
)
"""


@pytest.mark.parametrize("death", DEATHS)
@pytest.mark.parametrize("moving", ["all"], indirect=True)
def test_killed(hosts: Hosts, moving: Moving, death: str) -> None:
    """Whoever drives it dies: one side has the guest with its disk to itself, and it can go on."""
    here, there = hosts.open("a"), hosts.open("b")
    domain = here.domains.define(moving.spec)
    domain.start()
    hosts.wait_for_count()
    what, where = DEATHS[death]
    means = moving.means(domain)
    with hosts.start_process(
        DYING, hosts.uri("b"), moving.way, means["spec"].to_xml(), what
    ) as process:
        _, words = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, words
    sides = {"a": here, "b": there}
    owners: list[str] = []

    def settled() -> bool:
        owners.clear()
        for side, connection in sides.items():
            with suppress(NotFound):  # It may go between two looks.
                status = connection.domains["guest"].status()
                if status.state is DomainState.RUNNING and status.reason is not POSTCOPY:
                    owners.append(side)
        return len(owners) == 1 and len(hosts.processes()) == 1

    until(settled, "nobody has it")
    assert owners == [where]
    hosts.wait_for_count()
    assert moving.exports(where) == []
    moving.write(where, 4)
    owned = sides[where].domains["guest"]
    if where == "a":
        assert there.domains.list() == []
        owned = owned.migrate(there, bandwidth=1 << 20, progress=switching(owned), **means)
        hosts.wait_for_count()
        moving.write("b", 5)
    owned.destroy()
    assert moving.written("b")[:2] == [2, 4]
