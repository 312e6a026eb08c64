"""Xen as a hypervisor: guests as domains, made and ended through libxl."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from polyvisor.errors import HypervisorError, OperationInvalid, StorageError
from polyvisor.local import (
    ChangesGuests,
    Figures,
    FindsGuests,
    FoundGuest,
    Guest,
    LocalHypervisor,
    MigratesGuests,
    Observation,
    SavesGuests,
    WatchesGuests,
)
from polyvisor.states import DomainState, StateReason
from polyvisor_libxl.ending import CRASH, SUSPEND, WATCHDOG, to_become

if TYPE_CHECKING:
    from polyvisor.driver import MigrationOptions
    from polyvisor.events import EventKind
    from polyvisor.jobs import Job
    from polyvisor.model import DomainSpec
    from polyvisor_libxl.context import Context
    from polyvisor_libxl.domconfig import HostFacts
    from polyvisor_libxl.dominfo import DomainFacts
    from polyvisor_libxl.migration import Reception

__all__ = ["LibxlHypervisor"]

#: Where libxl has device models write (``XEN_LOG_DIR``).
_LOGS = "/var/log/xen"
#: The control domain's UUID; Xen gives it no other.
CONTROL = UUID(int=0)


class LibxlHypervisor(
    LocalHypervisor, SavesGuests, MigratesGuests, WatchesGuests, FindsGuests, ChangesGuests
):
    """Runs guests on Xen.

    Args:
        settings: the plugin's settings.
        open_context: opens libxl; called once for what is asked, and once for each who waits.
    """

    name = "libxl"
    domain_types: ClassVar[tuple[str, ...]] = ("xen",)
    numbers_guests = True
    looks_deep = True
    streams_stop_guests = True
    tells_resets = True
    image_format = "libvirt-libxl"
    readable_formats: ClassVar[tuple[str, ...]] = ("xl",)
    #: Host devices are PCI ones: libxl has no other kind that comes and goes.
    changeable: ClassVar[tuple[str, ...]] = ("disks", "interfaces", "hostdevs")
    #: Version 1 is the legacy stream of Xen 4.5 and older, converted on its way in.
    stream_versions = (1, 2)

    def __init__(self, settings: dict[str, Any], open_context: Callable[[], Context]) -> None:
        self.settings = settings
        self.open_context = open_context
        self.receptions: dict[UUID, Reception] = {}
        self._context: Context | None = None
        self._opening = threading.Lock()

    @property
    def image_stream(self) -> int:  # type: ignore[override]
        """Version of the streams that this host's libxl writes."""
        return self.context.stream_version

    @property
    def context(self) -> Context:
        """What is asked of libxl goes through it; opened when it is first needed."""
        with self._opening:
            if self._context is None:
                self._context = self.open_context()
            return self._context

    def close(self) -> None:
        """Release libxl. A second call does nothing."""
        with self._opening:
            context, self._context = self._context, None
        if context is not None:
            context.close()

    # Definitions

    def complete(self, spec: DomainSpec) -> DomainSpec:
        """Fill in architecture, machine and what follows the guest's end; check the rest."""
        from polyvisor_libxl.completion import completed

        spec = completed(spec)
        self.native(spec)
        return spec

    def native(self, spec: DomainSpec) -> str:
        """Return a definition as libxl's JSON.

        Raises:
            SpecError: Xen cannot run such a machine; says what stands in the way.
        """
        from polyvisor_libxl.machine import native

        return native(spec, self._host_facts)

    @cached_property
    def _host_facts(self) -> HostFacts:
        from polyvisor_libxl.domconfig import HostFacts

        _, cpus, _, _ = self.context.physical()
        return HostFacts(cpus=cpus)

    def check_start(self, spec: DomainSpec) -> None:
        """Refuse missing kernels and disk images."""
        paths = [("kernel", spec.os.kernel), ("initial ramdisk", spec.os.initrd)]
        for disk in spec.devices.disks:
            source = disk.source
            if source is not None:
                paths.append(("disk image", source.file or source.dev))
        for what, path in paths:
            if path is not None and not os.path.exists(path):
                raise StorageError(
                    f"start {spec.name!r}: the {what} {path} is missing",
                    path=path,
                    domain=spec.name,
                )

    # Running

    def launch(self, guest: Guest, spec: DomainSpec) -> dict[str, Any]:
        """Make the domain; Xen builds it paused."""
        json = self.native(spec)
        self.make_room(json, spec.name)
        try:
            guest.id = self.context.create(json, spec.name)
        except HypervisorError as error:
            raise _with_device_model(error) from error
        return {"domid": guest.id}

    def make_room(self, json: str, name: str) -> None:
        """Have the control domain give up memory for a new domain, unless that is switched off."""
        from polyvisor_libxl.balloon import make_room

        make_room(self.context, json, name, self.settings)

    def facts(self, guest: Guest) -> DomainFacts | None:
        """Return what Xen says of a guest; ``None`` if it is gone."""
        domid = guest.runtime.get("domid")
        if domid is None:
            return self.context.find(guest.uuid)
        found = self.context.domain(domid)
        return found if found is not None and found.uuid == guest.uuid.int else None

    def domid(self, guest: Guest, what: str) -> int:
        """Return the number of a guest that is there and not the control domain.

        Raises:
            OperationInvalid: it is gone, or must not be touched.
        """
        if guest.uuid == CONTROL:
            raise OperationInvalid(
                f"{what} {guest.name!r}: it is the control domain, in which we run",
                domain=guest.name,
                operation=what,
            )
        found = self.facts(guest)
        if found is None:
            raise OperationInvalid(
                f"{what} {guest.name!r}: it is gone", domain=guest.name, operation=what
            )
        return found.domid

    def observe(self, guest: Guest, *, deep: bool) -> Observation:
        """Ask Xen, which takes some microseconds however deep the look."""
        return self._look(guest, self.facts(guest))

    def _look(self, guest: Guest, found: DomainFacts | None) -> Observation:
        if found is None or found.dying:
            return Observation(DomainState.SHUTOFF, StateReason.UNKNOWN)
        if found.shutdown and found.shutdown_reason != SUSPEND and not guest.runtime.get("foreign"):
            return to_become(guest, found.shutdown_reason)
        seen = _seen(found)
        return seen if seen.state is not guest.state else Observation(seen.state, guest.reason)

    def ended(self, guest: Guest) -> None:
        """Write a core of a guest that crashed, or keep it, if its definition says so."""
        from polyvisor_libxl.ending import ended

        ended(self, guest)

    def resume(self, guest: Guest) -> None:
        """Let the vCPUs run, of a guest that was paused or suspended for saving."""
        domid = self.domid(guest, "resume")
        found = self.context.domain(domid)
        if found is not None and found.shutdown and found.shutdown_reason == SUSPEND:
            self.context.resume(domid, guest.name)
            found = self.context.domain(domid)
        if found is not None and found.paused:
            self.context.unpause(domid, guest.name)

    def suspend(self, guest: Guest) -> None:
        """Pause the vCPUs."""
        self.context.pause(self.domid(guest, "suspend"), guest.name)

    def destroy(self, guest: Guest) -> None:
        """End the domain, and whatever still receives it."""
        reception = self.receptions.pop(guest.uuid, None)
        if reception is not None:
            reception.give_up()
        found = self.facts(guest)
        if found is not None:
            try:
                self.context.destroy(self.domid(guest, "destroy"), guest.name)
            except (HypervisorError, OperationInvalid):
                if self.facts(guest) is not None:
                    raise

    def shutdown(self, guest: Guest) -> None:
        """Ask the guest to shut down."""
        self.context.shutdown(self.domid(guest, "shutdown"), guest.name)

    def reboot(self, guest: Guest) -> None:
        """Ask the guest to reboot."""
        self.context.reboot(self.domid(guest, "reboot"), guest.name)

    def ask_by(self, guest: Guest, what: str, modes: Sequence[str]) -> None:
        """Ask the guest's Xen drivers or press a button, of which there is none for reboots."""
        known = ("acpi", "paravirt") if what == "shutdown" else ("paravirt",)
        self.need_modes(what, guest, modes, known)
        ask = self.context.shutdown if what == "shutdown" else self.context.reboot
        ask(self.domid(guest, what), guest.name, modes)

    def reset(self, guest: Guest) -> None:
        """Press the reset button, which only fully virtualised machines have."""
        from polyvisor.errors import Unsupported
        from polyvisor_libxl.completion import kind_of

        domid = self.domid(guest, "reset")
        if kind_of(guest.spec) != "hvm":
            raise Unsupported(
                f"reset {guest.name!r}: a {kind_of(guest.spec).upper()} guest has no reset button; "
                f"reboot it, or destroy and start it",
                domain=guest.name,
                operation="reset",
            )
        self.context.reset(domid, guest.name)

    def memory_and_cpu_time(self, guest: Guest) -> tuple[int, float | None]:
        """Return what Xen accounts to the domain."""
        found = self.facts(guest)
        if found is None:
            raise OperationInvalid(f"{guest.name!r} is gone", domain=guest.name)
        return found.memory, found.cpu_time / 1e9

    def figures(
        self,
        guests: Sequence[Guest],
        *,
        groups: Collection[str] | None = None,
        backing: bool = False,
    ) -> Sequence[Figures | None]:
        """Return what Xen has of guests, asked once."""
        if len(guests) == 1:
            return [self._figures(guests[0], self.facts(guests[0]))]
        known = {found.uuid: found for found in self.context.domains()}
        return [self._figures(guest, known.get(guest.uuid.int)) for guest in guests]

    def _figures(self, guest: Guest, found: DomainFacts | None) -> Figures:
        seen = self._look(guest, found)
        if found is None:
            return Figures(seen, 0, None)
        more = {"vcpu.current": found.vcpus, "balloon.rss": found.memory // 1024}
        return Figures(seen, found.memory, found.cpu_time / 1e9, more)

    def wait_gone(self, guest: Guest, timeout: float | None) -> bool:
        """Block until libxl tells of the domain's end."""
        from polyvisor_libxl.watch import wait_gone

        return wait_gone(self, guest, timeout)

    def watch(
        self,
        guests: Callable[[], Iterable[Guest]],
        report: Callable[[Guest, EventKind, str, dict[str, Any]], None],
        stop_fd: int,
        changed_fd: int,
    ) -> None:
        """Report shutdowns, reboots, crashes and ends."""
        from polyvisor_libxl.watch import watch

        watch(self, guests, report, stop_fd, changed_fd)

    # Changing

    def attach_device(self, guest: Guest, kind: str, device: Any, spec: DomainSpec) -> Any:
        """Have libxl add a device."""
        from polyvisor_libxl.devices import attach

        attach(self, guest, kind, spec)
        return device

    def detach_device(self, guest: Guest, kind: str, device: Any, spec: DomainSpec) -> None:
        """Have libxl remove a device."""
        from polyvisor_libxl.devices import detach

        detach(self, guest, kind, device)

    def set_vcpus(self, guest: Guest, count: int) -> None:
        """Tell the guest which of its virtual CPUs are on."""
        self.context.set_vcpus(self.domid(guest, "set vCPUs"), guest.name, count)

    def set_memory(self, guest: Guest, size: int) -> None:
        """Set the target of the guest's balloon."""
        self.context.set_memory(self.domid(guest, "set memory"), guest.name, size)

    # Finding

    def find_guests(self) -> Iterable[FoundGuest]:
        """Return all domains of the host, the control domain too."""
        return [
            FoundGuest(UUID(int=found.uuid), found.domid, _seen(found), found)
            for found in self.context.domains()
            if not found.dying
        ]

    def describe(self, found: FoundGuest) -> tuple[DomainSpec, dict[str, Any]] | None:
        """Return the definition of a domain that xl or another toolstack has made."""
        from polyvisor_libxl.machine import described

        name = self.context.name_of(found.id)
        # xl calls a domain so until it is whole: xl_migrate.c, xl_saverestore.c.
        if name is None or name.endswith("--incoming"):
            return None
        facts: DomainFacts = found.native
        try:
            json = self.context.config_of(found.id) if found.id != 0 else None
        except HypervisorError:
            json = None
        return described(json, name, facts), {"domid": found.id, "foreign": True}

    # Saving

    def save_stream(self, guest: Guest, fd: int, job: Job) -> None:
        """Have libxl suspend the guest and write it out."""
        from polyvisor_libxl.saving import save_stream

        save_stream(self, guest, fd, job)

    def abandon_save(self, guest: Guest) -> None:
        """Bring a guest back that stands suspended for nobody."""
        from polyvisor_libxl.saving import bring_back

        bring_back(self, guest)

    def restore_stream(self, guest: Guest, spec: DomainSpec, fd: int, job: Job) -> dict[str, Any]:
        """Have libxl build the guest from a stream, converted if libxl does not read it."""
        from polyvisor_libxl.saving import restore_stream

        return restore_stream(self, guest, spec, fd, job)

    # Migrating

    def written_versions(self) -> tuple[int, ...]:
        """Return what this host's libxl writes."""
        return (self.context.stream_version,)

    def wrap_cookie(self, facts: bytes, *, name: str, uuid: UUID, hostname: str) -> bytes:
        """Return libvirt's cookie with ours behind it."""
        from polyvisor_libxl.cookie import LibxlCookie

        (version,) = self.written_versions()
        return LibxlCookie(name, uuid, hostname, version).to_bytes(facts)

    def unwrap_cookie(
        self, cookie: bytes | None, *, name: str, uuid: UUID | None
    ) -> tuple[bytes | None, tuple[int, ...] | None]:
        """Read libvirt's cookie; none at all means the legacy stream."""
        from polyvisor_libxl.cookie import unwrap

        return unwrap(cookie, name=name, uuid=uuid)

    def receive(
        self, guest: Guest, spec: DomainSpec, version: int, listen: str | None
    ) -> tuple[dict[str, Any], str]:
        """Listen for a stream and have libxl build the guest from it."""
        from polyvisor_libxl.migration import receive

        return receive(self, guest, spec, version, listen)

    def send(
        self, guest: Guest, uri: str, version: int, options: MigrationOptions, job: Job
    ) -> dict[str, Any]:
        """Have libxl write the guest into a connection."""
        from polyvisor_libxl.migration import send

        return send(self, guest, uri, options, job)

    def received(self, guest: Guest, timeout: float) -> None:
        """Wait until libxl has built the guest."""
        from polyvisor_libxl.migration import received

        received(self, guest, timeout)

    def take_back(self, guest: Guest) -> None:
        """Make a guest that was sent fit to go on here; it stays stopped."""
        from polyvisor_libxl.saving import bring_back

        bring_back(self, guest)


def _with_device_model(error: HypervisorError) -> HypervisorError:
    """Return an error with the last words of QEMU, if it is about the device model."""
    if "evice model" not in error.message or error.domain is None:
        return error
    try:
        with open(f"{_LOGS}/qemu-dm-{error.domain}.log", encoding="utf-8", errors="replace") as log:
            words = [line.strip() for line in log.read()[-2000:].splitlines() if line.strip()]
    except OSError:
        return error
    return HypervisorError(
        f"{error.message} / {' / '.join(words[-2:])}",
        domain=error.domain,
        native_code=error.native_code,
        native_message=error.native_message,
    )


#: What is seen of most domains.
_RUNNING = Observation(DomainState.RUNNING)
_PAUSED = Observation(DomainState.PAUSED, StateReason.USER)


def _seen(found: DomainFacts) -> Observation:
    """Return the state that Xen's flags mean, whoever the domain belongs to."""
    if found.shutdown:
        if found.shutdown_reason == SUSPEND:
            return Observation(DomainState.PAUSED, StateReason.SAVING)
        if found.shutdown_reason in (CRASH, WATCHDOG):
            return Observation(DomainState.CRASHED, StateReason.PANICKED)
        return Observation(DomainState.SHUTDOWN, StateReason.USER)
    return _PAUSED if found.paused else _RUNNING
