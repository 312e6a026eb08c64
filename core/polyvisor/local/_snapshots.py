"""Snapshots: the definition, and the memory of a guest that was active."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.driver import DomainOptions, SaveOptions, SnapshotInfo, Snapshots
from polyvisor.errors import AlreadyExists, InvalidArgument, NotFound, PolyvisorError
from polyvisor.events import EventKind
from polyvisor.local._compression import read_stream
from polyvisor.local._keeper import LIVELY
from polyvisor.local._launch import boot, run_image
from polyvisor.local._save import (
    begun_file,
    go_on,
    need_settled,
    open_image,
    saves_guests,
    write_image,
)
from polyvisor.state import Snapshot, remove_tree
from polyvisor.state._files import remove_file
from polyvisor.states import DomainState, StateReason

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.jobs import Job
    from polyvisor.local._hold import Hold
    from polyvisor.local._hypervisor import Guest
    from polyvisor.local._keeper import Keeper
    from polyvisor.state import Record

__all__ = ["LocalSnapshots"]


class LocalSnapshots(Snapshots):
    """Keeps snapshots as save images in the host's own folder."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._store = keeper.home.store

    def create(
        self, uuid: UUID, name: str | None, description: str | None, job: Job
    ) -> SnapshotInfo:
        with self._keeper.hold(uuid, "snapshot") as hold:
            known = {snapshot.name: snapshot for snapshot in self._store.snapshots(uuid)}
            if name is None:
                number = int(time.time())
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
            parent = next((one for one in known.values() if one.current), None)
            record = hold.known
            path = self._write(hold, job) if record.active else None
            document = record.live or record.definition
            assert document is not None
            created = Snapshot(
                uuid=uuid,
                name=name,
                parent=parent.name if parent is not None else None,
                created=datetime.now(UTC),
                state=record.state,
                description=description,
                current=True,
                xml=attrs.evolve(document.spec(), id=None).to_xml(),
                path=path,
            )
            changed = [created]
            if parent is not None:
                changed.append(attrs.evolve(parent, current=False))
            self._store.put_snapshots(uuid, changed)
            if path is not None:
                go_on(hold)
            job.report("done", done=True)
            return _info(created)

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
        return [_info(snapshot) for snapshot in self._store.snapshots(uuid)]

    def revert(self, uuid: UUID, name: str, job: Job, *, paused: bool | None = None) -> None:
        with self._keeper.hold(uuid, "snapshot revert") as hold:
            need_settled(hold)
            snapshots = self._store.snapshots(uuid)
            wanted = self._find(hold.known, name, snapshots)
            if wanted.path is None:
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
        spec = DomainSpec.from_xml(wanted.xml)
        # Read as far as it can be before the present guest is thrown away.
        with open_image(path) as image:
            header = identify(image, path=path).read_header(image, path=path)
            self._keeper.hypervisor.check_start(spec)
            self._stop(hold)

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
            self._stop(hold)
            hold.end(StateReason.FROM_SNAPSHOT)
        if paused is not None:
            definition = hold.known.definition
            assert definition is not None
            boot(hold, definition.spec(), DomainOptions(paused=paused))

    def _stop(self, hold: Hold) -> None:
        """End the present guest, if there is one; another is about to take its place."""
        if hold.known.active:
            hold.change(intent={"op": "start"})
            self._keeper.hypervisor.destroy(hold.guest)
            run_dir = hold.known.run_dir
            if run_dir is not None:
                remove_tree(run_dir)
            hold.change((EventKind.STOPPED, "from-snapshot"))

    def delete(self, uuid: UUID, name: str, *, children: bool = False) -> None:
        with self._keeper.hold(uuid, "snapshot delete") as hold:
            snapshots = self._store.snapshots(uuid)
            wanted = self._find(hold.known, name, snapshots)
            doomed = {name}
            if children:
                # Oldest first: a child comes after its parent.
                for one in snapshots:
                    if one.parent in doomed:
                        doomed.add(one.name)
            lost_current = any(one.current for one in snapshots if one.name in doomed)
            changed = []
            for one in snapshots:
                if one.name in doomed:
                    continue
                kept = one
                if one.parent == name:
                    kept = attrs.evolve(kept, parent=wanted.parent)
                if lost_current and one.name == wanted.parent:
                    kept = attrs.evolve(kept, current=True)
                if kept is not one:
                    changed.append(kept)
            self._store.put_snapshots(uuid, changed, sorted(doomed))
            for one in snapshots:
                if one.name in doomed and one.path is not None:
                    remove_file(one.path)

    def xml(self, uuid: UUID, name: str) -> str:
        record = self._keeper.look(uuid)
        return _xml(self._find(record, name, self._store.snapshots(uuid)))

    def _find(self, record: Record, name: str, snapshots: Sequence[Snapshot]) -> Snapshot:
        for snapshot in snapshots:
            if snapshot.name == name:
                return snapshot
        raise NotFound(
            f"the domain {record.name!r} has no snapshot {name!r}",
            kind="snapshot",
            key=name,
            domain=record.name,
        )


def _info(snapshot: Snapshot) -> SnapshotInfo:
    return SnapshotInfo(
        snapshot.name,
        snapshot.created,
        str(snapshot.state),
        snapshot.parent,
        snapshot.description,
        snapshot.current,
    )


def _xml(snapshot: Snapshot) -> str:
    """Return libvirt's ``<domainsnapshot>`` (https://libvirt.org/formatsnapshot.html)."""
    from xml.sax.saxutils import escape

    def element(tag: str, text: str | None) -> str:
        return f"  <{tag}>{escape(text)}</{tag}>\n" if text is not None else ""

    parent = snapshot.parent
    domain = "".join(f"  {line}\n" for line in snapshot.xml.splitlines())
    state = str(snapshot.state).replace(" ", "")  # libvirt writes "shutoff" here
    return (
        "<domainsnapshot>\n"
        + element("name", snapshot.name)
        + element("description", snapshot.description)
        + element("state", state)
        + (f"  <parent>\n    <name>{escape(parent)}</name>\n  </parent>\n" if parent else "")
        + element("creationTime", str(int(snapshot.created.timestamp())))
        + f"  <memory snapshot='{'internal' if snapshot.path else 'no'}'/>\n"
        + domain
        + "</domainsnapshot>\n"
    )
