"""What a person sees, hears and types on: video, graphics, sound, input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from polyvisor.model.check._rule import Problem, at, rule, rules_of

if TYPE_CHECKING:
    from polyvisor.model.devices.graphics import Graphics
    from polyvisor.model.domain import DomainSpec

__all__ = ["RULES"]


@rule("video-together", "One video card is the primary one, and none stands beside 'none'.")
def _together(spec: DomainSpec) -> Iterator[Problem]:
    videos = spec.devices.videos
    primary = False
    for number, video in enumerate(videos):
        model = video.model
        if model is None:
            continue
        where = f"{at('video', number, videos)}/model"
        if model.type == "none" and len(videos) > 1:
            yield Problem(where, "'none' stands beside other video cards", "remove it or those")
        if model.primary:
            if primary:
                yield Problem(where, "there is a second primary video card", "keep one")
            primary = True


@rule("video-option", "A video card has what its model has.")
def _video(spec: DomainSpec) -> Iterator[Problem]:
    videos = spec.devices.videos
    for number, video in enumerate(videos):
        model, driver = video.model, video.driver
        if model is None:
            continue
        where, kind = at("video", number, videos), model.type
        if kind not in {"qxl", None}:
            for name in ("ram", "vram64", "vgamem"):
                if getattr(model, name):
                    yield Problem(f"{where}/model", f"{kind} has no {name}", "remove it")
        if kind == "ramfb" and video.address is not None:
            yield Problem(f"{where}/address", "ramfb has no address", "remove it")
        size = model.resolution
        if size is not None and (size.x == 0 or size.y == 0):
            yield Problem(f"{where}/model/resolution", "a screen has a size", "use more than 0")
        vhostuser = driver is not None and driver.name == "vhostuser"
        if vhostuser and kind != "virtio":
            yield Problem(f"{where}/driver", f"vhostuser is not for {kind}", "use virtio")
        accel = model.acceleration
        if not vhostuser and accel is not None and accel.rendernode is not None:
            yield Problem(f"{where}/model", "a render node is for vhostuser", "remove it")
        if driver is not None and kind not in {"virtio", None}:
            for name in ("iommu", "ats", "packed", "page_per_vq"):
                if getattr(driver, name) is not None:
                    yield Problem(f"{where}/driver", f"{kind} has no {name}", "remove it")


@rule("graphics-listen", "Where clients connect is said once, and whole.")
def _listens(spec: DomainSpec) -> Iterator[Problem]:
    held = spec.devices.graphics
    for number, graphics in enumerate(held):
        yield from _listen(graphics, at("graphics", number, held))


def _listen(graphics: Graphics, where: str) -> Iterator[Problem]:
    first = graphics.listens[0] if graphics.listens else None
    for number, listen in enumerate(graphics.listens):
        if listen.type == "network" and not listen.network:
            place = at("listen", number, graphics.listens, where)
            yield Problem(place, "a network is not named", "add network='default'")
    for kind, attribute, said in (
        ("address", "listen", graphics.listen),
        ("socket", "socket", graphics.socket),
    ):
        inside = getattr(first, kind) if first is not None and first.type == kind else None
        if None not in {said, inside} and said != inside:
            fault = f"{attribute} is {said!r} and {inside!r}"
            yield Problem(where, fault, "say it once, in <listen>")
    if graphics.type == "dbus" and graphics.p2p and graphics.address_text:
        yield Problem(where, "a connection between two has no address", "remove p2p or address")


@rule("audio-id", "A sound card leads to a back end that is there, and each of these has a number.")
def _audio(spec: DomainSpec) -> Iterator[Problem]:
    held = spec.devices
    seen: set[int] = set()
    for number, audio in enumerate(held.audios):
        if audio.id in seen:
            where = at("audio", number, held.audios)
            yield Problem(where, f"the id {audio.id} is taken", "use another")
        if audio.id is not None:
            seen.add(audio.id)
    users = [
        (at("sound", number, held.sounds), sound.audio_id)
        for number, sound in enumerate(held.sounds)
    ] + [
        (at("graphics", number, held.graphics), graphics.audio_id)
        for number, graphics in enumerate(held.graphics)
        if graphics.type == "vnc"
    ]
    for where, wanted in users:
        if wanted and wanted not in seen:
            yield Problem(f"{where}/audio", f"there is no audio {wanted}", "add <audio id='…'>")


@rule("input", "An input device is on a bus that carries it.")
def _inputs(spec: DomainSpec) -> Iterator[Problem]:
    kind = spec.os.type.name if spec.os.type is not None else None
    held = spec.devices.inputs
    for number, one in enumerate(held):
        where, bus = at("input", number, held), one.bus
        pointing = one.type in {"mouse", "keyboard"}
        if kind == "hvm" and bus == "ps2" and not pointing:
            yield Problem(where, f"PS/2 carries no {one.type}", "use bus='usb'")
        if kind == "hvm" and bus == "xen":
            yield Problem(where, "the bus xen is for paravirtual guests", "use ps2 or usb")
        if kind in {"xen", "linux", "xenpvh"} and bus not in {"xen", None} and spec.type == "xen":
            yield Problem(where, f"there is no {bus} in a paravirtual guest", "use bus='xen'")
        evdev = one.source.evdev if one.source is not None else None
        if evdev is not None and (pointing or one.type == "tablet"):
            fault = f"a {one.type} has no source"
            yield Problem(f"{where}/source", fault, "use type='passthrough'")
        if one.type == "passthrough" and bus not in {"virtio", None}:
            yield Problem(where, f"{bus} passes nothing through", "use bus='virtio'")
        if one.type == "evdev" and bus not in {None, "none"}:
            yield Problem(where, "an evdev is on no bus", "remove bus")
        if one.model is not None and one.model.startswith("virtio") and bus not in {"virtio", None}:
            yield Problem(where, f"the model {one.model!r} is not for {bus}", "use bus='virtio'")


RULES = rules_of(vars())
