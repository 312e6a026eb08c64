"""Snapshots: the tree of them, and those that keep definition and memory alone."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.driver import DomainOptions, SaveOptions, SnapshotInfo, SnapshotOptions, Snapshots
from polyvisor.errors import AlreadyExists, InvalidArgument, PolyvisorError
from polyvisor.events import EventKind
from polyvisor.local._compression import read_stream
from polyvisor.local._keeper import LIVELY
from polyvisor.local._launch import boot, run_image
from polyvisor.local._points import checkpoint_family
from polyvisor.local._save import (
    begun_file,
    go_on,
    need_settled,
    open_image,
    saves_guests,
    write_image,
)
from polyvisor.local._snapshot_disks import SnapshotsDisks
from polyvisor.local._snapshot_docs import (
    below,
    document,
    find,
    forget,
    info,
    keep,
    named,
    snapshot_state,
)
from polyvisor.local._snapshot_revert import stop_present
from polyvisor.model import SnapshotSpec
from polyvisor.model.snapshot import SnapshotMemory
from polyvisor.state._files import remove_file
from polyvisor.states import DomainState, StateReason

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.jobs import Job
    from polyvisor.local._hold import Hold
    from polyvisor.local._hypervisor import Guest
    from polyvisor.local._keeper import Keeper
    from polyvisor.state import Snapshot

__all__ = ["LocalSnapshots"]


class LocalSnapshots(Snapshots):
    """Keeps snapshots as save images in the host's own folder."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._store = keeper.home.store

    def create(
        self,
        uuid: UUID,
        name: str | None,
        description: str | None,
        job: Job,
        options: SnapshotOptions | None = None,
    ) -> SnapshotInfo:
        options = options or SnapshotOptions()
        with self._keeper.hold(uuid, "snapshot") as hold:
            if options.redefine:
                return self._redefine(hold, options)
            wanted = self._wanted(hold, name, description, options)
            self._refuse_with_checkpoints(hold)
            if isinstance(self._keeper.hypervisor, SnapshotsDisks):
                from polyvisor.local._snapshot_take import take

                take(hold, wanted, options, job)
            else:
                self._keep_memory(hold, wanted, options, job)
            job.report("done", done=True)
            made = info(find(hold.known, wanted.name or "", self._store.snapshots(uuid)))
            if options.halt and hold.known.active:
                self._halt(hold)
            return made

    def _refuse_with_checkpoints(self, hold: Hold) -> None:
        """What is kept account of lies in the images: it would be left behind in one of them."""
        if self._store.objects(checkpoint_family(hold.uuid)):
            raise hold.invalid("it has checkpoints, which would be lost; delete them first")

    def _halt(self, hold: Hold) -> None:
        self._keeper.hypervisor.destroy(hold.guest)
        hold.end(StateReason.FROM_SNAPSHOT, (EventKind.STOPPED, "from-snapshot"))

    def _wanted(
        self, hold: Hold, name: str | None, description: str | None, options: SnapshotOptions
    ) -> SnapshotSpec:
        """Return the snapshot that is to be taken, with name and time."""
        spec = options.spec or SnapshotSpec()
        name = name if name is not None else spec.name
        known = {snapshot.name for snapshot in self._store.snapshots(hold.uuid)}
        now = int(time.time())
        if name is None:
            number = now
            while str(number) in known:
                number += 1
            name = str(number)
        elif not name.strip() or any(ord(c) < 0x20 for c in name) or "/" in name:
            raise InvalidArgument(
                f"snapshot {name!r}: a name must not be empty nor hold '/' or line breaks",
                domain=hold.known.name,
            )
        if name in known:
            raise AlreadyExists(
                f"the domain {hold.known.name!r} has a snapshot {name!r} already; choose "
                f"another name, or delete that one",
                domain=hold.known.name,
            )
        description = description if description is not None else spec.description
        spec = attrs.evolve(spec, name=name, description=description)
        return spec.created(now)

    def _redefine(self, hold: Hold, options: SnapshotOptions) -> SnapshotInfo:
        """Put back the document of a snapshot whose images are there."""
        from polyvisor.model import DomainSpec

        spec = options.spec
        if spec is None or spec.name is None or not isinstance(spec.domain, DomainSpec):
            raise InvalidArgument(
                "redefine a snapshot: its whole document is needed, with name and domain",
                domain=hold.known.name,
            )
        if spec.domain.uuid != hold.uuid:
            raise InvalidArgument(
                f"redefine the snapshot {spec.name!r}: it is of the domain {spec.domain.uuid}",
                domain=hold.known.name,
            )
        known = {one.name: one for one in self._store.snapshots(hold.uuid)}
        parent = spec.parent.name if spec.parent is not None else None
        if parent is not None and (parent not in known or parent == spec.name):
            raise InvalidArgument(
                f"redefine the snapshot {spec.name!r}: its parent {parent!r} is missing; redefine "
                f"that first",
                domain=hold.known.name,
            )
        present = next((one for one in known.values() if one.current), None)
        made = keep(self._store, hold.uuid, spec, spec.memory.file if spec.memory else None)
        if spec.creation_time is not None:
            made = attrs.evolve(made, created=datetime.fromtimestamp(spec.creation_time, UTC))
        again = present is not None and present.name == made.name
        made = attrs.evolve(made, parent=parent, current=options.current or again)
        changed = [made]
        if present is not None and not again:
            changed.append(attrs.evolve(present, current=not options.current))
        self._store.put_snapshots(hold.uuid, changed)
        return info(made)

    def _keep_memory(
        self, hold: Hold, wanted: SnapshotSpec, options: SnapshotOptions, job: Job
    ) -> None:
        """Take a snapshot of definition and memory: this hypervisor's guests have no disks."""
        record = hold.known
        asked = options.disk_only or options.reuse or any(d.snapshot != "no" for d in wanted.disks)
        if asked or (wanted.memory is not None and wanted.memory.mode == "external"):
            from polyvisor.local._snapshot_take import snapshots_disks

            snapshots_disks(self._keeper.hypervisor)
        document = record.live or record.definition
        assert document is not None
        wanted = attrs.evolve(
            wanted,
            state=snapshot_state(record.state),
            memory=SnapshotMemory(snapshot="internal" if record.active else "no"),
            domain=attrs.evolve(document.spec(), id=None),
        )
        path = self._write(hold, job) if record.active else None
        keep(self._store, hold.uuid, wanted, path)
        if path is not None:
            go_on(hold)

    def _write(self, hold: Hold, job: Job) -> str:
        """Write the guest's memory into a file; the guest stands still afterwards."""
        record = hold.known
        if record.state not in LIVELY and record.state is not DomainState.PAUSED:
            raise hold.invalid(f"it is {record.state}")
        need_settled(hold)
        folder = self._keeper.home.folder(f"snapshots/{hold.uuid}")
        self._sweep(hold, folder)
        path = f"{folder}/{time.time_ns()}"
        running = record.state in LIVELY
        spec = attrs.evolve(hold.guest.spec, id=None)
        intent = {
            "op": "snapshot",
            "path": path,
            "running": running,
            "reason": str(record.reason),
        }
        with (
            begun_file(hold, path, StateReason.CREATING_SNAPSHOT, intent) as file,
            self._keeper.home.jobs.shown(str(hold.uuid), job),
        ):
            try:
                if running:
                    self._keeper.hypervisor.suspend(hold.guest)
                write_image(hold, file, spec, resume=running, options=SaveOptions(), job=job)
                job.check()
                file.commit()
            except BaseException:
                with suppress(PolyvisorError):  # It stays recorded, to be tried anew.
                    go_on(hold)
                raise
        return path

    def _sweep(self, hold: Hold, folder: str) -> None:
        """Remove files of snapshots that a process deleted which was killed before it did so."""
        known = {snapshot.path for snapshot in self._store.snapshots(hold.uuid)}
        for name in os.listdir(folder):
            if f"{folder}/{name}" not in known:
                remove_file(f"{folder}/{name}")

    def list(self, uuid: UUID) -> Sequence[SnapshotInfo]:
        self._keeper.look(uuid)
        return [info(snapshot) for snapshot in self._store.snapshots(uuid)]

    def revert(self, uuid: UUID, name: str, job: Job, *, paused: bool | None = None) -> None:
        with self._keeper.hold(uuid, "snapshot revert") as hold:
            need_settled(hold)
            snapshots = self._store.snapshots(uuid)
            wanted = find(hold.known, name, snapshots)
            self._refuse_with_checkpoints(hold)
            if isinstance(self._keeper.hypervisor, SnapshotsDisks):
                from polyvisor.local._snapshot_revert import revert

                revert(hold, wanted, job, paused=paused)
                snapshots = self._store.snapshots(uuid)
            elif wanted.path is None:
                self._revert_to_off(hold, paused)
            else:
                self._revert_to_guest(hold, wanted, wanted.path, job, paused)
            self._store.put_snapshots(
                uuid, [attrs.evolve(one, current=one.name == name) for one in snapshots]
            )
            job.report("done", done=True)

    def _revert_to_guest(
        self, hold: Hold, wanted: Snapshot, path: str, job: Job, paused: bool | None
    ) -> None:
        from polyvisor.model import DomainSpec
        from polyvisor.saveimage import identify

        hypervisor = saves_guests(self._keeper.hypervisor)
        spec = named(document(wanted), hold.known.name).domain
        assert isinstance(spec, DomainSpec)
        # Read as far as it can be before the present guest is thrown away.
        with open_image(path) as image:
            header = identify(image, path=path).read_header(image, path=path)
            self._keeper.hypervisor.check_start(spec)
            stop_present(hold)

            def make(guest: Guest) -> dict[str, Any]:
                with read_stream(header, image.fileno(), path) as stream:
                    return hypervisor.restore_stream(guest, spec, stream, job)

            run = wanted.state in LIVELY if paused is None else not paused
            with self._keeper.home.jobs.shown(str(hold.uuid), job):
                run_image(
                    hold,
                    spec,
                    make,
                    run=run,
                    reason=StateReason.FROM_SNAPSHOT,
                    image=hold.known.managed_save,
                )

    def _revert_to_off(self, hold: Hold, paused: bool | None) -> None:
        """Go back to a snapshot without a guest; ``paused`` given means: start it then."""
        record = hold.known
        if not record.persistent:
            raise hold.invalid("it is transient, and the snapshot is of a domain that was off")
        if record.active:
            stop_present(hold)
            hold.end(StateReason.FROM_SNAPSHOT)
        if paused is not None:
            definition = hold.known.definition
            assert definition is not None
            boot(hold, definition.spec(), DomainOptions(paused=paused))

    def delete(
        self,
        uuid: UUID,
        name: str,
        *,
        children: bool = False,
        metadata_only: bool = False,
        job: Job | None = None,
    ) -> None:
        with self._keeper.hold(uuid, "snapshot delete") as hold:
            snapshots = self._store.snapshots(uuid)
            find(hold.known, name, snapshots)
            doomed = [name]
            if children:
                # Oldest first: a child comes after its parent.
                doomed += [one.name for one in below(snapshots, name)]
            if not metadata_only and isinstance(self._keeper.hypervisor, SnapshotsDisks):
                from polyvisor.jobs import Job
                from polyvisor.local._snapshot_delete import delete

                need_settled(hold)
                self._refuse_with_checkpoints(hold)
                # One after another, from the leaves up: each is gone or there.
                for one in reversed(doomed):
                    delete(hold, one, job or Job("snapshot delete"))
                    forget(self._store, uuid, [one])
                return
            files = forget(self._store, uuid, doomed)
            if not metadata_only:
                for path in files:
                    remove_file(path)

    def xml(self, uuid: UUID, name: str) -> str:
        record = self._keeper.look(uuid)
        return document(find(record, name, self._store.snapshots(uuid))).to_xml()
