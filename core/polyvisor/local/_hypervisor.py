"""What a plugin implements to get a whole driver from :mod:`polyvisor.local`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import attrs

from polyvisor.errors import InternalError, PolyvisorError, Unsupported
from polyvisor.local._alterations import ChangesSettings
from polyvisor.states import DomainState, StateReason

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.events import EventKind
    from polyvisor.local._hold import Hold
    from polyvisor.model import CheckpointSpec, DomainSpec

__all__ = [
    "ChangesGuests",
    "Figures",
    "FindsGuests",
    "FoundGuest",
    "Guest",
    "LocalHypervisor",
    "Observation",
    "TracksDisks",
    "TunesGuests",
    "WatchesGuests",
]


class Closeable(Protocol):
    """What can be closed."""

    def close(self) -> object:
        """Close it."""


@attrs.define
class Guest:
    """One domain while its hypervisor handles it.

    Attributes:
        uuid: the domain's UUID.
        name: its name.
        id: its number while active; a fresh one is set before ``launch``. A hypervisor
            that numbers its guests itself sets its own in whatever makes the guest.
        run_dir: folder for this guest's sockets and the like; made, with mode 0700,
            before ``launch`` and removed once the guest is gone. ``None`` if the driver
            keeps nothing on disk.
        log_dir: folder for the guest's logs, or ``None``.
        state: the recorded state.
        reason: the recorded reason.
        runtime: what ``launch`` returned, plain JSON values; changes made to it by any
            method are stored when the method returns.
        load_spec: gives the live definition, parsed on first call.
        stream_version: version of the stream that the guest is being restored from, as
            the image's header states it, if it does.
        kept: what the hypervisor keeps open as long as the domain is held, by names of its
            own; closed (``close()``) when the domain is let go. ``None``: it is not held,
            and whoever opens something closes it.
        became: its definition with what the hypervisor chose when it made the guest, such as
            a screen's port; recorded as the live one with the next change.
        statistics: in a migration, what the other side is to be told of how it went; the
            names of :data:`polyvisor.jobstats.FIGURES`, and ``started``, ``stopped``,
            ``sent`` (milliseconds since the epoch) and ``delta`` (milliseconds).
        meanwhile: what there is to do while the guest is made. Whoever makes it and has to wait
            may call this once before, with what is known of ``runtime``; it may raise errors.
    """

    uuid: UUID
    name: str
    id: int | None
    run_dir: str | None
    log_dir: str | None
    state: DomainState
    reason: StateReason
    runtime: dict[str, Any]
    load_spec: Callable[[], DomainSpec]
    stream_version: int | None = None
    kept: dict[str, Closeable] | None = None
    became: DomainSpec | None = None
    statistics: dict[str, int] | None = None
    meanwhile: Callable[[], None] | None = None

    @property
    def spec(self) -> DomainSpec:
        """The live definition."""
        return self.load_spec()


@attrs.frozen
class Observation:
    """What a look at a guest showed.

    Attributes:
        state: its state; ``SHUTOFF`` if it is no longer there, ``CRASHED`` if it crashed
            and is kept to be looked at.
        reason: why, as far as can be told; of a guest that is no longer there ``SHUTDOWN``
            if it shut down, ``CRASHED`` if it did not end well.
        restart: the guest has ended in a way after which its definition wants it started
            anew, such as a reboot that ends the machine.
        rebooted: it has been started afresh in this look, as was asked for
            (:meth:`LocalHypervisor.reboot_pending`).
    """

    state: DomainState
    reason: StateReason = StateReason.UNKNOWN
    restart: bool = False
    rebooted: bool = False


@attrs.frozen
class Figures:
    """What a guest does and uses.

    Attributes:
        seen: what a look at it shows.
        memory: its memory in bytes.
        cpu_time: its CPU time in seconds, ``None`` if not known.
        more: figures beyond state, vCPUs, memory and CPU time, named as domstats does.
    """

    seen: Observation
    memory: int
    cpu_time: float | None
    more: dict[str, Any] = attrs.field(factory=dict)


class LocalHypervisor(ABC):
    """Runs guests; knows nothing of definitions, locks, files or events.

    What not every hypervisor can is in classes of its own, to be derived from as well:
    :class:`SavesGuests`, :class:`MigratesGuests`, :class:`WatchesGuests`.

    Every method is called with the domain's lock held, so no two run for the same
    guest at once, from whatever process, except those that only look: :meth:`figures`,
    :meth:`stats`, :meth:`memory_and_cpu_time`, :meth:`wait_gone`, :meth:`observe` with
    ``deep=False``, :meth:`observe_all`, ``watch``. Errors are
    :class:`~polyvisor.errors.PolyvisorError` (mostly ``HypervisorError``).
    """

    #: Short name, also the folder under the roots, such as ``"qemu"``.
    name: ClassVar[str]
    #: Domain types (``<domain type=…>``) that can be run.
    domain_types: ClassVar[tuple[str, ...]]
    #: Whether the hypervisor numbers guests itself: ``launch``, ``receive`` and
    #: ``restore_stream`` then set ``guest.id``.
    numbers_guests: ClassVar[bool] = False
    #: Whether :meth:`observe` sees as much with ``deep=False``, which holds nobody up.
    looks_deep: ClassVar[bool] = False
    #: Whether writing a stream needs a running guest and stops it: ``save_stream`` and
    #: ``send`` are then given guests as they are, running or paused, never stopped for it.
    streams_stop_guests: ClassVar[bool] = False
    #: Whether its watch, or its guest's end, tells of a :meth:`reset`, as of the guest's own.
    tells_resets: ClassVar[bool] = False

    # Definitions

    @abstractmethod
    def complete(self, spec: DomainSpec) -> DomainSpec:
        """Return ``spec`` with this hypervisor's defaults filled in, as it is to be kept.

        Raises:
            SpecError: such a machine can never run here; says what stands in the way.
        """

    def complete_to_run(self, spec: DomainSpec) -> DomainSpec:
        """Do :meth:`complete` for what is to run at once: whatever makes it run may refuse it."""
        return self.complete(spec)

    @abstractmethod
    def check_start(self, spec: DomainSpec) -> None:
        """Refuse, before anything is touched, what cannot start now (missing files …)."""

    def nvram(self, spec: DomainSpec) -> str | None:
        """Return the file in which the guest's firmware keeps variables, if there is one."""
        return None

    def tpm_state(self, spec: DomainSpec) -> str | None:
        """Return the folder in which the guest's emulated TPM keeps its state, if there is one."""
        return None

    # Running

    @abstractmethod
    def launch(self, guest: Guest, spec: DomainSpec) -> dict[str, Any]:
        """Make the guest, with its vCPUs stopped, and return the runtime facts.

        If this fails, nothing of the guest is left. If the process is killed in it,
        :meth:`destroy` must be able to clear up from ``guest.run_dir`` alone.
        """

    @abstractmethod
    def observe(self, guest: Guest, *, deep: bool) -> Observation:
        """Look at the guest.

        Args:
            guest: an active guest.
            deep: ask the guest's hypervisor; otherwise only see whether it is alive
                (some 10 µs) and give the recorded state if so.
        """

    def observe_all(self, guests: Sequence[Guest]) -> Sequence[Observation]:
        """Return :meth:`observe` with ``deep=False`` of many guests, in their order.

        Where nothing has changed since the last look at the same list, it may return the same
        object as then, which says that.
        """
        return [self.observe(guest, deep=False) for guest in guests]

    @abstractmethod
    def resume(self, guest: Guest) -> None:
        """Let the vCPUs run."""

    @abstractmethod
    def suspend(self, guest: Guest) -> None:
        """Stop the vCPUs."""

    @abstractmethod
    def destroy(self, guest: Guest) -> None:
        """End the guest at once, whatever its condition, and wait until it is gone.

        Works from ``guest.run_dir`` alone when ``guest.runtime`` is empty, and does
        nothing if the guest is gone already.
        """

    def ended(self, guest: Guest) -> None:  # noqa: B027
        """A guest has ended of itself and will be cleared away: what its definition wants first.

        For a core dump of one that crashed, say.
        """

    def close(self) -> None:  # noqa: B027
        """Let go of what is held open; guests stay as they are. Called last, perhaps again."""

    def settle(self, hold: Hold) -> None:
        """Settle an intent ``own``, which a part of this plugin recorded in a process now dead.

        Whether the guest is still there is for this to see. A plugin that records none needs
        nothing more than this.
        """
        hold.change(intent=None, durable=True)

    @abstractmethod
    def shutdown(self, guest: Guest) -> None:
        """Ask the guest to shut down, in the way that is best for it."""

    @abstractmethod
    def reboot(self, guest: Guest) -> None:
        """Ask the guest to reboot, in the way that is best for it."""

    def ask_by(self, guest: Guest, what: str, modes: Sequence[str]) -> None:
        """Ask the guest to shut down or to reboot in one of certain ways.

        Args:
            guest: the guest.
            what: ``"shutdown"`` or ``"reboot"``.
            modes: of ``polyvisor.driver.ASKING_MODES``, at least one.

        Raises:
            Unsupported: this hypervisor does not know one of them.
        """
        self.need_modes(what, guest, modes, ())

    def reboot_pending(self, guest: Guest) -> bool:
        """Say whether a look is needed to bring a reboot that was asked for to its end.

        True where :meth:`observe` with ``deep=True`` starts a guest afresh that has shut down.
        """
        return False

    def check_lifecycle(self, spec: DomainSpec) -> None:
        """Refuse actions at the end of a guest that this hypervisor cannot carry out.

        Raises:
            SpecError: a definition has one.
        """
        return

    def need_modes(
        self, what: str, guest: Guest, modes: Sequence[str], known: Collection[str]
    ) -> None:
        """Refuse ways to ask a guest that are not known.

        Args:
            what: ``"shutdown"`` or ``"reboot"``.
            guest: the guest.
            modes: what was asked for.
            known: what this hypervisor has for that.

        Raises:
            Unsupported: one is not among them.
        """
        for mode in modes:
            if mode not in known:
                from polyvisor.errors import Unsupported

                words = f"only {' and '.join(sorted(known))}" if known else "only its default"
                raise Unsupported(
                    f"{what} {guest.name!r} by {mode}: {self.name} has {words} for that",
                    feature=f"domains.{what}",
                    domain=guest.name,
                    operation=what,
                )

    @abstractmethod
    def reset(self, guest: Guest) -> None:
        """Reset the machine."""

    @abstractmethod
    def memory_and_cpu_time(self, guest: Guest) -> tuple[int, float | None]:
        """Return the guest's memory in bytes and its CPU time in seconds."""

    def stats(self, guest: Guest) -> dict[str, Any]:
        """Return figures beyond state, vCPUs, memory and CPU time, named as domstats does."""
        return {}

    def figures(
        self,
        guests: Sequence[Guest],
        *,
        groups: Collection[str] | None = None,
        backing: bool = False,
    ) -> Sequence[Figures | None]:
        """Look at many guests and return what each does and uses, in their order.

        Asks one after another; a hypervisor that can ask all at once does so instead.

        Args:
            guests: active guests.
            groups: see :meth:`polyvisor.driver.Domains.all_stats`.
            backing: see there.

        Returns:
            For each guest its figures, ``None`` for one that is gone or does not answer.
        """
        found: list[Figures | None] = []
        for guest in guests:
            try:
                seen = self.observe(guest, deep=False)
                found.append(Figures(seen, *self.memory_and_cpu_time(guest), self.stats(guest)))
            except PolyvisorError:
                found.append(None)
        return found

    def measure_dirty_rate(self, guest: Guest, seconds: int, mode: str) -> None:
        """See :meth:`polyvisor.driver.Domains.measure_dirty_rate`."""
        from polyvisor.errors import Unsupported

        raise Unsupported(
            f"measure dirty rate of {guest.name!r}: {self.name} has no means for that",
            domain=guest.name,
        )

    # Waiting

    @abstractmethod
    def wait_gone(self, guest: Guest, timeout: float | None) -> bool:
        """Block until the guest is gone; return whether it is, without polling."""


@attrs.frozen
class FoundGuest:
    """A guest that a hypervisor runs, whoever started it.

    Attributes:
        uuid: its UUID.
        id: its number.
        seen: what a look at it shows.
        native: whatever the hypervisor wants to have back in :meth:`FindsGuests.describe`.
    """

    uuid: UUID
    id: int
    seen: Observation
    native: Any = None


class FindsGuests(ABC):
    """A hypervisor that knows its guests, also those that others started.

    Such a guest becomes a transient domain when it is first met, or the running guest of
    a persistent domain with its UUID.
    """

    @abstractmethod
    def find_guests(self) -> Iterable[FoundGuest]:
        """Look at all guests of the host at once."""

    @abstractmethod
    def describe(self, found: FoundGuest) -> tuple[DomainSpec, dict[str, Any]] | None:
        """Return what a guest that nobody knows is, and its runtime facts.

        ``None`` if it is not to be known yet, because somebody is still making it.
        """


class WatchesGuests(ABC):
    """A hypervisor whose guests do things of themselves that it can hear of."""

    @abstractmethod
    def watch(
        self,
        guests: Callable[[], Iterable[Guest]],
        report: Callable[[Guest, EventKind, str, dict[str, Any]], None],
        stop_fd: int,
        changed_fd: int,
    ) -> None:
        """Report what guests do of themselves, until ``stop_fd`` becomes readable.

        Runs in a thread of a process that listens for events.

        Args:
            guests: gives the guests active now.
            report: called with guest, event kind, detail and data; a guest that is gone
                is reported as ``STOPPED`` or ``CRASHED``, and the caller clears it away; one
                that came by post-copy and whose memory is whole now, or cut off, as
                ``RESUMED`` with the detail ``"post-copy"``, and the caller looks at it.
            stop_fd: readable when the watch is to end.
            changed_fd: an eventfd, readable when ``guests`` has changed; to be read.
        """


class ChangesGuests(ChangesSettings):
    """A hypervisor that can change a guest's devices, virtual CPUs and memory as it runs.

    Definitions, and what stands in them, are the core's; each method here is called before
    the change is recorded and raises if the guest could not be changed.
    """

    #: Fields of :class:`polyvisor.model.devices.Devices` whose devices can come, go and
    #: change; ``None``: all lists of devices.
    changeable: ClassVar[tuple[str, ...] | None] = None

    @abstractmethod
    def attach_device(self, guest: Guest, kind: str, device: Any, spec: DomainSpec) -> Any:
        """Add a device to the guest.

        Args:
            guest: an active guest, with its definition before.
            kind: the field of ``devices`` in which it is, such as ``"disks"``.
            device: the device, completed.
            spec: the live definition as it is to be, with the device last of its kind.

        Returns:
            The device as the guest has it, with alias and address if it got some.
        """

    def before_plugging(self, guest: Guest) -> dict[str, Any]:
        """Return plain facts by which :meth:`LocalHypervisor.settle` sees what came of it.

        They stand under ``"before"`` in the intent ``own`` while a device is plugged in, which
        names its kind under ``"plugging"``. If that is broken off, the device is not recorded.
        """
        return {}

    @abstractmethod
    def detach_device(self, guest: Guest, kind: str, device: Any, spec: DomainSpec) -> None:
        """Remove a device and wait until the guest has let go of it.

        Args:
            guest: an active guest.
            kind: the field of ``devices`` in which it is.
            device: the device as the live definition has it.
            spec: the live definition as it is to be, without it.
        """

    def update_device(self, guest: Guest, kind: str, old: Any, new: Any, spec: DomainSpec) -> Any:
        """Change a device, such as the medium in a drive; arguments as for :meth:`attach_device`.

        Raises:
            Unsupported: this cannot be changed while the guest runs.
        """
        raise Unsupported(
            f"update a device of {guest.name!r}: it cannot be changed while the guest runs",
            feature="devices.attach",
            domain=guest.name,
        )

    def as_it_is(self, guest: Guest) -> tuple[DomainSpec, Sequence[tuple[str, Any]]] | None:
        """Return its definition after what the guest has done to its devices of itself.

        That is, those are left out that it let go of when nobody waited any more. Called before
        devices are changed, and when an event tells of such a thing.

        Returns:
            The definition, and the devices that are gone, by their kinds and with their aliases;
            ``None`` if all is as before.
        """
        return None

    def device_alias(self, guest: Guest, kind: str, device: Any) -> str | None:
        """Return what the hypervisor calls a device of the live definition, if it has a name."""
        alias = getattr(device, "alias", None)
        return None if alias is None else str(alias)

    @abstractmethod
    def set_vcpus(self, guest: Guest, count: int) -> None:
        """Set how many virtual CPUs are on."""

    def vcpus(self, guest: Guest) -> Sequence[tuple[bool, bool]]:
        """Return of each virtual CPU that there can be whether it is on, and whether it may go."""
        raise Unsupported(
            f"vCPUs of {guest.name!r}: here it is known how many are on, not which ones",
            feature="devices.vcpus",
            domain=guest.name,
        )

    def enable_vcpu(self, guest: Guest, number: int, enabled: bool) -> None:
        """Plug a virtual CPU in, or out; one that :meth:`vcpus` tells of."""
        raise InternalError(f"vCPUs of {guest.name!r} are told of, and not changed")

    @abstractmethod
    def set_memory(self, guest: Guest, size: int) -> None:
        """Set the size of the guest's balloon, in bytes."""


class TunesGuests(ABC):
    """A hypervisor that can weigh, limit and place guests as they run.

    Called before the change is recorded; raises if the guest could not be tuned.
    """

    #: The groups that it has (:class:`polyvisor.driver.Tuning`).
    tunable: ClassVar[tuple[str, ...]]
    #: What shares the host's CPUs out, as ``virsh schedinfo`` calls it.
    scheduler: ClassVar[str] = "posix"

    @abstractmethod
    def tune(
        self, guest: Guest, group: str, values: Mapping[str, int | str], device: Any | None
    ) -> None:
        """Set some values.

        Args:
            guest: an active guest.
            group: one of :attr:`tunable`.
            values: those that are to change.
            device: the disk or interface, where the group is a device's.
        """

    @abstractmethod
    def pin(self, guest: Guest, which: int | str, cpus: AbstractSet[int]) -> None:
        """Let a vCPU, or ``"emulator"``, run on these CPUs of the host only."""


class TracksDisks(ABC):
    """A hypervisor that keeps account of what changes on disks.

    Names, the order of checkpoints, their documents and what is done after a process was
    killed are the core's. Methods are called with the domain's lock held; ``guest`` is
    ``None`` where the domain is off. Checkpoints come with every disk said.
    """

    @abstractmethod
    def check_tracking(self, spec: DomainSpec, point: CheckpointSpec) -> None:
        """Refuse disks whose changes cannot be kept account of.

        Raises:
            Unsupported: names the disk and says why.
        """

    @abstractmethod
    def track(self, guest: Guest | None, spec: DomainSpec, point: CheckpointSpec) -> None:
        """Keep account, from now on, of what changes on the disks; of all or, failing, of none."""

    @abstractmethod
    def untrack(self, guest: Guest | None, spec: DomainSpec, point: CheckpointSpec) -> None:
        """Stop that, as far as it is done."""

    @abstractmethod
    def changed(self, guest: Guest, point: CheckpointSpec) -> Mapping[str, int]:
        """Return how many bytes have changed since, by the disks' targets."""
