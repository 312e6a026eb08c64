"""The agent inside the guest, and what is asked of it.

Commands and answers are those of QEMU's guest agent (its ``qga/qapi-schema.json``).
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import HypervisorError, InvalidArgument, Timeout
from polyvisor.handles._verb import verb

if TYPE_CHECKING:
    from polyvisor.domain import Domain

__all__ = ["AgentResult", "DomainAgent"]

#: Seconds between two looks at a program that runs in the guest.
_PAUSE = 0.1


@attrs.frozen
class AgentResult:
    """How a program in the guest ended.

    Attributes:
        exit_code: what it returned; ``None`` if a signal ended it.
        signal: that signal, or ``None``.
        output: what it printed.
        errors: what it printed on its standard error.
    """

    exit_code: int | None
    signal: int | None = None
    output: bytes = b""
    errors: bytes = b""


class DomainAgent:
    """The agent of a running domain.

    All methods raise :class:`~polyvisor.errors.Unsupported` if the driver cannot talk to one,
    :class:`~polyvisor.errors.OperationInvalid` if the domain has no channel for one,
    :class:`~polyvisor.errors.Timeout` if it does not answer, and
    :class:`~polyvisor.errors.HypervisorError` if it refuses.
    """

    __slots__ = ("_connection", "_uuid")

    def __init__(self, domain: Domain) -> None:
        self._connection = domain._connection
        self._uuid = domain.uuid

    @verb
    def command(self, command: str, *, timeout: float | None = 5.0) -> str:
        """Send a command and return the answer, both as JSON text.

        Args:
            command: such as ``{"execute": "guest-ping"}``.
            timeout: seconds to wait at most; ``None``: as long as the agent takes.
        """
        part = self._connection._need(self._connection._driver.agent, "guest.agent")
        return part.command(self._uuid, command, timeout=timeout)

    def ask(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = 5.0,
    ) -> Any:
        """Send a command by name and return what the agent returned, as plain values.

        Args:
            name: such as ``"guest-get-users"``.
            arguments: as plain values; those that are ``None`` are left out.
            timeout: seconds to wait at most; ``None``: as long as the agent takes.

        Raises:
            HypervisorError: the agent refused, or what came is no answer.
        """
        given = {key: value for key, value in (arguments or {}).items() if value is not None}
        command = {"execute": name, **({"arguments": given} if given else {})}
        text = self.command(json.dumps(command), timeout=timeout)
        try:
            answer = json.loads(text)
            if "error" not in answer:
                return answer["return"]
            words = f"{answer['error'].get('class')}: {answer['error'].get('desc')}"
        except (ValueError, KeyError, TypeError, AttributeError):
            words = f"what came is no answer: {text[:200]!r}"
        raise HypervisorError(f"guest agent, {name}: {words}", native_message=words)

    def ping(self, *, timeout: float | None = 5.0) -> None:
        """Return if it answers."""
        self.ask("guest-ping", timeout=timeout)

    def info(self) -> dict[str, Any]:
        """Return its version and the commands that it knows."""
        return dict(self.ask("guest-info"))

    def os_info(self) -> dict[str, Any]:
        """Return what operating system the guest says it runs."""
        return dict(self.ask("guest-get-osinfo"))

    def hostname(self) -> str:
        """Return the guest's name for itself."""
        return str(self.ask("guest-get-host-name")["host-name"])

    def users(self) -> list[dict[str, Any]]:
        """Return who is logged in: ``user``, ``domain`` on Windows, ``login-time`` in seconds."""
        return list(self.ask("guest-get-users"))

    def filesystems(self) -> list[dict[str, Any]]:
        """Return what is mounted: ``mountpoint``, ``name``, ``type``, ``disk`` and more."""
        return list(self.ask("guest-get-fsinfo"))

    def interfaces(self) -> list[dict[str, Any]]:
        """Return its network interfaces: ``name``, ``hardware-address``, ``ip-addresses``."""
        return list(self.ask("guest-network-get-interfaces"))

    def guest_info(self, *kinds: str) -> dict[str, Any]:
        """Return what the agent knows of its guest, under the names of ``virsh guestinfo``.

        Args:
            kinds: ``user``, ``os``, ``timezone``, ``hostname``, ``filesystem``, ``disk`` or
                ``interface``; none: all that this agent can tell.

        Raises:
            InvalidArgument: there is no such kind.
            HypervisorError: the agent cannot tell what was asked for.
        """
        from polyvisor.handles._guestinfo import KINDS

        if unknown := set(kinds) - set(KINDS):
            raise InvalidArgument(
                f"guest info: no kind is called {min(unknown)!r}; there are {', '.join(KINDS)}"
            )
        devices = self._connection._driver.domains.spec(self._uuid).devices
        facts: dict[str, Any] = {}
        for kind, tell in KINDS.items():
            if kinds and kind not in kinds:
                continue
            try:
                told = dict(tell(self, devices.disks))
            except HypervisorError:
                if kinds:
                    raise
            else:
                facts.update((name, value) for name, value in told.items() if value is not None)
        return facts

    def disks_of_filesystems(self) -> list[tuple[dict[str, Any], list[str]]]:
        """Return what is mounted (see :meth:`filesystems`), each with its disks' targets."""
        from polyvisor.handles._guestinfo import disk_target

        disks = self._connection._driver.domains.spec(self._uuid).devices.disks
        return [
            (one, [name for place in one.get("disk", ()) if (name := disk_target(disks, place))])
            for one in self.filesystems()
        ]

    def time(self) -> datetime:
        """Return the guest's time, aware, in UTC."""
        return datetime.fromtimestamp(self.ask("guest-get-time") / 1e9, UTC)

    def set_time(self, when: datetime | None = None) -> None:
        """Set the guest's clock to ``when``; ``None``: to that of its hardware."""
        nanoseconds = None if when is None else int(when.timestamp() * 1e9)
        self.ask("guest-set-time", {"time": nanoseconds})

    def freeze(self, mountpoints: Sequence[str] | None = None) -> int:
        """Stop all writing to file systems, so that disks can be copied; return of how many."""
        if mountpoints is None:
            return int(self.ask("guest-fsfreeze-freeze", timeout=None))
        asked = {"mountpoints": list(mountpoints)}
        return int(self.ask("guest-fsfreeze-freeze-list", asked, timeout=None))

    def thaw(self) -> int:
        """Let all file systems be written again; return how many were frozen."""
        return int(self.ask("guest-fsfreeze-thaw", timeout=None))

    def frozen(self) -> bool:
        """Say whether file systems are frozen."""
        return bool(self.ask("guest-fsfreeze-status") == "frozen")

    def trim(self, *, minimum: int = 0) -> list[dict[str, Any]]:
        """Tell the disks which of their blocks are free; return what came of it, by path.

        Args:
            minimum: leave out free ranges of less than so many bytes.
        """
        answer = self.ask("guest-fstrim", {"minimum": minimum}, timeout=None)
        return list(answer.get("paths", ()))

    def execute(
        self,
        program: str,
        arguments: Sequence[str] = (),
        *,
        input: bytes | None = None,  # noqa: A002 - subprocess's word
        environment: Sequence[str] = (),
        timeout: float = 60.0,
    ) -> AgentResult:
        """Run a program in the guest and wait for its end.

        Args:
            program: its path, or a name that the agent finds.
            arguments: behind the program's name.
            input: what it reads on its standard input.
            environment: ``NAME=VALUE``.
            timeout: seconds to wait for its end; the program goes on afterwards.

        Raises:
            Timeout: it still runs.
        """
        asked = {
            "path": program,
            "arg": list(arguments) or None,
            "env": list(environment) or None,
            "input-data": None if input is None else base64.b64encode(input).decode("ascii"),
            "capture-output": True,
        }
        pid = self.ask("guest-exec", asked)["pid"]
        end = time.monotonic() + timeout
        while True:
            found = self.ask("guest-exec-status", {"pid": pid})
            if found.get("exited"):
                return AgentResult(
                    exit_code=found.get("exitcode"),
                    signal=found.get("signal"),
                    output=base64.b64decode(found.get("out-data", "")),
                    errors=base64.b64decode(found.get("err-data", "")),
                )
            if time.monotonic() >= end:
                raise Timeout(f"guest agent: {program} still runs after {timeout:g} s")
            time.sleep(_PAUSE)
