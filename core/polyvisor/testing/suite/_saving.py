"""Saving, restoring, managed save and snapshots."""

from __future__ import annotations

import errno
import itertools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

import polyvisor
from polyvisor import saveimage
from polyvisor.driver import SnapshotOptions
from polyvisor.errors import (
    AlreadyExists,
    Cancelled,
    NotFound,
    OperationInvalid,
    SaveImageError,
    SemanticError,
    StorageError,
)
from polyvisor.model import DomainSpec
from polyvisor.states import DomainState, StateReason
from polyvisor.testing._target import Target, requires

if TYPE_CHECKING:
    from polyvisor.connection import Connection
    from polyvisor.domain import Domain
    from polyvisor.jobs import JobProgress

__all__ = ["TestCheckpoints", "TestSaving", "TestSnapshots", "TestSnapshotsOfDisks"]


def consecutive(numbers: list[int]) -> bool:
    """Say whether each number is one more than the one before."""
    return all(later == earlier + 1 for earlier, later in itertools.pairwise(numbers))


def _need_direct(folder: Path) -> None:
    """Skip where files cannot be written past the cache."""
    try:
        os.close(os.open(folder / "direct", os.O_CREAT | os.O_WRONLY | os.O_DIRECT))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        pytest.skip(f"the file system of {folder} has no O_DIRECT")


@requires("save.file")
class TestSaving:
    """What was saved comes back as it was."""

    @pytest.mark.parametrize("bypass_cache", [False, True], ids=["cached", "direct"])
    def test_nothing_is_lost(
        self, host: Connection, domain: Domain, target: Target, tmp_path: Path, bypass_cache: bool
    ) -> None:
        """The guest goes on counting after a restore where it stood when it was saved."""
        image = tmp_path / "image"
        if bypass_cache:
            _need_direct(tmp_path)
        domain.start()
        if target.ticks is not None:
            target.wait_for_ticks(domain, 3)
        domain.save(image, bypass_cache=bypass_cache)
        assert domain.status() == polyvisor.DomainStatus(DomainState.SHUTOFF, StateReason.SAVED)
        restored = host.domains.restore(image, bypass_cache=bypass_cache)
        assert restored == domain
        assert domain.status() == polyvisor.DomainStatus(DomainState.RUNNING, StateReason.RESTORED)
        assert image.exists()
        if target.ticks is not None:
            assert consecutive(list(target.wait_for_ticks(domain, 3)))
        domain.destroy()

    def test_a_paused_domain_comes_back_paused(
        self, host: Connection, domain: Domain, tmp_path: Path
    ) -> None:
        """The state at saving decides, unless the restorer does."""
        image = tmp_path / "image"
        domain.start()
        domain.suspend()
        domain.save(image)
        host.domains.restore(image)
        assert domain.state is DomainState.PAUSED
        domain.destroy()
        host.domains.restore(image, paused=False)
        assert domain.status().state is DomainState.RUNNING
        domain.destroy()
        host.domains.restore(image, paused=True)
        assert domain.state is DomainState.PAUSED
        domain.destroy()

    @requires("save.edit")
    def test_a_changed_image_is_restored_as_changed(
        self, host: Connection, domain: Domain, tmp_path: Path
    ) -> None:
        """A definition put into an image is that of the guest that comes out of it."""
        image = tmp_path / "image"
        domain.start()
        domain.save(image)
        before = DomainSpec.from_xml(saveimage.inspect(image).xml)
        changed = attrs.evolve(before, title="put into the image")
        assert saveimage.change_definition(image, changed, running=False)
        assert host.domains.restore(image).spec().title == "put into the image"
        assert domain.state is DomainState.PAUSED
        domain.destroy()
        with pytest.raises(SemanticError, match="another machine"):
            saveimage.change_definition(image, attrs.evolve(changed, memory=before.memory * 2))

    def test_progress_is_reported(self, domain: Domain, tmp_path: Path) -> None:
        """At least one report comes, in order, and the last says it is done."""
        reports: list[JobProgress] = []
        domain.start()
        domain.save(tmp_path / "image", progress=reports.append)
        assert reports
        assert reports[-1].done
        assert [r.processed for r in reports] == sorted(r.processed for r in reports)

    @pytest.mark.parametrize(
        "stop", [Cancelled("enough"), ZeroDivisionError("its own")], ids=["cancelled", "failing"]
    )
    def test_cancelling_leaves_everything_as_it_was(
        self, domain: Domain, target: Target, tmp_path: Path, stop: Exception
    ) -> None:
        """A cancelled save leaves a running domain, the earlier image, and no other file.

        What a progress function raises cancels, and reaches the caller as it is.
        """
        image = tmp_path / "image"
        image.write_bytes(b"earlier")
        domain.start()

        def cancel(progress: JobProgress) -> None:
            raise stop

        with pytest.raises(type(stop)) as caught:
            domain.save(image, progress=cancel)
        assert caught.value is stop
        assert domain.state is DomainState.RUNNING
        assert image.read_bytes() == b"earlier"
        assert [
            path.name for path in tmp_path.iterdir() if path.name.startswith((".image", "image"))
        ] == ["image"]
        if target.ticks is not None:
            assert consecutive(list(target.wait_for_ticks(domain, 2)))
        domain.destroy()

    def test_an_unwritable_place(self, domain: Domain, tmp_path: Path) -> None:
        """A folder that is not there is a ``StorageError`` naming it; the domain runs on."""
        domain.start()
        with pytest.raises(StorageError, match="nowhere") as caught:
            domain.save(tmp_path / "nowhere" / "image")
        assert caught.value.path is not None
        assert domain.state is DomainState.RUNNING
        domain.destroy()

    def test_what_is_no_image(self, host: Connection, tmp_path: Path) -> None:
        """Missing, empty and foreign files are told apart and start nothing."""
        with pytest.raises(StorageError, match="missing"):
            host.domains.restore(tmp_path / "missing")
        for content in (b"", b"hello", b"\0" * 4096):
            (tmp_path / "image").write_bytes(content)
            with pytest.raises(SaveImageError):
                host.domains.restore(tmp_path / "image")
        assert not list(host.domains)

    def test_a_truncated_image(self, host: Connection, domain: Domain, tmp_path: Path) -> None:
        """An image cut anywhere is refused, and the domain can still be started."""
        image = tmp_path / "image"
        domain.start()
        domain.save(image)
        whole = image.read_bytes()
        for keep in (1, 15, 16, 20, 91, 92, 100, 200, len(whole) // 2, len(whole) * 3 // 4):
            image.write_bytes(whole[:keep])
            with pytest.raises((SaveImageError, polyvisor.errors.HypervisorError)):
                host.domains.restore(image)
            assert domain.state is DomainState.SHUTOFF
        image.write_bytes(whole)
        host.domains.restore(image)
        assert domain.state is DomainState.RUNNING
        domain.destroy()

    def test_not_twice(self, host: Connection, domain: Domain, tmp_path: Path) -> None:
        """A domain that runs cannot be restored a second time beside itself."""
        image = tmp_path / "image"
        domain.start()
        domain.save(image)
        host.domains.restore(image)
        with pytest.raises((AlreadyExists, OperationInvalid)):
            host.domains.restore(image)
        assert domain.state is DomainState.RUNNING
        domain.destroy()

    def test_a_changed_definition(self, host: Connection, domain: Domain, tmp_path: Path) -> None:
        """A restore takes a changed title, and refuses another machine."""
        image = tmp_path / "image"
        domain.start()
        domain.save(image)
        spec = domain.spec()
        with pytest.raises(polyvisor.PolyvisorError, match="memory"):
            host.domains.restore(image, spec=attrs.evolve(spec, memory=spec.memory * 2))
        host.domains.restore(image, spec=attrs.evolve(spec, title="changed"))
        assert domain.spec().title == "changed"
        domain.destroy()

    @requires("save.managed")
    def test_managed_save(self, domain: Domain, target: Target) -> None:
        """The next start resumes from it, and uses it up."""
        domain.start()
        if target.ticks is not None:
            target.wait_for_ticks(domain, 3)
        domain.managed_save()
        assert domain.state is DomainState.SHUTOFF
        assert domain.has_managed_save
        assert domain.info().managed_save
        with pytest.raises(OperationInvalid, match="managed save"):
            domain.undefine()
        domain.start()
        assert domain.status().reason is StateReason.RESTORED
        assert not domain.has_managed_save
        if target.ticks is not None:
            assert consecutive(list(target.wait_for_ticks(domain, 3)))
        domain.managed_save()
        domain.start(force_boot=True)
        assert domain.status().reason is StateReason.BOOTED
        domain.managed_save()
        domain.remove_managed_save()
        assert not domain.has_managed_save


@requires("snapshots.memory")
class TestSnapshots:
    """A domain goes back to where it was."""

    def test_tree(self, domain: Domain) -> None:
        """Snapshots hang on one another; deleting one hands its children on."""
        domain.start()
        first = domain.snapshots.create("first", description="one")
        second = domain.snapshots.create("second")
        third = domain.snapshots.create("third")
        assert (first.parent, second.parent, third.parent) == (None, "first", "second")
        found = domain.snapshots.list()
        assert [snapshot.name for snapshot in found] == ["first", "second", "third"]
        assert [snapshot.current for snapshot in found] == [False, False, True]
        assert found[0].description == "one"
        assert "<name>first</name>" in domain.snapshots.xml("first")
        domain.snapshots.delete("second")
        assert {s.name: s.parent for s in domain.snapshots.list()} == {
            "first": None,
            "third": "first",
        }
        domain.snapshots.delete("first", children=True)
        assert list(domain.snapshots.list()) == []
        domain.destroy()

    def test_names(self, domain: Domain) -> None:
        """A name can be had once; without one the time is used; an unknown one is told."""
        domain.start()
        domain.snapshots.create("once")
        with pytest.raises(AlreadyExists, match="once"):
            domain.snapshots.create("once")
        assert domain.snapshots.create().name.isdigit()
        for ask in (domain.snapshots.revert, domain.snapshots.delete, domain.snapshots.xml):
            with pytest.raises(NotFound, match="missing"):
                ask("missing")
        domain.destroy()
        with pytest.raises(OperationInvalid, match="snapshot"):
            domain.undefine()

    @requires("snapshots.revert", "domains.rename")
    def test_going_back_keeps_the_name(self, domain: Domain) -> None:
        """Snapshots of a domain that was renamed since then are its own still."""
        domain.start()
        domain.snapshots.create("here")
        domain.destroy()
        domain.rename("called-otherwise")
        domain.snapshots.revert("here")
        assert domain.name == "called-otherwise"
        assert domain.spec().name == domain.spec(inactive=True).name == "called-otherwise"
        domain.destroy()

    @requires("snapshots.revert")
    def test_revert(self, domain: Domain, target: Target) -> None:
        """The guest goes on from the count it had at the snapshot."""
        domain.start()
        if target.ticks is None:
            domain.snapshots.create("here")
            domain.snapshots.revert("here")
        else:
            target.wait_for_ticks(domain, 3)
            domain.suspend()
            then = target.ticks(domain)[-1]
            domain.snapshots.create("here")
            domain.resume()
            target.wait_for_ticks(domain, 3)
            domain.snapshots.revert("here", paused=False)
            seen = list(target.wait_for_ticks(domain, 2))
            assert seen.count(then + 1) == 2
        assert domain.status().reason is StateReason.FROM_SNAPSHOT
        domain.destroy()
        domain.snapshots.revert("here", paused=True)
        assert domain.state is DomainState.PAUSED
        domain.destroy()


@requires("snapshots.disk")
class TestSnapshotsOfDisks:
    """The disks of a running guest are kept, without its memory."""

    def test_disks_alone(self, domain: Domain) -> None:
        """The guest runs on, in new images until the snapshot is deleted."""
        domain.start()
        before = domain.spec().devices.disks
        made = domain.snapshots.create("disks", options=SnapshotOptions(disk_only=True))
        assert (made.state, made.external) == ("disk-snapshot", True)
        assert domain.state is DomainState.RUNNING
        assert domain.spec().devices.disks != before
        (kept,) = domain.snapshots.list()
        assert kept == made
        domain.snapshots.delete("disks")
        assert domain.state is DomainState.RUNNING
        assert [disk.source for disk in domain.spec().devices.disks] == [
            disk.source for disk in before
        ]
        domain.destroy()


@requires("checkpoints")
class TestCheckpoints:
    """What has changed on disks is known from some moments on."""

    def test_one_after_another(self, domain: Domain) -> None:
        """Each has the one before as its parent, and they go one by one."""
        domain.start()
        points = domain.checkpoints
        for name in ("one", "two"):
            xml = f"<domaincheckpoint><name>{name}</name></domaincheckpoint>"
            assert points.create(xml) == name
        assert list(points.list()) == ["one", "two"]
        with pytest.raises(AlreadyExists):
            points.create("<domaincheckpoint><name>one</name></domaincheckpoint>")
        assert "<parent>" in points.xml("two")
        points.delete("one")
        assert list(points.list()) == ["two"]
        assert "<parent>" not in points.xml("two")
        with pytest.raises(NotFound):
            points.xml("one")
        points.delete("two")
        domain.destroy()

    @requires("backup")
    def test_backup(self, domain: Domain, target: Target) -> None:
        """A backup is a job of the domain; when it is over its checkpoint is there."""
        domain.start()
        with pytest.raises(NotFound):
            domain.backup.xml()
        domain.backup.begin(checkpoint="<domaincheckpoint><name>one</name></domaincheckpoint>")
        deadline = time.monotonic() + 20 * target.slow
        while domain.job() is not None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert list(domain.checkpoints.list()) == ["one"]
        assert domain.state is DomainState.RUNNING
        domain.checkpoints.delete("one")
        domain.destroy()
