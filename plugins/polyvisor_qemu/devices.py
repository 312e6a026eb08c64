"""The devices of QEMU's command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from polyvisor.errors import SemanticError

if TYPE_CHECKING:
    from polyvisor.model import Device, DomainSpec
    from polyvisor.model.devices.chardev import Chardev
    from polyvisor.model.devices.disk import Disk

__all__ = ["RUN_FD", "build"]

#: Number under which QEMU has its run folder: sockets get short paths by it.
RUN_FD = 20
# The device model for a disk on each bus.
_DISK_MODELS = {
    "ide": "ide-hd",
    "sata": "ide-hd",
    "virtio": "virtio-blk-pci",
    "usb": "usb-storage",
    "scsi": "scsi-hd",
}
_CDROM_MODELS = {"ide": "ide-cd", "sata": "ide-cd", "scsi": "scsi-cd"}
_VIDEO = {
    "vga": "VGA",
    "virtio": "virtio-vga",
    "qxl": "qxl-vga",
    "cirrus": "cirrus-vga",
    "bochs": "bochs-display",
    "vmvga": "vmware-svga",
    "ramfb": "ramfb",
    "default": "VGA",
}
_USB_CONTROLLERS = {
    "qemu-xhci": "qemu-xhci",
    "nec-xhci": "nec-usb-xhci",
    "piix3-uhci": "piix3-usb-uhci",
    "ehci": "usb-ehci",
}
# ICH9's USB is one device of several functions: these, and ich9-ehci1 as the seventh.
_ICH9_UHCI = ("ich9-uhci1", "ich9-uhci2", "ich9-uhci3")
_ICH9_SLOT = "0x1d"
# What cannot be left out without the guest missing it. USB redirection is there for who
# looks at the guest's screen, and he has no way here to redirect anything.
_REFUSED = {
    "hostdevs": "hostdev",
    "tpms": "tpm",
    "filesystems": "filesystem",
    "hubs": "hub",
    "smartcards": "smartcard",
    "shmems": "shmem",
    "memories": "memory",
    "leases": "lease",
    "iommu": "iommu",
    "vsock": "vsock",
    "nvram": "nvram",
}
_SOUND = {"ich6": "intel-hda", "ich9": "ich9-intel-hda", "ac97": "AC97", "es1370": "ES1370"}


def build(spec: DomainSpec) -> list[str]:
    """Return the options for all devices of a definition."""
    return _Builder(spec).all()


class _Builder:
    def __init__(self, spec: DomainSpec) -> None:
        from polyvisor_qemu.argv import machine

        self.spec = spec
        self.args: list[str] = []
        self.q35 = "q35" in machine(spec)
        self.virt = machine(spec).startswith("virt")
        self._usb = False
        self._boot = {dev: number for number, dev in enumerate(spec.os.boot, 1)}
        self._booted: set[str] = set()

    def refuse(self, element: str, fault: str) -> SemanticError:
        return SemanticError(
            f"domain {self.spec.name!r}: domain/devices/{element}: {fault}",
            domain=self.spec.name,
            element=f"domain/devices/{element}",
            fault=fault,
        )

    def option(self, kind: str, /, **values: Any) -> None:
        """Add an option in JSON; absent values are left out."""
        plain = {k.rstrip("_").replace("__", "-"): v for k, v in values.items() if v is not None}
        self.args += [f"-{kind}", json.dumps(plain, ensure_ascii=False)]

    def device(self, driver: str, device: Device | None = None, **values: Any) -> None:
        """Add a device at the address that its element states."""
        if device is not None:
            values |= self.address(device)
            if device.boot is not None and device.boot.order:
                values["bootindex"] = device.boot.order
        self.option("device", driver=driver, **values)

    def address(self, device: Device) -> dict[str, Any]:
        """Return bus and slot of a PCI device; QEMU places the others by itself."""
        place: Any = device.address
        if place is None or place.__class__.__name__ != "PciAddress" or place.bus is None:
            return {}
        root = "pcie.0" if self.q35 or self.virt else "pci.0"
        slot = f"0x{place.slot or 0:x}" + (f".0x{place.function:x}" if place.function else "")
        return {
            "bus": root if not place.bus else f"pci.{place.bus}",
            "addr": slot,
            **({"multifunction": True} if getattr(place, "multifunction", None) else {}),
        }

    def all(self) -> list[str]:
        held = self.spec.devices
        for name, element in _REFUSED.items():
            if getattr(held, name):
                raise self.refuse(element, "not supported by this driver yet; remove it")
        if held.extra is not None and held.extra.elements:
            import re

            first = re.split(r"[\s/>]", held.extra.elements[0].lstrip("<"), maxsplit=1)[0]
            raise self.refuse(first, "not known to this driver; remove it")
        self.controllers()
        for number, disk in enumerate(held.disks):
            self.disk(number, disk)
        for number, interface in enumerate(held.interfaces):
            self.interface(number, interface)
        self.serials()
        for number, channel in enumerate(held.channels):
            self.channel(number, channel)
        for number, given in enumerate(held.inputs):
            self.input(number, given)
        for number, graphics in enumerate(held.graphics):
            self.graphics(number, graphics)
        for number, video in enumerate(held.videos):
            self.video(number, video)
        for number, sound in enumerate(held.sounds):
            self.sound(number, sound)
        for number, rng in enumerate(held.rngs):
            self.rng(number, rng)
        for watchdog in held.watchdogs:
            if watchdog.model != "itco":
                self.device(watchdog.model or "i6300esb", watchdog, id="watchdog0")
            action = {"dump": "pause"}.get(watchdog.action or "reset", watchdog.action or "reset")
            self.args += ["-watchdog-action", action]
        if held.memballoon is not None and held.memballoon.model not in (None, "none"):
            if held.memballoon.model == "xen":
                raise self.refuse("memballoon", "'xen' is no balloon of QEMU's; use 'virtio'")
            self.device(
                "virtio-balloon-pci",
                held.memballoon,
                id="balloon0",
                deflate__on__oom=held.memballoon.autodeflate,
            )
        for panic in held.panics:
            if panic.model not in (None, "default", "isa"):
                raise self.refuse("panic", f"{panic.model!r} is not supported yet; use 'isa'")
            self.device("pvpanic", id="panic0")
        return self.args

    # Controllers

    def controllers(self) -> None:
        usb_wanted = True
        counts: dict[str, int] = {}
        for controller in self.spec.devices.controllers:
            kind = controller.type or ""
            number = controller.index if controller.index is not None else counts.get(kind, 0)
            counts[kind] = number + 1
            if kind == "usb":
                usb_wanted = False
                self.usb_controller(number, controller)
            elif kind == "pci":
                self.pci_controller(number, controller)
            elif kind == "scsi":
                model = controller.model or "lsilogic"
                driver = {"lsilogic": "lsi53c895a", "virtio-scsi": "virtio-scsi-pci"}.get(model)
                if driver is None:
                    raise self.refuse("controller", f"SCSI controller {model!r} is not supported")
                self.device(driver, controller, id=f"scsi{number}")
            elif kind == "virtio-serial":
                self.device("virtio-serial-pci", controller, id=f"virtio-serial{number}")
            elif kind in ("ide", "sata", "fdc", "isa"):
                continue  # part of the machine
            else:
                raise self.refuse("controller", f"a {kind} controller is not supported yet")
        held = self.spec.devices
        needs_usb = any(one.bus == "usb" for one in held.inputs) or any(
            disk.target is not None and disk.target.bus == "usb" for disk in held.disks
        )
        if usb_wanted and needs_usb:
            self.device("qemu-xhci" if self.q35 else "piix3-usb-uhci", id="usb")
            self._usb = True
        if held.channels and not counts.get("virtio-serial"):
            self.device("virtio-serial-pci", id="virtio-serial0")
        if not counts.get("scsi") and any(
            disk.target is not None and disk.target.bus == "scsi" for disk in held.disks
        ):
            self.device("lsi53c895a", id="scsi0")

    def usb_controller(self, number: int, controller: Any) -> None:
        if controller.model == "none":
            return
        model = controller.model or ("qemu-xhci" if self.q35 else "piix3-uhci")
        if model.startswith("ich9-"):
            self.ich9_usb(number, model, controller)
            return
        driver = _USB_CONTROLLERS.get(model)
        if driver is None:
            raise self.refuse("controller", f"USB controller {model!r} is not supported yet")
        ports = controller.ports if model.endswith("xhci") else None
        self.device(
            driver,
            controller,
            id="usb" if not self._usb else f"usb{number}",
            p2=ports,
            p3=ports,
        )
        self._usb = True

    def ich9_usb(self, number: int, model: str, controller: Any) -> None:
        """Add one of the functions of ICH9's USB device; the slow ones serve the fast one's bus."""
        slow = model in _ICH9_UHCI
        if not slow and model != "ich9-ehci1":
            raise self.refuse("controller", f"USB controller {model!r} is not supported yet")
        function = _ICH9_UHCI.index(model) if slow else 7
        place: dict[str, Any] = {}
        if not self.address(controller):
            root = "pcie.0" if self.q35 else "pci.0"
            place = {"bus": root, "addr": f"{_ICH9_SLOT}.0x{function}"}
            if function == 0:
                place["multifunction"] = True
        master = controller.master_startport is not None
        self.device(
            model.replace("ich9-", "ich9-usb-"),
            controller,
            id="usb" if not self._usb else f"{model}-{number}",
            masterbus="usb.0" if master else None,
            firstport=controller.master_startport,
            **place,
        )
        self._usb = True

    def pci_controller(self, number: int, controller: Any) -> None:
        model = controller.model or "pcie-root-port"
        if model in ("pci-root", "pcie-root"):
            return
        target = controller.target
        if model == "pcie-root-port":
            self.device(
                "pcie-root-port",
                controller,
                id=f"pci.{number}",
                port=(target.port if target is not None else None) or number,
                chassis=(target.chassis if target is not None else None) or number,
            )
        elif model == "pci-bridge":
            chassis = (target.chassis_nr if target is not None else None) or number
            self.device("pci-bridge", controller, id=f"pci.{number}", chassis_nr=chassis)
        elif model == "pcie-to-pci-bridge":
            self.device("pcie-pci-bridge", controller, id=f"pci.{number}")
        else:
            raise self.refuse("controller", f"PCI controller {model!r} is not supported yet")

    # Disks

    def disk(self, number: int, disk: Disk) -> None:
        bus = (disk.target.bus if disk.target is not None else None) or _bus_of(disk)
        floppy = disk.device == "floppy"
        cdrom = disk.device == "cdrom"
        models = _CDROM_MODELS if cdrom else _DISK_MODELS
        model = "floppy" if floppy else models.get(bus)
        if model is None:
            raise self.refuse(f"disk[{number}]", f"a {disk.device} on bus {bus!r} is not supported")
        if disk.readonly and bus in ("ide", "sata") and not (cdrom or floppy):
            raise self.refuse(
                f"disk[{number}]/readonly",
                f"an {bus} disk cannot be read-only; use bus='virtio' or device='cdrom'",
            )
        node = self.storage(number, disk)
        values: dict[str, Any] = {"id": f"disk{number}", "drive": node}
        if bus in ("ide", "sata") and not floppy:
            place = self.drive_place(number, disk)
            values["bus"] = f"ide.{place[0]}"
            if bus == "ide" and not self.q35:
                values["unit"] = place[1]
        if disk.serial:
            values["serial"] = disk.serial
        kind = "cdrom" if cdrom else "fd" if floppy else "hd"
        if disk.boot is None and kind in self._boot and kind not in self._booted:
            self._booted.add(kind)
            values["bootindex"] = self._boot[kind]
        if floppy:
            values.pop("bootindex", None)
        self.device(model, disk, **values)

    def drive_place(self, number: int, disk: Disk) -> tuple[int, int]:
        """Return controller and unit: as addressed, else by the letter of the target."""
        place: Any = disk.address
        if place is not None and place.__class__.__name__ == "DriveAddress":
            return (place.bus or 0, place.unit or 0) if not self.q35 else (place.unit or 0, 0)
        name = disk.target.dev if disk.target is not None else None
        letter = ord(name[2]) - ord("a") if name is not None and len(name) == 3 else number
        return (letter, 0) if self.q35 else (letter // 2, letter % 2)

    def storage(self, number: int, disk: Disk) -> str | None:
        """Add the block nodes behind a disk and return the name of the top one."""
        source = disk.source
        path = None if source is None else source.file if disk.type == "file" else source.dev
        if disk.type not in ("file", "block"):
            raise self.refuse(
                f"disk[{number}]/source", f"a disk of type {disk.type!r} is not supported yet"
            )
        if path is None:
            if disk.device in ("cdrom", "floppy"):
                return None
            raise self.refuse(f"disk[{number}]/source", "is missing; say which file it is")
        readonly = disk.readonly or disk.device == "cdrom"
        driver = disk.driver
        cache = driver.cache if driver is not None else None
        node: dict[str, Any] = {
            "driver": "file" if disk.type == "file" else "host_device",
            "filename": path,
            "node-name": f"storage{number}",
            "read-only": readonly,
            "discard": (driver.discard if driver is not None else None) or "unmap",
        }
        if readonly:
            node["auto-read-only"] = False
        if cache in ("none", "directsync"):
            node["cache"] = {"direct": True, "no-flush": False}
        elif cache == "unsafe":
            node["cache"] = {"direct": False, "no-flush": True}
        if driver is not None and driver.io is not None:
            node["aio"] = driver.io
        self.args += ["-blockdev", json.dumps(node, ensure_ascii=False)]
        layer = {
            "driver": (driver.type if driver is not None else None) or "raw",
            "node-name": f"format{number}",
            "read-only": readonly,
            "file": f"storage{number}",
        }
        self.args += ["-blockdev", json.dumps(layer, ensure_ascii=False)]
        return f"format{number}"

    # Networks

    def interface(self, number: int, interface: Any) -> None:
        if interface.type != "user":
            raise self.refuse(
                f"interface[{number}]",
                f"type {interface.type!r} is not supported by this driver yet; use 'user'",
            )
        self.option("netdev", type="user", id=f"net{number}")
        model = {"virtio": "virtio-net-pci", None: "virtio-net-pci"}.get(
            interface.model, interface.model
        )
        self.device(
            model,
            interface,
            id=f"nic{number}",
            netdev=f"net{number}",
            mac=interface.mac.address if interface.mac is not None else None,
        )

    # Character devices

    def serials(self) -> None:
        serials: list[Any] = list(self.spec.devices.serials)
        if not serials:
            # A lone console stands for the first serial port (libvirt's rule).
            serials = [
                console
                for console in self.spec.devices.consoles
                if console.target is None or console.target.type in (None, "serial")
            ][:1]
        for number, serial in enumerate(serials):
            self.chardev(f"serial{number}", serial)
            if self.virt:
                self.args += ["-serial", f"chardev:serial{number}"]
                continue
            port = serial.target.port if serial.target is not None else None
            self.option(
                "device", driver="isa-serial", id=f"isa-serial{number}",
                chardev=f"serial{number}", index=port if port is not None else number,
            )  # fmt: skip
        for number, parallel in enumerate(self.spec.devices.parallels):
            self.chardev(f"parallel{number}", parallel)
            self.option(
                "device", driver="isa-parallel", id=f"isa-parallel{number}",
                chardev=f"parallel{number}",
            )  # fmt: skip

    def chardev(self, name: str, device: Chardev) -> None:
        from polyvisor_qemu.argv import keyval

        source = device.source
        path = source.path if source is not None else None
        words: list[str]
        if device.type == "file":
            if path is None:
                raise self.refuse(name, "has no path; say which file it writes")
            append = source is not None and source.append
            words = ["file", f"path={keyval(path)}", f"append={'on' if append else 'off'}"]
        elif device.type in ("pty", "null"):
            words = [device.type]
        elif device.type == "unix":
            server = source is None or source.mode != "connect"
            place = path or f"/proc/self/fd/{RUN_FD}/{name}"
            words = ["socket", f"path={keyval(place)}", f"server={'on' if server else 'off'}"]
            if server:
                words.append("wait=off")
        elif device.type == "tcp":
            if source is None or source.service is None:
                raise self.refuse(name, "has no host and service")
            server = source.mode == "bind"
            words = [
                "socket",
                f"host={keyval(source.host or '127.0.0.1')}",
                f"port={keyval(source.service)}",
                f"server={'on' if server else 'off'}",
                *(["wait=off"] if server else []),
            ]
        elif device.type in ("spicevmc", "spiceport"):
            words = [device.type, "name=vdagent"]
        else:
            raise self.refuse(name, f"type {device.type!r} is not supported by this driver yet")
        self.args += ["-chardev", f"{words[0]},id={name}," + ",".join(words[1:])]
        if len(words) == 1:
            self.args[-1] = f"{words[0]},id={name}"

    def channel(self, number: int, channel: Chardev) -> None:
        target = channel.target
        if target is None or target.type != "virtio":
            kind = target.type if target is not None else None
            raise self.refuse(f"channel[{number}]", f"target {kind!r} is not supported yet")
        if channel.type == "spicevmc" and not any(
            graphics.type == "spice" for graphics in self.spec.devices.graphics
        ):
            raise self.refuse(f"channel[{number}]", "spicevmc needs <graphics type='spice'>")
        self.chardev(f"channel{number}", channel)
        self.option(
            "device", driver="virtserialport", bus="virtio-serial0.0", id=f"port{number}",
            chardev=f"channel{number}", name=target.name,
        )  # fmt: skip

    # The rest

    def input(self, number: int, given: Any) -> None:
        if given.bus in ("ps2", None) and given.type in ("mouse", "keyboard"):
            return  # part of the machine
        model = {
            ("tablet", "usb"): "usb-tablet", ("mouse", "usb"): "usb-mouse",
            ("keyboard", "usb"): "usb-kbd", ("tablet", None): "usb-tablet",
            ("tablet", "virtio"): "virtio-tablet-pci", ("mouse", "virtio"): "virtio-mouse-pci",
            ("keyboard", "virtio"): "virtio-keyboard-pci",
        }.get((given.type, given.bus))  # fmt: skip
        if model is None:
            raise self.refuse(f"input[{number}]", f"{given.type} on {given.bus} is not supported")
        if model.startswith("usb"):
            self.option("device", driver=model, id=f"input{number}", bus="usb.0")
        else:
            self.device(model, given, id=f"input{number}")

    def graphics(self, number: int, graphics: Any) -> None:
        from polyvisor_qemu.argv import keyval

        if graphics.passwd:
            raise self.refuse(f"graphics[{number}]", "a password is not supported yet; remove it")
        listen = graphics.listen or "127.0.0.1"
        if graphics.type == "vnc":
            port = graphics.port
            if port is None or port < 0:
                words = [f"{keyval(listen)}:0", "to=99"]
            else:
                words = [f"{keyval(listen)}:{port - 5900}"]
            self.args += ["-vnc", ",".join(words)]
        elif graphics.type == "spice":
            from polyvisor_qemu.probe import has_spice

            if not has_spice():
                raise self.refuse(
                    f"graphics[{number}]",
                    "this QEMU has no SPICE; apt install qemu-system-modules-spice, or use vnc",
                )
            port = graphics.port if graphics.port and graphics.port > 0 else 0
            self.args += [
                "-spice",
                f"port={port or 5900 + number},addr={keyval(listen)},disable-ticketing=on",
            ]
        else:
            raise self.refuse(f"graphics[{number}]", f"{graphics.type!r} is not supported yet")

    def video(self, number: int, video: Any) -> None:
        kind = (video.model.type if video.model is not None else None) or "vga"
        if kind == "none":
            return
        model = _VIDEO.get(kind)
        if model is None:
            raise self.refuse(f"video[{number}]", f"{kind!r} is not supported yet")
        if number:
            model = {"qxl-vga": "qxl", "virtio-vga": "virtio-gpu-pci"}.get(model, model)
        self.device(model, video, id=f"video{number}")

    def sound(self, number: int, sound: Any) -> None:
        model = _SOUND.get(sound.model or "")
        if model is None:
            raise self.refuse(f"sound[{number}]", f"{sound.model!r} is not supported yet")
        if number == 0:
            self.args += ["-audiodev", "none,id=audio0"]
        self.device(model, sound, id=f"sound{number}",
                    **({} if "hda" in model else {"audiodev": "audio0"}))  # fmt: skip
        if "hda" in model:
            self.option(
                "device", driver="hda-duplex", id=f"sound{number}-codec0",
                bus=f"sound{number}.0", cad=0, audiodev="audio0",
            )  # fmt: skip

    def rng(self, number: int, rng: Any) -> None:
        backend = rng.backend
        model = backend.model if backend is not None else "random"
        if model == "builtin":
            self.option("object", qom__type="rng-builtin", id=f"rng-source{number}")
        elif model in (None, "random"):
            path = (backend.path if backend is not None else None) or "/dev/urandom"
            self.option("object", qom__type="rng-random", id=f"rng-source{number}", filename=path)
        else:
            raise self.refuse(f"rng[{number}]/backend", f"{model!r} is not supported yet")
        limits: dict[str, Any] = {}
        if rng.rate is not None:
            limits = {"max__bytes": rng.rate.bytes, "period": rng.rate.period or 1000}
        self.device("virtio-rng-pci", rng, id=f"rng{number}", rng=f"rng-source{number}", **limits)


def _bus_of(disk: Disk) -> str:
    """Return the bus that the target's name stands for (virDiskNameToBusDeviceIndex)."""
    name = (disk.target.dev if disk.target is not None else None) or "hda"
    return {"hd": "ide", "sd": "scsi", "vd": "virtio", "fd": "fdc", "xv": "xen"}.get(
        name[:2], "ide"
    )
