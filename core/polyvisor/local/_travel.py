"""What a plugin implements whose guests can be saved and can move to other hosts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.driver import MigrationLimits, MigrationOptions
    from polyvisor.jobs import Job
    from polyvisor.local._hypervisor import Guest
    from polyvisor.model import DomainSpec

__all__ = ["MigratesGuests", "SavesGuests"]


class SavesGuests(ABC):
    """A hypervisor that can write a guest out and read it back.

    The file and its header are the core's, the stream behind it is the plugin's.
    """

    #: Name of the save image format that is written (see :mod:`polyvisor.saveimage`).
    image_format: ClassVar[str]
    #: Version of the stream to state in the header, where the format has a place for it
    #: (:class:`polyvisor.saveimage.VersionedStream`); ``None``: the one that it writes.
    image_stream: int | None = None
    #: What images are compressed with where nothing else is asked for.
    image_compression: str = "none"
    #: Names of further formats that can be restored.
    readable_formats: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def save_stream(self, guest: Guest, fd: int, job: Job) -> None:
        """Write the stopped guest's state to ``fd``, from its present position.

        The guest stays as it is, stopped, so that it can go on if saving fails. ``fd`` may
        be a pipe, when the image is compressed.
        """

    def abandon_save(self, guest: Guest) -> None:  # noqa: B027
        """Stop a :meth:`save_stream` that may still go on though our process was killed.

        The guest stays stopped. Nothing to do where the process itself writes the stream.
        """

    @abstractmethod
    def restore_stream(self, guest: Guest, spec: DomainSpec, fd: int, job: Job) -> dict[str, Any]:
        """Make a guest, stopped, from the state read from ``fd``; else as ``launch``.

        ``fd`` stands at the first byte of the stream. If the image has no stream (an
        image of definitions only), reading gives its end at once.
        """


class MigratesGuests(ABC):
    """A hypervisor that can send a guest to another and receive one.

    The phases, cookies and ownership are the core's.
    """

    #: Versions of the migration stream that can be read; the last is the one written.
    stream_versions: ClassVar[tuple[int, ...]] = (1,)
    #: :meth:`send` stops the guest when its job wishes ``suspend``, so that what is left is soon
    #: sent; it runs on over there.
    stops_on_wish: ClassVar[bool] = False

    def usual_limits(self) -> MigrationLimits:
        """Return what migrations are limited to that nobody has limited."""
        from polyvisor.driver import MigrationLimits

        return MigrationLimits()

    def written_versions(self) -> tuple[int, ...]:
        """Return the versions of the migration stream that can be written."""
        return self.stream_versions

    def wrap_cookie(self, facts: bytes, *, name: str, uuid: UUID, hostname: str) -> bytes:
        """Return the cookie from begin to prepare, in the hypervisor's own form if it has one.

        Args:
            facts: what polyvisor tells itself on the other side.
            name: the domain's name over there.
            uuid: its UUID.
            hostname: the source's.
        """
        return facts

    def begin_cookie(
        self,
        facts: bytes,
        *,
        guest: Guest | None,
        spec: DomainSpec,
        options: MigrationOptions,
        hostname: str,
    ) -> bytes:
        """Do :meth:`wrap_cookie`, knowing how which guest will be sent.

        Args:
            facts: what polyvisor tells itself on the other side.
            guest: the guest, ``None`` if only a definition moves.
            spec: its definition over there.
            options: how it is migrated.
            hostname: the source's.
        """
        assert spec.uuid is not None
        return self.wrap_cookie(facts, name=spec.name, uuid=spec.uuid, hostname=hostname)

    def unwrap_cookie(
        self, cookie: bytes | None, *, name: str, uuid: UUID | None
    ) -> tuple[bytes | None, tuple[int, ...] | None]:
        """Read a cookie from begin.

        Args:
            cookie: the cookie, or ``None``.
            name: the domain's name.
            uuid: its UUID.

        Returns:
            What :meth:`wrap_cookie` was given, if that is in it, and the versions that the
            source writes, if only the hypervisor's own form says so.

        Raises:
            MigrationError: it is damaged, or of another domain.
        """
        return cookie, None

    def tell(
        self,
        phase: str,
        facts: bytes,
        *,
        guest: Guest | None,
        options: MigrationOptions,
        definition: str | None = None,
    ) -> bytes | None:
        """Return the cookie of a phase after begin, in the hypervisor's own form if it has one.

        Args:
            phase: the phase that gives it: ``"prepare"``, ``"perform"`` or ``"finish"``.
            facts: what polyvisor tells itself on the other side; empty if that is another's
                driver, which may not expect any cookie.
            guest: the guest, ``None`` if only a definition moves.
            options: how it is migrated.
            definition: in ``"perform"`` the definition that is to be kept over there, as XML.
        """
        return facts or None

    def told(self, cookie: bytes | None) -> tuple[bytes | None, str | None]:
        """Read a cookie of :meth:`tell`, or of another's driver in that form.

        Returns:
            The facts, if they are in it, and the persistent definition as XML, if only the
            hypervisor's own form has it.

        Raises:
            MigrationError: it is damaged.
        """
        return cookie, None

    def told_statistics(self, cookie: bytes | None) -> Mapping[str, int] | None:
        """Return what the other side's perform or finish says of how the migration went.

        Only if the hypervisor's own form has it, in the terms of ``Guest.statistics``.
        """
        return None

    def heed(self, guest: Guest, cookie: bytes | None) -> None:  # noqa: B027
        """Destination: do what perform's cookie says that the guest needs here before it runs.

        The domain is the destination's by then: what cannot be done is left, and logged.
        """

    def missing_images(
        self, spec: DomainSpec, options: MigrationOptions, cookie: bytes | None
    ) -> Mapping[str, Callable[[], None]]:
        """Destination: return the images that are to be made for disks that come along.

        Args:
            spec: the definition.
            options: how the guest is sent.
            cookie: begin's, as it came.

        Returns:
            For the path of each what makes it, which leaves nothing if it fails. Those that
            were made are removed again if the domain does not arrive.
        """
        return {}

    @abstractmethod
    def receive(
        self, guest: Guest, spec: DomainSpec, version: int, listen: str | None
    ) -> tuple[dict[str, Any], str]:
        """Destination: make a guest that waits for a stream; never let it run.

        Args:
            guest: the guest to make.
            spec: its definition.
            version: stream version that was agreed.
            listen: URI to listen on (``unix:PATH``, ``tcp:HOST:PORT``), or ``None``.

        Returns:
            The runtime facts, and the URI that the source connects to.
        """

    def receive_with(
        self,
        guest: Guest,
        spec: DomainSpec,
        version: int,
        options: MigrationOptions,
        cookie: bytes | None,
    ) -> tuple[dict[str, Any], str]:
        """Destination: do :meth:`receive`, knowing how the guest will be sent.

        ``options.uri`` is where to listen; ``cookie`` is begin's, as it came.
        """
        return self.receive(guest, spec, version, options.uri)

    @abstractmethod
    def send(
        self, guest: Guest, uri: str, version: int, options: MigrationOptions, job: Job
    ) -> dict[str, Any]:
        """Source: send the guest to ``uri``; on return it stands still here.

        If it fails or is cancelled, the guest is as it was before (running or paused).

        Returns:
            Figures: ``downtime`` and ``total`` in seconds, ``transferred`` in bytes.
        """

    def send_with(
        self,
        guest: Guest,
        uri: str,
        version: int,
        options: MigrationOptions,
        job: Job,
        cookie: bytes | None,
    ) -> dict[str, Any]:
        """Source: do :meth:`send`, knowing ``cookie``, prepare's, as it came."""
        return self.send(guest, uri, version, options, job)

    @abstractmethod
    def received(self, guest: Guest, timeout: float) -> None:
        """Destination: wait until the whole stream is there; the guest stays stopped."""

    def about_to_leave(self, guest: Guest) -> None:  # noqa: B027
        """Source: the destination has the domain, and what is left of the guest is destroyed next.

        Nothing to do unless somebody still follows the guest there, or the end of a guest takes
        time, in which case it may be begun here. May take a while; must not fail.
        """

    @abstractmethod
    def take_back(self, guest: Guest) -> None:
        """Source: after :meth:`send`, make the guest fit to be resumed or saved here.

        Also called, after our process was killed, when sending was perhaps still going
        on: it must be stopped then. Leaves the guest stopped.
        """
