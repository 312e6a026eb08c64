"""Screens: graphics, video cards and what goes with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.model.devices.graphics import Listen
from polyvisor.model.devices.video import Video, VideoModel
from polyvisor.model.normal.change import changed, each

if TYPE_CHECKING:
    from polyvisor.model.devices.graphics import Graphics
    from polyvisor.model.domain import DomainSpec

__all__ = ["displays"]


def displays(spec: DomainSpec) -> DomainSpec:
    """Make ports, addresses and video memory explicit."""
    held = spec.devices
    videos = list(each(held.videos, lambda video: _video(video, spec.type)))
    if videos and not any(v.model is not None and v.model.primary for v in videos):
        first = videos[0]
        if first.model is not None and first.model.type == "none":
            videos[0] = Video(model=VideoModel(type="none"), alias=first.alias)
        elif first.model is not None:
            videos[0] = changed(first, model=changed(first.model, primary=True))
    videos.sort(key=lambda video: not (video.model is not None and video.model.primary))
    return changed(
        spec,
        devices=changed(held, graphics=each(held.graphics, _graphics), videos=tuple(videos)),
    )


def _listens(graphics: Graphics) -> Graphics:
    """Make where clients connect explicit (virDomainGraphicsListensParseXML)."""
    listens = graphics.listens
    by_vnc = graphics.type == "vnc"
    if not listens:
        if by_vnc and graphics.socket is not None:
            listens = (Listen(type="socket", socket=graphics.socket),)
        else:
            listens = (Listen(type="address", address=graphics.listen),)
    first = listens[0]
    if first.type == "address" and first.address is None and graphics.listen is not None:
        listens = (changed(first, address=graphics.listen), *listens[1:])
    return changed(
        graphics,
        listens=listens,
        socket=listens[0].socket if by_vnc and listens[0].type == "socket" else None,
        listen=listens[0].address if listens[0].type == "address" else None,
    )


def _graphics(graphics: Graphics) -> Graphics:
    if graphics.type in {"vnc", "spice", "rdp"}:
        graphics = _listens(graphics)
    reached = bool(graphics.listens) and graphics.listens[0].type in {"address", "network"}
    if graphics.type == "vnc":
        return _vnc_port(graphics) if reached else _without_port(graphics)
    if graphics.type == "spice":
        return _spice_port(graphics) if reached else _without_port(graphics)
    return graphics


def _without_port(graphics: Graphics) -> Graphics:
    return changed(graphics, port=None, tls_port=None, autoport=None, websocket=None)


def _vnc_port(graphics: Graphics) -> Graphics:
    """Make explicit who chooses the port (virDomainGraphicsDefParseXMLVNC)."""
    automatic = graphics.autoport
    if automatic is None:
        automatic = graphics.port in {None, -1}
    elif not automatic and graphics.port == -1:
        automatic = True
    port = graphics.port or None
    return changed(graphics, port=-1 if automatic else port, autoport=automatic)


def _spice_port(graphics: Graphics) -> Graphics:
    """Make explicit who chooses the ports (virDomainGraphicsDefParseXMLSpice)."""
    port, tls_port, automatic = graphics.port or None, graphics.tls_port or None, graphics.autoport
    asked = automatic or port is not None or tls_port is not None
    if not asked and graphics.listens[0].type == "address":
        nowhere = changed(graphics.listens[0], type="none", address=None)
        listens = (nowhere, *graphics.listens[1:])
        return changed(_without_port(graphics), listens=listens, listen=None)
    automatic = bool(automatic) or port == tls_port == -1
    if automatic:
        port = tls_port = None
    return changed(graphics, port=port, tls_port=tls_port, autoport=automatic)


def _video(video: Video, hypervisor: str) -> Video:
    """Make the card's memory explicit (virDomainVideoDefPostParse, virDomainVideoDefaultRAM)."""
    model = video.model
    if model is None or model.type == "none":
        return video
    vram = model.vram
    if not vram:
        if model.type in {"vga", "cirrus", "vmvga"}:
            vram = {"vbox": 8192, "vmware": 4096}.get(hypervisor, 16384)
        elif model.type == "xen":
            vram = 4096
        elif model.type == "qxl":
            vram = 65536
    ram = model.ram or (65536 if model.type == "qxl" else None)
    return changed(
        video, model=changed(model, vram=_power(vram), ram=_power(ram), heads=model.heads or 1)
    )


def _power(size: int | None) -> int | None:
    """Return the next power of two."""
    return size if not size else 1 << (size - 1).bit_length()
