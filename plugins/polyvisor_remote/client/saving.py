"""Saving domains into images on the server's host, and restoring them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from polyvisor.driver import Save
from polyvisor.errors import NotFound, PolyvisorError, SaveImageError, StorageError, Unsupported
from polyvisor_remote.client.jobs import watched

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.driver import SaveOptions
    from polyvisor.jobs import Job
    from polyvisor_remote.client.driver import RemoteDriver

__all__ = ["RemoteSave"]

# virDomainSaveRestoreFlags
_BYPASS_CACHE, _RUNNING, _PAUSED = 1, 2, 4


class RemoteSave(Save):
    """Images are files of the server's host; their paths are as it sees them.

    Args:
        driver: the driver.
    """

    def __init__(self, driver: RemoteDriver) -> None:
        self._driver = driver
        self._domains = driver.domains

    def save(self, uuid: UUID, path: str, options: SaveOptions, job: Job) -> None:
        """Have it saved into a file."""
        flags, xml = _chosen(options)
        asked = ("domain_save_flags", path, xml, flags) if flags or xml else ("domain_save", path)
        with _about(path):
            watched(self._driver, uuid, job, lambda: self._domains.call(uuid, *asked))

    def restore(self, path: str, options: SaveOptions, job: Job) -> UUID:
        """Have what is in a file started; the server does not say which domain that is."""
        job.check()
        flags, xml = _chosen(options)
        before = set(self._domains.list(inactive=False))
        uuid = None if options.spec is None else options.spec.uuid
        with _about(path):
            if uuid is None:
                uuid = self._saved(path)
            if flags or xml:
                self._driver.link.call("domain_restore_flags", path, xml, flags)
            else:
                self._driver.link.call("domain_restore", path)
        if uuid is None:
            fresh = set(self._domains.list(inactive=False)) - before
            if len(fresh) != 1:
                raise NotFound(f"restore {path}: the server does not say which domain it started")
            (uuid,) = fresh
        job.report("done", done=True)
        return uuid

    def _saved(self, path: str) -> UUID | None:
        """Return the UUID of the domain in an image, if the server can tell."""
        from polyvisor.model import DomainSpec

        try:
            xml = self._driver.link.call("domain_save_image_get_xml_desc", path, 0).xml
        except Unsupported:
            return None
        return DomainSpec.from_xml(xml).uuid

    def managed_save(self, uuid: UUID, options: SaveOptions, job: Job) -> None:
        """Have it saved into an image of the server's own."""
        flags, _ = _chosen(options)
        watched(
            self._driver, uuid, job, lambda: self._domains.call(uuid, "domain_managed_save", flags)
        )

    def managed_save_path(self, uuid: UUID) -> str | None:
        """Return words for where it is, which only the server knows."""
        answer = self._domains.call(uuid, "domain_has_managed_save_image", 0)
        return f"(kept by {self._driver.uri})" if answer.result else None

    def remove_managed_save(self, uuid: UUID) -> None:
        """Have that image dropped."""
        try:
            self._domains.call(uuid, "domain_managed_save_remove", 0)
        except PolyvisorError:
            # Some drivers refuse to drop what is not there.
            if self.managed_save_path(uuid) is not None:
                raise


@contextmanager
def _about(path: str) -> Iterator[None]:
    """Have errors about a file name it, which the protocol does not."""
    try:
        yield
    except (SaveImageError, StorageError) as error:
        error.path = path
        raise


def _chosen(options: SaveOptions) -> tuple[int, str | None]:
    """Return flags and definition for a way to save or restore."""
    if options.compression is not None:
        raise Unsupported(
            f"compression {options.compression!r}: the server chooses how it compresses images",
            feature="save.file",
        )
    flags = 0 if options.paused is None else (_PAUSED if options.paused else _RUNNING)
    flags |= _BYPASS_CACHE if options.bypass_cache else 0
    return flags, None if options.spec is None else options.spec.to_xml()
