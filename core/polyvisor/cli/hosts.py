"""Commands about connections and the hosts behind them."""

from __future__ import annotations

from typing import Any

from polyvisor.cli._declare import argument, echo, option
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
