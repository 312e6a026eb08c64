"""Migration: the five phases, driven from here, or by the source's server alone.

What each side says goes to the other as it is. Whatever fails, exactly one side runs the
domain: a failure up to finish is told to both, and the source goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from libvirt._error import libvirtError, told
from polyvisor_remote.server.failures import Failure, encoded
from polyvisor_remote.wire import TypedParam, params
from polyvisor_remote.wire.params import INT, ULLONG

if TYPE_CHECKING:
    from libvirt._domain import virDomain

__all__ = ["moved", "sent"]

# virDomainMigrateFlags, and VIR_DRV_FEATURE_MIGRATE_CHANGE_PROTECTION
PEER2PEER, OFFLINE, CHANGE_PROTECTION = 2, 1024, 256
_PROTECTS = 7
_NAME, _XML, _URI = "destination_name", "destination_xml", "migrate_uri"
#: Types of parameters (``VIR_MIGRATE_PARAM_*``) whose value may be of several.
_KINDS = {
    "bandwidth": ULLONG,
    "bandwidth.postcopy": ULLONG,
    "compression.xbzrle.cache": ULLONG,
    "disks_port": INT,
    "auto_converge.initial": INT,
    "auto_converge.increment": INT,
    "compression.mt.level": INT,
    "compression.mt.threads": INT,
    "compression.mt.dthreads": INT,
    "compression.zlib.level": INT,
    "compression.zstd.level": INT,
    "parallel.connections": INT,
}
_UNSUPPORTED_ARGUMENT = 74


def _typed(given: Mapping[str, Any], **more: Any) -> list[TypedParam]:
    """Return parameters as the protocol has them; a list is its values one by one."""
    values = {**given, **more}
    found: list[TypedParam] = []
    for name, value in values.items():
        for one in value if isinstance(value, (list, tuple)) else [value]:
            found += params({name: one}, _KINDS)
    return found


def sent(dom: virDomain, where: str | None, given: Mapping[str, Any], flags: int) -> int:
    """Have the source's server do all of it.

    Args:
        dom: the domain.
        where: URI of the destination, as that server can open it.
        given: parameters by name.
        flags: ``virDomainMigrateFlags``, ``VIR_MIGRATE_PEER2PEER`` among them.
    """
    if not flags & PEER2PEER:
        words = "only a migration from peer to peer goes to a URI"
        raise told(encoded(Failure(_UNSUPPORTED_ARGUMENT, words), dom._conn._scheme))
    dom._ask("domain_migrate_perform3_params", dom._ref, where, _typed(given), b"", flags)
    return 0


def moved(dom: virDomain, there: Any, given: Mapping[str, Any], flags: int) -> virDomain | None:
    """Move a domain, and return it as the destination knows it.

    Args:
        dom: the domain.
        there: the destination's connection.
        given: parameters by name.
        flags: ``virDomainMigrateFlags``.
    """
    if flags & PEER2PEER:
        sent(dom, there.getURI(), given, flags)
        found: virDomain = there.lookupByName(given.get(_NAME) or dom.name())
        return found
    # What a source is told to hold from begin to confirm nobody else can change meanwhile.
    held = bool(dom._ask("connect_supports_feature", _PROTECTS).supported)
    here = flags | (CHANGE_PROTECTION if held else 0)
    begun = dom._ask("domain_migrate_begin3_params", dom._ref, _typed(given), here)
    name = given.get(_NAME) or dom.name()
    known = {**given, _NAME: name, _XML: begun.xml}
    failure: libvirtError | None = None
    prepared = None
    try:
        prepared = there._ask(
            "domain_migrate_prepare3_params", _typed(known), begun.cookie_out, flags
        )
        cookie = prepared.cookie_out
        if not flags & OFFLINE:
            uri = prepared.uri_out or given.get(_URI)
            arguments = _typed({**given, _URI: uri}), cookie, here
            answer = dom._ask("domain_migrate_perform3_params", dom._ref, None, *arguments)
            cookie = answer.cookie_out
    except libvirtError as error:
        failure, cookie = error, b""
    arrived = None
    if prepared is not None:
        arguments = _typed({**given, _NAME: name}), cookie, flags, int(failure is not None)
        try:
            finished = there._ask("domain_migrate_finish3_params", *arguments)
            if failure is None:
                arrived, cookie = finished.dom, finished.cookie_out
        except libvirtError as error:
            if failure is None and not there._link.alive:
                # Nobody knows which side has it; the source keeps it as it stands.
                raise
            failure = failure or error
    if failure is not None and not held and prepared is None:
        raise failure
    try:
        dom._ask(
            "domain_migrate_confirm3_params",
            dom._ref,
            _typed(given),
            cookie,
            here,
            int(failure is not None),
        )
    except libvirtError:
        # The destination runs it, or the source does again; either way that is what counts.
        if failure is None and arrived is None:
            raise
    if failure is not None:
        raise failure
    return None if arrived is None else there._made("domain", arrived)
