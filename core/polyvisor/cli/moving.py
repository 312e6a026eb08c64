"""The commands that move domains between hosts and steer that as it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.cli._declare import argument, echo, number, option, path
from polyvisor.cli._session import command, domain_argument, session

if TYPE_CHECKING:
    from polyvisor.domain import Domain
    from polyvisor.jobs import JobProgress, ProgressCallback

__all__: list[str] = []


@command("migrate")
@domain_argument
@argument("desturi", metavar="TARGET")
@argument("migrateuri", required=False)
@option("--live", is_flag=True, help="Keep the guest running meanwhile.")
@option("--offline", is_flag=True, help="Move the definition of a domain that does not run.")
@option("--p2p", "peer_to_peer", is_flag=True, help="Let the source drive.")
@option("--tunnelled", is_flag=True, help="Carry the stream inside the connection.")
@option("--persistent", is_flag=True, help="Define it on the destination.")
@option("--undefinesource", "undefine_source", is_flag=True, help="Forget its definition here.")
@option("--suspend", "paused", is_flag=True, help="Leave it paused on the destination.")
@option(
    "--postcopy",
    "post_copy",
    is_flag=True,
    help="Allow switching before all memory is there, with migrate-postcopy.",
)
@option(
    "--postcopy-after-precopy",
    "after_precopy",
    is_flag=True,
    help="Switch after the first pass over memory.",
)
@option("--postcopy-resume", "post_copy_resume", is_flag=True, help="Go on with one cut off.")
@option(
    "--postcopy-bandwidth",
    "post_copy_bandwidth",
    type=number(int, 1),
    metavar="MIB",
    help="MiB/s at most after the switch.",
)
@option("--copy-storage-all", "copy_storage", flag_value="all", help="Copy its disks too.")
@option("--copy-storage-inc", "copy_storage", flag_value="incremental", help="Copy what differs.")
@option(
    "--copy-storage-synchronous-writes",
    "synchronous_writes",
    is_flag=True,
    help="Let the guest wait for its writes until they are there too.",
)
@option("--migrate-disks", "disks", metavar="DISKS", help="Which, such as vda,vdb.")
@option("--disks-uri", "disks_uri", metavar="URI", help="Where they are listened for.")
@option("--dname", "name", help="Its name on the destination.")
@option("--xml", type=path(), help="Its definition on the destination.")
@option("--listen-address", "listen_address", help="Address that the destination listens on.")
@option("--bandwidth", type=number(int, 1), metavar="MIB", help="MiB/s at most.")
@option("--downtime", type=number(float, 0), metavar="MS", help="Downtime limit in ms.")
@option("--timeout", type=number(float, 0), metavar="S", help="Seconds it may take.")
@option(
    "--timeout-suspend",
    "timeout_action",
    flag_value="suspend",
    help="Stop the guest after that (the default).",
)
@option("--timeout-postcopy", "timeout_action", flag_value="post-copy", help="Switch after that.")
@option("--timeout-abort", "timeout_action", flag_value="abort", help="Cancel after that.")
@option("--auto-converge", "auto_converge", is_flag=True, help="Slow the guest down at need.")
@option(
    "--auto-converge-initial",
    "auto_converge_initial",
    type=number(int, 1),
    metavar="PERCENT",
    help="By how much at first.",
)
@option(
    "--auto-converge-increment",
    "auto_converge_increment",
    type=number(int, 1),
    metavar="PERCENT",
    help="How much more with each pass.",
)
@option("--compressed", is_flag=True, help="Pack the stream.")
@option("--comp-methods", "compression", metavar="METHODS", help="How, such as xbzrle,mt.")
@option("--comp-mt-level", "compression_level", type=number(int, 0), help="0 to 9.")
@option("--comp-mt-threads", "compression_threads", type=number(int, 1), help="To pack.")
@option("--comp-mt-dthreads", "decompression_threads", type=number(int, 1), help="To unpack.")
@option("--comp-xbzrle-cache", "xbzrle_cache", type=number(int, 1), help="Bytes.")
@option("--parallel", is_flag=True, help="Send over several connections.")
@option("--parallel-connections", "parallel_connections", type=number(int, 1), help="How many.")
@option("--tls", is_flag=True, help="Encrypt the stream.")
@option("--tls-destination", "tls_destination", help="Name in the destination's certificate.")
@option("--abort-on-error", "abort_on_error", is_flag=True, help="Give up if its disks fail.")
@option("--unsafe", is_flag=True, help="Skip checks of the safety of shared disks.")
@option("--verbose", is_flag=True, help="Show progress even without a terminal.")
def migrate_command(
    domain: str,
    desturi: str,
    migrateuri: str | None,
    persistent: bool,
    disks: str | None,
    xml: str | None,
    bandwidth: int | None,
    after_precopy: bool,
    post_copy_bandwidth: int | None,
    downtime: float | None,
    timeout_action: str | None,
    compressed: bool,
    compression: str | None,
    verbose: bool,
    **means: Any,
) -> None:
    """Move DOMAIN to the host TARGET (a URI or a configured connection)."""
    from polyvisor.cli.domains import read_spec

    found = session().domain(domain)
    name = found.name
    methods = () if compression is None else tuple(compression.split(","))
    if after_precopy and not means["post_copy"]:
        from polyvisor.errors import InvalidArgument

        raise InvalidArgument("migrate: --postcopy-after-precopy needs --postcopy")
    with session().progress("migrate", verbose=verbose) as progress:
        moved = found.migrate(
            desturi,
            persistent=True if persistent else None,
            disks=None if disks is None else disks.split(","),
            spec=None if xml is None else read_spec(xml),
            bandwidth=None if bandwidth is None else bandwidth << 20,
            post_copy_bandwidth=None if post_copy_bandwidth is None else post_copy_bandwidth << 20,
            downtime=None if downtime is None else downtime / 1000,
            timeout_action=timeout_action or "suspend",
            compression=methods or (("xbzrle",) if compressed else ()),
            uri=migrateuri,
            progress=_switching(found, progress) if after_precopy else progress,
            **means,
        )
    target = moved.connection.uri
    moved.connection.close()
    session().done(f"Domain '{name}' migrated to {target}", uuid=moved.uuid, target=target)


def _switching(domain: Domain, progress: ProgressCallback | None) -> ProgressCallback:
    """Return a progress function that switches once memory was gone through, as virsh does."""
    asked = False

    def told(report: JobProgress) -> None:
        nonlocal asked
        if progress is not None:
            progress(report)
        if report.iteration > 1 and not asked:
            asked = True
            domain.steer_migration(post_copy=True)

    return told


@command("migrate-postcopy")
@domain_argument
def migrate_postcopy_command(domain: str) -> None:
    """Switch the migration of DOMAIN, begun with --postcopy, to post-copy."""
    found = session().domain(domain)
    found.steer_migration(post_copy=True)
    session().done(f"Domain '{found.name}' is being switched to post-copy", uuid=found.uuid)


@command("migrate-setspeed")
@domain_argument
@argument("bandwidth", type=number(int, 1), metavar="MIB")
@option("--postcopy", is_flag=True, help="The limit after the switch to post-copy.")
def migrate_setspeed_command(domain: str, bandwidth: int, postcopy: bool) -> None:
    """Limit the migration of DOMAIN that is under way, or those to come, to so many MiB/s."""
    found = session().domain(domain)
    if postcopy:
        found.set_migration_limits(post_copy_bandwidth=bandwidth << 20)
    else:
        found.set_migration_limits(bandwidth=bandwidth << 20)
    session().done(f"Domain '{found.name}' is limited to {bandwidth} MiB/s", uuid=found.uuid)


@command("migrate-setmaxdowntime")
@domain_argument
@argument("downtime", type=number(float, 1), metavar="MS")
def migrate_setmaxdowntime_command(domain: str, downtime: float) -> None:
    """Let DOMAIN stand still for so many milliseconds in its migrations from here."""
    found = session().domain(domain)
    found.set_migration_limits(downtime=downtime / 1000)
    session().done(f"Domain '{found.name}' may stand still for {downtime:g} ms", uuid=found.uuid)


@command("migrate-getspeed")
@domain_argument
@option("--postcopy", is_flag=True, help="The limit after the switch to post-copy.")
def migrate_getspeed_command(domain: str, postcopy: bool) -> None:
    """Print to how many MiB/s migrations of DOMAIN are limited; nothing if they are not."""
    limits = session().domain(domain).migration_limits()
    found = limits.post_copy_bandwidth if postcopy else limits.bandwidth
    session().facts({"bandwidth": found}, lambda: echo("" if found is None else str(found >> 20)))


@command("migrate-getmaxdowntime")
@domain_argument
def migrate_getmaxdowntime_command(domain: str) -> None:
    """Print for how many milliseconds DOMAIN may stand still in its migrations."""
    found = session().domain(domain).migration_limits().downtime
    shown = "" if found is None else f"{found * 1000:g}"
    session().facts({"downtime": found}, lambda: echo(shown))


@command("migrate-compcache")
@domain_argument
@option("--size", type=number(int, 1), metavar="BYTES", help="Keep so much from now on.")
def migrate_compcache_command(domain: str, size: int | None) -> None:
    """Print or set how much memory is kept to compare with when migrations are packed."""
    found = session().domain(domain)
    if size is not None:
        found.set_migration_limits(xbzrle_cache=size)
    kept = found.migration_limits().xbzrle_cache
    shown = "" if kept is None else f"Compression cache: {kept / (1 << 20):.3f} MiB"
    session().facts({"xbzrle_cache": kept}, lambda: echo(shown))
