"""Figures of running domains."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from polyvisor.errors import NotFound
from polyvisor_remote.server._families.arguments import check_flags, summary_reference
from polyvisor_remote.server._families.domains import choice, kinds
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure
from polyvisor_remote.server.numbers import ListDomains, Stats
from polyvisor_remote.wire import Packer
from polyvisor_remote.wire.params import INT, UINT

if TYPE_CHECKING:
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

#: By the groups that are wanted.
_packers: dict[int, Packer] = {}
_PACKERS_MAX = 64


def _kind(name: str, wanted: int) -> int | None:
    """Return the type of a figure; ``None`` if it is in none of the wanted groups."""
    first, _, rest = name.partition(".")
    if not _GROUPS.get(first, Stats(0)) & wanted:
        return None
    if name in _INTS or (first == "vcpu" and rest.endswith(".state")):
        return INT
    if name in _UINTS or rest.endswith((".backingIndex", ".iothread")):
        return UINT
    return 0


def _packer(wanted: int) -> Packer:
    found = _packers.get(wanted)
    if found is None:
        if len(_packers) >= _PACKERS_MAX:
            _packers.clear()
        found = _packers[wanted] = Packer(lambda name: _kind(name, wanted))
    return found


@serves("connect_get_all_domain_stats")
def get_all_domain_stats(session: Session, arguments: Any) -> tuple[list[Any]]:
    """Return the figures of many domains: of those named, or of all that flags choose."""
    flags, wanted = arguments.flags, arguments.stats or _ALL
    check_flags(flags, _CHOOSE, "virConnectGetAllDomainStats")
    if flags & _ENFORCE and wanted & ~_ALL:
        raise Failure(8, f"stats types bits 0x{wanted & ~_ALL:x} are not supported by this daemon")
    domains = session.driver.domains
    pack = _packer(wanted & _ALL).pack
    if arguments.doms:
        records = []
        for dom in arguments.doms:
            with suppress(NotFound):
                one = domains.summary(session.uuid(dom))
                records.append((summary_reference(one), pack(domains.stats(one.uuid))))
        return (records,)
    test = choice(session, flags)
    found = domains.all_stats(**kinds(flags))
    return (
        [
            (summary_reference(one), pack(figures))
            for one, figures in found
            if test is None or test(one)
        ],
    )
