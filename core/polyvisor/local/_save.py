"""Saving guests into images, and restoring them."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import attrs

from polyvisor.driver import Save
from polyvisor.errors import (
    AlreadyExists,
    HypervisorError,
    OperationInvalid,
    PolyvisorError,
    SaveImageError,
    StorageError,
)
from polyvisor.events import EventKind
from polyvisor.local._compression import compressing, read_stream
from polyvisor.local._jobs import completed
from polyvisor.local._keeper import LIVELY
from polyvisor.local._launch import announced, check_compatible, run_image
from polyvisor.local._travel import SavesGuests
from polyvisor.state import AtomicFile
from polyvisor.state._files import remove_file
from polyvisor.states import DomainState, StateReason

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.driver import SaveOptions
    from polyvisor.jobs import Job
    from polyvisor.local._hold import Hold
    from polyvisor.local._hypervisor import Guest, LocalHypervisor
    from polyvisor.local._keeper import Keeper
    from polyvisor.model import DomainSpec
    from polyvisor.saveimage import ImageHeader, SaveFormat

__all__ = [
    "LocalSave",
    "begun_file",
    "go_on",
    "need_settled",
    "restore",
    "saves_guests",
    "stop_saved",
    "write_image",
]


class LocalSave(Save):
    """Saves and restores with the hypervisor's own stream behind a registered header."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def save(self, uuid: UUID, path: str, options: SaveOptions, job: Job) -> None:
        with self._keeper.hold(uuid, "save") as hold:
            _save(hold, os.path.abspath(path), options, job, managed=False)

    def managed_save(self, uuid: UUID, options: SaveOptions, job: Job) -> None:
        with self._keeper.hold(uuid, "managed save") as hold:
            if not hold.need_active().persistent:
                raise hold.invalid("it is transient: nothing would be left to start again")
            path = f"{self._keeper.home.folder('save')}/{uuid}.save"
            _save(hold, path, options, job, managed=True)

    def managed_save_path(self, uuid: UUID) -> str | None:
        return self._keeper.look(uuid).managed_save

    def remove_managed_save(self, uuid: UUID) -> None:
        with self._keeper.hold(uuid, "remove managed save") as hold:
            path = hold.known.managed_save
            if path is not None:
                hold.change(managed_save=None, durable=True)
                remove_file(path)

    def restore(self, path: str, options: SaveOptions, job: Job) -> UUID:
        return restore(self._keeper, os.path.abspath(path), options, job)


def _save(hold: Hold, path: str, options: SaveOptions, job: Job, *, managed: bool) -> None:
    record = hold.need_active()
    if record.state not in LIVELY and record.state is not DomainState.PAUSED:
        raise hold.invalid(f"it is {record.state}")
    need_settled(hold)
    live = hold.guest.spec
    spec = attrs.evolve(live, id=None)
    if options.spec is not None:
        check_compatible(spec, options.spec, hold.operation)
        spec = attrs.evolve(options.spec, id=None)
    running = record.state in LIVELY
    resume = running if options.paused is None else not options.paused
    intent = {
        "op": "save",
        "path": path,
        "running": running,
        "reason": str(record.reason),
        "managed": managed,
    }
    with (
        begun_file(hold, path, StateReason.SAVING, intent) as file,
        hold.keeper.home.jobs.shown(str(hold.uuid), job),
    ):
        try:
            if running and not hold.keeper.hypervisor.streams_stop_guests:
                hold.keeper.hypervisor.suspend(hold.guest)
            write_image(hold, file, spec, resume=resume, options=options, job=job)
            # Whoever comes after us knows by this that the image is whole.
            identity = attrs.astuple(file.flush())
            job.report("saved", done=True)
            job.check()
            # A guest whose host loses its power is gone with all that was not kept on purpose.
            hold.change(intent={**intent, "identity": identity}, durable=managed)
            file.commit()
        except BaseException:
            with suppress(PolyvisorError):  # It stays recorded, to be tried anew.
                go_on(hold)
            raise
    stop_saved(hold, completed(job))


def begun_file(hold: Hold, path: str, reason: StateReason, intent: dict[str, Any]) -> AtomicFile:
    """Record that the guest is written into a file, and begin that.

    Whoever comes after a process that was killed from here on finds the intent, and takes the
    file away.

    Raises:
        StorageError: the file cannot be made; nothing has changed.
        Busy: somebody else is writing to it; nothing has changed.
    """
    before = hold.known
    hold.change(state=DomainState.PAUSED, reason=reason, intent=intent)
    try:
        return AtomicFile(path)
    except BaseException:
        hold.put(before)
        raise


def write_image(
    hold: Hold,
    file: AtomicFile,
    spec: DomainSpec,
    *,
    resume: bool,
    options: SaveOptions,
    job: Job,
) -> None:
    """Write header and stream of a guest that stands still.

    Raises:
        StorageError: the file could not be written.
    """
    hypervisor = saves_guests(hold.keeper.hypervisor)
    compression = options.compression or hypervisor.image_compression
    try:
        with open(file.fd, "r+b", closefd=False) as image:
            complete = _format(hypervisor).write_header(
                image, spec, was_running=resume, compression=compression
            )
            image.flush()
            with ExitStack() as stack:
                fd = file.fd
                if options.bypass_cache:
                    from polyvisor.local._direct import writing

                    fd = stack.enter_context(writing(fd, file.path))
                fd = stack.enter_context(compressing(compression, fd))
                hypervisor.save_stream(hold.guest, fd, job)
            job.check()
            complete()
            image.flush()
    except OSError as error:
        raise file.failed(error) from error
    except StorageError as error:
        # Who wrote the stream knows its descriptor alone, or the name it has until it is whole.
        cause, folder = error.__cause__, os.path.dirname(file.path)
        if isinstance(cause, OSError) and os.path.dirname(error.path or file.path) == folder:
            raise file.failed(cause) from error
        raise
    except HypervisorError as error:
        # The hypervisor's own words for it are seldom so clear.
        room = os.fstatvfs(file.fd)
        if room.f_bavail == 0:
            raise StorageError(
                f"cannot write {file.path}: No space left on device ({error.message})",
                path=file.path,
                native_code="ENOSPC",
            ) from error
        raise


def _format(hypervisor: SavesGuests) -> SaveFormat:
    from polyvisor.saveimage import VersionedStream, open_format

    form = open_format(hypervisor.image_format)
    if hypervisor.image_stream is None or not isinstance(form, VersionedStream):
        return form
    return form.writing(hypervisor.image_stream)


def go_on(hold: Hold, *, abandoned: bool = False) -> None:
    """Let a guest run on that stood still to be saved.

    Args:
        hold: the domain, with the intent that says how it was before.
        abandoned: the process that saved it was killed.
    """
    intent = hold.known.intent
    assert intent is not None
    hypervisor = hold.keeper.hypervisor
    if abandoned:
        saves_guests(hypervisor).abandon_save(hold.guest)
    if intent["running"]:
        hypervisor.resume(hold.guest)
        reason = StateReason.SAVE_CANCELED if intent["op"] == "save" else intent["reason"]
        hold.change(state=DomainState.RUNNING, reason=StateReason(reason), intent=None)
    else:
        hold.change(state=DomainState.PAUSED, reason=StateReason(intent["reason"]), intent=None)


def stop_saved(hold: Hold, job: str | None = None) -> None:
    """End a guest whose image is in its place.

    Args:
        hold: the domain, with the intent that says where.
        job: the figures of saving it, if they are known.
    """
    intent = hold.known.intent
    assert intent is not None
    hold.keeper.hypervisor.destroy(hold.guest)
    changes: dict[str, Any] = {"managed_save": intent["path"]} if intent["managed"] else {}
    if job is not None:
        changes["job"] = job
    hold.end(StateReason.SAVED, (EventKind.STOPPED, "saved"), durable=intent["managed"], **changes)


def restore(
    keeper: Keeper, path: str, options: SaveOptions, job: Job, *, managed: Hold | None = None
) -> UUID:
    """Start the domain saved in the image at ``path``.

    Args:
        keeper: the host's.
        path: the image.
        options: how.
        job: reports progress.
        managed: the domain, held, if the image is its managed save image, which is then
            used up.
    """
    from polyvisor.model import DomainSpec
    from polyvisor.saveimage import identify

    hypervisor = saves_guests(keeper.hypervisor)
    with open_image(path) as image:
        try:
            form = identify(image, path=path)
            header = form.read_header(image, path=path)
        except OSError as error:
            raise StorageError(
                f"cannot read the save image {path}: {error.strerror}", path=path
            ) from error
        if form.name not in (hypervisor.image_format, *hypervisor.readable_formats):
            raise SaveImageError(
                f"{path}: it is an image of the format {form.name!r}; {keeper.hypervisor.name} "
                f"restores {hypervisor.image_format!r}",
                path=path,
            )
        spec = DomainSpec.from_xml(header.xml)
        if options.spec is not None:
            changed = options.spec
            if changed.uuid is None:
                changed = attrs.evolve(changed, uuid=spec.uuid)
            check_compatible(spec, changed, "restore")
            spec = changed
        spec = attrs.evolve(spec, id=None).with_uuid()
        paused = options.paused
        run = header.was_running is not False if paused is None else not paused
        assert spec.uuid is not None
        opened = partial(
            read_stream, header, image.fileno(), path, bypass_cache=options.bypass_cache
        )
        if managed is not None:
            _restore(managed, spec, header, opened, job, run=run, used_up=path)
        else:
            with keeper.hold(spec.uuid, "restore", may_be_missing=True) as hold:
                _restore(hold, spec, header, opened, job, run=run, used_up=None)
        return spec.uuid


def open_image(path: str) -> BinaryIO:
    """Open an image for reading.

    Raises:
        StorageError: it cannot be opened.
    """
    try:
        return open(path, "rb")
    except OSError as error:
        raise StorageError(
            f"cannot read the save image {path}: {error.strerror}", path=path
        ) from error


def _restore(
    hold: Hold,
    spec: DomainSpec,
    header: ImageHeader,
    opened: Callable[[], AbstractContextManager[int]],
    job: Job,
    *,
    run: bool,
    used_up: str | None,
) -> None:
    record = hold.record
    if record is not None and record.active:
        raise AlreadyExists(
            f"restore {record.name!r}: it is active already ({record.state})", domain=record.name
        )
    if record is not None and record.name != spec.name:
        raise AlreadyExists(
            f"restore {spec.name!r}: its UUID belongs to the domain {record.name!r}",
            domain=spec.name,
        )
    spec = _announced_as(hold.keeper, spec)
    hold.keeper.hypervisor.check_start(spec)
    hypervisor = saves_guests(hold.keeper.hypervisor)

    def make(guest: Guest) -> dict[str, Any]:
        guest.stream_version = header.stream_version
        with opened() as stream:
            return hypervisor.restore_stream(guest, spec, stream, job)

    with hold.keeper.home.jobs.shown(str(hold.uuid), job):
        run_image(hold, spec, make, run=run, reason=StateReason.RESTORED, image=used_up)


def _announced_as(keeper: Keeper, spec: DomainSpec) -> DomainSpec:
    """Let hooks see a guest that goes on; they may change only what it does not notice."""
    changed = announced(keeper, spec)
    if changed is not spec:
        check_compatible(spec, changed, "restore")
    return changed


def need_settled(hold: Hold) -> None:
    """Refuse a domain whose fate is not known.

    Raises:
        OperationInvalid: its migration is not settled; says what to do.
    """
    if hold.known.intent is not None:
        from polyvisor.local._departure import unsettled

        raise unsettled(hold)


def saves_guests(hypervisor: LocalHypervisor) -> SavesGuests:
    """Return the hypervisor as one that saves guests."""
    if not isinstance(hypervisor, SavesGuests):
        raise OperationInvalid(f"{hypervisor.name} cannot save guests")
    return cast("SavesGuests", hypervisor)
