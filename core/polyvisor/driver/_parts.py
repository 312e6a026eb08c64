"""The optional parts that every kind of hypervisor may have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from polyvisor.driver._options import SaveOptions, SnapshotOptions
    from polyvisor.events import AnyEvent
    from polyvisor.jobs import Job

__all__ = [
    "Annotations",
    "Devices",
    "Dumps",
    "Events",
    "Resources",
    "Save",
    "SnapshotInfo",
    "Snapshots",
]


class Save(ABC):
    """Saves running domains into image files and brings them back.

    An image appears under its name only when it is whole; whatever fails, an earlier
    image of that name is still there and the domain runs on.
    """

    @abstractmethod
    def save(self, uuid: UUID, path: str, options: SaveOptions, job: Job) -> None:
        """Save the domain to ``path`` and stop it.

        Raises:
            StorageError: the file could not be written.
            Cancelled: the job was cancelled; the domain runs on.
        """

    @abstractmethod
    def restore(self, path: str, options: SaveOptions, job: Job) -> UUID:
        """Start the domain saved in ``path``; the image stays.

        Raises:
            SaveImageError: it is not an image that this driver can restore.
            AlreadyExists: a domain of that name or UUID is active.
        """

    @abstractmethod
    def managed_save(self, uuid: UUID, options: SaveOptions, job: Job) -> None:
        """Save into an image of the driver's own, from which the next start resumes."""

    @abstractmethod
    def managed_save_path(self, uuid: UUID) -> str | None:
        """Return where the managed save image is, or ``None`` if there is none."""

    @abstractmethod
    def remove_managed_save(self, uuid: UUID) -> None:
        """Drop the managed save image, if there is one."""


@attrs.frozen
class SnapshotInfo:
    """What a snapshot list prints.

    Attributes:
        name: the snapshot's name, unique for its domain.
        created: when, aware, in UTC.
        state: the domain's state then, as in :class:`~polyvisor.states.DomainState`, or
            ``disk-snapshot`` if only the disks of a running domain were kept.
        parent: name of the snapshot it grew from, or ``None``.
        description: free text, or ``None``.
        current: whether the domain's state grew from this one.
        external: the disks go on in images of their own, over those that it keeps.
    """

    name: str
    created: datetime
    state: str
    parent: str | None = None
    description: str | None = None
    current: bool = False
    external: bool = False


class Snapshots(ABC):
    """Keeps points in a domain's life to which it can go back."""

    @abstractmethod
    def create(
        self,
        uuid: UUID,
        name: str | None,
        description: str | None,
        job: Job,
        options: SnapshotOptions | None = None,
    ) -> SnapshotInfo:
        """Take a snapshot; without a name it gets the time in seconds (libvirt's rule).

        Raises:
            AlreadyExists: the domain has a snapshot of that name.
            Unsupported: not this way, or of no such disks.
        """

    @abstractmethod
    def list(self, uuid: UUID) -> Sequence[SnapshotInfo]:
        """Return the domain's snapshots, oldest first."""

    @abstractmethod
    def revert(self, uuid: UUID, name: str, job: Job, *, paused: bool | None = None) -> None:
        """Put the domain back into the state of the snapshot.

        Raises:
            NotFound: there is no such snapshot.
        """

    @abstractmethod
    def delete(
        self,
        uuid: UUID,
        name: str,
        *,
        children: bool = False,
        metadata_only: bool = False,
        job: Job | None = None,
    ) -> None:
        """Remove the snapshot; its children then hang on its parent, or go too.

        Args:
            uuid: the domain.
            name: the snapshot.
            children: remove those that grew from it too.
            metadata_only: forget it and leave images and files as they are.
            job: tells how far it is where data moves.
        """

    @abstractmethod
    def xml(self, uuid: UUID, name: str) -> str:
        """Return the snapshot as libvirt's ``<domainsnapshot>`` document."""


class Devices(ABC):
    """Changes the devices of a domain."""

    @abstractmethod
    def attach(self, uuid: UUID, xml: str, *, live: bool, config: bool) -> None:
        """Add the device described by ``xml``."""

    @abstractmethod
    def detach(self, uuid: UUID, xml: str, *, live: bool, config: bool) -> None:
        """Remove the device that matches ``xml``."""

    def detach_alias(self, uuid: UUID, alias: str, *, live: bool, config: bool) -> None:
        """Remove the device that is called ``alias``.

        Raises:
            Unsupported: devices have no names here.
        """
        from polyvisor.errors import Unsupported

        raise Unsupported(
            "detach a device by its alias: devices are not known by names here; give its XML",
            feature="devices.attach",
        )

    @abstractmethod
    def update(self, uuid: UUID, xml: str, *, live: bool, config: bool) -> None:
        """Change the device that matches ``xml`` into it, such as the medium in a drive."""


class Resources(ABC):
    """Changes how much of the host a domain has."""

    @abstractmethod
    def set_vcpus(self, uuid: UUID, count: int, *, live: bool, config: bool) -> None:
        """Set how many virtual CPUs are on, of those that the domain may have."""

    def enable_vcpus(
        self, uuid: UUID, numbers: AbstractSet[int], enabled: bool, *, live: bool, config: bool
    ) -> None:
        """Plug certain virtual CPUs in, or out, of those that the domain may have.

        Args:
            uuid: the domain.
            numbers: theirs, from 0; of a running guest one alone.
            enabled: whether they are to be there.
            live: in the running guest.
            config: in the definition, from the next start on.

        Raises:
            InvalidArgument: one of them is none, is so already, or must stay.
            Unsupported: the driver cannot say which.
        """
        from polyvisor.errors import Unsupported

        raise Unsupported(
            "enable vCPUs: this driver cannot say which ones are on, only how many",
            feature="devices.vcpus",
        )

    @abstractmethod
    def set_memory(self, uuid: UUID, size: int, *, live: bool, config: bool) -> None:
        """Set how many bytes of memory it has, of those that it may have.

        A running guest gives memory back, or takes it, as fast as it likes.
        """

    @abstractmethod
    def set_max_vcpus(self, uuid: UUID, count: int, *, live: bool, config: bool) -> None:
        """Set how many virtual CPUs the domain may have; more that are on go off.

        Raises:
            OperationInvalid: ``live``, and this hypervisor cannot.
        """

    @abstractmethod
    def set_max_memory(self, uuid: UUID, size: int, *, live: bool, config: bool) -> None:
        """Set how many bytes of memory the domain may have; raises as :meth:`set_max_vcpus`."""

    def set_memory_stats_period(
        self, uuid: UUID, seconds: int, *, live: bool, config: bool
    ) -> None:
        """Have the guest's balloon tell how its memory is used every so many seconds.

        Args:
            uuid: the domain.
            seconds: between two tellings; 0: never.
            live: the running guest.
            config: the definition, from the next start on.

        Raises:
            OperationInvalid: it has no balloon that tells this.
            Unsupported: the driver cannot.
        """
        from polyvisor.errors import Unsupported

        raise Unsupported(
            "set a period of memory's figures: this driver asks no balloon",
            feature="devices.memory",
        )

    def add_iothread(self, uuid: UUID, number: int, *, live: bool, config: bool) -> None:
        """Add an I/O thread, for disks and controllers to use.

        Args:
            uuid: the domain.
            number: its number, from 1.
            live: to the running guest.
            config: to the definition, from the next start on.

        Raises:
            AlreadyExists: there is one of this number.
            Unsupported: the hypervisor has no such threads.
        """
        raise _no_iothreads()

    def remove_iothread(self, uuid: UUID, number: int, *, live: bool, config: bool) -> None:
        """Remove an I/O thread with its place and its class; see :meth:`add_iothread`.

        Raises:
            NotFound: there is none of this number.
            OperationInvalid: a disk or a controller uses it.
        """
        raise _no_iothreads()

    def set_iothread(
        self, uuid: UUID, number: int, values: Mapping[str, int], *, live: bool, config: bool
    ) -> None:
        """Set how an I/O thread works; see :meth:`add_iothread`.

        Args:
            uuid: the domain.
            number: its number.
            values: by libvirt's names: ``poll_max_ns``, ``poll_grow``, ``poll_shrink`` (of a
                running guest alone), ``thread_pool_min``, ``thread_pool_max`` (in a definition
                -1 takes it away).
            live: of the running guest.
            config: of the definition.

        Raises:
            NotFound: there is none of this number.
            InvalidArgument: a value is none, or cannot be.
        """
        raise _no_iothreads()


def _no_iothreads() -> Exception:
    from polyvisor.errors import Unsupported

    return Unsupported("this driver does not change I/O threads", feature="devices.iothreads")


class Dumps(ABC):
    """Writes the memory of running domains into files for a debugger."""

    @abstractmethod
    def dump(
        self,
        uuid: UUID,
        path: str,
        job: Job,
        *,
        live: bool = False,
        crash: bool = False,
        reset: bool = False,
        memory_only: bool = False,
        core_format: str = "raw",
    ) -> None:
        """Write the domain's core to ``path``, which appears when it is whole.

        Args:
            uuid: an active domain.
            path: the file.
            job: tells how far it is and whether to stop.
            live: let the guest run meanwhile.
            crash: stop the domain afterwards, as crashed.
            reset: reset it afterwards.
            memory_only: only memory and registers, as an ELF core.
            core_format: ``raw``, ``kdump-zlib``, ``kdump-lzo``, ``kdump-snappy`` or ``win-dmp``.

        Raises:
            StorageError: the file could not be written.
            Unsupported: not in this format, or not this way.
        """


class Annotations(ABC):
    """Changes what is written down about a domain and changes nothing for the guest."""

    @abstractmethod
    def set_text(
        self, uuid: UUID, kind: str, text: str | None, *, live: bool, config: bool
    ) -> None:
        """Set its ``title`` (one line) or ``description``; ``None`` removes it."""

    @abstractmethod
    def set_metadata(
        self, uuid: UUID, uri: str, prefix: str | None, xml: str | None, *, live: bool, config: bool
    ) -> None:
        """Set the element of the namespace ``uri`` in ``<metadata>``.

        Args:
            uuid: the domain.
            uri: the namespace.
            prefix: what it is to be written with; needed with ``xml``.
            xml: the element; ``None`` removes it.
            live: in the active definition.
            config: in that which counts from the next start on.
        """


class Events(ABC):
    """A stream of events."""

    @abstractmethod
    def stream(self, *, timeout: float | None = None, objects: bool = False) -> Iterator[AnyEvent]:
        """Yield each event of the connection's host from now on, in order, none left out.

        "Now" is when this method is called, not when the first event is asked for. If the
        iterator has a method ``end``, it may be called from any thread and makes the one who
        waits in it, if any, get :class:`~polyvisor.errors.ConnectionClosed`.

        Args:
            timeout: end after this many seconds without an event; ``None``: never.
            objects: yield those of networks, pools and the like too, not only domains'.
        """
