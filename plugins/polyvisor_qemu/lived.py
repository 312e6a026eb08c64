"""What was chosen for a guest as it was made: network devices, terminals, ports of its screens.

libvirt writes them into the definition of a running domain, where ``virsh domiflist``,
``virsh ttyconsole`` and ``virsh domdisplay`` look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.model.devices.chardev import ChardevSource
from polyvisor_qemu.qmp import QmpError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polyvisor.model import DomainSpec
    from polyvisor.model.devices.graphics import Graphics
    from polyvisor_qemu.qmp import Monitor

__all__ = ["lived"]

#: Kinds of character devices, and the word that their names begin with.
_CHARDEVS = {
    "serials": "serial",
    "parallels": "parallel",
    "channels": "channel",
    "consoles": "console",
}


def lived(spec: DomainSpec, monitor: Monitor, taps: Mapping[int, str]) -> DomainSpec | None:
    """Return a running guest's definition with what was chosen; ``None``: there was no choice.

    Args:
        spec: what it was started with.
        monitor: its monitor.
        taps: the host's network devices, by the places of their interfaces.
    """
    if taps:
        joined = tuple(
            attrs.evolve(one, target=taps.get(number, one.target))
            for number, one in enumerate(spec.devices.interfaces)
        )
        spec = attrs.evolve(spec, devices=attrs.evolve(spec.devices, interfaces=joined))
    return _chosen(spec, monitor) or (spec if taps else None)


def _chosen(spec: DomainSpec, monitor: Monitor) -> DomainSpec | None:
    devices = spec.devices
    terminals = any(one.type == "pty" for kind in _CHARDEVS for one in getattr(devices, kind))
    screens = any(map(_chooses, devices.graphics))
    if not terminals and not screens:
        return None
    told, vnc, spice = (
        None if isinstance(one, QmpError) else one
        for one in monitor.ask(
            ("query-chardev", {}), ("query-vnc-servers", {}), ("query-spice", {})
        )
    )
    changes: dict[str, Any] = {}
    if terminals and told is not None:
        ends = {one["label"]: one["filename"] for one in told}
        for kind, word in _CHARDEVS.items():
            changes[kind] = tuple(
                _on_terminal(one, number, word, ends)
                for number, one in enumerate(getattr(devices, kind))
            )
    if screens:
        changes["graphics"] = tuple(_at_port(one, vnc, spice) for one in devices.graphics)
    return attrs.evolve(spec, devices=attrs.evolve(devices, **changes))


def _chooses(one: Graphics) -> bool:
    """Say whether it is left to us, or to QEMU, at which port a screen is served."""
    if one.type not in ("vnc", "spice") or one.autoport is False or one.socket:
        return False
    if any(listen.type in ("socket", "none") for listen in one.listens):
        return False
    return one.autoport is True or one.port is None or one.port <= 0


def _on_terminal(one: Any, number: int, word: str, ends: Mapping[str, str]) -> Any:
    if one.type != "pty":
        return one
    labels = [f"char{one.alias}"] if one.alias else [f"char{word}{number}"]
    target = one.target.type if one.target is not None else None
    if word == "console" and target in (None, "serial"):
        # The first console and the first serial port are one device.
        labels.append(f"charserial{number}")
    for label in labels:
        kind, _, path = ends.get(label, "").partition(":")
        if kind == "pty":
            source = attrs.evolve(one.source or ChardevSource(), path=path)
            changes: dict[str, Any] = {"tty": path} if word == "console" else {}
            return attrs.evolve(one, sources=(source, *one.sources[1:]), **changes)
    return one


def _at_port(one: Graphics, vnc: Any, spice: Any) -> Graphics:
    if not _chooses(one):
        return one
    if one.type == "spice":
        if not spice or not spice.get("enabled"):
            return one
        return attrs.evolve(
            one, port=spice.get("port"), tls_port=spice.get("tls-port"), autoport=True
        )
    changes: dict[str, Any] = {}
    for end in (end for server in vnc or () for end in server["server"]):
        if end["service"].isdigit():
            name = "websocket" if end.get("websocket") else "port"
            changes.setdefault(name, int(end["service"]))
    return attrs.evolve(one, autoport=True, **changes) if "port" in changes else one
