"""Character devices: serial, parallel, console, channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from polyvisor.model._codecs import INT, ON_OFF, YES_NO, choices
from polyvisor.model.binding import Element, attr, child, children, element, inner
from polyvisor.model.devices import Device

if TYPE_CHECKING:
    from polyvisor.model.devices.disk_source import Reconnect
    from polyvisor.model.domain import SecLabel

__all__ = [
    "Channel",
    "Chardev",
    "ChardevLog",
    "ChardevSource",
    "ChardevTarget",
    "Console",
    "Parallel",
    "Serial",
]

ChardevType = Literal[
    "null", "vc", "pty", "dev", "file", "pipe", "stdio", "udp", "tcp", "unix", "spicevmc",
    "spiceport", "nmdm", "qemu-vdagent", "dbus",
]  # fmt: skip
SourceMode = Literal["connect", "bind", "client", "server"]


@element(kw_only=True)
class ChardevSource(Element):
    """What the host's side of a character device is."""

    mode: SourceMode | None = attr(choices(SourceMode))
    channel: str | None = attr()
    path: str | None = attr()
    append: bool | None = attr(ON_OFF)
    host: str | None = attr()
    service: str | None = attr()
    tls: bool | None = attr(YES_NO)
    master: str | None = attr()
    slave: str | None = attr()
    clipboard: bool | None = inner("clipboard", "copypaste", YES_NO)
    mouse: Literal["client", "server"] | None = inner(
        "mouse", "mode", choices(Literal["client", "server"])
    )
    reconnect: Reconnect | None = child(".devices.disk_source:Reconnect")
    seclabels: tuple[SecLabel, ...] = children(".domain:SecLabel", "seclabel")


@element(kw_only=True)
class ChardevLog(Element):
    """A file that gets everything the guest writes."""

    file: str | None = attr()
    append: bool | None = attr(ON_OFF)


@element(kw_only=True)
class ChardevTarget(Element):
    """What the guest sees."""

    type: str | None = attr()
    #: For a guest forward.
    address: str | None = attr()
    port: int | None = attr(INT)
    name: str | None = attr()
    state: Literal["connected", "disconnected"] | None = attr(
        choices(Literal["connected", "disconnected"])
    )
    model: str | None = inner("model", "name")


@element(kw_only=True)
class Chardev(Device):
    """What all character devices have."""

    type: ChardevType = attr(choices(ChardevType), default="pty")
    #: The pty of a running console.
    tty: str | None = attr()
    #: One, or for UDP two: to connect to and to bind.
    sources: tuple[ChardevSource, ...] = children(ChardevSource, "source")
    protocol: str | None = inner("protocol", "type")
    log: ChardevLog | None = child(ChardevLog)
    target: ChardevTarget | None = child(ChardevTarget)

    @property
    def source(self) -> ChardevSource | None:
        """The first source."""
        return self.sources[0] if self.sources else None


@element(kw_only=True)
class Serial(Chardev):
    """A serial port."""


@element(kw_only=True)
class Parallel(Chardev):
    """A parallel port."""


@element(kw_only=True)
class Console(Chardev):
    """A console: a serial port or the hypervisor's own kind."""


@element(kw_only=True)
class Channel(Chardev):
    """A channel between host and guest without a terminal."""
