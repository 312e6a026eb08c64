"""A definition's devices as ``libxl_domain_config``.

How libvirt does it: libxlMakeDisk, libxlMakeNic, libxlMakeVfb, libxlMakeBuildInfoVfb,
libxlMakePCI, libxlMakeUSB, libxlMakeChannel and libxlMakeVideo, src/libxl/libxl_conf.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.model.devices.chardev import Channel, ChardevTarget
from polyvisor.model.devices.disk import Disk, DiskDriver
from polyvisor.model.devices.hostdev import HostPciAddress, PciHostdev, UsbHostdev
from polyvisor.model.devices.interface import Interface, SourcePciAddress
from polyvisor_libxl.completion import VIDEO_MEMORY, Kind, emulator_of
from polyvisor_libxl.config.vifs import bridge_text, ip_text
from polyvisor_libxl.config.writing import refuse
from polyvisor_libxl.config.xl_disks import rbd_text
from polyvisor_libxl.domconfig.words import BACKENDS, CARDS, USB_VERSIONS

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor.model.devices.graphics import Graphics
    from polyvisor_libxl.domconfig.facts import HostFacts

__all__ = ["devices", "disk_json", "nic_json", "pci_json", "screens", "usb_json", "video"]

#: Ports of a USB controller that does not say, and of those made for devices without one.
USB_PORTS = 8
#: The first display's TCP port.
FIRST_PORT = 5900
#: How often what an interface may send is filled up, in microseconds.
INTERVAL = 50_000
LOOPBACK = "127.0.0.1"


def devices(spec: DomainSpec, guest: Kind, facts: HostFacts) -> dict[str, Any]:
    """Return all lists of devices that are not empty."""
    held = spec.devices
    nics = [one for one in held.interfaces if one.type != "hostdev"]
    vfbs = _vfbs(held.graphics, facts)
    usb = [usb_json(one) for one in held.hostdevs if isinstance(one, UsbHostdev)]
    found: dict[str, list[Any]] = {
        "disks": [disk_json(one, facts) for one in held.disks],
        "nics": [{"devid": place, **nic_json(one, guest, facts)} for place, one in enumerate(nics)],
        "pcidevs": [
            *(pci_json(_nic_address(one)) for one in held.interfaces if one.type == "hostdev"),
            *(pci_json(*_pci(one)) for one in held.hostdevs if isinstance(one, PciHostdev)),
        ],
        "vfbs": vfbs,
        # Each screen has a keyboard and a mouse.
        "vkbs": [{"devid": -1} for _ in vfbs],
        "usbctrls": _usb_controllers(spec, len(usb)),
        "usbdevs": usb,
        "channels": [
            _channel(one, spec.name, facts)
            for one in held.channels
            if one.target is not None and one.target.type == "xen"
        ],
    }
    for one in held.hostdevs:
        if one.type not in {"pci", "usb"}:
            refuse("devices/hostdev", f"Xen does not pass devices of type {one.type!r} on")
    return {name: items for name, items in found.items() if items}


def disk_json(disk: Disk, facts: HostFacts) -> dict[str, Any]:
    """Return a disk as ``libxl_device_disk``."""
    driver = disk.driver or DiskDriver()
    path = _path(disk, facts)
    found: dict[str, Any] = {"pdev_path": path} if path else {}
    found["vdev"] = "" if disk.target is None else disk.target.dev or ""
    image = driver.type or "raw"
    if driver.name is None:
        image, backend = "raw", None
    else:
        backend = BACKENDS.get(driver.name, {}).get(image)
        if backend is None:
            refuse(
                "devices/disk/driver",
                f"libxl has no driver {driver.name!r} for images in format {image!r}",
            )
        found["backend"] = backend
    cdrom = disk.device == "cdrom"
    found["format"] = "empty" if cdrom and "pdev_path" not in found else image
    found["removable"] = 1
    if not disk.readonly:
        found["readwrite"] = 1
    if cdrom:
        found["is_cdrom"] = 1
    if driver.discard is not None and not disk.readonly:
        found["discard_enable"] = "True" if driver.discard == "unmap" else "False"
    if disk.transient is not None:
        refuse("devices/disk/transient", "Xen has no disks that forget what is written")
    if disk.backenddomain:
        found["backend_domname"] = disk.backenddomain
    return found


def _path(disk: Disk, facts: HostFacts) -> str | None:
    source = disk.source
    if source is None:
        return None
    if disk.type != "network":
        if disk.type not in {"file", "block", "dir"}:
            refuse("devices/disk", f"Xen has no disks of type {disk.type!r}", "use a file")
        return source.file or source.dev or source.dir
    if disk.driver is None or disk.driver.name != "qemu":
        refuse("devices/disk/driver", "only QEMU reaches disks over a network", "use 'qemu'")
    auth = disk.auth
    if auth is None or not auth.username:
        return rbd_text(source)
    key = facts.secrets.get(auth.username)
    if key is None:
        refuse("devices/disk/auth", f"the key of {auth.username!r} is not known on this host")
    who, key = (text.replace(":", "\\:") for text in (auth.username, key))
    return rbd_text(source, who=f":id={who}:key={key}:auth_supported=cephx\\;none")


def nic_json(interface: Interface, guest: Kind, facts: HostFacts) -> dict[str, Any]:
    """Return an interface as ``libxl_device_nic``, without its number."""
    found: dict[str, Any] = {}
    model = interface.model
    if model is not None and guest != "hvm" and model != "netfront":
        refuse("devices/interface/model", f"this guest has no {model!r}", "use 'netfront'")
    if model:
        found["model"] = model
    if interface.mac is not None and interface.mac.address is not None:
        found["mac"] = interface.mac.address
    script = interface.script
    if script and interface.type not in {"bridge", "ethernet"}:
        refuse("devices/interface/script", f"type {interface.type!r} has no script")
    if interface.type == "bridge":
        found["bridge"], script = bridge_text(interface)
    elif interface.type == "network":
        name = (interface.source and interface.source.network) or ""
        if name not in facts.bridges:
            refuse("devices/interface", f"the bridge of network {name!r} is not known here")
        found["bridge"] = facts.bridges[name]
    elif interface.type != "ethernet":
        refuse("devices/interface", f"Xen has no interface of type {interface.type!r}")
    said = {
        "ip": ip_text(interface),
        "ifname": interface.target,
        "script": script,
        "backend_domname": interface.backenddomain,
    }
    found.update({name: value for name, value in said.items() if value})
    # An emulated one has a twin that the guest may take instead, once it has drivers.
    emulated = model != "netfront" if model is not None else guest == "hvm"
    found["nictype"] = "vif_ioemu" if emulated else "vif"
    limit = None if interface.bandwidth is None else interface.bandwidth.outbound
    if limit is not None and limit.average:
        found["rate_bytes_per_interval"] = limit.average * 1024 * INTERVAL // 1_000_000
        found["rate_interval_usecs"] = INTERVAL
    if interface.mtu is not None:
        found["mtu"] = interface.mtu
    return found


def _nic_address(interface: Interface) -> SourcePciAddress | None:
    address = None if interface.source is None else interface.source.address
    return address if isinstance(address, SourcePciAddress) else None


def _pci(device: PciHostdev) -> tuple[HostPciAddress | None, bool]:
    source = device.source
    if source is None:
        return None, False
    return source.address, source.write_filtering is False


def pci_json(
    address: HostPciAddress | SourcePciAddress | None, permissive: bool = False
) -> dict[str, Any]:
    """Return a device of the host as ``libxl_device_pci``."""
    if address is None:
        refuse("devices/hostdev", "it has no PCI address on the host", "add source/address")
    fields = {
        "func": address.function,
        "dev": address.slot,
        "bus": address.bus,
        "domain": address.domain,
    }
    found: dict[str, Any] = {name: value for name, value in fields.items() if value}
    if permissive:
        found["permissive"] = True
    return found


def _vfbs(graphics: tuple[Graphics, ...], facts: HostFacts) -> list[dict[str, Any]]:
    ports = iter(facts.screen_ports)
    return [_vfb(one, ports) for one in graphics]


def _vfb(graphics: Graphics, ports: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"devid": -1}
    if graphics.type == "sdl":
        sdl = {"display": graphics.display, "xauthority": graphics.xauth}
        shown = {name: value for name, value in sdl.items() if value}
        found["vnc"] = {"enable": "False"}
        found["sdl"] = {"enable": "True", "opengl": "False", **shown}
    elif graphics.type == "vnc":
        vnc: dict[str, Any] = {"enable": "True"}
        listen = graphics.listens[0].address if graphics.listens else None
        said = {
            "listen": listen,
            "passwd": graphics.passwd,
            "display": _port(graphics, ports) - FIRST_PORT,
        }
        vnc.update({name: value for name, value in said.items() if value})
        vnc["findunused"] = "False"
        found["vnc"] = vnc
        found["sdl"] = {"enable": "False"}
        if graphics.keymap:
            found["keymap"] = graphics.keymap
    elif graphics.type != "spice":
        refuse("devices/graphics", f"Xen has no screen of type {graphics.type!r}", "use vnc")
    return found


def _port(graphics: Graphics, ports: Any) -> int:
    if not graphics.autoport and graphics.port is not None and graphics.port > 0:
        return graphics.port
    found = next(ports, None)
    if found is None:
        refuse("devices/graphics", "no TCP port is free for it", "give it a port")
    return int(found)


def screens(spec: DomainSpec, vfbs: list[Any], facts: HostFacts) -> dict[str, Any]:
    """Return the screen of an HVM guest: SPICE if there is one, else the first."""
    found: dict[str, Any] = {"vnc": {"enable": "False"}, "sdl": {"enable": "False"}, "spice": {}}
    for graphics in spec.devices.graphics:
        if graphics.type == "spice":
            found["spice"] = _spice(graphics, facts)
            if graphics.keymap:
                found["keymap"] = graphics.keymap
            return found
    if vfbs:
        first = vfbs[0]
        for name in ("vnc", "sdl"):
            if first.get(name, {}).get("enable") == "True":
                found[name] = dict(first[name])
        if "keymap" in first:
            found["keymap"] = first["keymap"]
    return found


def _spice(graphics: Graphics, facts: HostFacts) -> dict[str, Any]:
    found: dict[str, Any] = {"enable": "True"}
    if graphics.autoport:
        found["port"] = _port(graphics, iter(facts.screen_ports))
    elif graphics.port is not None:
        found["port"] = graphics.port
    if not graphics.autoport and graphics.tls_port is not None:
        found["tls_port"] = graphics.tls_port
    if graphics.listens:
        found["host"] = graphics.listens[0].address or LOOPBACK
    found["disable_ticketing"] = "False" if graphics.passwd else "True"
    if graphics.passwd:
        found["passwd"] = graphics.passwd
    found["agent_mouse"] = "False" if graphics.mouse_mode == "server" else "True"
    shared = "True" if graphics.clipboard_copypaste else "False"
    found["vdagent"] = found["clipboard_sharing"] = shared
    return found


def video(spec: DomainSpec, hvm: dict[str, Any]) -> dict[str, Any]:
    """Add the card to an HVM guest's part, and return the memory that it needs."""
    cards = spec.devices.videos
    model = cards[0].model if cards else None
    if model is None or model.type == "none":
        hvm.update({"nographic": "True", "vga": {"kind": "none"}})
        return {}
    kind = model.type or "cirrus"
    if kind not in CARDS:
        refuse("devices/video", f"Xen has no video card {kind!r}", "use cirrus, vga or qxl")
    least = VIDEO_MEMORY[kind][emulator_of(spec)]
    if (model.vram or 0) < least:
        refuse("devices/video", f"a card {kind!r} has at least {least} KiB of memory")
    hvm["vga"] = {"kind": CARDS[kind]}
    return {"video_memkb": model.vram}


def _usb_controllers(spec: DomainSpec, count: int) -> list[dict[str, Any]]:
    """Return USB controllers: those defined, else as many as the devices need."""
    defined = [one for one in spec.devices.controllers if one.type == "usb"]
    if not defined:
        whole = {"type": "qusb", "version": 2, "ports": USB_PORTS}
        return [{"devid": place, **whole} for place in range(-(-count // USB_PORTS))]
    found = []
    for one in defined:
        if one.model not in USB_VERSIONS:
            refuse("devices/controller", f"Xen has no USB controller {one.model!r}", "use qusb2")
        version = USB_VERSIONS[one.model]
        ports = USB_PORTS if one.ports is None else one.ports
        found.append({"type": "qusb", "devid": one.index, "version": version, "ports": ports})
    return found


def usb_json(device: UsbHostdev) -> dict[str, Any]:
    """Return a USB device of the host as ``libxl_device_usbdev``."""
    address = None if device.source is None else device.source.address
    if address is None or not address.bus or not address.device:
        refuse(
            "devices/hostdev",
            "libxl knows USB devices by bus and device, not by vendor and product",
            "add source/address",
        )
    return {"type.hostdev": {"hostbus": address.bus, "hostaddr": address.device}}


def _channel(channel: Channel, domain: str, facts: HostFacts) -> dict[str, Any]:
    target = channel.target or ChardevTarget()
    if target.name is None:
        refuse("devices/channel", "it has no name", "add target name")
    if channel.type == "pty":
        return {"name": target.name, "connection.pty": {}}
    if channel.type != "unix":
        refuse("devices/channel", f"Xen has no channels to {channel.type!r}", "use unix or pty")
    path = None if channel.source is None else channel.source.path
    path = path or f"{facts.channel_folder}/{domain}-{target.name}"
    return {"name": target.name, "connection.socket": {"path": path}}
