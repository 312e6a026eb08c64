"""What is told of jobs that run and of jobs that are over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from polyvisor.driver import MigrationOptions
from polyvisor.events import EventKind
from polyvisor.jobs import Job
from polyvisor.jobstats import FIGURES, JobOutcome
from polyvisor.states import DomainState

if TYPE_CHECKING:
    import polyvisor
    from polyvisor.jobstats import JobStatistics
    from polyvisor.model import DomainSpec

    Make = Callable[..., DomainSpec]
    Hosts = Callable[[str], polyvisor.Connection]

MEMORY = 4096 * 1024


def check(job: JobStatistics | None, operation: str) -> dict[str, int]:
    """Hold what every completed job says; return its figures."""
    assert job is not None
    assert (job.operation, job.outcome, job.error) == (operation, JobOutcome.COMPLETED, None)
    figures = dict(job.figures)
    assert set(figures) <= set(FIGURES)
    assert figures["memory_processed"] > 0
    assert figures["memory_remaining"] == 0
    assert 0 <= figures["time_elapsed"] < 60_000
    return figures


def test_a_saved_domain_keeps_what_saving_it_took(
    hosts: Hosts, make_spec: Make, tmp_path: Path
) -> None:
    """Any process may ask, once, or as often as it likes if it leaves the figures."""
    domain = hosts("a").domains.define(make_spec())
    domain.start()
    assert domain.job_statistics(completed=True) is None
    domain.save(tmp_path / "image")
    assert domain.job_statistics() is None
    other = hosts("a").domains["guest"]
    for _ in range(2):
        figures = check(other.job_statistics(completed=True, keep=True), "save")
    assert "disk_total" not in figures
    restored = hosts("a").domains.restore(tmp_path / "image")
    check(restored.job_statistics(completed=True), "save")
    assert domain.job_statistics(completed=True) is None
    assert other.job_statistics(completed=True) is None


def test_while_a_job_runs_no_other_is_told_of(
    hosts: Hosts, make_spec: Make, tmp_path: Path
) -> None:
    """A running job has its own figures; the completed one before it is told of again later."""
    domain = hosts("a").domains.define(make_spec())
    domain.start()
    domain.dump(tmp_path / "core", memory_only=True)
    seen: list[tuple[JobStatistics | None, JobStatistics | None]] = []

    def look(_: object) -> None:
        seen.append((domain.job_statistics(), domain.job_statistics(completed=True)))
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        domain.save(tmp_path / "image", progress=look)
    running, completed = seen[0]
    assert completed is None
    assert running is not None
    assert (running.operation, running.outcome) == ("save", JobOutcome.RUNNING)
    told = running.figures
    assert told["memory_total"] == told["data_total"] == MEMORY
    assert told["memory_processed"] + told["memory_remaining"] == MEMORY
    figures = check(domain.job_statistics(completed=True), "dump")
    assert "data_total" not in figures


def test_both_sides_of_a_migration_have_its_figures(hosts: Hosts, make_spec: Make) -> None:
    """They are the same on both, but for the operation; the event has the source's."""
    here, there = hosts("a"), hosts("b")
    domain = here.domains.define(make_spec())
    domain.start()
    stream = here.events(timeout=20)
    moved = domain.migrate(there)
    event = next(one for one in stream if one.kind is EventKind.JOB_COMPLETED)
    assert moved.state is DomainState.RUNNING
    source = check(domain.job_statistics(completed=True), "migration")
    destination = check(moved.job_statistics(completed=True), "migration in")
    assert event.data == source
    assert event.detail == "migration"
    assert set(source) == set(destination)
    alone = {"time_elapsed", "time_elapsed_net"}  # the source lets go later
    assert {name: source[name] for name in source.keys() - alone} == {
        name: destination[name] for name in destination.keys() - alone
    }
    assert source["downtime_net"] <= source["downtime"] <= source["time_elapsed"]
    assert destination["time_elapsed"] <= source["time_elapsed"]


@pytest.mark.parametrize(
    "told",
    [
        "much",
        [],
        {"sent": "x", "memory_total": -1, "time_elapsed": 1.5},
        {"sent": 1 << 70, "started": 1 << 62, "stopped": -5, "downtime": 1 << 64, "delta": 1 << 70},
        {"memory_total": True, "unheard_of": 3},
    ],
)
def test_what_the_source_says_of_it_need_not_make_sense(
    hosts: Hosts, make_spec: Make, told: object
) -> None:
    """What is no figure is left out; the guest arrives."""
    here, there = hosts("a"), hosts("b")
    domain = here.domains.create(make_spec())
    leaving, arriving = here.driver.migration, there.driver.migration
    assert leaving is not None
    assert arriving is not None
    options = MigrationOptions()
    with Job("migration") as job:
        begun = leaving.begin(domain.uuid, options, job)
        prepared = arriving.prepare(begun.spec, begun.cookie, options)
        cookie = leaving.perform(domain.uuid, prepared.uri, prepared.cookie, options, job)
        assert cookie is not None
        changed = json.dumps({**json.loads(cookie), "statistics": told}).encode()
        finished = arriving.finish(domain.uuid, changed, options, cancelled=False)
        leaving.confirm(domain.uuid, finished.cookie, options, cancelled=False)
    moved = there.domains["guest"]
    assert moved.state is DomainState.RUNNING
    found = moved.job_statistics(completed=True)
    assert found is None or "memory_total" not in found.figures
