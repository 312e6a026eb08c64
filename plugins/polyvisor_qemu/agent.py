"""The QEMU guest agent, over the socket of its channel.

One command at a time: the agent reads lines of JSON and answers in order. What an earlier
client left in the channel is passed over (qga/qapi-schema.json, ``guest-sync-delimited``).
"""

from __future__ import annotations

import json
import secrets
import select
import socket
import time
from typing import TYPE_CHECKING, Any

from polyvisor.driver import AGENT_SECONDS, GuestAgent
from polyvisor.errors import HypervisorError, InvalidArgument, OperationInvalid, Timeout
from polyvisor_qemu.consoles import open_end
from polyvisor_qemu.qmp import json_object

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from polyvisor.local import Guest
    from polyvisor.model.devices.disk import Disk
    from polyvisor_qemu.driver import QemuDriver
    from polyvisor_qemu.hypervisor import QemuHypervisor

__all__ = ["QemuAgent", "ask", "channel_of"]

#: The channel's name in the guest.
CHANNEL = "org.qemu.guest_agent.0"
#: In runtime facts: for how many seconds answers are waited for.
_TIMEOUT = "agent_timeout"
_MAX_ANSWER = 64 << 20
# A byte that no JSON has: whatever the agent has read so far is thrown away.
_DELIMITER = b"\xff"


class QemuAgent(GuestAgent):
    """Sends commands, each after it has made sure that the agent listens."""

    def __init__(self, driver: QemuDriver) -> None:
        self._driver = driver

    def command(self, uuid: UUID, command: str, *, timeout: float | None) -> str:
        """See :meth:`polyvisor.driver.GuestAgent.command`."""
        try:
            asked = json.loads(command)
        except ValueError as error:
            raise InvalidArgument(f"agent command: not JSON: {error}") from error
        if not isinstance(asked, dict) or not isinstance(asked.get("execute"), str):
            raise InvalidArgument('agent command: give an object with "execute"')
        guest = self._driver.guest(uuid)
        first: float | None = AGENT_SECONDS
        if _TIMEOUT in guest.runtime and timeout in (AGENT_SECONDS, None):
            first = timeout = guest.runtime[_TIMEOUT]
        answer = ask(self._driver.hypervisor, guest, asked, timeout=timeout, first=first)
        return json.dumps(answer, separators=(",", ":"))

    def set_timeout(self, uuid: UUID, seconds: float | None) -> None:
        """See :meth:`polyvisor.driver.GuestAgent.set_timeout`."""
        if seconds is not None and seconds < 0:
            raise InvalidArgument(f"agent's timeout: {seconds:g} s is none")
        with self._driver.hold(uuid, "set the agent's timeout") as hold:
            hold.need_active()
            hold.guest.runtime[_TIMEOUT] = seconds

    def disks(self, uuid: UUID) -> Sequence[Disk]:
        """See :meth:`polyvisor.driver.GuestAgent.disks`."""
        from polyvisor_qemu.plugged import Plugged

        return Plugged(self._driver.guest(uuid)).spec.devices.disks


def channel_of(guest: Guest) -> str | None:
    """Return the alias of the channel at which an agent would be; ``None``: there is none."""
    for number, channel in enumerate(guest.spec.devices.channels):
        if channel.target is not None and channel.target.name == CHANNEL:
            return channel.alias or f"channel{number}"
    return None


def ask(
    hypervisor: QemuHypervisor,
    guest: Guest,
    asked: dict[str, Any],
    *,
    timeout: float | None,
    first: float | None = AGENT_SECONDS,
) -> dict[str, Any]:
    """Send the agent a command and return its answer, which is no refusal.

    Args:
        hypervisor: runs the guest.
        guest: a guest that runs.
        asked: an object with ``execute`` and perhaps ``arguments``.
        timeout: seconds that it may take; ``None``: as long as it likes, once it listens.
        first: seconds in which it has to say that it listens; ``None``: as long as it likes.

    Raises:
        HypervisorError: it refuses, or what came is no answer.
        OperationInvalid: the domain has no channel for an agent.
        Timeout: it did not answer.
    """
    alias = channel_of(guest)
    if alias is None:
        raise OperationInvalid(
            f"agent of {guest.name!r}: the domain has no channel {CHANNEL!r} for it; add one",
            domain=guest.name,
        )
    deadline = None if timeout is None else time.monotonic() + timeout
    with socket.socket(fileno=open_end(hypervisor, guest, alias, force=False)) as wire:
        talk = _Talk(wire, guest.name)
        bounds = [time.monotonic() + first] if first is not None else []
        talk.sync(min([*bounds, deadline] if deadline is not None else bounds, default=None))
        talk.send(json.dumps(asked).encode() + b"\n")
        answer = talk.answer(deadline, asked["execute"])
    if "error" in answer:
        told = answer["error"] if isinstance(answer["error"], dict) else {}
        words = told.get("desc")
        raise HypervisorError(
            f"agent of {guest.name!r} refuses {asked['execute']}: {words or 'it does not say why'}",
            domain=guest.name,
            native_code=told.get("class"),
            native_message=words,
        )
    return answer


class _Talk:
    """A conversation with an agent."""

    def __init__(self, wire: socket.socket, name: str) -> None:
        self._wire = wire
        self._name = name
        self._buffer = bytearray()

    def send(self, data: bytes) -> None:
        self._wire.sendall(data)

    def sync(self, deadline: float | None) -> None:
        """Wait until the agent answers us and not somebody before us."""
        number = secrets.randbelow(1 << 31)
        asked = {"execute": "guest-sync-delimited", "arguments": {"id": number}}
        self.send(_DELIMITER + json.dumps(asked).encode() + b"\n")
        while True:
            self._until(_DELIMITER, deadline, "guest-sync-delimited")
            if self.answer(deadline, "guest-sync-delimited").get("return") == number:
                return

    def answer(self, deadline: float | None, what: str) -> dict[str, Any]:
        line = self._until(b"\n", deadline, what)
        return json_object(line, f"agent of {self._name!r}: it")

    def _until(self, mark: bytes, deadline: float | None, what: str) -> bytes:
        while (end := self._buffer.find(mark)) < 0:
            if len(self._buffer) > _MAX_ANSWER:
                raise HypervisorError(
                    f"agent of {self._name!r}: its answer has over {_MAX_ANSWER >> 20} MiB"
                )
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            poller = select.poll()
            poller.register(self._wire, select.POLLIN)
            if not poller.poll(None if left is None else left * 1000):
                raise Timeout(
                    f"agent of {self._name!r}: no answer to {what}; it does not run in the "
                    f"guest, or is busy",
                    domain=self._name,
                )
            data = self._wire.recv(1 << 16)
            if not data:
                raise HypervisorError(f"agent of {self._name!r}: QEMU has closed the channel")
            self._buffer += data
        found = bytes(self._buffer[:end])
        del self._buffer[: end + len(mark)]
        return found
