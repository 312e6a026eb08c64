"""Commands about connections and the hosts behind them."""

from __future__ import annotations

from typing import Any

from polyvisor.cli._declare import argument, echo, number, option
from polyvisor.cli._session import command, session

__all__: list[str] = []


@command("hosts")
def hosts_command() -> None:
    """List the configured connections, whether each can be reached, and what is there."""
    from polyvisor.config import load
    from polyvisor.connection import open as open_connection
    from polyvisor.errors import PolyvisorError

    config = load()
    targets = list(config.connections) or [config.default]
    found: list[dict[str, Any]] = []
    for target in targets:
        entry: dict[str, Any] = {"name": target, "default": target == config.default}
        found.append(entry)
        try:
            entry["uri"] = config.resolve(target).uri
            with open_connection(target, readonly=True, config=config) as connection:
                facts = connection.host
                lines = connection.domains.summaries()
                entry |= {
                    "reachable": True,
                    "hypervisor": f"{facts.hypervisor} {facts.hypervisor_version}".strip(),
                    "hostname": facts.hostname,
                    "active": sum(line.id is not None for line in lines),
                    "domains": len(lines),
                }
        except PolyvisorError as error:
            entry |= {"reachable": False, "error": error.message}

    def plain() -> None:
        rows = []
        for one in found:
            mark = "*" if one["default"] else " "
            if one["reachable"]:
                state = f"{one['active']} of {one['domains']} active"
                rows.append([mark + one["name"], one["uri"], one["hypervisor"], state])
            else:
                rows.append([mark + one["name"], one.get("uri"), "-", one["error"]])
        session().table(["Name", "URI", "Hypervisor", "Domains"], rows)

    session().facts(found, plain)


@command("hostname")
def hostname_command() -> None:
    """Print the host's name."""
    name = session().connection.host.hostname
    session().facts({"hostname": name}, lambda: echo(name))


@command("nodeinfo")
def nodeinfo_command() -> None:
    """Print facts about the host."""
    import attrs

    facts = session().connection.host
    rows: list[tuple[str, Any]] = [
        ("CPU model", facts.architecture),
        ("CPU(s)", facts.cpus),
        ("CPU frequency", f"{facts.cpu_mhz} MHz"),
        ("CPU socket(s)", facts.sockets),
        ("Core(s) per socket", facts.cores),
        ("Thread(s) per core", facts.threads),
        ("NUMA cell(s)", facts.numa_nodes),
        ("Memory size", f"{facts.memory // 1024} KiB"),
    ]

    def plain() -> None:
        for name, value in rows:
            echo(f"{name + ':':<21}{value}")

    session().facts(attrs.asdict(facts), plain)


@command("nodecpustats")
@option("--cpu", type=number(int, 0), default=None, help="Of this CPU alone.")
@option("--percent", is_flag=True, help="Of the next second, in percent.")
def nodecpustats_command(cpu: int | None, percent: bool) -> None:
    """Print for how long the host's CPUs did what, in nanoseconds."""
    import attrs

    connection = session().connection
    times = attrs.asdict(connection.host_times(cpu))
    if not percent:
        facts = {name: round(value * 1e9) for name, value in times.items()}
        session().facts(facts, lambda: _rows(facts, "{:<15} {:20}"))
        return
    import time

    time.sleep(1)
    later = attrs.asdict(connection.host_times(cpu))
    spent = {name: later[name] - times[name] for name in times}
    whole = sum(spent.values()) or 1.0
    usage = 100 * (spent["user"] + spent["system"]) / whole
    shares = {"usage": usage, **{name: 100 * one / whole for name, one in spent.items()}}
    session().facts(shares, lambda: _rows(shares, "{:<15} {:5.1f}%"))


def _rows(facts: dict[str, Any], form: str) -> None:
    for name, value in facts.items():
        echo(form.format(f"{name}:", value))


@command("nodememstats")
@option("--cell", type=number(int, 0), default=None, help="Of this NUMA node alone.")
def nodememstats_command(cell: int | None) -> None:
    """Print what the host's memory is used for."""
    import attrs

    found = attrs.asdict(session().connection.host_memory(cell))
    facts = {name: value for name, value in found.items() if value is not None}

    def plain() -> None:
        for name, value in facts.items():
            echo(f"{name:<7}: {value // 1024:20} KiB")

    session().facts(facts, plain)


@command("freecell")
@option("--cellno", type=number(int, 0), default=None, help="Of this NUMA node alone.")
@option("--all", "every", is_flag=True, help="Of each NUMA node.")
def freecell_command(cellno: int | None, every: bool) -> None:
    """Print how much of the host's memory is free."""
    connection = session().connection
    cells = [] if cellno is None else [cellno]
    if every:
        cells = list(range(connection.host.numa_nodes))
    free = {cell: connection.host_memory(cell).free for cell in cells}
    total = sum(free.values()) if cells else connection.host_memory().free

    def plain() -> None:
        if not every:
            echo(f"{'Total' if cellno is None else cellno}: {total // 1024} KiB")
            return
        for cell, size in free.items():
            echo(f"{cell:5}: {size // 1024:10} KiB")
        echo("--------------------")
        echo(f"{'Total':>5}: {total // 1024:10} KiB")

    session().facts({"cells": free, "total": total}, plain)


@command("version")
def version_command() -> None:
    """Print the versions of polyvisor and of the hypervisor."""
    from polyvisor import __version__

    facts = session().connection.host
    data = {
        "polyvisor": __version__,
        "hypervisor": facts.hypervisor,
        "hypervisor_version": facts.hypervisor_version,
    }
    running = f"{facts.hypervisor} {facts.hypervisor_version}".strip()
    session().facts(
        data,
        lambda: session().pairs([("polyvisor", __version__), ("Running hypervisor", running)]),
    )


@command("uri")
def uri_command() -> None:
    """Print the canonical URI of the connection."""
    uri = session().connection.uri
    session().facts({"uri": uri}, lambda: echo(uri))


@command("capabilities")
def capabilities_command() -> None:
    """Print the host's capabilities as XML."""
    text = session().connection.capabilities()
    session().facts({"xml": text}, lambda: echo(text))


@command("domcapabilities")
@argument("virttype", required=False)
@argument("emulatorbin", required=False)
@argument("arch", required=False)
@argument("machine", required=False)
@option("--virttype", "kind", help="Of domains of this type: kvm or qemu.")
@option("--emulatorbin", "emulator", help="Of this emulator.")
@option("--arch", "architecture", help="Of guests of this architecture.")
@option("--machine", "machine_type", help="Of this machine type.")
def domcapabilities_command(
    virttype: str | None,
    emulatorbin: str | None,
    arch: str | None,
    machine: str | None,
    kind: str | None,
    emulator: str | None,
    architecture: str | None,
    machine_type: str | None,
) -> None:
    """Print as XML what a domain can have on the host."""
    text = (
        session()
        .connection.domain_capabilities(
            kind=kind or virttype,
            emulator=emulator or emulatorbin,
            arch=architecture or arch,
            machine=machine_type or machine,
        )
        .to_xml()
    )
    session().facts({"xml": text}, lambda: echo(text, nl=not text.endswith("\n")))


@command("support")
def support_command() -> None:
    """Print what works on the connection, and why the rest does not."""
    import attrs

    table = session().connection.support
    session().facts(
        {feature: attrs.asdict(answer) for feature, answer in table.items()},
        lambda: session().table(
            ["Feature", "Support", "Reason"],
            [[feature, str(answer.status), answer.reason] for feature, answer in table.items()],
        ),
    )
