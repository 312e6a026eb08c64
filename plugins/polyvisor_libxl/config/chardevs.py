"""Character devices as text, as Xen's device model has them: ``"udp:host:1@:2"``.

The text is that of QEMU's option ``-serial`` (qemu(1)); libvirt reads it with
xenParseSxprChar and writes it with xenFormatSxprChr (src/libxl/xen_common.c).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from polyvisor.errors import SpecError
from polyvisor.model.devices.chardev import Chardev, ChardevSource, ChardevTarget

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

__all__ = ["chardev", "chardev_text"]

C = TypeVar("C", bound=Chardev)

#: Kinds whose name is all that is said of them.
BARE = {"null", "stdio", "vc", "pty"}
#: A server that does not wait for its first client.
SERVER = ",server,nowait"


def chardev(cls: type[C], text: str, target: ChardevTarget, fail: Callable[[str], NoReturn]) -> C:
    """Return the device that a text describes.

    Args:
        cls: what kind of device.
        text: the text.
        target: the guest's side.
        fail: raises the error for a fault.
    """
    if text.startswith("/"):
        return cls(type="dev", sources=(ChardevSource(path=text),), target=target)
    word, _, rest = text.partition(":")
    protocol = None
    if word.startswith("telnet"):
        word, protocol = "tcp", "telnet"
    if word not in BARE | {"file", "pipe", "unix", "tcp", "udp"}:
        fail(f"{text!r}: {word!r} is no kind of character device")
    kind: Any = word
    if kind == "tcp":
        sources = (_tcp(rest, text, fail),)
        return cls(type=kind, sources=sources, protocol=protocol or "raw", target=target)
    if kind == "udp":
        return cls(type=kind, sources=_udp(rest, text, fail), target=target)
    if kind == "unix":
        path, _, options = rest.partition(",")
        source = ChardevSource(mode="bind" if _serves(options) else "connect", path=path)
        return cls(type=kind, sources=(source,), target=target)
    if kind in {"file", "pipe"}:
        return cls(type=kind, sources=(ChardevSource(path=rest),), target=target)
    return cls(type=kind, target=target)


def _serves(options: str) -> bool:
    return any(option.startswith("server") for option in options.split(","))


def _tcp(rest: str, text: str, fail: Callable[[str], NoReturn]) -> ChardevSource:
    address, _, options = rest.partition(",")
    host, colon, service = address.rpartition(":")
    if not colon:
        fail(f"{text!r} has no port; it is written tcp:HOST:PORT")
    mode: Any = "bind" if _serves(options) else "connect"
    return ChardevSource(mode=mode, host=host or None, service=service)


def _udp(rest: str, text: str, fail: Callable[[str], NoReturn]) -> tuple[ChardevSource, ...]:
    remote, at, local = rest.partition("@")
    host, colon, service = remote.rpartition(":")
    if not colon:
        fail(f"{text!r} has no port; it is written udp:HOST:PORT@HOST:PORT")
    connect = ChardevSource(mode="connect", host=host or None, service=service or None)
    if not at:
        return (connect,)
    host, colon, service = local.partition(",")[0].rpartition(":")
    if not colon:
        fail(f"{text!r} has no local port; it is written udp:HOST:PORT@HOST:PORT")
    return (ChardevSource(mode="bind", host=host or None, service=service or None), connect)


def chardev_text(device: Chardev, *, bind_port: str = "") -> str:
    """Return a character device as text.

    Args:
        device: the device.
        bind_port: the local port of UDP where none is named.

    Raises:
        SpecError: it is of a kind that Xen's device model does not take.
    """
    kind = device.type
    source = device.source or ChardevSource()
    if kind in BARE:
        return kind
    if kind in {"file", "pipe"}:
        return f"{kind}:{source.path or ''}"
    if kind == "dev":
        return source.path or ""
    if kind == "unix":
        return f"unix:{source.path or ''}{SERVER if source.mode == 'bind' else ''}"
    if kind == "tcp":
        name = "telnet" if device.protocol == "telnet" else "tcp"
        where = f"{source.host or ''}:{source.service or ''}"
        return f"{name}:{where}{SERVER if source.mode == 'bind' else ''}"
    if kind == "udp":
        bind = _of_mode(device, "bind")
        connect = _of_mode(device, "connect")
        return (
            f"udp:{connect.host or ''}:{connect.service or ''}"
            f"@{bind.host or ''}:{bind.service or bind_port}"
        )
    raise SpecError(
        f"cannot write a character device of type {kind!r}: Xen's device model takes "
        f"null, stdio, vc, pty, file, pipe, dev, unix, tcp and udp",
        element=type(device).__name__.lower(),
        fault=f"type {kind!r}",
    )


def _of_mode(device: Chardev, mode: str) -> ChardevSource:
    for source in device.sources:
        if source.mode == mode:
            return source
    return ChardevSource()
