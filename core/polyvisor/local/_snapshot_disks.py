"""What a plugin implements so that snapshots keep its guests' disks too."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from polyvisor.jobs import Job
    from polyvisor.local._hypervisor import Guest
    from polyvisor.model import DomainSpec, SnapshotSpec

__all__ = ["Merge", "SnapshotsDisks"]


@attrs.frozen
class Merge:
    """An image whose data goes down into the one below it, and which goes then.

    Attributes:
        disk: the disk's target.
        upper: path of the image.
        lower: path of the one below it.
        format: that one's format.
        above: paths of the images that lie on the upper one and are not of the active chain.
        active: the domain's present disk lies in or on it.
    """

    disk: str
    upper: str
    lower: str
    format: str
    above: tuple[str, ...] = ()
    active: bool = False


class SnapshotsDisks(ABC):
    """A hypervisor whose snapshots keep the domain's disks, with the guest's memory or without.

    A snapshot is *internal*, in the images themselves, or *external*: each disk goes on in a
    new image over the one that it had. Names, tree, definitions, files of memory and what is
    done after a process was killed are the core's. Methods are called with the domain's lock
    held; ``guest`` is ``None`` where the domain is off. A plan is a snapshot with every disk
    said, as :meth:`plan_snapshot` returns it.
    """

    @abstractmethod
    def plan_snapshot(
        self, spec: DomainSpec, wanted: SnapshotSpec, *, active: bool, disk_only: bool, reuse: bool
    ) -> SnapshotSpec:
        """Return what is done with the memory and with every disk, touching nothing.

        Args:
            spec: the domain.
            wanted: what is said of it.
            active: the domain has a guest.
            disk_only: its memory is not kept.
            reuse: the new images are there already.

        Raises:
            Unsupported: not this way, or not these disks.
            AlreadyExists: an image that is to be made is there.
        """

    # Inside the images

    @abstractmethod
    def keep_inside(
        self, guest: Guest | None, spec: DomainSpec, plan: SnapshotSpec, job: Job
    ) -> None:
        """Keep the disks, and the memory of a guest that stands still, under the plan's name.

        If it fails, nothing of it is left.
        """

    @abstractmethod
    def drop_inside(self, guest: Guest | None, spec: DomainSpec, plan: SnapshotSpec) -> None:
        """Remove what :meth:`keep_inside` kept, or what of it is there."""

    @abstractmethod
    def load_inside(
        self, guest: Guest, spec: DomainSpec, plan: SnapshotSpec, job: Job
    ) -> dict[str, Any]:
        """Make a guest, stopped, from memory and disks as they were kept; else as ``launch``."""

    @abstractmethod
    def revert_inside(self, spec: DomainSpec, plan: SnapshotSpec) -> None:
        """Put the disks of a domain that is off back as they were kept."""

    # In images over those that there are

    @abstractmethod
    def make_overlays(
        self, guest: Guest | None, spec: DomainSpec, plan: SnapshotSpec, *, reuse: bool
    ) -> None:
        """Make the new images over the disks of ``spec``; they are not used yet.

        If it fails, none is left.
        """

    @abstractmethod
    def drop_overlays(self, guest: Guest | None, plan: SnapshotSpec, *, reuse: bool) -> None:
        """Let go of new images that are not used, and remove them unless they were there."""

    @abstractmethod
    def switch(self, guest: Guest, plan: SnapshotSpec) -> None:
        """Let the guest write to the new images from now on: all of them, or none if it fails."""

    @abstractmethod
    def switched(self, guest: Guest, plan: SnapshotSpec) -> bool:
        """Say whether the guest writes to the new images."""

    # Away again

    @abstractmethod
    def merge(self, guest: Guest | None, merges: Sequence[Merge], job: Job) -> None:
        """Bring the data of images down, one disk after another; the images themselves stay.

        Where the guest itself writes to one it stands still when this returns, so that nothing
        is written to the lower image before that is recorded; the caller lets it run on.
        """

    @abstractmethod
    def merged(self, guest: Guest | None, merge: Merge) -> bool:
        """After a process was killed in :meth:`merge`: end what goes on; say whether it is done."""
