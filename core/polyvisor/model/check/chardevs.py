"""Character devices: serial ports, consoles, channels, and what else talks through one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from polyvisor.model.check._rule import Problem, at, once, rule, rules_of

if TYPE_CHECKING:
    from polyvisor.model.devices.chardev import ChardevSource
    from polyvisor.model.domain import DomainSpec

__all__ = ["RULES"]

_channel = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII).fullmatch
#: virDomainChrIsaSerialDefPostParse, domain_postparse.c.
ISA_PORTS = 4


@once
def _each(spec: DomainSpec) -> Iterator[tuple[str, str | None, Sequence[ChardevSource], Any]]:
    """Yield path, type, sources and device of whatever talks through a character device."""
    held = spec.devices
    groups: tuple[tuple[str, Sequence[Any]], ...] = (
        ("serial", held.serials),
        ("parallel", held.parallels),
        ("console", held.consoles),
        ("channel", held.channels),
        ("redirdev", held.redirdevs),
    )
    for tag, devices in groups:
        for number, device in enumerate(devices):
            yield at(tag, number, devices), device.type, device.sources, device
    for number, card in enumerate(held.smartcards):
        if card.mode == "passthrough":
            yield at("smartcard", number, held.smartcards), card.type, card.sources, card
    for number, rng in enumerate(held.rngs):
        backend = rng.backend
        if backend is not None and backend.model == "egd":
            yield f"{at('rng', number, held.rngs)}/backend", backend.type, backend.sources, rng


@rule("chardev-source", "A character device says where it leads, once, as its type demands.")
def _source(spec: DomainSpec) -> Iterator[Problem]:
    for where, kind, sources, device in _each(spec):
        first = sources[0] if sources else None
        if kind in {"file", "dev", "pipe"} and (first is None or not first.path):
            # A console without one is what the serial port beside it is.
            yield Problem(where, f"a {kind} has no path", "add <source path='…'/>")
        elif kind == "unix":
            target = getattr(device, "target", None)
            named = target is not None and target.type in {"virtio", "xen"}
            if (first is None or not first.path) and not (named and "/channel" in where):
                yield Problem(where, "a unix socket has no path", "add <source path='…'/>")
        elif kind == "tcp":
            if len(sources) > 1:
                yield Problem(where, "there are two sources of a TCP connection", "keep one")
            for name in ("host", "service"):
                if first is None or not getattr(first, name):
                    yield Problem(where, f"a TCP connection has no {name}", f"add {name}='…'")
        elif kind == "udp":
            yield from _udp(where, sources)
        elif kind == "nmdm" and first is not None and bool(first.master) is not bool(first.slave):
            yield Problem(where, "only one of master and slave is named", "name both")
        # A port for USB devices has a channel of its own name (virDomainRedirdevDefParseXML).
        elif kind == "spiceport" or (kind == "dbus" and "/redirdev" not in where):
            channel = first.channel if first is not None else None
            if not channel or not _channel(channel):
                fault = f"{channel!r} is no name" if channel else "the channel has no name"
                yield Problem(where, fault, "use letters, digits, dots, - and _")


def _udp(where: str, sources: Sequence[ChardevSource]) -> Iterator[Problem]:
    modes = [source.mode or "connect" for source in sources]
    if len(set(modes)) != len(modes):
        yield Problem(where, "there are two sources of one mode", "one connects, one binds")
    goals = [source for source in sources if (source.mode or "connect") == "connect"]
    if not goals or not goals[0].service:
        yield Problem(where, "there is no service to send to", "add service to mode='connect'")


@rule("chardev-reconnect", "Who connects may do so again after some seconds; who listens may not.")
def _reconnect(spec: DomainSpec) -> Iterator[Problem]:
    for where, kind, sources, _device in _each(spec):
        for source in sources:
            again = source.reconnect
            if again is None or not again.enabled or kind not in {"tcp", "unix"}:
                continue
            place = f"{where}/source"
            if source.mode == "bind" or (
                kind == "unix" and source.mode is None and not source.path
            ):
                yield Problem(place, "who listens does not connect again", "remove <reconnect>")
            elif not again.timeout:
                yield Problem(f"{place}/reconnect", "the time to wait is missing", "add timeout")


@rule("serial-port-twice", "No two serial ports have the same number, and ISA has four.")
def _serial_ports(spec: DomainSpec) -> Iterator[Problem]:
    serials = spec.devices.serials
    seen: set[int] = set()
    for number, serial in enumerate(serials):
        target = serial.target
        if target is None or target.type != "isa-serial" or target.port is None:
            continue
        where = f"{at('serial', number, serials)}/target"
        if target.port in seen:
            yield Problem(where, f"the port {target.port} is taken", "use another")
        elif target.port >= ISA_PORTS:
            yield Problem(where, f"there is no ISA port {target.port}", f"use 0 to {ISA_PORTS - 1}")
        seen.add(target.port)


@rule("smartcard-address", "A smart card sits in a reader.")
def _smartcards(spec: DomainSpec) -> Iterator[Problem]:
    cards = spec.devices.smartcards
    for number, card in enumerate(cards):
        if card.address is not None and card.address.type != "ccid":
            where = f"{at('smartcard', number, cards)}/address"
            yield Problem(where, f"a {card.address.type} address is no reader's", "use type='ccid'")


RULES = rules_of(vars())
