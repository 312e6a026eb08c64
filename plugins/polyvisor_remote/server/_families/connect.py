"""Opening a connection, and what a host says of itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from polyvisor.errors import Unsupported
from polyvisor_remote.server._families.arguments import check_flags, memory_kib
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import unsupported
from polyvisor_remote.server.numbers import Feature

if TYPE_CHECKING:
    from polyvisor_remote.server.session import Session

#: The libvirt whose protocol is spoken (``LIBVIR_VERSION_NUMBER``).
LIBRARY_VERSION = 11_003_000
#: ``virConnectFlags``: only look; do not ask for the aliases of a URI.
_RO, _OPEN_USER, _OPEN_AUTOSTART = 1, 2, 4
#: Features that the daemon has itself, whatever the driver.
_OURS = frozenset(
    {
        Feature.TYPED_PARAM_STRING,
        Feature.KEEPALIVE,
        Feature.EVENT_CALLBACK,
        Feature.CLOSE_CALLBACK,
        Feature.REMOTE,
    }
)
#: What every driver that migrates has. A domain is held from begin to confirm, so clients must
#: be told to confirm what failed before it was sent too.
_OF_MIGRATION = frozenset(
    {
        Feature.MIGRATION_V3,
        Feature.MIGRATION_PARAMS,
        Feature.XML_MIGRATABLE,
        Feature.CHANGE_PROTECTION,
    }
)


@serves("connect_open", needs="login")
def open_(session: Session, arguments: Any) -> None:
    """Open the connection that the URI names; none means the configured default."""
    # libvirt's clients send their own reasons for the choice of a socket along, which libvirtd
    # does not look at; of a user who is not root, 2 and 4 (REMOTE_DRIVER_OPEN_*).
    check_flags(arguments.flags, _RO | _OPEN_USER | _OPEN_AUTOSTART, "virConnectOpen")
    if arguments.flags & _RO:
        session.client.readonly = True
    session.open(arguments.name)


@serves("connect_close", slow=True, needs="login")
def close(session: Session, arguments: Any) -> None:
    """Close it; the client is about to hang up."""
    session.close()


@serves("connect_supports_feature", needs="login")
def supports_feature(session: Session, arguments: Any) -> tuple[int]:
    """Say whether a feature is there; asking for keepalive switches it on."""
    feature = arguments.feature
    if feature == Feature.KEEPALIVE:
        session.server.keep_alive(session.client)
    if feature in _OURS:
        return (1,)
    if feature == Feature.FD_PASSING:
        return (int(session.client.transport.files),)
    if not session.opened:
        return (0,)
    usable = session.driver.support().usable
    if feature in _OF_MIGRATION:
        return (int(session.driver.migration is not None),)
    if feature == Feature.MIGRATION_P2P:
        return (int(usable("migration.peer-to-peer")),)
    if feature == Feature.MIGRATION_OFFLINE:
        return (int(usable("migration.offline")),)
    return (0,)


@serves("connect_get_type")
def get_type(session: Session, arguments: Any) -> tuple[str]:
    """Name the hypervisor."""
    return (session.driver.host().hypervisor,)


@serves("connect_get_version")
def get_version(session: Session, arguments: Any) -> tuple[int]:
    """Return the hypervisor's version as libvirt counts: a million, a thousand, one."""
    found = re.match(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?", session.driver.host().hypervisor_version)
    if found is None:
        return (0,)
    major, minor, micro = (int(part or 0) for part in found.groups())
    return (major * 1_000_000 + minor * 1_000 + micro,)


@serves("connect_get_lib_version")
def get_lib_version(session: Session, arguments: Any) -> tuple[int]:
    """Return the version of libvirt whose protocol this is."""
    return (LIBRARY_VERSION,)


@serves("connect_get_hostname")
def get_hostname(session: Session, arguments: Any) -> tuple[str]:
    """Name the host."""
    return (session.driver.host().hostname,)


@serves("connect_get_uri")
def get_uri(session: Session, arguments: Any) -> tuple[str]:
    """Return the canonical URI."""
    return (session.connection.uri,)


@serves("connect_get_capabilities")
def get_capabilities(session: Session, arguments: Any) -> tuple[str]:
    """Return what the host can."""
    return (session.driver.capabilities(),)


@serves("connect_get_domain_capabilities", slow=True)
def get_domain_capabilities(session: Session, arguments: Any) -> tuple[str]:
    """Return what a domain can have here."""
    check_flags(arguments.flags, 0, "virConnectGetDomainCapabilities")
    try:
        found = session.driver.domain_capabilities(
            emulator=arguments.emulatorbin,
            arch=arguments.arch,
            machine=arguments.machine,
            kind=arguments.virttype,
        )
    except Unsupported as error:
        raise unsupported("connect_get_domain_capabilities") from error
    return (found.to_xml(),)


@serves("connect_get_cpu_model_names", slow=True)
def get_cpu_model_names(session: Session, arguments: Any) -> tuple[list[str], int]:
    """Name the models of processor that guests of an architecture can have."""
    check_flags(arguments.flags, 0, "virConnectGetCPUModelNames")
    try:
        found = session.driver.domain_capabilities(arch=arguments.arch)
    except Unsupported as error:
        raise unsupported("connect_get_cpu_model_names") from error
    mode = found.cpu.mode("custom") if found.cpu is not None else None
    names = [one.name for one in mode.models] if mode is not None else []
    return (names if arguments.need_results else []), len(names)


@serves("connect_is_secure")
def is_secure(session: Session, arguments: Any) -> tuple[int]:
    """Say whether nobody else can listen in."""
    return (int(session.client.transport.secure),)


@serves("node_get_info")
def node_get_info(session: Session, arguments: Any) -> tuple[Any, ...]:
    """Return the host's processors and memory."""
    host = session.driver.host()
    model = (host.cpu_model or host.architecture).encode()[:31]
    return (
        model,
        memory_kib(host.memory),
        host.cpus,
        host.cpu_mhz,
        host.numa_nodes,
        host.sockets,
        host.cores,
        host.threads,
    )


@serves("node_get_cpu_map")
def node_get_cpu_map(session: Session, arguments: Any) -> tuple[bytes, int, int]:
    """Return which processors are online: those that a driver counts are."""
    check_flags(arguments.flags, 0, "virNodeGetCPUMap")
    count = session.driver.host().cpus
    online = ((1 << count) - 1).to_bytes((count + 7) // 8, "little")
    return (
        online if arguments.need_map else b"",
        count if arguments.need_online else 0,
        count,
    )


@serves("node_get_security_model")
def node_get_security_model(session: Session, arguments: Any) -> tuple[bytes, bytes]:
    """Say that there is no security driver, as libvirt does: with empty names."""
    return b"", b""


@serves("connect_register_close_callback")
def register_close_callback(session: Session, arguments: Any) -> None:
    """Have the client told when its connection ends in an orderly way."""
    session.kept["close callback"] = True


@serves("connect_unregister_close_callback")
def unregister_close_callback(session: Session, arguments: Any) -> None:
    """Do not tell it."""
    session.kept.pop("close callback", None)
