"""Devices that ``xl.cfg`` has and ``xm`` did not: SPICE, cards, USB, channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.model.devices.chardev import Channel, ChardevSource, ChardevTarget
from polyvisor.model.devices.controller import Controller
from polyvisor.model.devices.graphics import Graphics
from polyvisor.model.devices.hostdev import HostUsbAddress, UsbHostdev, UsbSource
from polyvisor.model.devices.video import Video, VideoModel
from polyvisor_libxl.completion import VIDEO_MEMORY, emulator_of
from polyvisor_libxl.config.tables import CARDS
from polyvisor_libxl.config.writing import refuse

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor_libxl.config.grammar import Atom, Entry
    from polyvisor_libxl.config.settings import Settings

__all__ = [
    "channel_entries",
    "channels",
    "spice",
    "spice_entries",
    "usb_controllers",
    "usb_entries",
    "usb_hostdevs",
    "video",
    "video_entries",
]

#: USB controllers that Xen has of its own, by version.
USB_MODELS = {1: "qusb1", 2: "qusb2"}
USB_VERSIONS = {model: version for version, model in USB_MODELS.items()} | {None: 2}
#: Ports of a controller that does not say.
USB_PORTS = 8
#: In KiB per MiB.
KIB = 1024


def spice(settings: Settings) -> tuple[Graphics, ...]:
    """Return the SPICE screen, if there is one."""
    if not settings.truth("spice"):
        return ()
    port = settings.number("spiceport", 0, most=65535)
    tls_port = settings.number("spicetls_port", 0, most=65535)
    passwd = settings.text("spicepasswd")
    if not settings.truth("spicedisable_ticketing") and passwd is None:
        settings.fail("spice", "spice without spicepasswd needs spicedisable_ticketing = 1")
    return (
        Graphics(
            type="spice",
            port=port or None,
            tls_port=tls_port or None,
            autoport=not port and not tls_port,
            listen=settings.text("spicehost"),
            passwd=None if settings.truth("spicedisable_ticketing") else passwd,
            mouse_mode="client" if settings.truth("spiceagent_mouse") else "server",
            clipboard_copypaste=bool(settings.truth("spice_clipboard_sharing")),
        ),
    )


def spice_entries(spec: DomainSpec) -> dict[str, Entry]:
    """Return what to set for the screen, if it is one of SPICE."""
    screens = spec.devices.graphics
    if not screens or screens[0].type != "spice":
        return {}
    graphics = screens[0]
    entries: dict[str, Entry] = {"sdl": 0, "vnc": 0, "spice": 1}
    if graphics.listens and graphics.listens[0].address is not None:
        entries["spicehost"] = graphics.listens[0].address
    entries["spiceport"] = max(graphics.port or 0, 0)
    entries["spicetls_port"] = max(graphics.tls_port or 0, 0)
    entries["spicedisable_ticketing"] = int(not graphics.passwd)
    if graphics.passwd:
        entries["spicepasswd"] = graphics.passwd
    # The agent in the guest is needed for the mouse and for the clipboard.
    if graphics.mouse_mode is not None:
        entries["spiceagent_mouse"] = int(graphics.mouse_mode == "client")
    if graphics.mouse_mode == "client":
        entries["spicevdagent"] = 1
    if graphics.clipboard_copypaste:
        entries.update({"spice_clipboard_sharing": 1, "spicevdagent": 1})
    return entries


def video(settings: Settings) -> tuple[Video, ...]:
    """Return the video card, if the configuration names one."""
    name = settings.text("vga")
    if name is None and settings.truth("stdvga"):
        name = "stdvga"
    size = settings.number("videoram", 0, most=4096)
    if name is None and not size:
        return ()
    if name is not None and name not in CARDS:
        settings.fail("vga", f"vga is {name!r} and can be {', '.join(CARDS)}")
    if name == "none":
        return ()
    kind: Any = "cirrus" if name is None else CARDS[name]
    return (Video(model=VideoModel(type=kind, vram=size * KIB or None)),)


def video_entries(spec: DomainSpec) -> dict[str, Entry]:
    """Return what to set for the video card, where it is not the one that xl takes anyway."""
    cards = spec.devices.videos
    model = cards[0].model if cards else None
    if model is None or model.type is None:
        return {}
    entries: dict[str, Entry] = {}
    kind = "vga" if model.type == "xen" else model.type
    names = {card: name for name, card in CARDS.items()}
    if kind not in names:
        refuse("devices/video", f"Xen has no video card {kind!r}", f"use {', '.join(names)}")
    if kind != "cirrus":
        entries["vga"] = names[kind]
    if kind != "none" and (model.vram or 0) > VIDEO_MEMORY[kind][emulator_of(spec)]:
        entries["videoram"] = -(-(model.vram or 0) // KIB)
    return entries


def _number(settings: Settings, atom: Atom, key: str, text: str, most: int) -> int:
    """Return a hexadecimal number, as libvirt reads and writes those of USB."""
    try:
        found = int(text, 16) if len(text) < 8 else -1
    except ValueError:
        found = -1
    if not 0 <= found <= most:
        settings.fail(atom, f"{key} is {text!r} and should be a number up to {most}")
    return found


def usb_controllers(settings: Settings) -> tuple[Controller, ...]:
    """Return Xen's own USB controllers; emulated ones are the device model's affair."""
    found = []
    for atom in settings.atoms("usbctrl") or ():
        said = dict(settings.pairs(atom))
        if said.get("type", "qusb") not in {"qusb", "pv", "auto"}:
            settings.fail(atom, f"a definition has no place for USB controllers {said['type']!r}")
        version = _number(settings, atom, "version", said.get("version", "2"), 3)
        ports = _number(settings, atom, "ports", said.get("ports", f"{USB_PORTS:x}"), 31)
        if version not in USB_MODELS:
            settings.fail(atom, f"version is {version} and can be 1 or 2")
        found.append(Controller(type="usb", model=USB_MODELS[version], ports=ports))
    return tuple(found)


def usb_hostdevs(settings: Settings) -> tuple[UsbHostdev, ...]:
    """Return USB devices of the host."""
    found = []
    for atom in settings.atoms("usbdev") or ():
        said = dict(settings.pairs(atom))
        if not {"hostbus", "hostaddr"} <= said.keys():
            settings.fail(atom, f"{atom.text!r} does not say hostbus and hostaddr")
        bus = _number(settings, atom, "hostbus", said["hostbus"], 255)
        device = _number(settings, atom, "hostaddr", said["hostaddr"], 255)
        source = UsbSource(address=HostUsbAddress(bus=bus, device=device))
        found.append(UsbHostdev(mode="subsystem", managed=False, source=source))
    return tuple(found)


def usb_entries(spec: DomainSpec) -> dict[str, Entry]:
    """Return what to set for USB devices of the host and the controllers they are on."""
    entries: dict[str, Entry] = {}
    devices: list[Entry] = [
        _usb_text(one) for one in spec.devices.hostdevs if isinstance(one, UsbHostdev)
    ]
    if devices:
        entries["usbdev"] = devices
    controllers: list[Entry] = []
    for controller in spec.devices.controllers:
        if controller.type != "usb":
            continue
        if controller.model not in USB_VERSIONS:
            refuse(
                "devices/controller",
                f"Xen has no USB controller {controller.model!r}",
                "use qusb1 or qusb2",
            )
        parts = []
        if controller.model is not None:
            parts.append(f"type=qusb,version={USB_VERSIONS[controller.model]}")
        if controller.ports is not None:
            parts.append(f"ports={controller.ports:x}")
        controllers.append(",".join(parts) or f"type=qusb,version=2,ports={USB_PORTS:x}")
    if controllers:
        entries["usbctrl"] = controllers
    return entries


def _usb_text(device: UsbHostdev) -> str:
    address = None if device.source is None else device.source.address
    if address is None or address.bus is None or address.device is None:
        refuse(
            "devices/hostdev",
            "Xen knows USB devices by bus and device, not by vendor and product",
            "add source/address",
        )
    return f"hostbus={address.bus:x},hostaddr={address.device:x}"


def channels(settings: Settings) -> tuple[Channel, ...]:
    """Return channels between host and guest."""
    found = []
    for atom in settings.atoms("channel") or ():
        said: dict[str, Any] = dict(settings.pairs(atom))
        target = ChardevTarget(type="xen", name=said.get("name"))
        connection = said.get("connection", "")
        if connection.startswith("socket"):
            source = ChardevSource(mode="bind", path=said.get("path"))
            sources = (source,) if source.path else ()
            found.append(Channel(type="unix", sources=sources, target=target))
        elif connection.startswith("pty"):
            found.append(Channel(type="pty", target=target))
        else:
            settings.fail(atom, f"connection is {connection!r} and can be pty or socket")
    return tuple(found)


def channel_entries(spec: DomainSpec) -> dict[str, Entry]:
    """Return what to set for channels; those of other kinds than Xen's are left out."""
    texts: list[Entry] = []
    for channel in spec.devices.channels:
        target = channel.target or ChardevTarget()
        if target.type != "xen":
            continue
        path = None if channel.source is None else channel.source.path
        if channel.type == "pty":
            parts = ["connection=pty"]
        elif channel.type == "unix":
            parts = ["connection=socket", *([f"path={path}"] if path else [])]
        else:
            refuse("devices/channel", f"Xen has no channels to {channel.type!r}", "use unix or pty")
        if target.name is not None:
            parts.append(f"name={target.name}")
        texts.append(",".join(parts))
    return {"channel": texts} if texts else {}
