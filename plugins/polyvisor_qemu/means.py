"""The means of a migration as QEMU knows them: capabilities and parameters of either side.

Their names are those of QEMU's qapi/migration.json; which side needs which, and what goes with
what, is as libvirt has it (src/qemu/qemu_migration_params.c).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from polyvisor.errors import InvalidArgument, PolyvisorError
from polyvisor_qemu.credentials import forget_certificates, give_certificates
from polyvisor_qemu.readiness import switched

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from polyvisor.driver import MigrationOptions
    from polyvisor_qemu.credentials import Secret
    from polyvisor_qemu.qmp import Command, Monitor

__all__ = ["ASKED", "commands", "credentials", "plain"]

#: What packs the stream: the capability; those of ``parallel`` are a parameter's values.
_PACKERS = {"xbzrle": "xbzrle", "mt": "compress"}
_PARALLEL_PACKERS = ("zlib", "zstd")
#: QEMU's name for the certificates.
_CREDENTIALS = "polyvisor-migrate-tls"
#: Capabilities that stay on from one migration to the next.
_STAY = frozenset({"events"})


def commands(
    options: MigrationOptions,
    settings: Mapping[str, Any],
    *,
    leaving: bool,
    host: str | None = None,
    secret: Secret | None = None,
) -> list[Command]:
    """Return what tells QEMU how a guest is to be sent, before anything else of a migration.

    Args:
        options: how.
        settings: the plugin's.
        leaving: the guest leaves from here, and does not arrive.
        host: the name of where it goes, if it has one.
        secret: gives the value of a secret by its UUID.

    Raises:
        InvalidArgument: such means do not go together.
    """
    _check(options)
    on = [_PACKERS[method] for method in options.compression if method in _PACKERS]
    if options.parallel:
        on.append("multifd")
    if options.post_copy:
        on.append("postcopy-ram")
    if options.copy_storage and leaving:
        # Copying disks ends when the guest stands still and still owns them.
        on.append("pause-before-switchover")
    if options.auto_converge and leaving:
        on.append("auto-converge")
    values = {
        "multifd-channels": options.parallel_connections,
        "xbzrle-cache-size": options.xbzrle_cache,
        "compress-level": options.compression_level,
        "compress-threads": options.compression_threads,
        "decompress-threads": options.decompression_threads,
    }
    if options.parallel:
        values["multifd-channels"] = options.parallel_connections or 2
    if leaving:
        values["cpu-throttle-initial"] = options.auto_converge_initial
        values["cpu-throttle-increment"] = options.auto_converge_increment
        values["max-postcopy-bandwidth"] = options.post_copy_bandwidth
    parameters: dict[str, Any] = {name: v for name, v in values.items() if v is not None}
    for method in options.compression:
        if method in _PARALLEL_PACKERS:
            parameters["multifd-compression"] = method
    told: list[Command] = []
    if options.tls:
        told += credentials(settings, secret, _CREDENTIALS, leaving=leaving)
        parameters["tls-creds"] = _CREDENTIALS
        # What the destination's certificate must be for; who listens asks for no name.
        parameters["tls-hostname"] = (options.tls_destination or host or "") if leaving else ""
    if parameters:
        told.append(("migrate-set-parameters", parameters))
    return [switched(["events", *on], on=True), *told] if on or told else []


def credentials(
    settings: Mapping[str, Any], secret: Secret | None, name: str, *, leaving: bool
) -> list[Command]:
    """Return what gives QEMU the certificates of one side, from where libvirt has them.

    Args:
        settings: the plugin's.
        secret: gives the value of a secret by its UUID.
        name: what QEMU is to call them; :func:`forget_certificates` puts them away.
        leaving: the guest leaves from here, and does not arrive.

    Raises:
        PolyvisorError: there is no secret for the password of their key.
    """
    folder = settings.get("migrate_tls_x509_cert_dir") or settings.get(
        "default_tls_x509_cert_dir", "/etc/pki/qemu"
    )
    return give_certificates(
        name,
        str(folder),
        client=leaving,
        verify=leaving or bool(settings.get("migrate_tls_x509_verify", True)),
        uuid=settings.get("migrate_tls_x509_secret_uuid"),
        secret=secret,
    )


def _check(options: MigrationOptions) -> None:
    if options.post_copy:
        from polyvisor_qemu.postcopy import check

        check(options)
    if options.tunnelled and (options.parallel or options.tls):
        other = "parallel" if options.parallel else "tls"
        raise InvalidArgument(
            f"migrate: {other} does not go with tunnelled: the tunnel is one stream, and as safe "
            f"as the connection that it is in"
        )
    known = (*_PACKERS, *_PARALLEL_PACKERS)
    for method in options.compression:
        if method not in known:
            raise InvalidArgument(
                f"migrate: compression {method!r} is not QEMU's; it has {', '.join(known)}"
            )
        if options.parallel and method in _PACKERS:
            raise InvalidArgument(
                f"migrate: compression {method!r} does not go with parallel; use zlib or zstd"
            )
        if not options.parallel and method in _PARALLEL_PACKERS:
            raise InvalidArgument(
                f"migrate: compression {method!r} needs parallel; without it use xbzrle or mt"
            )


#: What :func:`plain` has to know of a QEMU.
ASKED: tuple[Command, ...] = (("query-migrate-capabilities", {}), ("query-migrate-parameters", {}))


def plain(monitor: Monitor, told: Sequence[Any] | None = None) -> None:
    """Turn the means of a migration that is over off, lest they be the next one's, or a save's.

    Args:
        monitor: its monitor.
        told: the answers to :data:`ASKED`, where they are known.
    """
    with suppress(PolyvisorError):
        capabilities, creds = monitor.ask(*ASKED) if told is None else told
        if isinstance(creds, dict) and creds.get("tls-creds"):
            monitor.execute("migrate-set-parameters", tls_creds="", tls_hostname="")
            forget_certificates(monitor, _CREDENTIALS)
        on = [
            each["capability"]
            for each in capabilities
            if each["state"] and each["capability"] not in _STAY
        ]
        if on:
            monitor.execute_all(switched(on, on=False))
        if "multifd" in on:
            monitor.execute("migrate-set-parameters", multifd_compression="none")
