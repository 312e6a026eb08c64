"""The command that moves domains between hosts."""

from __future__ import annotations

from polyvisor.cli._declare import argument, number, option, path
from polyvisor.cli._session import command, domain_argument, session

__all__: list[str] = []


@command("migrate")
@domain_argument
@argument("desturi", metavar="TARGET")
@argument("migrateuri", required=False)
@option("--live", is_flag=True, help="Keep the guest running meanwhile.")
@option("--offline", is_flag=True, help="Move the definition of a domain that does not run.")
@option("--p2p", is_flag=True, help="Let the source drive.")
@option("--tunnelled", is_flag=True, help="Carry the stream inside the connection.")
@option("--postcopy", is_flag=True, help="Allow switching before all memory is there.")
@option("--persistent", is_flag=True, help="Define it on the destination.")
@option("--undefinesource", is_flag=True, help="Forget its definition here.")
@option("--suspend", is_flag=True, help="Leave it paused on the destination.")
@option("--copy-storage-all", "storage", flag_value="all", help="Copy its disks too.")
@option(
    "--copy-storage-inc", "storage", flag_value="incremental", help="Copy what differs of them."
)
@option("--dname", help="Its name on the destination.")
@option("--xml", type=path(), help="Its definition on the destination.")
@option("--bandwidth", type=number(int, 1), metavar="MIB", help="MiB/s at most.")
@option("--downtime", type=number(float, 0), metavar="MS", help="Downtime limit in ms.")
@option(
    "--timeout",
    type=number(float, 0),
    metavar="S",
    help="Seconds after which it is finished with the guest stopped.",
)
@option("--verbose", is_flag=True, help="Show progress even without a terminal.")
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
