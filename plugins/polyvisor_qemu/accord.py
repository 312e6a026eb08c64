"""What the cookies of two sides say that a guest must have on both, and what is done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from polyvisor.errors import Unsupported
from polyvisor_qemu.cookies import QemuCookie
from polyvisor_qemu.telling import CPU_TOLD

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.qmp import Command

__all__ = ["as_told", "need_both", "with_cpu"]

#: Capabilities that both sides must have (``qemuMigrationParamsFlagMap`` of libvirt's
#: src/qemu/qemu_migration_params.c, and its compression).
_BOTH = frozenset({"rdma-pin-all", "postcopy-ram", "multifd", "compress", "xbzrle"})


def with_cpu(spec: DomainSpec, cookie: bytes | None) -> DomainSpec:
    """Return a definition with the CPU that its guest has, as begin says it.

    What a definition asks for may become another CPU on another host; what the guest has seen
    must stay.
    """
    told = QemuCookie.from_bytes(cookie)[0].cpu if cookie else None
    if told is None:
        return spec
    from polyvisor.model import Cpu

    cpu = Cpu.from_xml(told)
    return spec if cpu == spec.cpu else attrs.evolve(spec, cpu=cpu)


def as_told(guest: Guest, runtime: dict[str, Any], spec: DomainSpec) -> None:
    """Note that a guest was made with the CPU of :func:`with_cpu`."""
    runtime[CPU_TOLD] = True
    guest.became = guest.became or spec


def need_both(guest: Guest, means: Sequence[Command], told: QemuCookie | None) -> None:
    """Refuse what the destination's QEMU cannot do, if prepare says what it can.

    Raises:
        Unsupported: names it.
    """
    if told is None or told.capabilities is None:
        return
    theirs = {name for name, _ in told.capabilities}
    for command, arguments in means:
        if command != "migrate-set-capabilities":
            continue
        for one in arguments["capabilities"]:
            name = one["capability"]
            if one["state"] and name in _BOTH and name not in theirs:
                raise Unsupported(
                    f"migrate {guest.name!r}: QEMU on {told.hostname} has no {name}; do without it",
                    feature="migration.live",
                )
