"""Asking guests to shut down and to reboot, through their agent or by the power button.

A machine has no button that asks for a reboot. So the guest is asked to shut down, and QEMU to
stand still then instead of ending (QMP's ``set-action``); whoever sees that, the process that
watches the guests or the next one that looks, resets the machine and lets it run on. That this
is to be done stands in a file in the guest's run folder, so that it outlives the process that
asked. libvirt reboots guests in this way too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from polyvisor.errors import HypervisorError, OperationInvalid, Timeout
from polyvisor_qemu.cmdline.machine import poweroff_action
from polyvisor_qemu.launch import speaking

if TYPE_CHECKING:
    from polyvisor.local import Guest
    from polyvisor_qemu.hypervisor import QemuHypervisor

__all__ = ["MODES", "ask", "pending", "turned"]

#: How a guest can be asked.
MODES = frozenset({"acpi", "agent"})

#: Seconds in which an agent that runs answers.
_LISTENING = 5.0
#: Seconds in which an agent refuses, if it does: one that obeys says nothing
#: (qga/qapi-schema.json, ``guest-shutdown``).
_REFUSING = 2.0
#: Seconds in which a QEMU that has closed its channel has ended.
_ENDING = 1.0
#: Seconds in which QEMU has reset a machine.
_RESETTING = 10.0


def ask(hypervisor: QemuHypervisor, guest: Guest, what: str, modes: Sequence[str]) -> None:
    """Ask a guest to shut down or to reboot.

    Args:
        hypervisor: runs it.
        guest: the guest.
        what: ``"shutdown"`` or ``"reboot"``.
        modes: how, of :data:`MODES`; if both, the button is pressed when the agent fails. If
            none, the agent is asked if it listens.

    Raises:
        HypervisorError: the agent refuses, and the button was not asked for.
        Timeout: the agent does not answer, and the button was not asked for.
        Unsupported: QEMU has no such way.
    """
    hypervisor.need_modes(what, guest, modes, MODES)
    wanted: Sequence[str] = modes
    if not wanted:
        wanted = ("agent", "acpi") if _listens(hypervisor, guest) else ("acpi",)
    if "agent" in wanted:
        try:
            _tell_agent(hypervisor, guest, "reboot" if what == "reboot" else "powerdown")
        except (HypervisorError, OperationInvalid, Timeout):
            if "acpi" not in wanted:
                raise
        else:
            _forget(hypervisor, guest)
            return
    # Where a reboot is to end the guest, it need not come back.
    if what == "reboot" and guest.spec.on_reboot in (None, "restart"):
        with speaking(hypervisor, guest, what) as monitor:
            _remember(guest)
            monitor.execute("set-action", shutdown="pause")
            monitor.execute("system_powerdown")
        return
    _forget(hypervisor, guest)
    with speaking(hypervisor, guest, what) as monitor:
        monitor.execute("system_powerdown")


def _listens(hypervisor: QemuHypervisor, guest: Guest) -> bool:
    """Say whether an agent has opened its channel in the guest."""
    from polyvisor_qemu.agent import channel_of
    from polyvisor_qemu.consoles import chardev_of

    alias = channel_of(guest)
    if alias is None:
        return False
    with hypervisor.monitor(guest) as monitor:
        found = chardev_of(monitor, alias)
    return found is not None and bool(found.get("frontend-open"))


def _tell_agent(hypervisor: QemuHypervisor, guest: Guest, mode: str) -> None:
    from polyvisor_qemu.agent import ask as ask_agent

    ask_agent(hypervisor, guest, {"execute": "guest-ping"}, timeout=_LISTENING)
    command = {"execute": "guest-shutdown", "arguments": {"mode": mode}}
    try:
        with suppress(Timeout):
            ask_agent(hypervisor, guest, command, timeout=_REFUSING)
    except HypervisorError:
        process = hypervisor.process(guest)
        if process is not None and not process.wait(_ENDING):
            raise
        # The guest was faster than that, and QEMU is gone with its channel.


# Reboots by the power button


def _mark(guest: Guest) -> str:
    return f"{guest.run_dir}/rebooting"


def pending(guest: Guest) -> bool:
    """Say whether a guest that shuts down now is to be started afresh."""
    return os.path.exists(_mark(guest))


def _remember(guest: Guest) -> None:
    with open(_mark(guest), "w", encoding="ascii"):
        pass


def _forget(hypervisor: QemuHypervisor, guest: Guest) -> None:
    """Let a guest that was asked to reboot end when it shuts down after all."""
    if not pending(guest):
        return
    with hypervisor.monitor(guest) as monitor:
        monitor.execute("set-action", shutdown=poweroff_action(guest.spec))
    with suppress(FileNotFoundError):
        os.unlink(_mark(guest))


def turned(hypervisor: QemuHypervisor, guest: Guest) -> bool:
    """Start a guest afresh that has shut down and was asked to reboot.

    The caller holds the domain.

    Returns:
        Whether that was done; else whoever looks next tries again.
    """
    try:
        _turn(hypervisor, guest)
    except (HypervisorError, Timeout):
        return False
    return True


def _turn(hypervisor: QemuHypervisor, guest: Guest) -> None:
    with hypervisor.monitor(guest) as monitor:
        monitor.execute("set-action", shutdown=poweroff_action(guest.spec))
        monitor.events.clear()
        monitor.execute("system_reset")
        deadline = time.monotonic() + _RESETTING
        while True:
            event = monitor.next_event(max(0.0, deadline - time.monotonic()))
            if event is None:
                raise Timeout(f"reboot {guest.name!r}: QEMU has not reset the machine in time")
            if event["event"] == "RESET":
                break
        os.unlink(_mark(guest))
        monitor.execute("cont")
