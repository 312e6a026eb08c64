"""Commands that print facts about domains, and about the jobs that run on them."""

from __future__ import annotations

from typing import Any

from polyvisor.cli._declare import argument, echo, option
from polyvisor.cli._session import command, domain_argument, session

__all__: list[str] = []

#: First words of figures, where virsh's option has another name.
_GROUPS = {"cpu_total": "cpu", "interface": "net"}


@command("dumpxml")
@domain_argument
@option("--inactive", is_flag=True, help="The definition that counts from the next start.")
def dumpxml_command(domain: str, inactive: bool) -> None:
    """Print DOMAIN's definition as XML."""
    text = session().domain(domain).xml(inactive=inactive)
    session().facts({"xml": text}, lambda: echo(text))


@command("dominfo")
@domain_argument
def dominfo_command(domain: str) -> None:
    """Print DOMAIN's figures."""
    info = session().domain(domain).info()
    rows: list[tuple[str, Any]] = [
        ("Id", "-" if info.id is None else info.id),
        ("Name", info.name),
        ("UUID", info.uuid),
        ("OS Type", info.os_type),
        ("State", info.state),
        ("CPU(s)", info.vcpus),
        *([("CPU time", f"{info.cpu_time:.1f}s")] if info.cpu_time is not None else []),
        ("Max memory", f"{info.max_memory // 1024} KiB"),
        ("Used memory", f"{info.memory // 1024} KiB"),
        ("Persistent", "yes" if info.persistent else "no"),
        ("Autostart", "enable" if info.autostart else "disable"),
        ("Managed save", "yes" if info.managed_save else "no"),
    ]
    import attrs

    session().facts(attrs.asdict(info), lambda: session().pairs(rows))


@command("domstate")
@domain_argument
@option("--reason", is_flag=True, help="Say why, too.")
def domstate_command(domain: str, reason: bool) -> None:
    """Print DOMAIN's state."""
    status = session().domain(domain).status()
    text = f"{status.state} ({status.reason})" if reason else str(status.state)
    session().facts({"state": status.state, "reason": status.reason}, lambda: echo(text))


@command("domid")
@domain_argument
def domid_command(domain: str) -> None:
    """Print DOMAIN's id, "-" if it is not active."""
    number = session().domain(domain).id
    session().facts({"id": number}, lambda: echo("-" if number is None else number))


@command("domname")
@domain_argument
def domname_command(domain: str) -> None:
    """Print DOMAIN's name."""
    name = session().domain(domain).name
    session().facts({"name": name}, lambda: echo(name))


@command("domuuid")
@domain_argument
def domuuid_command(domain: str) -> None:
    """Print DOMAIN's UUID."""
    uuid = str(session().domain(domain).uuid)
    session().facts({"uuid": uuid}, lambda: echo(uuid))


@command("domstats")
@argument("domains", nargs=-1, metavar="[DOMAIN]...")
@option("--state", is_flag=True, help="Its state.")
@option("--cpu-total", is_flag=True, help="CPU time of all of it.")
@option("--balloon", is_flag=True, help="Memory.")
@option("--vcpu", is_flag=True, help="Each virtual CPU.")
@option("--interface", is_flag=True, help="Each network interface.")
@option("--block", is_flag=True, help="Each disk.")
@option("--perf", is_flag=True, help="Events of the host's CPUs that are counted.")
@option("--iothread", is_flag=True, help="Each I/O thread.")
@option("--memory", is_flag=True, help="Use of the host's memory bandwidth.")
@option("--dirtyrate", is_flag=True, help="What domdirtyrate-calc has measured.")
@option("--vm", is_flag=True, help="What the hypervisor counts of all of it.")
@option("--backing", is_flag=True, help="Count each image below a disk, too.")
def domstats_command(domains: tuple[str, ...], backing: bool, **chosen: bool) -> None:
    """Print statistics of the DOMAINs, or of all active ones; all groups unless some are named."""
    here = session()
    groups = {_GROUPS.get(name, name) for name, wanted in chosen.items() if wanted} or None
    if domains:
        found = [here.domain(text) for text in domains]
        all_of_it = {one.name: one.stats(groups=groups, backing=backing) for one in found}
    else:
        lines = here.connection.domains.stats(inactive=False, groups=groups, backing=backing)
        all_of_it = {line.name: figures for line, figures in lines}
    if groups is not None:
        all_of_it = {
            domain: {
                name: value for name, value in stats.items() if name.partition(".")[0] in groups
            }
            for domain, stats in all_of_it.items()
        }

    def plain() -> None:
        for name, stats in all_of_it.items():
            echo(f"Domain: '{name}'")
            for key, value in stats.items():
                echo(f"  {key}={value}")
            echo()

    here.facts(all_of_it, plain)


@command("domdirtyrate-calc")
@domain_argument
@option("--seconds", type=int, default=1, help="How long to measure, from 1 to 60.")
@option("--mode", default="page-sampling", help="page-sampling, dirty-bitmap or dirty-ring.")
def domdirtyrate_calc_command(domain: str, seconds: int, mode: str) -> None:
    """Begin to measure how fast DOMAIN writes to its memory; domstats --dirtyrate has the rate."""
    found = session().domain(domain)
    found.measure_dirty_rate(seconds, mode=mode)
    session().done(f"Domain '{found.name}' is being measured for {seconds} s", uuid=found.uuid)


@command("domjobinfo")
@domain_argument
@option("--completed", is_flag=True, help="Of the last job that was completed.")
@option("--keep-completed", is_flag=True, help="Keep these figures for whoever asks next.")
@option("--anystats", is_flag=True, help="Of a job that failed or was cancelled as well.")
def domjobinfo_command(domain: str, completed: bool, keep_completed: bool, anystats: bool) -> None:
    """Print how far the job is that runs on DOMAIN, or how the last one went, once."""
    from polyvisor.errors import InvalidArgument

    if keep_completed and not completed:
        raise InvalidArgument("domjobinfo: --keep-completed does nothing without --completed")
    found = session().domain(domain)
    job = found.job_statistics(completed=completed, keep=keep_completed)
    from polyvisor.cli._jobs import job_lines

    facts: dict[str, Any] | None = None
    if job is not None:
        facts = {"operation": job.operation, "outcome": str(job.outcome), **job.figures}
        if job.error is not None:
            facts["errmsg"] = job.error

    def plain() -> None:
        for line in job_lines(job, anystats=anystats):
            echo(line)

    session().facts(facts, plain)


@command("domjobabort")
@domain_argument
@option("--postcopy", is_flag=True, help="Cut off a migration that was switched to post-copy.")
def domjobabort_command(domain: str, postcopy: bool) -> None:
    """Cancel the job that runs on DOMAIN."""
    found = session().domain(domain)
    if postcopy:
        found.steer_migration(post_copy_pause=True)
    else:
        found.abort_job()
    session().done(f"Job on domain '{found.name}' is being cancelled", uuid=found.uuid)
