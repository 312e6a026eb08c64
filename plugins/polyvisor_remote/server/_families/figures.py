"""Figures of running domains."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from polyvisor.driver import DIRTY_RATE_MODES
from polyvisor.errors import NotFound
from polyvisor_remote.server._families.arguments import check_flags, summary_reference
from polyvisor_remote.server._families.domains import choice, kept_references, kinds
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure
from polyvisor_remote.server.numbers import STATS_GROUPS, ListDomains, Stats
from polyvisor_remote.wire import Packer
from polyvisor_remote.wire.params import INT, LLONG, UINT

if TYPE_CHECKING:
    from polyvisor_remote.server.session import Session

_ENFORCE = 1 << 31
_NOWAIT, _BACKING = 1 << 29, 1 << 30
# virDomainDirtyRateCalcFlags
_DIRTY_BITMAP, _DIRTY_RING = 1, 2
_CHOOSE = int(~ListDomains(0)) | _ENFORCE | _NOWAIT | _BACKING

_ALL = int(~Stats(0))
#: Figures that libvirt sends as an int or an unsigned int, by their last words; others are
#: unsigned long, or what their value says (``src/qemu/qemu_driver.c``, documented with
#: ``virConnectGetAllDomainStats``).
_INTS = frozenset({"state.state", "state.reason", "dirtyrate.calc_status", "dirtyrate.calc_period"})
_UINTS = frozenset(
    {
        "vcpu.current",
        "vcpu.maximum",
        "net.count",
        "block.count",
        "iothread.count",
        "cpu.cache.monitor.count",
    }
)
_LONGS = frozenset({"dirtyrate.calc_start_time", "dirtyrate.megabytes_per_second"})

#: By the groups that are wanted.
_packers: dict[int, Packer] = {}
_PACKERS_MAX = 64
#: Records that an answer has at most (``REMOTE_CONNECT_GET_ALL_DOMAIN_STATS_MAX``).
_RECORDS_MAX = 16384
_pack_count = struct.Struct(">I").pack


def _kind(name: str, wanted: int) -> int | None:
    """Return the type of a figure; ``None`` if it is in none of the wanted groups."""
    first, _, rest = name.partition(".")
    if not STATS_GROUPS.get(first, Stats(0)) & wanted:
        return None
    if name in _INTS or (first == "vcpu" and rest.endswith(".state")):
        return INT
    if name in _UINTS or rest.endswith((".backingIndex", ".poll-grow", ".poll-shrink")):
        return UINT
    if name in _LONGS:
        return LLONG
    return 0


def _packer(wanted: int) -> Packer:
    found = _packers.get(wanted)
    if found is None:
        if len(_packers) >= _PACKERS_MAX:
            _packers.clear()
        found = _packers[wanted] = Packer(lambda name: _kind(name, wanted))
    return found


@serves("connect_get_all_domain_stats")
def get_all_domain_stats(session: Session, arguments: Any) -> tuple[list[Any]] | bytes:
    """Return the figures of many domains: of those named, or of all that flags choose."""
    flags, wanted = arguments.flags, arguments.stats or _ALL
    check_flags(flags, _CHOOSE, "virConnectGetAllDomainStats")
    if flags & _ENFORCE and wanted & ~_ALL:
        raise Failure(8, f"stats types bits 0x{wanted & ~_ALL:x} are not supported by this daemon")
    domains = session.driver.domains
    packer = _packer(wanted & _ALL)
    groups = {word for word, bit in STATS_GROUPS.items() if bit & wanted}
    backing = bool(flags & _BACKING)
    if arguments.doms:
        records = []
        for dom in arguments.doms:
            with suppress(NotFound):
                one = domains.summary(session.uuid(dom))
                figures = domains.stats(one.uuid, groups=groups, backing=backing)
                records.append((summary_reference(one), packer.pack(figures)))
        return (records,)
    test = choice(session, flags)
    found = domains.all_stats(**kinds(flags), groups=groups, backing=backing)
    if test is not None:
        found = [pair for pair in found if test(pair[0])]
    # Of what does not change from call to call a driver gives the same object.
    kept = session.shared.kept
    before: tuple[object, int, bytes] | None = kept.get("figures")
    if before is not None and before[0] is found and before[1] == wanted:
        return before[2]
    if len(found) > _RECORDS_MAX:
        raise Failure(39, f"{len(found)} domains are more than the {_RECORDS_MAX} of one answer")
    parts = [b""] * (2 * len(found))
    parts[::2] = kept_references(session, [one for one, _ in found])
    parts[1::2] = [packer.data(figures) for _, figures in found]
    answer = _pack_count(len(found)) + b"".join(parts)
    kept["figures"] = (found, wanted, answer)
    return answer


@serves("domain_start_dirty_rate_calc", slow=True)
def start_dirty_rate_calc(session: Session, arguments: Any) -> None:
    """Begin to measure how fast a guest writes to its memory."""
    seconds, flags = arguments.seconds, arguments.flags
    check_flags(flags, _DIRTY_BITMAP | _DIRTY_RING, "virDomainStartDirtyRateCalc")
    if flags == _DIRTY_BITMAP | _DIRTY_RING:
        raise Failure(
            8,
            "flags 'VIR_DOMAIN_DIRTYRATE_MODE_DIRTY_BITMAP' and "
            "'VIR_DOMAIN_DIRTYRATE_MODE_DIRTY_RING' in function virDomainStartDirtyRateCalc are "
            "mutually exclusive",
        )
    if not 1 <= seconds <= 60:
        raise Failure(67, f"seconds={seconds} is invalid, please choose value within [1, 60].")
    mode = DIRTY_RATE_MODES[flags]
    session.driver.domains.measure_dirty_rate(session.uuid(arguments.dom), seconds, mode)
