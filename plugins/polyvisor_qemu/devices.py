"""The devices of QEMU's command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_qemu.chardevs import Chardevs
from polyvisor_qemu.controllers import Controllers
from polyvisor_qemu.disks import Disks

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

__all__ = ["build"]

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
    return _Devices(spec).all()


class _Devices(Controllers, Disks, Chardevs):
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
