"""Figures that QEMU keeps itself: of KVM, of I/O threads, of how fast memory is written to."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from polyvisor.driver import DIRTY_RATE_MODES
from polyvisor.errors import OperationInvalid, Unsupported
from polyvisor_qemu.qmp import QmpError

if TYPE_CHECKING:
    from polyvisor.local import Guest
    from polyvisor_qemu.hypervisor import QemuHypervisor
    from polyvisor_qemu.qmp import Command

__all__ = ["SCHEMAS", "dirty_rate", "iothreads", "kvm_asked", "measure", "of_kvm"]

#: What QEMU is asked once to know the types of KVM's counters.
SCHEMAS: Command = ("query-stats-schemas", {})
#: What libvirt puts behind a counter's name by its type (``qemuDomainAddStatsFromHashTable``).
_TYPES = {"cumulative": "sum", "instant": "cur", "peak": "max"}
#: ``virDomainDirtyRateStatus``, in order.
_STATUS = ("unstarted", "measuring", "measured")
#: Seconds that QEMU has to begin a measurement.
_BEGINNING = 2.0
_HALT_POLL = {"halt_poll_success_ns": "success", "halt_poll_fail_ns": "fail"}


def kvm_asked(target: str) -> Command:
    """Return the command for KVM's counters of ``"vm"`` or ``"vcpu"``."""
    return ("query-stats", {"target": target})


def of_kvm(
    told: Sequence[Mapping[str, Any]],
    schemas: Sequence[Mapping[str, Any]],
    cpus: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[str, int | bool]]:
    """Give KVM's counters as ``vm.NAME.TYPE`` and ``vcpu.N.NAME.TYPE``, and the sum of polling.

    Args:
        told: what QEMU answers to :func:`kvm_asked`.
        schemas: and to :data:`SCHEMAS`.
        cpus: and to ``query-cpus-fast``.
    """
    types = {
        (one["target"], counter["name"]): counter for one in schemas for counter in one["stats"]
    }
    numbers = {cpu["qom-path"]: cpu["cpu-index"] for cpu in cpus}
    polled = dict.fromkeys(_HALT_POLL.values(), 0)
    for one in told:
        path = one.get("qom-path")
        if path is not None and path not in numbers:
            continue
        target, prefix = ("vm", "vm") if path is None else ("vcpu", f"vcpu.{numbers[path]}")
        for counter in one["stats"]:
            name, value = counter["name"], counter["value"]
            kind = types.get((target, name), {})
            end = _TYPES.get(kind.get("type", ""))
            if path is not None and name in _HALT_POLL:
                polled[_HALT_POLL[name]] += value
            if end is not None and isinstance(value, int):
                yield f"{prefix}.{name}.{end}", value
    for way, spent in polled.items():
        yield f"cpu.haltpoll.{way}.time", spent


def iothreads(told: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the figures of what QEMU answers to ``query-iothreads``."""
    numbered = [
        (one["id"].removeprefix("iothread"), one)
        for one in told
        if one["id"].removeprefix("iothread").isdecimal()
    ]
    if not numbered:
        return {}
    figures = {"iothread.count": len(numbered)}
    for number, one in numbered:
        for name in ("poll-max-ns", "poll-grow", "poll-shrink"):
            if name in one:
                figures[f"iothread.{number}.{name}"] = one[name]
    return figures


def dirty_rate(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of what QEMU answers to ``query-dirty-rate``."""
    if told["status"] not in _STATUS:
        return {}
    figures = {
        "dirtyrate.calc_status": _STATUS.index(told["status"]),
        "dirtyrate.calc_start_time": told["start-time"],
        "dirtyrate.calc_period": told["calc-time"],
        "dirtyrate.calc_mode": told.get("mode", DIRTY_RATE_MODES[0]),
    }
    if "dirty-rate" in told:
        figures["dirtyrate.megabytes_per_second"] = told["dirty-rate"]
        for one in told.get("vcpu-dirty-rate", ()):
            figures[f"dirtyrate.vcpu.{one['id']}.megabytes_per_second"] = one["dirty-rate"]
    return figures


def measure(hypervisor: QemuHypervisor, guest: Guest, seconds: int, mode: str) -> None:
    """Have QEMU measure how fast a guest's memory is written to.

    Raises:
        OperationInvalid: it does that already.
        Unsupported: this QEMU cannot, or not of this guest.
    """
    if mode != DIRTY_RATE_MODES[0] and guest.spec.type != "kvm":
        # dirtyrate.c of QEMU 7.2 asks KVM of its ring without looking whether there is any KVM.
        raise Unsupported(
            f"measure dirty rate of {guest.name!r} by {mode}: that needs KVM, without which QEMU "
            f"crashes; measure it by {DIRTY_RATE_MODES[0]}",
            domain=guest.name,
        )
    features = guest.spec.features
    kvm = features.kvm if features is not None else None
    ring = kvm.dirty_ring if kvm is not None else None
    if mode == "dirty-ring" and (ring is None or not ring.state):
        raise Unsupported(
            f"measure dirty rate of {guest.name!r} by dirty-ring: its definition does not have "
            f"<kvm><dirty-ring state='on'/></kvm> among its features",
            domain=guest.name,
        )
    asked: dict[str, Any] = {"calc-time": seconds}
    if mode != DIRTY_RATE_MODES[0]:
        asked["mode"] = mode
    with hypervisor.monitor(guest) as monitor:
        try:
            monitor.execute("calc-dirty-rate", **asked)
            # A thread of QEMU's begins it, and until then QEMU would take another order for one.
            deadline = time.monotonic() + _BEGINNING
            while monitor.execute("query-dirty-rate")["status"] == _STATUS[0]:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.001)
        except QmpError as error:
            kind = Unsupported if error.native_code == "CommandNotFound" else OperationInvalid
            raise kind(
                f"measure dirty rate of {guest.name!r}: {error.native_message}",
                domain=guest.name,
                native_message=error.native_message,
            ) from error
