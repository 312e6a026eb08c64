"""Virtual CPUs of guests that run: which are there, and plugging them in and out.

QEMU lists the places for them, with what stands in each, the last first
(``query-hotpluggable-cpus``). What was plugged in may go again, what was there from the start
stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.errors import HypervisorError
from polyvisor_qemu.hotplug import refused
from polyvisor_qemu.unplugging import let_go

if TYPE_CHECKING:
    from collections.abc import Collection

    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.changing import ChangingQemu
    from polyvisor_qemu.qmp import Monitor

__all__ = ["enable", "plug", "set_count", "stated", "there"]

_PLUGGED = "/machine/peripheral/"


def _slots(monitor: Monitor) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = monitor.execute("query-hotpluggable-cpus")
    return found[::-1]


def _name(slot: dict[str, Any]) -> str | None:
    """Return the name of what was plugged into a place; ``None``: nothing was."""
    path: str = slot.get("qom-path", "")
    return path.removeprefix(_PLUGGED) if path.startswith(_PLUGGED) else None


def there(monitor: Monitor) -> list[tuple[bool, bool]]:
    """Return of each vCPU that there can be whether it is on, and whether it may go."""
    return [
        ("qom-path" in slot, _name(slot) is not None)
        for slot in _slots(monitor)
        for _ in range(slot["vcpus-count"])
    ]


def stated(spec: DomainSpec) -> list[int]:
    """Return the vCPUs that a definition wants plugged into a guest before it runs."""
    if spec.vcpu_states is None:
        return []
    return [
        number
        for number, one in enumerate(spec.vcpu_states.vcpus)
        if one.hotpluggable and one.enabled is not False
    ]


def plug(monitor: Monitor, numbers: Collection[int]) -> None:
    """Plug vCPUs in; QEMU's refusal is an error of the monitor's."""
    for number, slot in enumerate(_slots(monitor)):
        if number in numbers and "qom-path" not in slot:
            monitor.execute("device_add", driver=slot["type"], id=f"vcpu{number}", **slot["props"])


def enable(hypervisor: ChangingQemu, guest: Guest, number: int, enabled: bool) -> None:
    """Plug a vCPU in, or out with the guest's help.

    Raises:
        OperationFailed: the guest does not let go of it.
        HypervisorError: QEMU refuses.
    """
    with refused(guest, "enable vCPUs"), hypervisor.monitor(guest) as monitor:
        if enabled:
            plug(monitor, {number})
        elif (name := _name(_slots(monitor)[number])) is not None:
            let_go(monitor, guest, name)


def set_count(hypervisor: ChangingQemu, guest: Guest, count: int) -> None:
    """Plug vCPUs in, or out with the guest's help, until it has so many.

    Raises:
        OperationFailed: the guest does not let go of one.
        HypervisorError: QEMU refuses, or has no more that can go.
    """
    with refused(guest, "set vCPUs"), hypervisor.monitor(guest) as monitor:
        slots = _slots(monitor)
        have = sum(slot["vcpus-count"] for slot in slots if "qom-path" in slot)
        for number, slot in enumerate(slots):
            if have < count and "qom-path" not in slot:
                plug(monitor, {number})
                have += slot["vcpus-count"]
        for slot in reversed(slots):
            name = _name(slot)
            if have > count and name is not None:
                let_go(monitor, guest, name)
                have -= slot["vcpus-count"]
        if have != count:
            raise HypervisorError(
                f"set vCPUs of {guest.name!r}: it has {have} that cannot go while it runs",
                domain=guest.name,
            )
