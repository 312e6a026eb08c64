"""The mandatory part: domains and their life."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from polyvisor.errors import NotFound

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.driver._options import DomainOptions, UndefineOptions
    from polyvisor.jobs import JobProgress
    from polyvisor.jobstats import JobStatistics
    from polyvisor.model import DomainSpec
    from polyvisor.states import DomainInfo, DomainStatus, DomainSummary

__all__ = ["Domains"]


class Domains(ABC):
    """Defines, finds, runs and stops domains.

    State rules, the same for every driver: what needs an active domain raises
    :class:`~polyvisor.errors.OperationInvalid` on an inactive one, and the other way
    round; asking for the state that the domain is already in (suspend a paused one,
    resume a running one, start a running one) is ``OperationInvalid`` too.
    """

    # Finding

    @abstractmethod
    def list(self, *, active: bool = True, inactive: bool = True) -> Sequence[UUID]:
        """Return the UUIDs of all domains of the wanted kinds, in no fixed order."""

    @abstractmethod
    def summaries(self, *, active: bool = True, inactive: bool = True) -> Sequence[DomainSummary]:
        """Return a line for each domain of the wanted kinds, ordered by name."""

    def summary(self, uuid: UUID) -> DomainSummary:
        """Return its line of :meth:`summaries`; what ``info(…)`` begins with, maybe faster.

        Raises:
            NotFound: there is none.
        """
        return self.info(uuid)

    @abstractmethod
    def by_name(self, name: str) -> UUID:
        """Return the UUID of the domain called ``name``.

        Raises:
            NotFound: there is none.
        """

    @abstractmethod
    def by_id(self, number: int) -> UUID:
        """Return the UUID of the active domain with the id ``number``.

        Raises:
            NotFound: there is none.
        """

    @abstractmethod
    def exists(self, uuid: UUID) -> bool:
        """Say whether there is a domain with this UUID."""

    # Asking

    @abstractmethod
    def name(self, uuid: UUID) -> str:
        """Return the domain's name."""

    @abstractmethod
    def status(self, uuid: UUID) -> DomainStatus:
        """Return its state and the reason for it."""

    @abstractmethod
    def info(self, uuid: UUID) -> DomainInfo:
        """Return its figures."""

    @abstractmethod
    def spec(self, uuid: UUID, *, inactive: bool = False) -> DomainSpec:
        """Return its definition: the live one of an active domain unless ``inactive``."""

    def xml(self, uuid: UUID, *, inactive: bool = False) -> str:
        """Return its definition as text; the same as ``spec(…).to_xml()``, maybe faster."""
        return self.spec(uuid, inactive=inactive).to_xml()

    # Life

    @abstractmethod
    def define(self, spec: DomainSpec) -> UUID:
        """Keep ``spec`` as a persistent domain, or as the new definition of an old one.

        A spec without a UUID gets one. An active domain keeps running as it is; the
        new definition counts from its next start.

        Raises:
            AlreadyExists: the name belongs to another UUID.
            SpecError: this hypervisor cannot run such a machine; says what stands in
                the way.
        """

    @abstractmethod
    def create(self, spec: DomainSpec, options: DomainOptions) -> UUID:
        """Start a transient domain: its definition is forgotten when it stops.

        If a persistent inactive domain has the same name and UUID, it is started with
        ``spec`` instead of its own definition and stays persistent.

        Raises:
            AlreadyExists: name or UUID belong to another or to an active domain.
        """

    @abstractmethod
    def undefine(self, uuid: UUID, options: UndefineOptions) -> None:
        """Forget the definition; an active domain becomes transient.

        Args:
            uuid: the domain.
            options: what is removed with it.

        Raises:
            OperationInvalid: something belongs to it and it was not said to remove that.
        """

    @abstractmethod
    def start(self, uuid: UUID, options: DomainOptions) -> None:
        """Start a defined domain; resume it from its managed save image if it has one."""

    @abstractmethod
    def shutdown(self, uuid: UUID, modes: Sequence[str] = ()) -> None:
        """Ask the guest to shut down and return at once; it may ignore that.

        Args:
            uuid: the domain.
            modes: how, of ``ASKING_MODES``; of several the driver takes one that works.
                If none, the driver chooses.

        Raises:
            Unsupported: the driver cannot ask so.
        """

    @abstractmethod
    def reboot(self, uuid: UUID, modes: Sequence[str] = ()) -> None:
        """Ask the guest to reboot and return at once; see :meth:`shutdown`."""

    def reboot_pending(self, uuid: UUID) -> bool:
        """Say whether a guest that was asked to reboot needs this connection for that.

        Some hypervisors can only ask it to shut down, and start it afresh then. A connection
        that is open sees to that; else it is the next that looks at the domain.
        """
        return False

    @abstractmethod
    def reset(self, uuid: UUID) -> None:
        """Reset the machine at once, as its reset button would."""

    @abstractmethod
    def destroy(self, uuid: UUID) -> None:
        """Stop the domain at once; a transient one is gone then.

        Works while a job is running on the domain, which it cancels.
        """

    @abstractmethod
    def suspend(self, uuid: UUID) -> None:
        """Stop the vCPUs; memory stays."""

    @abstractmethod
    def resume(self, uuid: UUID) -> None:
        """Let the vCPUs run on."""

    @abstractmethod
    def set_autostart(self, uuid: UUID, autostart: bool) -> None:
        """Mark a persistent domain to be started with the host, or not."""

    def rename(self, uuid: UUID, name: str) -> None:
        """Give a persistent domain that is off another name.

        Raises:
            AlreadyExists: the name belongs to another domain.
            OperationInvalid: it is active, transient, or has a managed save image.
            Unsupported: the driver cannot rename domains.
        """
        from polyvisor.errors import Unsupported

        raise Unsupported("rename: this driver cannot rename domains", feature="domains.rename")

    def set_lifecycle_action(
        self, uuid: UUID, event: str, action: str, *, live: bool, config: bool
    ) -> None:
        """Say what is to happen when the guest ends of itself.

        Args:
            uuid: the domain.
            event: ``"poweroff"``, ``"reboot"`` or ``"crash"``.
            action: of ``polyvisor.model.domain.LifecycleAction``, such as ``"destroy"``.
            live: for the running guest.
            config: from the next start on.

        Raises:
            Unsupported: the hypervisor does not do this, or not while the guest runs.
        """
        from polyvisor.errors import Unsupported

        raise Unsupported(
            "set lifecycle action: this driver cannot change it", feature="domains.lifecycle"
        )

    @abstractmethod
    def stats(
        self, uuid: UUID, *, groups: Collection[str] | None = None, backing: bool = False
    ) -> dict[str, Any]:
        """Return figures under the names of ``virsh domstats``, such as ``"cpu.time"``.

        Args:
            uuid: the domain.
            groups: see :meth:`all_stats`.
            backing: see there.
        """

    def all_stats(
        self,
        *,
        active: bool = True,
        inactive: bool = True,
        groups: Collection[str] | None = None,
        backing: bool = False,
    ) -> Sequence[tuple[DomainSummary, dict[str, Any]]]:
        """Return all domains with their figures, as :meth:`stats` has them, ordered by name.

        Asks one after another; a driver that can ask many at once does so instead.

        Args:
            active: those that are active.
            inactive: the others.
            groups: the first words of the figures that are wanted, such as ``"state"``; others
                may be left out. ``None``: all are wanted.
            backing: count each image of a disk's chain as a block device of its own, if the
                driver knows them.

        Returns:
            Domains and figures; these mappings are not to be changed. Where nothing has changed
            since the last time, it may be the same object as then, which says that.
        """
        found = []
        for one in self.summaries(active=active, inactive=inactive):
            with suppress(NotFound):  # It may have gone just now.
                found.append((one, self.stats(one.uuid, groups=groups, backing=backing)))
        return found

    def measure_dirty_rate(self, uuid: UUID, seconds: int, mode: str) -> None:
        """Begin to measure how fast a guest writes to its memory, and return at once.

        The outcome is among the domain's figures, in the group ``dirtyrate``.

        Args:
            uuid: an active domain.
            seconds: how long.
            mode: one of ``DIRTY_RATE_MODES``.

        Raises:
            OperationInvalid: it is not active, or is measured already.
            Unsupported: the driver or the guest's hypervisor cannot, or not so.
        """
        from polyvisor.errors import Unsupported

        raise Unsupported("measure dirty rate: this driver has no means for that")

    def wait(self, uuid: UUID, *, timeout: float | None = None) -> DomainStatus:
        """Wait until the domain is no longer active and return its last status.

        A transient domain that is gone counts as shut off.

        Raises:
            Timeout: it was still active after ``timeout`` seconds.
            Unsupported: the driver has no way to wait.
        """
        from polyvisor.errors import Unsupported

        raise Unsupported("wait: this driver cannot wait for a domain to stop", feature="events")

    # Jobs, for the drivers that have any

    def job(self, uuid: UUID) -> JobProgress | None:
        """Return how far the job is that runs on the domain, from any process."""
        self.name(uuid)
        return None

    def job_statistics(
        self, uuid: UUID, *, completed: bool = False, keep: bool = False
    ) -> JobStatistics | None:
        """Return the figures of the job that runs on the domain, from any process.

        Args:
            uuid: the domain.
            completed: of the last one that was completed instead, while none runs.
            keep: let whoever asks next have them too.
        """
        job = None if completed else self.job(uuid)
        if job is None:
            self.name(uuid)
            return None
        from polyvisor.jobstats import JobStatistics

        return JobStatistics.of(job)

    def abort_job(self, uuid: UUID) -> None:
        """Cancel the job that runs on the domain, from any process.

        Raises:
            OperationInvalid: no job is running.
        """
        from polyvisor.errors import OperationInvalid

        raise OperationInvalid(f"abort job: no job is running on {self.name(uuid)!r}")
