"""Sound cards and where their sound goes."""

from __future__ import annotations

from typing import Literal

from polyvisor.model._codecs import UINT, YES_NO, choices
from polyvisor.model.binding import Element, attr, child, children, element, inner
from polyvisor.model.devices import Device

__all__ = ["Audio", "AudioChannel", "AudioSettings", "Codec", "Sound"]

AudioType = Literal[
    "none", "alsa", "coreaudio", "jack", "oss", "pulseaudio", "sdl", "spice", "file", "dbus"
]
SoundModel = Literal["sb16", "es1370", "pcspk", "ac97", "ich6", "ich9", "usb", "ich7", "virtio"]


@element(kw_only=True)
class AudioSettings(Element):
    """Fixed settings of a stream."""

    frequency: int | None = attr(UINT)
    channels: int | None = attr(UINT)
    format: str | None = attr()


@element(kw_only=True)
class AudioChannel(Element):
    """Sound in one direction."""

    mixing_engine: bool | None = attr(YES_NO, name="mixingEngine")
    fixed_settings: bool | None = attr(YES_NO, name="fixedSettings")
    voices: int | None = attr(UINT)
    buffer_length: int | None = attr(UINT, name="bufferLength")
    dev: str | None = attr()
    buffer_count: int | None = attr(UINT, name="bufferCount")
    try_poll: bool | None = attr(YES_NO, name="tryPoll")
    name: str | None = attr()
    stream_name: str | None = attr(name="streamName")
    latency: int | None = attr(UINT)
    server_name: str | None = attr(name="serverName")
    client_name: str | None = attr(name="clientName")
    connect_ports: str | None = attr(name="connectPorts")
    exact_name: bool | None = attr(YES_NO, name="exactName")
    settings: AudioSettings | None = child(AudioSettings)


@element(kw_only=True)
class Audio(Device):
    """Where sound goes on the host."""

    id: int | None = attr(UINT)
    type: AudioType | None = attr(choices(AudioType))
    timer_period: int | None = attr(UINT, name="timerPeriod")
    server_name: str | None = attr(name="serverName")
    driver: str | None = attr()
    try_mmap: bool | None = attr(YES_NO, name="tryMMap")
    exclusive: bool | None = attr(YES_NO)
    dsp_policy: int | None = attr(UINT, name="dspPolicy")
    path: str | None = attr()
    input: AudioChannel | None = child(AudioChannel)
    output: AudioChannel | None = child(AudioChannel)


@element(kw_only=True)
class Codec(Element):
    """A codec of an HDA card."""

    type: Literal["duplex", "micro", "output"] | None = attr(
        choices(Literal["duplex", "micro", "output"])
    )


@element(kw_only=True)
class Sound(Device):
    """A sound card."""

    model: SoundModel | None = attr(choices(SoundModel))
    codecs: tuple[Codec, ...] = children(Codec, "codec")
    audio_id: int | None = inner("audio", "id", UINT)
