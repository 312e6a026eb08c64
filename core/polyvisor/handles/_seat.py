"""What a person at the machine would use, and what a debugger wants of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from polyvisor.handles._verb import verb

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.connection import Connection
    from polyvisor.jobs import ProgressCallback

__all__ = ["Seat"]


class Seat:
    """Console, screen, keyboard and core of a domain."""

    __slots__ = ()

    _connection: Connection
    uuid: UUID

    @verb
    def open_console(self, device: str | None = None, *, force: bool = False) -> int:
        """Return a file descriptor of a console, which is the caller's to close.

        What the guest prints from now on is read from it, what is written to it is typed.

        Args:
            device: alias of the console, serial port or channel (``"serial0"``); ``None``:
                the first console or serial port.
            force: take it from whoever has it open.

        Raises:
            Busy: somebody has it open.
            OperationInvalid: the domain is not active, or the device leads elsewhere.
        """
        part = self._connection._need(self._connection._driver.consoles, "console.serial")
        return part.open(self.uuid, device, force=force)

    @verb
    def screenshot(self, path: str | os.PathLike[str], *, screen: int = 0) -> str:
        """Write a picture of a screen to a file and return its media type (``image/png``).

        The file appears when the picture is whole.

        Args:
            path: the file.
            screen: number of the screen.

        Raises:
            NotFound: there is no such screen.
            StorageError: the file cannot be written.
        """
        from polyvisor._files import GivenFile

        part = self._connection._need(self._connection._driver.screens, "console.screenshot")
        with GivenFile(path, mode=0o600) as file:
            kind = part.screenshot(self.uuid, screen, file.fd)
            file.commit()
        return kind

    @verb
    def send_keys(self, codes: Sequence[int], *, codeset: str = "linux", hold: float = 0.0) -> None:
        """Press keys together and let them go.

        Args:
            codes: at most 16 key codes, in the order in which they are pressed.
            codeset: which codes; see :meth:`polyvisor.driver.Screens.send_keys`.
            hold: seconds for which they are held down; 0: as long as is usual.

        Raises:
            InvalidArgument: there are none, or too many.
            OperationInvalid: a code is not in the set.
        """
        from polyvisor.errors import InvalidArgument

        part = self._connection._need(self._connection._driver.screens, "console.send-key")
        if not 0 < len(codes) <= 16:
            raise InvalidArgument(f"send keys: {len(codes)} keys; from 1 to 16 can be pressed")
        part.send_keys(self.uuid, codes, codeset=codeset, hold=hold)

    @verb
    def open_graphics(self, fd: int, *, screen: int = 0, skip_auth: bool = False) -> None:
        """Have its display serve the viewer at the other end of a socket.

        Args:
            fd: a connected stream socket, which stays the caller's.
            screen: which of its displays, from 0.
            skip_auth: do not ask the viewer for a password.

        Raises:
            NotFound: there is no such display.
            OperationInvalid: it does not run.
        """
        part = self._connection._need(self._connection._driver.screens, "console.graphics")
        if not self._connection.support.usable("console.graphics"):
            raise self._connection._unsupported("console.graphics")
        part.open_graphics(self.uuid, screen, fd, skip_auth=skip_auth)

    @verb
    def reload_graphics(self, kind: str | None = None) -> None:
        """Have its display use its certificates as they are now, for viewers to come.

        Args:
            kind: ``vnc``; ``None``: whichever can.

        Raises:
            OperationInvalid: it does not run, has no such display, or that uses no TLS.
            Unsupported: the driver, or a display of this kind, cannot.
        """
        part = self._connection._need(self._connection._driver.screens, "console.graphics")
        part.reload_graphics(self.uuid, kind)

    @verb
    def dump(
        self,
        path: str | os.PathLike[str],
        *,
        live: bool = False,
        crash: bool = False,
        reset: bool = False,
        memory_only: bool = False,
        core_format: str = "raw",
        progress: ProgressCallback | None = None,
    ) -> None:
        """Write its memory into a file for a debugger; the file appears when it is whole.

        Args:
            path: the file.
            live: let the guest run meanwhile.
            crash: stop the domain afterwards, as crashed.
            reset: reset it afterwards.
            memory_only: only memory and registers, as an ELF core.
            core_format: ``raw``, ``kdump-zlib``, ``kdump-lzo``, ``kdump-snappy`` or ``win-dmp``.
            progress: called with :class:`~polyvisor.jobs.JobProgress`.

        Raises:
            StorageError: the file cannot be written.
            Unsupported: not in this format, or not this way.
        """
        from polyvisor.jobs import Job

        part = self._connection._need(self._connection._driver.dumps, "domains.dump")
        with Job("dump", progress) as job:
            part.dump(
                self.uuid,
                os.path.abspath(path),
                job,
                live=live,
                crash=crash,
                reset=reset,
                memory_only=memory_only,
                core_format=core_format,
            )
