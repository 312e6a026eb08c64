"""Consoles, screens, keyboards and agents of a server's domains."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from polyvisor.driver import Consoles, GuestAgent, Screens
from polyvisor.errors import HypervisorError, OperationInvalid, PolyvisorError, Unsupported

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor_remote.client.driver import RemoteDriver
    from polyvisor_remote.client.stream import Stream

__all__ = ["RemoteAgent", "RemoteConsoles", "RemoteScreens"]

_FORCE = 1  # VIR_DOMAIN_CONSOLE_FORCE
_SKIP_AUTH = 1  # VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH
_ANY, _VNC = 0, 1  # virDomainGraphicsReloadType
_CHUNK = 65536
#: ``virKeycodeSet``.
_CODESETS = (
    "linux", "xt", "atset1", "atset2", "atset3", "os_x", "xt_kbd", "usb", "win32", "qnum",
)  # fmt: skip
#: ``VIR_DOMAIN_QEMU_AGENT_COMMAND_BLOCK``: as long as it takes.
_BLOCK = -2


class RemoteConsoles(Consoles):
    """Consoles, each a socket whose other end two threads join to a stream.

    Args:
        driver: the driver.
    """

    def __init__(self, driver: RemoteDriver) -> None:
        self._driver = driver

    def open(self, uuid: UUID, device: str | None, *, force: bool) -> int:
        """Join a console, or a channel, to a socket."""
        dom = self._driver.domains.reference(uuid)
        channel = (device or "").startswith("channel")
        procedure = "domain_open_channel" if channel else "domain_open_console"
        try:
            asked = (dom, device, _FORCE if force else 0)
            _, stream = self._driver.link.begin(procedure, *asked)
        except PolyvisorError as error:
            raise self._driver.domains.named(error, uuid, procedure) from None
        ours, theirs = socket.socketpair()
        _Joint(ours, stream).start()
        return theirs.detach()


class _Joint:
    """Carries bytes between a socket and a stream until either ends."""

    def __init__(self, ours: socket.socket, stream: Stream) -> None:
        self._socket, self._stream = ours, stream

    def start(self) -> None:
        """Begin to carry."""
        for target in (self._outwards, self._inwards):
            threading.Thread(target=target, name="remote-console", daemon=True).start()

    def _outwards(self) -> None:
        """What is typed goes to the guest; when nobody types any more it is given up."""
        with suppress(PolyvisorError, OSError):
            while data := self._socket.recv(_CHUNK):
                self._stream.send(data)
        with suppress(PolyvisorError):
            self._stream.cancel()

    def _inwards(self) -> None:
        """What the guest says goes to who reads; the end of that is its end."""
        with suppress(PolyvisorError, OSError):
            while data := self._stream.receive():
                self._socket.sendall(data)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._stream.abort()
        self._socket.close()


class RemoteScreens(Screens):
    """Screens and keyboards.

    Args:
        driver: the driver.
    """

    def __init__(self, driver: RemoteDriver) -> None:
        self._driver = driver

    def screenshot(self, uuid: UUID, screen: int, fd: int) -> str:
        """Have a picture sent."""
        dom = self._driver.domains.reference(uuid)
        try:
            answer, stream = self._driver.link.begin("domain_screenshot", dom, screen, 0)
        except PolyvisorError as error:
            raise self._driver.domains.named(error, uuid, "domain_screenshot") from None
        try:
            while piece := stream.receive():
                view = memoryview(piece)
                while view:
                    view = view[os.write(fd, view) :]
            stream.finish()
        except BaseException:
            stream.abort()
            raise
        return answer.mime or "image/x-portable-pixmap"

    def open_graphics(self, uuid: UUID, screen: int, fd: int, *, skip_auth: bool) -> None:
        """Hand the socket over."""
        dom, flags = self._driver.domains.reference(uuid), _SKIP_AUTH if skip_auth else 0
        try:
            self._driver.link.call_with("domain_open_graphics", dom, screen, flags, files=(fd,))
        except PolyvisorError as error:
            raise self._driver.domains.named(error, uuid, "domain_open_graphics") from None

    def reload_graphics(self, uuid: UUID, kind: str | None) -> None:
        """Have it use its certificates anew."""
        if kind not in ("vnc", None):
            raise Unsupported(
                f"reload graphics: the protocol knows VNC alone, not {kind!r}",
                feature="console.graphics",
            )
        self._driver.domains.call(uuid, "domain_graphics_reload", _ANY if kind is None else _VNC, 0)

    def send_keys(self, uuid: UUID, codes: Sequence[int], *, codeset: str, hold: float) -> None:
        """Have keys pressed."""
        if codeset not in _CODESETS:
            raise OperationInvalid(
                f"send keys: {codeset!r} is none of {', '.join(_CODESETS)}", operation="send keys"
            )
        number = _CODESETS.index(codeset)
        self._driver.domains.call(
            uuid, "domain_send_key", number, round(hold * 1000), list(codes), 0
        )


class RemoteAgent(GuestAgent):
    """The agent, to which QEMU's own procedures of the protocol lead.

    Args:
        driver: the driver.
    """

    def __init__(self, driver: RemoteDriver) -> None:
        self._driver = driver

    def command(self, uuid: UUID, command: str, *, timeout: float | None) -> str:
        """Have the agent asked."""
        dom = self._driver.domains.reference(uuid)
        seconds = _BLOCK if timeout is None else max(1, round(timeout))
        try:
            (answer,) = self._driver.link.answers(
                [("qemu:domain_agent_command", dom, command, seconds, 0)]
            )
        except PolyvisorError as error:
            raise self._driver.domains.named(error, uuid, "domain_agent_command") from None
        if answer.result is None:
            raise HypervisorError(f"the agent of {dom[0]!r} answered nothing", domain=dom[0])
        result: str = answer.result
        return result

    def set_timeout(self, uuid: UUID, seconds: float | None) -> None:
        """Have the server wait so long."""
        given = _BLOCK if seconds is None else max(0, round(seconds))
        self._driver.domains.call(uuid, "domain_agent_set_response_timeout", given, 0)
