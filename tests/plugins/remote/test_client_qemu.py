"""Our client on the disks of a guest of QEMU, behind polyvisord and behind libvirtd."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from test_virsh_qemu import Both, both

import polyvisor
from polyvisor.driver import SnapshotOptions
from polyvisor.errors import InvalidArgument, NotFound, OperationInvalid, PolyvisorError
from polyvisor.events import EventKind
from polyvisor.jobstats import JobOutcome

if TYPE_CHECKING:
    from polyvisor.domain import Domain

pytestmark = pytest.mark.real

__all__ = ["both"]

MIB = 1 << 20


def until(condition: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"{what} never comes"
        time.sleep(0.05)


@pytest.fixture(params=["polyvisord", "libvirtd"])
def guest(both: Both, request: pytest.FixtureRequest) -> Iterator[Domain]:
    """Hold the guest of one side; it runs."""
    side = {"polyvisord": "a", "libvirtd": "b"}[request.param]
    with polyvisor.open(both.uris[side]) as host:
        domain = host.domains.define((both.folder / f"{side}.xml").read_text())
        domain.start()
        yield domain


def source(domain: Domain) -> str:
    """Return the file of the disk."""
    disk = domain.spec().devices.disks[0]
    assert disk.source is not None
    assert disk.source.file is not None
    return disk.source.file


def test_jobs_move_the_data_of_disks(guest: Domain) -> None:
    """A chain grows with snapshots and is pulled, committed and copied; limits count in bytes."""
    disks, image = guest.disks, source(guest)
    folder = Path(image).parent
    assert disks.info("vda").capacity == 8 * MIB
    disks.resize("vda", 9 * MIB)
    assert disks.info("vda").capacity == 9 * MIB
    assert disks.job("vda") is None
    for wrong in (lambda: disks.info("none"), lambda: disks.pull("none")):
        with pytest.raises((InvalidArgument, NotFound)):
            wrong()

    kept = SnapshotOptions(disk_only=True)
    guest.snapshots.create("one", options=kept)
    above = source(guest)
    assert above != image
    disks.pull("vda", bandwidth=MIB)
    until(lambda: disks.job("vda") is None, "the end of the pull")
    assert source(guest) == above
    guest.snapshots.delete("one", metadata_only=True)

    guest.snapshots.create("two", options=kept)
    assert source(guest) != above
    # Only a job that says so may take the file that is written to.
    with pytest.raises(PolyvisorError, match="active"):
        disks.commit("vda")
    disks.commit("vda", active=True)
    until(lambda: (job := disks.job("vda")) is not None and job.ready, "a commit that is ready")
    found = disks.job("vda")
    assert found is not None
    assert found.kind == "active-commit"
    disks.abort("vda", pivot=True)
    assert disks.job("vda") is None
    assert source(guest) == above
    guest.snapshots.delete("two", metadata_only=True)

    copy = folder / f"{Path(image).stem}-copy.qcow2"
    xml = f"<disk type='file'><driver type='qcow2'/><source file='{copy}'/></disk>"
    disks.copy("vda", xml, bandwidth=3 * MIB)
    job = disks.job("vda")
    assert job is not None
    assert (job.kind, job.bandwidth) == ("copy", 3 * MIB)
    disks.set_bandwidth("vda", 5 * MIB)
    assert (again := disks.job("vda")) is not None
    assert again.bandwidth == 5 * MIB
    with pytest.raises(OperationInvalid):
        disks.copy("vda", xml)
    until(lambda: (job := disks.job("vda")) is not None and job.ready, "a copy that is ready")
    disks.abort("vda")
    assert source(guest) == above
    with pytest.raises(OperationInvalid):
        disks.abort("vda")
    guest.destroy()


def test_checkpoints_and_backups(guest: Domain) -> None:
    """Points in time are made, told of, put back; what changed since one is backed up."""
    points = guest.checkpoints
    for name in ("one", "two"):
        assert points.create(f"<domaincheckpoint><name>{name}</name></domaincheckpoint>") == name
    assert list(points.list()) == ["one", "two"]
    sized = points.xml("two", sizes=True)
    assert re.search(r"<disk name='vda'[^>]* size='\d+'", sized)
    kept = points.xml("one")
    points.delete("one", children=True, metadata_only=True)
    assert list(points.list()) == []
    assert points.create(kept, redefine=True) == "one"
    with pytest.raises(NotFound) as caught:
        points.xml("two")
    assert caught.value.kind == "checkpoint"

    backup = Path(source(guest)).with_suffix(".backup")
    with pytest.raises(NotFound) as missing:
        guest.backup.xml()
    assert missing.value.kind == "backup"
    guest.backup.begin(
        f"<domainbackup><incremental>one</incremental><disks><disk name='vda' type='file'>"
        f"<target file='{backup}'/><driver type='qcow2'/></disk></disks></domainbackup>",
        checkpoint="<domaincheckpoint><name>three</name></domaincheckpoint>",
    )
    until(lambda: guest.job() is None, "the end of the backup")
    assert backup.read_bytes()[:4] == b"QFI\xfb"
    assert list(points.list()) == ["one", "three"]
    guest.destroy()


def test_figures_of_a_backup(guest: Domain) -> None:
    """One that is over says what it copied; one that is ended before it is, that it was."""
    backup = Path(source(guest)).with_suffix(".backup")
    whole = (
        f"<domainbackup><disks><disk name='vda' type='file'><target file='{backup}'/>"
        f"<driver type='qcow2'/></disk></disks></domainbackup>"
    )
    stream = guest.connection.events(timeout=30)
    guest.backup.begin(whole)
    until(lambda: guest.job() is None, "the end of the backup")
    done = guest.job_statistics(completed=True)
    assert done is not None
    assert (done.operation, done.outcome, done.error) == ("backup", JobOutcome.COMPLETED, None)
    figures = dict(done.figures)
    assert figures.pop("time_elapsed") < 60_000
    size = 8 * MIB
    assert figures == {"disk_total": size, "disk_processed": size, "disk_remaining": 0}
    assert guest.job_statistics(completed=True) is None
    event = next(one for one in stream if one.kind is EventKind.JOB_COMPLETED)
    assert event.detail == "backup"
    assert {**figures, "success": True}.items() <= event.data.items()

    guest.backup.begin(
        f"<domainbackup mode='pull'><server transport='unix' socket='{backup}.sock'/><disks>"
        f"<disk name='vda' type='file'><scratch file='{backup}.scratch'/></disk></disks>"
        f"</domainbackup>"
    )
    until(lambda: guest.job() is not None, "the job")
    guest.abort_job()
    until(lambda: guest.job() is None, "the end of the job")
    pulled = guest.job_statistics(completed=True)
    assert pulled is not None
    assert (pulled.operation, pulled.outcome) == ("backup", JobOutcome.COMPLETED)
    assert set(pulled.figures) == {"time_elapsed", "disk_temp_used", "disk_temp_total"}
    guest.destroy()


def test_a_viewer_is_handed_over(both: Both) -> None:
    """The display serves a socket of ours; one that is not there is refused, of both daemons."""
    display = "<graphics type='vnc' port='-1' autoport='yes' passwd='a'/></devices>"
    for side, uri in both.uris.items():
        xml = (both.folder / f"{side}.xml").read_text().replace("</devices>", display)
        with polyvisor.open(uri) as host:
            assert host.support.usable("console.graphics")
            domain = host.domains.define(xml)
            ours, theirs = socket.socketpair()
            with ours, theirs:
                with pytest.raises(OperationInvalid):
                    domain.open_graphics(theirs.fileno())
                domain.start()
                with pytest.raises(NotFound, match="7"):
                    domain.open_graphics(theirs.fileno(), screen=7)
                domain.open_graphics(theirs.fileno(), skip_auth=True)
                theirs.close()
                ours.settimeout(60)
                # RFC 6143, section 7.1: the server speaks first; 1 is a viewer without a password.
                version = ours.recv(12, socket.MSG_WAITALL)
                assert version.startswith(b"RFB ")
                ours.sendall(version)
                assert ours.recv(2, socket.MSG_WAITALL) == b"\1\1"
            assert domain.active
            domain.destroy()


def test_the_rate_of_writes_is_measured_and_images_are_counted(guest: Domain) -> None:
    """Both daemons tell the same figures of it, and of each image below a disk."""
    guest.measure_dirty_rate(1)
    found: dict[str, object] = {}

    def measured() -> bool:
        found.update(guest.stats(groups={"dirtyrate"}))
        return found["dirtyrate.calc_status"] == 2

    until(measured, "the end of the measurement")
    assert found.keys() == {
        f"dirtyrate.{name}"
        for name in (
            "calc_status", "calc_start_time", "calc_period", "calc_mode", "megabytes_per_second",
        )
    }  # fmt: skip
    assert (found["dirtyrate.calc_period"], found["dirtyrate.calc_mode"]) == (1, "page-sampling")
    with pytest.raises(PolyvisorError):
        guest.measure_dirty_rate(mode="dirty-ring")
    image = source(guest)
    guest.snapshots.create("one", options=SnapshotOptions(disk_only=True))
    assert guest.stats(groups={"block"})["block.count"] == 2
    deep = guest.stats(groups={"block"}, backing=True)
    assert deep["block.count"] == 3
    assert (deep["block.0.path"], deep["block.1.path"]) == (source(guest), image)
    ((_, same),) = guest.connection.domains.stats(groups={"block"}, backing=True)
    assert same["block.1.path"] == image
    assert guest.active
    guest.destroy()
