"""The agent inside the guest, and what is asked of it.

Commands and answers are those of QEMU's guest agent (its ``qga/qapi-schema.json``).
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import (
    HypervisorError,
    InvalidArgument,
    OperationInvalid,
    PolyvisorError,
    Timeout,
)
from polyvisor.handles._verb import verb
from polyvisor.model.cpuset import compact

if TYPE_CHECKING:
    from polyvisor.domain import Domain
    from polyvisor.model.devices.disk import Disk

__all__ = ["AgentResult", "DomainAgent", "quiesced"]

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

    @verb
    def set_timeout(self, seconds: float | None) -> None:
        """Say how long its answers are waited for from now on, as long as the domain runs.

        What is asked with a ``timeout`` of its own, other than the usual 5 s, has that.

        Args:
            seconds: for an answer; ``None``: as long as the agent takes.
        """
        part = self._connection._need(self._connection._driver.agent, "guest.agent")
        part.set_timeout(self._uuid, seconds)

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

    @verb
    def suspend(self, target: str = "ram", *, timeout: float = 5.0) -> None:
        """Have the guest put itself to sleep; :meth:`DomainDebug.wakeup` ends that.

        Args:
            target: where its state goes: ``"ram"``, ``"disk"`` (it switches off) or
                ``"hybrid"`` (both).
            timeout: seconds in which an agent that refuses has said so; one that does not
                says nothing.
        """
        if target not in ("ram", "disk", "hybrid"):
            raise InvalidArgument(f"suspend: {target!r} is none of ram, disk, hybrid")
        self.ping(timeout=timeout)
        with suppress(Timeout):
            self.ask(f"guest-suspend-{target}", timeout=timeout)

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
        disks = self._disks()
        facts: dict[str, Any] = {}
        for kind, tell in KINDS.items():
            if kinds and kind not in kinds:
                continue
            try:
                told = dict(tell(self, disks))
            except HypervisorError:
                if kinds:
                    raise
            else:
                facts.update((name, value) for name, value in told.items() if value is not None)
        return facts

    def disks_of_filesystems(self) -> list[tuple[dict[str, Any], list[str]]]:
        """Return what is mounted (see :meth:`filesystems`), each with its disks' targets."""
        from polyvisor.handles._guestinfo import disk_target

        disks = self._disks()
        return [
            (one, [name for place in one.get("disk", ()) if (name := disk_target(disks, place))])
            for one in self.filesystems()
        ]

    def _disks(self) -> Sequence[Disk]:
        driver = self._connection._driver
        placed = self._connection._need(driver.agent, "guest.agent").disks(self._uuid)
        return driver.domains.spec(self._uuid).devices.disks if placed is None else placed

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

    def vcpus(self) -> dict[str, list[int]]:
        """Return the guest's vCPUs as it sees them, by its own numbers.

        Returns:
            ``vcpus`` that there are, those of them that are ``online``, and those that it could
            do without, ``offlinable``.
        """
        found = self.ask("guest-get-vcpus")
        kinds = (("vcpus", ""), ("online", "online"), ("offlinable", "can-offline"))
        return {
            name: sorted(one["logical-id"] for one in found if not key or one.get(key))
            for name, key in kinds
        }

    def set_vcpus(self, numbers: Iterable[int], *, online: bool) -> None:
        """Have the guest use vCPUs, or cease to.

        Args:
            numbers: of the vCPUs.
            online: whether they are used.

        Raises:
            InvalidArgument: the guest has no such vCPU.
            OperationInvalid: the guest cannot do without one of them; none was changed.
        """
        there, wanted = self.vcpus(), sorted(set(numbers))
        if missing := [number for number in wanted if number not in there["vcpus"]]:
            raise InvalidArgument(f"guest is missing vCPUs '{compact(missing)}'")
        fixed = [number for number in wanted if number not in there["offlinable"]]
        if fixed and not online:
            raise OperationInvalid(f"vCPU '{fixed[0]}' is not offlinable")
        left = [{"logical-id": one, "online": online} for one in wanted]
        while left:
            # It tells how many it has done before one that failed, the first of which is an error.
            done = int(self.ask("guest-set-vcpus", {"vcpus": left}))
            left = left[done:]
            if not done and left:
                raise HypervisorError(
                    f"guest agent, guest-set-vcpus: vCPU {left[0]['logical-id']} did not change"
                )

    def set_password(self, user: str, password: str, *, encrypted: bool = False) -> None:
        """Set somebody's password in the guest.

        Args:
            user: who.
            password: the password, or what crypt(3) made of it.
            encrypted: it is the latter.
        """
        coded = base64.b64encode(password.encode()).decode("ascii")
        self.ask(
            "guest-set-user-password",
            {"username": user, "password": coded, "crypted": encrypted},
        )

    def ssh_keys(self, user: str) -> list[str]:
        """Return the keys with which somebody may log in, as lines of ``authorized_keys``."""
        return list(self.ask("guest-ssh-get-authorized-keys", {"username": user})["keys"])

    def add_ssh_keys(self, user: str, keys: Sequence[str], *, reset: bool = False) -> None:
        """Let somebody log in with these keys too; ``reset``: with no others."""
        given = {"username": user, "keys": list(keys), "reset": reset}
        self.ask("guest-ssh-add-authorized-keys", given)

    def remove_ssh_keys(self, user: str, keys: Sequence[str]) -> None:
        """Let somebody log in with these keys no longer."""
        given = {"username": user, "keys": list(keys)}
        self.ask("guest-ssh-remove-authorized-keys", given)

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


@contextmanager
def quiesced(agent: DomainAgent) -> Iterator[None]:
    """Keep the guest's file systems frozen while the block runs.

    Raises:
        HypervisorError: the agent refuses, as it does if they are frozen already; or it does
            not let go of them after the block, which has done its work then.
        Timeout: it does not answer; what it may yet do of it is taken back.
    """
    try:
        frozen = agent.freeze()
    except Timeout:
        with suppress(PolyvisorError):
            agent.thaw()
        raise
    try:
        yield
    except BaseException:
        if frozen:
            with suppress(PolyvisorError):
                agent.thaw()
        raise
    if frozen:
        try:
            agent.thaw()
        except PolyvisorError as error:
            raise HypervisorError(
                f"what was asked for is done, but the guest's file systems may still be frozen "
                f"({error.message}); thaw them with domfsthaw",
                domain=error.domain,
            ) from error
