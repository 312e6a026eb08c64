"""Commands that print facts about domains, and about the jobs that run on them."""

from __future__ import annotations

from typing import Any

from polyvisor.cli._declare import argument, echo, option
from polyvisor.cli._session import command, domain_argument, session

__all__: list[str] = []


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
def domstats_command(domains: tuple[str, ...]) -> None:
    """Print statistics of the DOMAINs, or of all active ones."""
    here = session()
    if domains:
        found = [here.domain(text) for text in domains]
        all_of_it = {domain.name: domain.stats() for domain in found}
    else:
        lines = here.connection.domains.stats(inactive=False)
        all_of_it = {line.name: figures for line, figures in lines}

    def plain() -> None:
        for name, stats in all_of_it.items():
            echo(f"Domain: '{name}'")
            for key, value in stats.items():
                echo(f"  {key}={value}")
            echo()

    here.facts(all_of_it, plain)


@command("domjobinfo")
@domain_argument
def domjobinfo_command(domain: str) -> None:
    """Print how far the job is that runs on DOMAIN."""
    import attrs

    job = session().domain(domain).job()
    if job is None:
        session().facts(None, lambda: session().pairs([("Job type", "None")]))
        return
    rows: list[tuple[str, Any]] = [
        ("Job type", "Unbounded"),
        ("Operation", job.operation),
        ("Phase", job.phase),
        ("Time elapsed", f"{job.elapsed * 1000:.0f} ms"),
        ("Data processed", _mib(job.processed)),
        ("Data remaining", _mib(job.remaining)),
        ("Data total", _mib(job.total)),
    ]
    if job.iteration:
        rows.append(("Iteration", job.iteration))
    if job.dirty_rate is not None:
        rows.append(("Dirty rate", f"{_mib(int(job.dirty_rate))}/s"))
    if job.downtime is not None:
        rows.append(("Downtime", f"{job.downtime * 1000:.0f} ms"))
    session().facts(attrs.asdict(job), lambda: session().pairs(rows))


@command("domjobabort")
@domain_argument
def domjobabort_command(domain: str) -> None:
    """Cancel the job that runs on DOMAIN."""
    found = session().domain(domain)
    found.abort_job()
    session().done(f"Job on domain '{found.name}' is being cancelled", uuid=found.uuid)


def _mib(size: int) -> str:
    return f"{size / 2**20:.3f} MiB"
