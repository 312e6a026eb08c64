"""Character devices: ports, protocols, and the first console's twin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from polyvisor.model.devices.chardev import Chardev, ChardevSource, ChardevTarget, Console, Serial
from polyvisor.model.normal.change import changed, defaults, each

if TYPE_CHECKING:
    from polyvisor.model.devices.rng import Rng
    from polyvisor.model.domain import DomainSpec

__all__ = ["chardevs"]

C = TypeVar("C", bound=Chardev)

#: The highest port that can be written.
LAST_PORT = 2**31 - 1
#: Kinds of serial port of which the first console is a twin (virDomainDefAddConsoleCompat).
TWIN_KINDS: frozenset[str | None] = frozenset(
    {None, "isa-serial", "spapr-vio-serial", "system-serial", "sclp-serial"}
)


def chardevs(spec: DomainSpec) -> DomainSpec:
    """Make ports, protocols and the first console's twin explicit."""
    held = spec.devices
    serials = _numbered(each(held.serials, _host_side))
    consoles = _by_place(each(held.consoles, _host_side))
    if spec.os.type is not None and spec.os.type.name == "hvm":
        serials, consoles = _twins(serials, consoles)
    return changed(
        spec,
        devices=changed(
            held,
            serials=serials,
            parallels=_numbered(each(held.parallels, _host_side)),
            consoles=consoles,
            channels=each(held.channels, _host_side),
            redirdevs=each(held.redirdevs, _host_side),
            smartcards=each(held.smartcards, _host_side),
            rngs=each(held.rngs, _rng),
        ),
    )


def _rng(rng: Rng) -> Rng:
    if rng.backend is None or rng.backend.type is None:
        return rng
    return changed(rng, backend=_host_side(rng.backend))


def _host_side(device: Any) -> Any:
    """Make mode and protocol explicit (virDomainChrSourceDefParseXML)."""
    if device.type == "tcp":
        device = changed(device, sources=each(device.sources, _connecting))
        return defaults(device, protocol="raw")
    if device.type == "unix":
        sources = tuple(s for s in device.sources if s.path is not None)
        return changed(device, sources=each(sources, _connecting))
    if device.type == "udp":
        sources = each(device.sources, _connecting)
        return changed(device, sources=tuple(sorted(sources, key=lambda s: s.mode != "bind")))
    return device


def _connecting(source: ChardevSource) -> ChardevSource:
    return defaults(source, mode="connect")


def _numbered(devices: tuple[C, ...]) -> tuple[C, ...]:
    """Give each its port: the next after all that are said (virDomainChrDefPostParse)."""
    said = [d.target.port for d in devices if d.target is not None and d.target.port is not None]
    used = {port for port in said if port >= 0}
    result = []
    for device in devices:
        target = device.target or ChardevTarget()
        port = target.port
        if port is None or port < 0:
            port = max(used, default=-1) + 1
            if port > LAST_PORT:
                port = next(number for number in range(LAST_PORT) if number not in used)
            used.add(port)
        result.append(changed(device, target=changed(target, port=port)))
    return tuple(result)


def _by_place(consoles: tuple[Console, ...]) -> tuple[Console, ...]:
    """Give consoles their place as port."""
    result = []
    for number, console in enumerate(consoles):
        target = console.target or ChardevTarget()
        result.append(changed(console, target=changed(target, port=number)))
    return tuple(result)


def _twins(
    serials: tuple[Serial, ...], consoles: tuple[Console, ...]
) -> tuple[tuple[Serial, ...], tuple[Console, ...]]:
    """Let the first console be the first serial port's other name, and the other way round."""
    first = consoles[0] if consoles else None
    if first is not None and (first.target or ChardevTarget()).type in {None, "serial"}:
        if not serials:
            serials = (_as(Serial, first, ChardevTarget(port=0)),)
        rest = consoles[1:]
    elif serials and (serials[0].target or ChardevTarget()).type in TWIN_KINDS:
        rest = consoles
    else:
        return serials, consoles
    port = serials[0].target.port if serials[0].target is not None else 0
    twin = _as(Console, serials[0], ChardevTarget(type="serial", port=port))
    return serials, (twin, *rest)


def _as(cls: Any, device: Chardev, target: ChardevTarget) -> Any:
    return cls(
        type=device.type,
        tty=device.tty,
        sources=device.sources,
        protocol=device.protocol,
        log=device.log,
        target=target,
        alias=device.alias,
        address=device.address,
    )
