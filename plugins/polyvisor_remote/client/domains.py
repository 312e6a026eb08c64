"""Domains and their life, on a server."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from polyvisor.driver import ASKING_MODES, DIRTY_RATE_MODES, Domains
from polyvisor.errors import (
    InvalidArgument,
    NotFound,
    OperationInvalid,
    PolyvisorError,
    SpecError,
    Timeout,
    Unsupported,
)
from polyvisor.states import DomainInfo, DomainState, DomainStatus, DomainSummary
from polyvisor_remote.client.numbers import state_and_reason
from polyvisor_remote.server.numbers import JOB_WORDS, STATS_GROUPS, ListDomains, Stats

if TYPE_CHECKING:
    from polyvisor.driver import DomainOptions, UndefineOptions
    from polyvisor.jobs import JobProgress
    from polyvisor.jobstats import JobStatistics
    from polyvisor.model import DomainSpec
    from polyvisor_remote.client.driver import RemoteDriver

__all__ = ["RemoteDomains"]

_L = ListDomains
# virDomainCreateFlags
_PAUSED, _AUTODESTROY, _BYPASS_CACHE, _FORCE_BOOT = 1, 2, 4, 8
# virDomainXMLFlags
_SECURE, _INACTIVE = 1, 2
_TITLE = 1  # virDomainMetadataType
_BACKING = 1 << 30  # VIR_CONNECT_GET_ALL_DOMAINS_STATS_BACKING
# virDomainGetJobStatsFlags
_COMPLETED, _KEEP_COMPLETED = 1, 2
#: ``virDomainJobType``; 0 is none.
_OUTCOMES = {
    1: "running",
    2: "running",
    3: "completed",
    4: "failed",
    5: "cancelled",
}
_NO_UUID = bytes(16)


class RemoteDomains(Domains):
    """Domains of a server, which knows them by their UUIDs.

    Args:
        driver: the driver.
    """

    def __init__(self, driver: RemoteDriver) -> None:
        self._driver = driver
        self._link = driver.link
        #: Names that were heard of; servers take them for nothing but messages.
        self._names: dict[UUID, str] = {}

    def reference(self, uuid: UUID) -> tuple[str, bytes, int]:
        """Return a domain as the protocol names it."""
        return self._names.get(uuid, ""), uuid.bytes, -1

    def call(self, uuid: UUID, procedure: str, *arguments: Any) -> Any:
        """Call a procedure whose first argument is a domain; errors name it."""
        try:
            return self._link.call(procedure, self.reference(uuid), *arguments)
        except PolyvisorError as error:
            raise self.named(error, uuid, procedure) from None

    def named(self, error: PolyvisorError, uuid: UUID, procedure: str) -> PolyvisorError:
        """Return an error that says which domain it is about."""
        name = self._names.get(uuid) or str(uuid)
        error.domain = name
        if name not in error.message:
            verb = procedure.removeprefix("domain_").replace("_", " ")
            error.message = f"{verb} {name!r}: {error.message}"
        return error

    def noted(self, dom: Any) -> UUID:
        """Return the UUID of a domain that a server named, and remember its name."""
        uuid = UUID(bytes=dom.uuid)
        self._names[uuid] = dom.name
        return uuid

    def _about(self, uuid: UUID, *calls: tuple[Any, ...]) -> list[Any]:
        """Make calls about a domain at once; each is a procedure and its further arguments."""
        dom = self.reference(uuid)
        return self._link.call_all([(name, dom, *rest) for name, *rest in calls])

    # Finding

    def list(self, *, active: bool = True, inactive: bool = True) -> Sequence[UUID]:
        """Ask for all of the wanted kinds."""
        flags = _kinds(active, inactive)
        if flags is None:
            return []
        found = self._link.call("connect_list_all_domains", 1, flags).domains
        return [self.noted(dom) for dom in found]

    def summaries(self, *, active: bool = True, inactive: bool = True) -> Sequence[DomainSummary]:
        """Ask for all at once, by kinds, and for their states and titles."""
        flags = _kinds(active, inactive)
        if flags is None:
            return []
        listed, *more = self._link.call_all(
            [
                ("connect_list_all_domains", 1, flags),
                ("connect_get_all_domain_stats", [], int(Stats.STATE), flags),
                ("connect_list_all_domains", 1, flags | _L.PERSISTENT),
                ("connect_list_all_domains", 1, flags | _L.AUTOSTART),
                ("connect_list_all_domains", 1, flags | _L.MANAGEDSAVE),
            ]
        )
        if isinstance(listed, PolyvisorError):
            raise listed
        states = self._states(listed.domains, more[0])
        persistent, autostart, saved = (
            set() if isinstance(one, PolyvisorError) else {dom.uuid for dom in one.domains}
            for one in more[1:]
        )
        titles = self._titles(listed.domains)
        found = []
        for dom in listed.domains:
            if dom.uuid not in states:
                continue  # It went just now.
            state, reason = state_and_reason(*states[dom.uuid])
            found.append(
                DomainSummary(
                    uuid=self.noted(dom),
                    name=dom.name,
                    id=dom.id if dom.id >= 0 else None,
                    state=state,
                    reason=reason,
                    persistent=dom.uuid in persistent,
                    autostart=dom.uuid in autostart,
                    managed_save=dom.uuid in saved,
                    title=titles.get(dom.uuid),
                )
            )
        return sorted(found, key=lambda one: one.name)

    def _states(self, doms: Sequence[Any], stats: Any) -> dict[bytes, tuple[int, int]]:
        """Return state and reason of each, from what was answered or one by one."""
        if not isinstance(stats, PolyvisorError):
            found: dict[bytes, tuple[int, int]] = {}
            for record in stats.retStats:
                figures = {name: value for name, _, value in record.params}
                found[record.dom.uuid] = (
                    figures.get("state.state", 0),
                    figures.get("state.reason", 0),
                )
            return found
        answers = self._link.call_all([("domain_get_state", dom, 0) for dom in doms])
        return {
            dom.uuid: (one.state, one.reason)
            for dom, one in zip(doms, answers, strict=True)
            if not isinstance(one, PolyvisorError)
        }

    def _titles(self, doms: Sequence[Any]) -> dict[bytes, str]:
        """Return the titles of those that have one."""
        if not doms:
            return {}
        first, *rest = doms
        asked = ("domain_get_metadata", first, _TITLE, None, 0)
        (answer,) = self._link.call_all([asked])
        if isinstance(answer, Unsupported):
            return {}
        calls = [("domain_get_metadata", dom, _TITLE, None, 0) for dom in rest]
        answers = [answer, *self._link.call_all(calls)]
        return {
            dom.uuid: one.metadata
            for dom, one in zip(doms, answers, strict=True)
            if not isinstance(one, PolyvisorError)
        }

    def by_name(self, name: str) -> UUID:
        """Ask for one by its name."""
        return self.noted(self._link.call("domain_lookup_by_name", name).dom)

    def by_id(self, number: int) -> UUID:
        """Ask for one by its number."""
        return self.noted(self._link.call("domain_lookup_by_id", number).dom)

    def exists(self, uuid: UUID) -> bool:
        """Say whether there is one."""
        try:
            self._lookup(uuid)
        except NotFound:
            return False
        return True

    def _lookup(self, uuid: UUID) -> Any:
        dom = self._link.call("domain_lookup_by_uuid", uuid.bytes).dom
        self.noted(dom)
        return dom

    # Asking

    def name(self, uuid: UUID) -> str:
        """Ask for its name."""
        name: str = self._lookup(uuid).name
        return name

    def status(self, uuid: UUID) -> DomainStatus:
        """Ask for its state and why."""
        answer = self.call(uuid, "domain_get_state", 0)
        return DomainStatus(*state_and_reason(answer.state, answer.reason))

    def summary(self, uuid: UUID) -> DomainSummary:
        """Ask for its line of the list."""
        return DomainSummary(**self._line(uuid, [])[0])

    def info(self, uuid: UUID) -> DomainInfo:
        """Ask for its line of the list and its figures."""
        line, (figures, os_type) = self._line(uuid, [("domain_get_info",), ("domain_get_os_type",)])
        if isinstance(figures, PolyvisorError):
            raise self.named(figures, uuid, "domain_get_info")
        active = line["id"] is not None
        return DomainInfo(
            **line,
            os_type="" if isinstance(os_type, PolyvisorError) else os_type.type,
            vcpus=figures.nrVirtCpu,
            cpu_time=figures.cpuTime / 1e9 if active else None,
            max_memory=figures.maxMem * 1024,
            memory=figures.memory * 1024,
        )

    def _line(self, uuid: UUID, calls: Sequence[tuple[Any, ...]]) -> tuple[dict[str, Any], Any]:
        """Return the fields of a line of the list, and the answers to further calls."""
        looked, *rest = self._link.call_all(
            [
                ("domain_lookup_by_uuid", uuid.bytes),
                *(
                    (name, self.reference(uuid), *more)
                    for name, *more in (
                        ("domain_get_state", 0),
                        ("domain_is_persistent",),
                        ("domain_get_autostart",),
                        ("domain_has_managed_save_image", 0),
                        ("domain_get_metadata", _TITLE, None, 0),
                        *calls,
                    )
                ),
            ]
        )
        if isinstance(looked, PolyvisorError):
            raise self.named(looked, uuid, "domain_lookup_by_uuid")
        dom = looked.dom
        self.noted(dom)
        status, persistent, autostart, saved, title, *further = rest
        for answer in (status, persistent):
            if isinstance(answer, PolyvisorError):
                raise self.named(answer, uuid, "domain_get_state")
        state, reason = state_and_reason(status.state, status.reason)
        line = {
            "uuid": uuid,
            "name": dom.name,
            "id": dom.id if dom.id >= 0 else None,
            "state": state,
            "reason": reason,
            "persistent": bool(persistent.persistent),
            "autostart": bool(getattr(autostart, "autostart", 0)),
            "managed_save": bool(getattr(saved, "result", 0)),
            "title": getattr(title, "metadata", None),
        }
        return line, further

    def spec(self, uuid: UUID, *, inactive: bool = False) -> DomainSpec:
        """Read its definition."""
        from polyvisor.model import DomainSpec

        return DomainSpec.from_xml(self.xml(uuid, inactive=inactive))

    def xml(self, uuid: UUID, *, inactive: bool = False) -> str:
        """Ask for its definition."""
        xml: str = self.call(uuid, "domain_get_xml_desc", _INACTIVE if inactive else 0).xml
        return xml

    def rename(self, uuid: UUID, name: str) -> None:
        """Have it called otherwise."""
        self.call(uuid, "domain_rename", name, 0)
        self._names[uuid] = name

    def set_lifecycle_action(
        self, uuid: UUID, event: str, action: str, *, live: bool, config: bool
    ) -> None:
        """Have something else happen when the guest ends."""
        from polyvisor_remote.client.changing import impact
        from polyvisor_remote.server.numbers import ACTIONS, ENDS

        if event not in ENDS or action not in ACTIONS:
            raise InvalidArgument(
                f"set lifecycle action: {event!r} {action!r}: use one of {', '.join(ENDS)}, and "
                f"one of {', '.join(ACTIONS)}"
            )
        numbers = ENDS.index(event), ACTIONS.index(action)
        flags = impact(live=live, config=config)
        self.call(uuid, "domain_set_lifecycle_action", *numbers, flags)

    # Life

    def define(self, spec: DomainSpec) -> UUID:
        """Have a definition kept."""
        return self.noted(self._defined("domain_define_xml", spec).dom)

    def create(self, spec: DomainSpec, options: DomainOptions) -> UUID:
        """Have a transient domain started."""
        return self.noted(self._defined("domain_create_xml", spec, _start_flags(options)).dom)

    def _defined(self, procedure: str, spec: DomainSpec, *rest: Any) -> Any:
        try:
            return self._link.call(procedure, spec.to_xml(), *rest)
        except SpecError:
            raise
        except PolyvisorError as error:
            if spec.name not in error.message:
                error.message = f"define {spec.name!r}: {error.message}"
            error.domain = spec.name
            raise

    def undefine(self, uuid: UUID, options: UndefineOptions) -> None:
        """Have a definition forgotten."""
        # What a driver cannot have is not there to be forgotten; it would refuse the flag.
        can = self._driver.server.can
        chosen = (
            (options.managed_save and can("save.managed"), 1),
            (options.snapshots and can("snapshots.memory"), 2),
            (options.nvram, 4),
            (options.nvram is False, 8),
            (options.checkpoints and can("checkpoints"), 16),
            (options.tpm, 32),
            (options.tpm is False, 64),
        )
        flags = sum(flag for asked, flag in chosen if asked)  # virDomainUndefineFlagsValues
        self.call(uuid, "domain_undefine_flags", flags)

    def start(self, uuid: UUID, options: DomainOptions) -> None:
        """Have it started."""
        flags = _start_flags(options)
        if flags:
            self.call(uuid, "domain_create_with_flags", flags)
        else:
            self.call(uuid, "domain_create")

    def shutdown(self, uuid: UUID, modes: Sequence[str] = ()) -> None:
        """Have the guest asked to shut down."""
        if modes:
            self.call(uuid, "domain_shutdown_flags", _asking_flags(modes))
        else:
            self.call(uuid, "domain_shutdown")

    def reboot(self, uuid: UUID, modes: Sequence[str] = ()) -> None:
        """Have the guest asked to reboot."""
        self.call(uuid, "domain_reboot", _asking_flags(modes))

    def reset(self, uuid: UUID) -> None:
        """Have it reset."""
        self.call(uuid, "domain_reset", 0)

    def destroy(self, uuid: UUID) -> None:
        """Have it stopped at once."""
        self.call(uuid, "domain_destroy")

    def suspend(self, uuid: UUID) -> None:
        """Have its vCPUs stopped."""
        # libvirt's drivers take it silently; the rule here is that it is no change.
        self._not_yet(uuid, DomainState.PAUSED, "suspend")
        self.call(uuid, "domain_suspend")

    def resume(self, uuid: UUID) -> None:
        """Have them run on."""
        self._not_yet(uuid, DomainState.RUNNING, "resume")
        self.call(uuid, "domain_resume")

    def _not_yet(self, uuid: UUID, state: DomainState, verb: str) -> None:
        if self.status(uuid).state is state:
            name = self._names.get(uuid) or str(uuid)
            raise OperationInvalid(
                f"{verb} {name!r}: it is {state} already", domain=name, operation=verb
            )

    def set_autostart(self, uuid: UUID, autostart: bool) -> None:
        """Have it started with the host, or not."""
        self.call(uuid, "domain_set_autostart", int(autostart))

    def stats(
        self, uuid: UUID, *, groups: Collection[str] | None = None, backing: bool = False
    ) -> dict[str, Any]:
        """Ask for its figures."""
        flags = _BACKING if backing else 0
        asked = ("connect_get_all_domain_stats", [self.reference(uuid)], _bits(groups), flags)
        records = self._link.call(*asked).retStats
        if not records:
            self._lookup(uuid)
            raise NotFound(f"the domain {uuid} has no figures", key=str(uuid))
        return {name: value for name, _, value in records[0].params}

    def all_stats(
        self,
        *,
        active: bool = True,
        inactive: bool = True,
        groups: Collection[str] | None = None,
        backing: bool = False,
    ) -> Sequence[tuple[DomainSummary, dict[str, Any]]]:
        """Ask for the figures of all at once."""
        flags = _kinds(active, inactive)
        if flags is None:
            return []
        flags |= _BACKING if backing else 0
        lines = {one.uuid.bytes: one for one in self.summaries(active=active, inactive=inactive)}
        records = self._link.call("connect_get_all_domain_stats", [], _bits(groups), flags).retStats
        found = [
            (lines[record.dom.uuid], {name: value for name, _, value in record.params})
            for record in records
            if record.dom.uuid in lines
        ]
        return sorted(found, key=lambda pair: pair[0].name)

    def measure_dirty_rate(self, uuid: UUID, seconds: int, mode: str) -> None:
        """Have it measured."""
        # virDomainDirtyRateCalcFlags: no flag is the first mode, and each other has one.
        number = DIRTY_RATE_MODES.index(mode)
        flags = 1 << (number - 1) if number else 0
        self.call(uuid, "domain_start_dirty_rate_calc", seconds, flags)

    def wait(self, uuid: UUID, *, timeout: float | None = None) -> DomainStatus:
        """Listen for what happens to it until it is not active."""
        part = self._driver.events
        if part is None:
            raise Unsupported("wait: the server tells of no events", feature="events")
        end = None if timeout is None else time.monotonic() + timeout
        # The stream begins before the state is looked at, so that no change is missed.
        with part.listening(uuid) as changed:
            while True:
                try:
                    status = self.status(uuid)
                except NotFound:
                    return DomainStatus(DomainState.SHUTOFF)
                if not status.state.active:
                    return status
                left = None if end is None else end - time.monotonic()
                if (left is not None and left <= 0) or not changed(left):
                    name = self._names.get(uuid) or str(uuid)
                    raise Timeout(
                        f"wait for {name!r}: it was still active after {timeout:g} s",
                        domain=name,
                        operation="wait",
                    )

    # Jobs

    def job(self, uuid: UUID) -> JobProgress | None:
        """Ask how far its job is."""
        from polyvisor.jobs import JobProgress

        told = self.job_statistics(uuid)
        if told is None:
            return None
        facts = told.figures
        downtime, rate = facts.get("downtime"), facts.get("memory_dirty_rate")
        data = "data" if "data_total" in facts else "disk" if "disk_total" in facts else "memory"
        page = facts.get("memory_page_size", 4096)
        return JobProgress(
            told.operation,
            elapsed=facts.get("time_elapsed", 0) / 1000,
            total=facts.get(f"{data}_total", 0),
            processed=facts.get(f"{data}_processed", 0),
            remaining=facts.get(f"{data}_remaining", 0),
            iteration=facts.get("memory_iteration", 0),
            dirty_rate=None if rate is None else float(rate * page),
            downtime=None if downtime is None else downtime / 1000,
            disk_total=facts.get("disk_total", 0) if data == "data" else 0,
            disk_processed=facts.get("disk_processed", 0) if data == "data" else 0,
            disk_remaining=facts.get("disk_remaining", 0) if data == "data" else 0,
            figures=facts,
        )

    def job_statistics(
        self, uuid: UUID, *, completed: bool = False, keep: bool = False
    ) -> JobStatistics | None:
        """Ask for the figures of its job, or of the last one that was completed."""
        from polyvisor.jobstats import FIGURES, JobOutcome, JobStatistics

        flags = (_COMPLETED if completed else 0) | (_KEEP_COMPLETED if completed and keep else 0)
        answer = self.call(uuid, "domain_get_job_stats", flags)
        outcome = _OUTCOMES.get(answer.type)
        if outcome is None:
            return None
        facts = {name: value for name, _, value in answer.params}
        return JobStatistics(
            JOB_WORDS.get(facts.get("operation", 0), "job"),
            JobOutcome(outcome),
            {name: facts[name] for name in FIGURES if name in facts},
            facts.get("errmsg"),
        )

    def abort_job(self, uuid: UUID) -> None:
        """Have its job cancelled."""
        self.call(uuid, "domain_abort_job")


def _kinds(active: bool, inactive: bool) -> int | None:
    """Return which domains to list; ``None`` for none."""
    if not active and not inactive:
        return None
    return int(_L.ACTIVE if active else 0) | int(_L.INACTIVE if inactive else 0)


def _bits(groups: Collection[str] | None) -> int:
    """Return which groups of figures are asked for; 0 for all."""
    return sum(int(STATS_GROUPS.get(group, 0)) for group in set(groups or ()))


def _asking_flags(modes: Sequence[str]) -> int:
    return sum(1 << ASKING_MODES.index(mode) for mode in set(modes))


def _start_flags(options: DomainOptions) -> int:
    return (
        (_PAUSED if options.paused else 0)
        | (_AUTODESTROY if options.autodestroy else 0)
        | (_FORCE_BOOT if options.force_boot else 0)
        | (_BYPASS_CACHE if options.bypass_cache else 0)
    )
