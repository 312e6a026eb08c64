"""What a person at the machine would use: its serial ports, its screen, its keyboard."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from polyvisor.errors import Unsupported

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["Consoles", "Screens"]


class Consoles(ABC):
    """Connects to the serial ports and consoles of running domains."""

    @abstractmethod
    def open(self, uuid: UUID, device: str | None, *, force: bool) -> int:
        """Return a file descriptor of the console, to be read, written and closed by the caller.

        It is a socket or a terminal in raw mode, and shows its end when the domain stops.

        Args:
            uuid: an active domain.
            device: alias of the console, serial port, parallel port or channel (``"serial0"``);
                ``None``: the first console or serial port.
            force: take it from whoever has it open.

        Raises:
            NotFound: it has no such device.
            Busy: somebody has it open, as far as that can be told, and ``force`` is not given.
            OperationInvalid: the domain is not active, or the device leads elsewhere (a file).
        """


class Screens(ABC):
    """Pictures of the screens of running domains, and keys for their keyboards."""

    @abstractmethod
    def screenshot(self, uuid: UUID, screen: int, fd: int) -> str:
        """Write a picture of a screen to ``fd`` and return its media type (``image/png``).

        Args:
            uuid: an active domain.
            screen: number of the screen, from 0.
            fd: where the picture goes, from its present position.

        Raises:
            NotFound: there is no such screen.
        """

    @abstractmethod
    def send_keys(self, uuid: UUID, codes: Sequence[int], *, codeset: str, hold: float) -> None:
        """Press keys together and let them go.

        Args:
            uuid: an active domain.
            codes: at most 16 key codes, in the order in which they are pressed.
            codeset: which codes: ``linux``, ``xt``, ``atset1``, ``atset2``, ``atset3``,
                ``os_x``, ``xt_kbd``, ``usb``, ``win32``, ``qnum`` (``virKeycodeSet``).
            hold: seconds for which they are held down; 0: as long as is usual.

        Raises:
            OperationInvalid: a code is not in the set, or the machine has no such key.
        """

    def open_graphics(self, uuid: UUID, screen: int, fd: int, *, skip_auth: bool) -> None:
        """Have the domain's display serve the client at the other end of a socket.

        Args:
            uuid: an active domain.
            screen: which of its displays (``<graphics>``), from 0.
            fd: a connected stream socket, which stays the caller's.
            skip_auth: do not ask that client for a password.

        Raises:
            NotFound: there is no such display.
            Unsupported: this driver cannot, or the display takes no such client.
        """
        raise Unsupported(
            "open graphics: this driver connects nobody to a display", feature="console.graphics"
        )

    def reload_graphics(self, uuid: UUID, kind: str | None) -> None:
        """Have the domain's display use its certificates as they are now, for viewers to come.

        Args:
            uuid: an active domain.
            kind: ``vnc``; ``None``: whichever can.

        Raises:
            OperationInvalid: it has no such display, or that uses no TLS.
            Unsupported: this driver, or a display of this kind, cannot.
        """
        raise Unsupported(
            "reload graphics: this driver changes no display's certificates",
            feature="console.graphics",
        )
