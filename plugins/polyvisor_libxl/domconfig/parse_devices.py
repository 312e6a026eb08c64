"""Devices of a guest that libxl runs, as parts of a definition."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from polyvisor.model.devices import Devices
from polyvisor.model.devices.chardev import Channel, ChardevSource, ChardevTarget, Serial
from polyvisor.model.devices.controller import Controller
from polyvisor.model.devices.disk import Disk, DiskDriver, DiskTarget
from polyvisor.model.devices.disk_source import DiskSource
from polyvisor.model.devices.graphics import Graphics
from polyvisor.model.devices.hostdev import (
    Hostdev,
    HostPciAddress,
    HostUsbAddress,
    PciHostdev,
    PciSource,
    UsbHostdev,
    UsbSource,
)
from polyvisor.model.devices.input import Input
from polyvisor.model.devices.interface import (
    Bandwidth,
    BandwidthLimit,
    Interface,
    InterfaceIp,
    InterfaceSource,
    Mac,
    VirtualPort,
    Vlan,
    VlanTag,
)
from polyvisor.model.devices.sound import Sound
from polyvisor.model.devices.video import Video, VideoModel
from polyvisor_libxl.config.chardevs import chardev
from polyvisor_libxl.config.tables import SOUNDS, USB_INPUTS
from polyvisor_libxl.config.xl_disks import bus_of, rbd_source
from polyvisor_libxl.domconfig.words import FORMATS

if TYPE_CHECKING:
    from polyvisor_libxl.completion import Kind
    from polyvisor_libxl.domconfig.parts import Part

__all__ = ["devices", "disk", "nic"]

#: libvirt's driver and type of disk for libxl_disk_backend; the first where libxl chooses.
DRIVERS: dict[str, tuple[str | None, Any]] = {
    "unknown": (None, None),
    "qdisk": ("qemu", "file"),
    "tap": ("tap", "file"),
    "phy": ("phy", "block"),
    "standalone": (None, None),
}
CARDS: dict[str, Any] = {"std": "vga", "cirrus": "cirrus", "qxl": "qxl", "none": "none"}
USB_MODELS = {1: "qusb1", 2: "qusb2"}
FIRST_PORT = 5900
LAST_DISPLAY = 65535 - FIRST_PORT

_MAC = re.compile(r"[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}")


def devices(whole: Part, build: Part, kind: Part, guest: Kind) -> Devices:
    """Return all devices of a guest."""
    hvm = guest == "hvm"
    return Devices(
        emulator=build.text("device_model") if hvm else None,
        disks=tuple(disk(part, guest) for part in whole.parts("disks")),
        controllers=(_xenbus(build), *map(_usb_controller, whole.parts("usbctrls"))),
        interfaces=tuple(nic(part) for part in whole.parts("nics")),
        serials=_serials(kind) if hvm else (),
        channels=tuple(_channel(part) for part in whole.parts("channels")),
        inputs=_inputs(kind) if hvm else (),
        graphics=_graphics(whole, kind, guest),
        sounds=_sounds(kind) if hvm else (),
        videos=_videos(build, kind) if hvm else (),
        hostdevs=_hostdevs(whole),
    )


def disk(part: Part, guest: Kind) -> Disk:
    """Return the disk that a ``libxl_device_disk`` is."""
    vdev = part.text("vdev")
    if vdev is None:
        part.fail("vdev", "it does not say under which name the guest sees it")
    driver, kind = part.word("backend", DRIVERS, (None, None))
    formats: dict[str, Any] = {name: name for name in FORMATS} | {"empty": "raw", "unknown": "raw"}
    image = part.word("format", formats, "raw")
    path = part.text("pdev_path")
    if kind is None:
        kind = "block" if path is not None and path.startswith("/dev/") else "file"
    source = None
    if path is not None and path.startswith("rbd:"):
        kind, source = "network", rbd_source(path)
    elif path is not None:
        source = DiskSource(**{"dev" if kind == "block" else "file": path})  # type: ignore[arg-type]
    discard: Any = {None: None, True: "unmap", False: "ignore"}[part.truth("discard_enable")]
    cdrom = bool(part.count("is_cdrom", 0))
    return Disk(
        type=kind,
        device="cdrom" if cdrom else "disk",
        driver=DiskDriver(name=driver, type=image, discard=discard),
        source=source,
        target=DiskTarget(dev=vdev, bus=bus_of(vdev, guest)),
        readonly=not part.count("readwrite", 0),
        backenddomain=part.text("backend_domname"),
    )


def nic(part: Part) -> Interface:
    """Return the interface that a ``libxl_device_nic`` is."""
    mac = part.text("mac")
    if mac is not None and not _MAC.fullmatch(mac):
        part.fail("mac", f"{mac[:60]!r} is not a MAC address")
    bridge = part.text("bridge")
    model = part.text("model")
    rate = part.count("rate_bytes_per_interval", 0, most=2**64 - 2) or 0
    interval = part.count("rate_interval_usecs", 0, most=2**32 - 1)
    bandwidth = None
    if rate and interval:
        average = -(-rate * 1_000_000 // interval // 1024)
        bandwidth = Bandwidth(outbound=BandwidthLimit(average=min(average, 2**53)))
    return Interface(
        type="ethernet" if bridge is None else "bridge",
        mac=None if mac is None else Mac(address=mac.lower()),
        ips=tuple(_ip(part, text) for text in (part.text("ip") or "").split()),
        script=part.text("script"),
        model=model,
        target=part.text("ifname"),
        backenddomain=part.text("backend_domname"),
        bandwidth=bandwidth,
        mtu=part.count("mtu", most=65535) or None,
        **_bridge(bridge),
    )


def _ip(part: Part, text: str) -> InterfaceIp:
    from ipaddress import ip_address

    try:
        address = ip_address(text.partition("/")[0])
    except ValueError:
        part.fail("ip", f"{text[:60]!r} is not an IP address")
    return InterfaceIp(address=str(address), family="ipv4" if address.version == 4 else "ipv6")


def _bridge(text: str | None) -> dict[str, Any]:
    """Return a bridge with the VLANs behind its name, if that is what stands there."""
    if text is None:
        return {}
    found = re.fullmatch(r"([^.:]+)(?:\.([0-9]{1,4})|((?::[0-9]{1,4})+))", text)
    if found is None:
        return {"source": InterfaceSource(bridge=text)}
    tags = [found[2]] if found[2] else found[3].split(":")[1:]
    return {
        "source": InterfaceSource(bridge=found[1]),
        "vlan": Vlan(
            trunk=None if found[2] else True, tags=tuple(VlanTag(id=int(tag)) for tag in tags)
        ),
        "virtualport": VirtualPort(type="openvswitch"),
    }


def _xenbus(build: Part) -> Controller:
    return Controller(
        type="xenbus",
        index=0,
        max_event_channels=build.count("event_channels", most=2**31 - 1) or None,
        max_grant_frames=_frames(build),
    )


def _frames(build: Part) -> int | None:
    if build.raw("max_grant_frames") == 2**32 - 1:
        return None
    return build.count("max_grant_frames", most=2**31 - 1) or None


def _usb_controller(part: Part) -> Controller:
    version = part.count("version", 2, most=3)
    return Controller(
        type="usb",
        index=part.count("devid", most=2**31 - 1),
        model=USB_MODELS.get(version or 2, "qusb2"),
        ports=part.count("ports", most=255) or None,
    )


def _serials(kind: Part) -> tuple[Serial, ...]:
    texts = kind.texts("serial_list") or [text for text in [kind.text("serial")] if text]
    return tuple(
        chardev(Serial, text, ChardevTarget(port=port), lambda fault: kind.fail("serial", fault))
        for port, text in enumerate(texts)
        if text != "none"
    )


def _channel(part: Part) -> Channel:
    target = ChardevTarget(type="xen", name=part.text("name"))
    if "connection.socket" in part:
        path = part.part("connection.socket").text("path")
        sources = (ChardevSource(mode="bind", path=path),) if path else ()
        return Channel(type="unix", sources=sources, target=target)
    return Channel(type="pty", target=target)


def _inputs(kind: Part) -> tuple[Input, ...]:
    names = kind.texts("usbdevice_list") or [text for text in [kind.text("usbdevice")] if text]
    return tuple(Input(type=USB_INPUTS[name], bus="usb") for name in names if name in USB_INPUTS)


def _sounds(kind: Part) -> tuple[Sound, ...]:
    name = kind.text("soundhw")
    return (Sound(model=SOUNDS[name]),) if name in SOUNDS else ()


def _graphics(whole: Part, kind: Part, guest: Kind) -> tuple[Graphics, ...]:
    """Return screens; those of an HVM guest may stand in its own part alone, as xl has it."""
    found: list[Graphics] = []
    if guest == "hvm" and kind.part("spice").truth("enable"):
        found.append(_spice(kind))
    for part in whole.parts("vfbs"):
        found += _screen(part, part.text("keymap"))
    if not found and guest == "hvm":
        found += _screen(kind, kind.text("keymap"))
    return tuple(found)


def _screen(part: Part, keymap: str | None) -> list[Graphics]:
    vnc, sdl = part.part("vnc"), part.part("sdl")
    if vnc.truth("enable"):
        display = vnc.count("display", 0, most=LAST_DISPLAY) or 0
        # A display that was looked for is another one when the guest starts again.
        looked_for = bool(vnc.truth("findunused"))
        listen = vnc.text("listen")
        if listen is not None and listen.count(":") == 1:
            listen = listen.partition(":")[0] or None  # libxl may put the display behind it
        return [
            Graphics(
                type="vnc",
                autoport=looked_for,
                port=None if looked_for else FIRST_PORT + display,
                listen=listen,
                passwd=vnc.text("passwd"),
                keymap=keymap,
            )
        ]
    if sdl.truth("enable"):
        return [Graphics(type="sdl", display=sdl.text("display"), xauth=sdl.text("xauthority"))]
    return []


def _spice(kind: Part) -> Graphics:
    spice = kind.part("spice")
    port = spice.count("port", most=65535) or None
    tls_port = spice.count("tls_port", most=65535) or None
    return Graphics(
        type="spice",
        port=port,
        tls_port=tls_port,
        autoport=port is None and tls_port is None,
        listen=spice.text("host"),
        passwd=spice.text("passwd"),
        keymap=kind.text("keymap"),
        mouse_mode="server" if spice.truth("agent_mouse") is False else "client",
        clipboard_copypaste=bool(spice.truth("clipboard_sharing")),
    )


def _videos(build: Part, kind: Part) -> tuple[Video, ...]:
    card = kind.part("vga").word("kind", CARDS | {"unknown": None})
    if card in {None, "none"} or kind.truth("nographic"):
        return ()
    vram = build.count("video_memkb", most=2**31 - 1)
    return (Video(model=VideoModel(type=card, vram=vram or None)),)


def _hostdevs(whole: Part) -> tuple[Hostdev, ...]:
    found: list[Hostdev] = []
    for part in whole.parts("pcidevs"):
        address = HostPciAddress(
            domain=part.count("domain", 0, most=0xFFFF),
            bus=part.count("bus", 0, most=0xFF),
            slot=part.count("dev", 0, most=0x1F),
            function=part.count("func", 0, most=7),
        )
        filtering = False if part.truth("permissive") else None
        source = PciSource(write_filtering=filtering, address=address)
        found.append(PciHostdev(mode="subsystem", managed=False, source=source))
    for part in whole.parts("usbdevs"):
        place = part.part("type.hostdev")
        usb = HostUsbAddress(
            bus=place.count("hostbus", 0, most=255), device=place.count("hostaddr", 0, most=255)
        )
        source_usb = UsbSource(address=usb)
        found.append(UsbHostdev(mode="subsystem", managed=False, source=source_usb))
    return tuple(found)
