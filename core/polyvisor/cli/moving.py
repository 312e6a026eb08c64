"""The command that moves domains between hosts."""

from __future__ import annotations

import click

from polyvisor.cli._session import command, domain_argument, session

__all__: list[str] = []


@command("migrate")
@domain_argument
@click.argument("desturi", metavar="TARGET")
@click.argument("migrateuri", required=False)
@click.option("--live", is_flag=True, help="Keep the guest running meanwhile.")
@click.option("--offline", is_flag=True, help="Move the definition of a domain that does not run.")
@click.option("--p2p", is_flag=True, help="Let the source drive.")
@click.option("--tunnelled", is_flag=True, help="Carry the stream inside the connection.")
@click.option("--postcopy", is_flag=True, help="Allow switching before all memory is there.")
@click.option("--persistent", is_flag=True, help="Define it on the destination.")
@click.option("--undefinesource", is_flag=True, help="Forget its definition here.")
@click.option("--suspend", is_flag=True, help="Leave it paused on the destination.")
@click.option("--copy-storage-all", "storage", flag_value="all", help="Copy its disks too.")
@click.option(
    "--copy-storage-inc", "storage", flag_value="incremental", help="Copy what differs of them."
)
@click.option("--dname", help="Its name on the destination.")
@click.option("--xml", type=click.Path(), help="Its definition on the destination.")
@click.option("--bandwidth", type=click.IntRange(1), metavar="MIB", help="MiB/s at most.")
@click.option("--downtime", type=click.FloatRange(0), metavar="MS", help="Downtime limit in ms.")
@click.option(
    "--timeout",
    type=click.FloatRange(0),
    metavar="S",
    help="Seconds after which it is finished with the guest stopped.",
)
@click.option("--verbose", is_flag=True, help="Show progress even without a terminal.")
def migrate_command(
    domain: str,
    desturi: str,
    migrateuri: str | None,
    live: bool,
    offline: bool,
    p2p: bool,
    tunnelled: bool,
    postcopy: bool,
    persistent: bool,
    undefinesource: bool,
    suspend: bool,
    storage: str | None,
    dname: str | None,
    xml: str | None,
    bandwidth: int | None,
    downtime: float | None,
    timeout: float | None,
    verbose: bool,
) -> None:
    """Move DOMAIN to the host TARGET (a URI or a configured connection)."""
    from polyvisor.cli.domains import read_spec

    found = session().domain(domain)
    name = found.name
    with session().progress("migrate", verbose=verbose) as progress:
        moved = found.migrate(
            desturi,
            live=live,
            offline=offline,
            persistent=True if persistent else None,
            undefine_source=undefinesource,
            paused=suspend,
            peer_to_peer=p2p,
            tunnelled=tunnelled,
            post_copy=postcopy,
            copy_storage=storage,
            bandwidth=None if bandwidth is None else bandwidth << 20,
            downtime=None if downtime is None else downtime / 1000,
            timeout=timeout,
            name=dname,
            spec=None if xml is None else read_spec(xml),
            uri=migrateuri,
            progress=progress,
        )
    target = moved.connection.uri
    moved.connection.close()
    session().done(f"Domain '{name}' migrated to {target}", uuid=moved.uuid, target=target)
