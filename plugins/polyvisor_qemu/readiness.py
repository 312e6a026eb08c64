"""What every QEMU is told as it starts, lest it have to be told so when its guest is to leave.

Each command takes half a millisecond, and longer when a guest in software emulation keeps QEMU
from its monitor. At the start nobody has to wait for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor_qemu.defining import emulator_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from polyvisor.local import Guest
    from polyvisor_qemu.hypervisor import QemuHypervisor
    from polyvisor_qemu.qmp import Command, Monitor

__all__ = [
    "DOWNTIME",
    "EVENTS",
    "UNLIMITED",
    "is_ready",
    "known_capabilities",
    "limits",
    "needed",
    "ready",
    "switched",
    "unready",
]

#: Bytes per second: as good as no limit, which QEMU has no word for.
UNLIMITED = 1 << 50
#: Seconds that a downtime may last unless said otherwise (QEMU's own default).
DOWNTIME = 0.3
#: Those of QEMU's capabilities that libvirt tells of, in its order (``qemuMigrationCapability``
#: of its src/qemu/qemu_migration_params.c; events are its own affair).
CAPABILITIES = (
    "xbzrle",
    "auto-converge",
    "rdma-pin-all",
    "postcopy-ram",
    "compress",
    "pause-before-switchover",
    "late-block-activate",
    "multifd",
    "dirty-bitmaps",
    "return-path",
    "zero-copy-send",
)
#: In a guest's runtime facts: what its QEMU was told at its start is how it is still.
_READY = "ready"


def switched(names: Iterable[str], *, on: bool) -> Command:
    """Return what turns capabilities on or off."""
    wanted = [{"capability": name, "state": on} for name in names]
    return "migrate-set-capabilities", {"capabilities": wanted}


#: Lets QEMU tell of a migration's progress.
EVENTS = switched(["events"], on=True)


def limits(bandwidth: int = UNLIMITED, downtime: float = DOWNTIME) -> Command:
    """Return what sets the limits of a stream: bytes per second, seconds of standing still."""
    given = {"max_bandwidth": bandwidth, "downtime_limit": int(downtime * 1000)}
    return "migrate-set-parameters", given


def ready(monitor: Monitor, guest: Guest, *, incoming: bool = False) -> None:
    """Tell a QEMU that has just started; nobody waits for it.

    Args:
        monitor: its monitor.
        guest: whose it is; its runtime facts say from then on that it was told.
        incoming: it waits for a stream, and tells of that already.
    """
    # The rest is as it is said here by QEMU's own default.
    bandwidth = "migrate-set-parameters", {"max_bandwidth": UNLIMITED}
    monitor.post(*(() if incoming else (EVENTS,)), bandwidth)
    guest.runtime[_READY] = True


def is_ready(guest: Guest) -> bool:
    """Say whether a guest's QEMU has no means of a migration but those that it started with."""
    return bool(guest.runtime.get(_READY))


def needed(guest: Guest, means: Sequence[Command], limited: Command) -> list[Command]:
    """Return what a QEMU has to be told before it sends a stream.

    If that is anything, it is not as it started any more, which the runtime facts say from then
    on.

    Args:
        guest: whose it is.
        means: what is to be on.
        limited: see :func:`limits`.
    """
    if is_ready(guest) and not means and limited == limits():
        return []
    unready(guest)
    return [*(means or (EVENTS,)), limited]


def unready(guest: Guest) -> None:
    """Note that a guest's QEMU was told, or perhaps was, something else than at its start."""
    guest.runtime.pop(_READY, None)


def known_capabilities(hypervisor: QemuHypervisor, guest: Guest) -> list[str]:
    """Return those capabilities of a guest's QEMU that libvirt has words for, in its order."""
    path = guest.runtime.get("emulator") or emulator_of(hypervisor, guest.spec)
    known = hypervisor.known(path).capabilities
    return [name for name in CAPABILITIES if name in known]
