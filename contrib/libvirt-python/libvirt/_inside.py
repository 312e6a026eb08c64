"""What goes on in a domain's guest, and before its screen."""

from __future__ import annotations

import socket
from typing import Any

from libvirt._wire import Handle, text_of, uses

__all__ = ["Inside"]

_ADDRESS = ("type", "addr", "prefix")


class Inside(Handle):
    """A domain as its guest, its agent and who sits before it see it."""

    authorizedSSHKeysGet = uses("domain_authorized_ssh_keys_get")
    authorizedSSHKeysSet = uses("domain_authorized_ssh_keys_set", keys=[])
    fSTrim = uses("domain_fstrim")
    guestVcpus = uses("domain_get_guest_vcpus")
    setGuestVcpus = uses("domain_set_guest_vcpus")
    messages = uses("domain_get_messages")
    sendProcessSignal = uses("domain_send_process_signal")
    setUserPassword = uses("domain_set_user_password")

    def getTime(self, flags: int = 0) -> dict[str, int]:
        """Return what time it is in the guest."""
        found = self._ask("domain_get_time", self._ref, flags)
        return {"seconds": found.seconds, "nseconds": found.nseconds}

    def setTime(self, time: dict[str, int] | None = None, flags: int = 0) -> int:
        """Say to the guest what time it is."""
        given = time or {}
        parts = given.get("seconds", 0), given.get("nseconds", 0)
        self._ask("domain_set_time", self._ref, *parts, flags)
        return 0

    def fsInfo(self, flags: int = 0) -> list[tuple[Any, ...]]:
        """Return of each file system where it is, its device, its kind, and the disks below."""
        found = self._ask("domain_get_fsinfo", self._ref, flags).info
        return [(one.mountpoint, one.name, one.fstype, list(one.dev_aliases)) for one in found]

    def interfaceAddresses(self, source: int, flags: int = 0) -> dict[str, dict[str, Any]]:
        """Return the addresses of each interface."""
        found = self._ask("domain_interface_addresses", self._ref, source, flags).ifaces
        return {
            one.name: {
                "addrs": [{key: getattr(each, key) for key in _ADDRESS} for each in one.addrs]
                or None,
                "hwaddr": one.hwaddr,
            }
            for one in found
        }

    def sendKey(
        self, codeset: int, holdtime: int, keycodes: list[int], nkeycodes: int, flags: int = 0
    ) -> int:
        """Press keys, and let go of them after milliseconds."""
        keys = list(keycodes)[:nkeycodes]
        self._ask("domain_send_key", self._ref, codeset, holdtime, keys, flags)
        return 0

    def blockPeek(self, disk: str, offset: int, size: int, flags: int = 0) -> bytes:
        """Return a piece of a disk."""
        return bytes(self._ask("domain_block_peek", self._ref, disk, offset, size, flags).buffer)

    def memoryPeek(self, start: int, size: int, flags: int = 0) -> bytes:
        """Return a piece of the guest's memory."""
        return bytes(self._ask("domain_memory_peek", self._ref, start, size, flags).buffer)

    def controlInfo(self, flags: int = 0) -> list[int]:
        """Return whether its hypervisor is ready for the next command."""
        return list(self._ask("domain_get_control_info", self._ref, flags))

    def diskErrors(self, flags: int = 0) -> dict[str, int]:
        """Return which disks have failed, and how."""
        count = self._ask("domain_get_disk_errors", self._ref, 0, flags).nerrors
        found = self._ask("domain_get_disk_errors", self._ref, count, flags).errors
        return {one.disk: one.error for one in found}

    def securityLabel(self) -> list[Any]:
        """Return its label, and whether that is enforced."""
        return _label(self._ask("domain_get_security_label", self._ref))

    def securityLabelList(self) -> list[list[Any]]:
        """Return its labels, each with whether it is enforced."""
        return [
            _label(one) for one in self._ask("domain_get_security_label_list", self._ref).labels
        ]

    def openGraphics(self, idx: int, fd: int, flags: int = 0) -> int:
        """Have a screen served at a socket of ours."""
        self._ask_with([fd], "domain_open_graphics", self._ref, idx, flags)
        return 0

    def openGraphicsFD(self, idx: int, flags: int = 0) -> int:
        """Return a socket at which a screen is served."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self.openGraphics(idx, theirs.fileno(), flags)
            except BaseException:
                ours.close()
                raise
        return ours.detach()


def _label(told: Any) -> list[Any]:
    return [text_of(told.label), bool(told.enforcing)]
