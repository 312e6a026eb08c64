"""Serial and parallel ports, channels, and where on the host they end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_qemu.builder import RUN_FD, Builder

if TYPE_CHECKING:
    from polyvisor.model.devices.chardev import Chardev

__all__ = ["Chardevs"]


class Chardevs(Builder):
    """Builds ports and channels."""

    def serials(self) -> None:
        """Add the serial and parallel ports."""
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
        """Add a port's end on the host."""
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
        """Add a channel to a program in the guest."""
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
