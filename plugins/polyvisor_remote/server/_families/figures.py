"""Figures of running domains."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from polyvisor.errors import NotFound
from polyvisor_remote.server._families.arguments import check_flags, summary_reference
from polyvisor_remote.server._families.domains import chosen
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure
from polyvisor_remote.server.numbers import ListDomains, Stats
from polyvisor_remote.wire import TypedParam
from polyvisor_remote.wire.params import BOOLEAN, DOUBLE, INT, LLONG, STRING, UINT, ULLONG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polyvisor_remote.server.session import Session

_ENFORCE = 1 << 31
_NOWAIT, _BACKING = 1 << 29, 1 << 30
_CHOOSE = int(~ListDomains(0)) | _ENFORCE | _NOWAIT | _BACKING

#: Groups by the first word of a figure's name (``virDomainStatsTypes``).
_GROUPS = {
    "state": Stats.STATE,
    "cpu": Stats.CPU_TOTAL,
    "balloon": Stats.BALLOON,
    "vcpu": Stats.VCPU,
    "net": Stats.INTERFACE,
    "block": Stats.BLOCK,
    "perf": Stats.PERF,
    "iothread": Stats.IOTHREAD,
    "memory": Stats.MEMORY,
    "dirtyrate": Stats.DIRTYRATE,
}
_ALL = int(~Stats(0))
#: Figures that libvirt sends as an int or an unsigned int, by their last words; others are
#: unsigned long, or what their value says (``src/qemu/qemu_driver.c``, documented with
#: ``virConnectGetAllDomainStats``).
_INTS = frozenset({"state.state", "state.reason"})
_UINTS = frozenset({"vcpu.current", "vcpu.maximum", "net.count", "block.count", "iothread.count"})

#: What is known of names that were met before: group and type.
_known: dict[str, tuple[int, int]] = {}
_KNOWN_MAX = 4096


def _learn(name: str) -> tuple[int, int]:
    first, _, rest = name.partition(".")
    group = int(_GROUPS.get(first, Stats(0)))
    if name in _INTS or (first == "vcpu" and rest.endswith(".state")):
        kind = INT
    elif name in _UINTS or rest.endswith((".backingIndex", ".iothread")):
        kind = UINT
    else:
        kind = 0
    if len(_known) < _KNOWN_MAX:
        _known[name] = group, kind
    return group, kind


def typed(figures: Mapping[str, Any], wanted: int) -> list[TypedParam]:
    """Return the figures of the groups that are wanted."""
    found = []
    for name, value in figures.items():
        group, kind = _known.get(name) or _learn(name)
        if not group & wanted or value is None:
            continue
        if not kind:
            if value.__class__ is int:
                kind = ULLONG if value >= 0 else LLONG
            elif value.__class__ is str:
                kind = STRING
            else:
                kind = BOOLEAN if isinstance(value, bool) else DOUBLE
        found.append(TypedParam(name, kind, value))
    return found


@serves("connect_get_all_domain_stats")
def get_all_domain_stats(session: Session, arguments: Any) -> tuple[list[Any]]:
    """Return the figures of many domains: of those named, or of all that flags choose."""
    flags, wanted = arguments.flags, arguments.stats or _ALL
    check_flags(flags, _CHOOSE, "virConnectGetAllDomainStats")
    if flags & _ENFORCE and wanted & ~_ALL:
        raise Failure(8, f"stats types bits 0x{wanted & ~_ALL:x} are not supported by this daemon")
    domains = session.driver.domains
    if arguments.doms:
        named = [session.uuid(dom) for dom in arguments.doms]
        summaries = []
        for uuid in named:
            with suppress(NotFound):
                summaries.append(domains.summary(uuid))
    else:
        summaries = list(chosen(session, flags & int(~ListDomains(0))))
    records = []
    for one in summaries:
        with suppress(NotFound):  # It may have gone just now.
            records.append((summary_reference(one), typed(domains.stats(one.uuid), wanted)))
    return (records,)
