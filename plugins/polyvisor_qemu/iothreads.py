"""I/O threads of guests that run: objects of QEMU's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor_qemu.hotplug import refused
from polyvisor_qemu.placing import place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.hypervisor import QemuHypervisor

__all__ = ["add", "remove", "set_values"]


def _alias(number: int) -> str:
    return f"iothread{number}"


def add(hypervisor: QemuHypervisor, guest: Guest, number: int, spec: DomainSpec) -> None:
    """Start one, and place and weigh it as the definition says."""
    with refused(guest, "add I/O thread"), hypervisor.monitor(guest) as monitor:
        monitor.execute("object-add", qom_type="iothread", id=_alias(number))
        if spec.cputune or (spec.vcpu and spec.vcpu.cpuset):
            try:
                place(guest, spec, monitor)
            except BaseException:
                monitor.execute("object-del", id=_alias(number))
                raise


def remove(hypervisor: QemuHypervisor, guest: Guest, number: int) -> None:
    """End one; QEMU refuses if something uses it."""
    with refused(guest, "remove I/O thread"), hypervisor.monitor(guest) as monitor:
        monitor.execute("object-del", id=_alias(number))


def set_values(
    hypervisor: QemuHypervisor, guest: Guest, number: int, values: Mapping[str, int]
) -> None:
    """Set its properties (``qom-set``), in an order in which its pool is never impossible."""
    path = f"/objects/{_alias(number)}"
    with refused(guest, "set I/O thread"), hypervisor.monitor(guest) as monitor:
        names = list(values)
        if "thread_pool_min" in values:
            most = monitor.execute("qom-get", path=path, property="thread-pool-max")
            # The least can be no more than the most that there is at the time.
            names.sort(key="thread_pool_min".__eq__, reverse=values["thread_pool_min"] <= most)
        for name in names:
            key = name.replace("_", "-")
            monitor.execute("qom-set", path=path, property=key, value=values[name])
