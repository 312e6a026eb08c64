"""Serial and parallel ports, consoles, channels, redirected USB, smart cards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_qemu.cmdline.chardevs import chardev

if TYPE_CHECKING:
    from polyvisor_qemu.cmdline.context import Context

__all__ = ["channels", "consoles", "parallels", "redirections", "serials", "smartcards"]

_SERIALS = {"isa-serial", "isa-debugcon", "pci-serial", "usb-serial", "spapr-vty", "sclpconsole",
            "sclplmconsole"}  # fmt: skip


def serials(c: Context) -> None:
    """Add serial ports."""
    for number, serial in enumerate(c.spec.devices.serials):
        name = c.names.counted("serials", number, serial)
        chardev(c, name, serial)
        target = serial.target
        model = target.model if target is not None else None
        if model in _SERIALS:
            port = target.port if target is not None and model == "isa-serial" else None
            c.device(model, serial, name, chardev=f"char{name}", index=port)
        else:
            # Part of the board: there is no device that it could be named as.
            c.line.add("serial", f"chardev:char{name}")


def parallels(c: Context) -> None:
    """Add parallel ports."""
    for number, parallel in enumerate(c.spec.devices.parallels):
        name = c.names.counted("parallels", number, parallel)
        chardev(c, name, parallel)
        c.device("isa-parallel", parallel, name, chardev=f"char{name}")


def consoles(c: Context) -> None:
    """Add consoles that are no serial ports."""
    for number, console in enumerate(c.spec.devices.consoles):
        kind = console.target.type if console.target is not None else "serial"
        name = c.names.counted("consoles", number, console)
        if kind in (None, "serial"):
            continue
        if kind == "virtio":
            chardev(c, name, console)
            c.device("virtconsole", console, name, chardev=f"char{name}")
        elif kind in ("sclp", "sclplm"):
            chardev(c, name, console)
            c.device(f"{kind}console", console, name, chardev=f"char{name}")
        else:
            raise c.refuse(f"console[{number}]", f"target {kind!r} is not supported; use 'virtio'")


def channels(c: Context) -> None:
    """Add channels to programs in the guest."""
    for number, channel in enumerate(c.spec.devices.channels):
        target = channel.target
        name = c.names.counted("channels", number, channel)
        if target is not None and target.type == "guestfwd":
            chardev(c, name, channel)
            where = f"tcp:{target.address}:{target.port}-chardev:char{name}"
            c.line.json("netdev", {"type": "user", "guestfwd": [{"str": where}], "id": name})
            continue
        if target is None or target.type != "virtio":
            kind = target.type if target is not None else None
            raise c.refuse(f"channel[{number}]", f"target {kind!r} is not supported; use 'virtio'")
        spice = any(one.type == "spice" for one in c.spec.devices.graphics)
        if channel.type == "spicevmc" and not spice:
            raise c.refuse(f"channel[{number}]", "spicevmc needs <graphics type='spice'>")
        chardev(c, name, channel)
        wanted = target.name
        if channel.type in ("spicevmc", "qemu-vdagent"):
            wanted = wanted or "com.redhat.spice.0"
        c.device("virtserialport", channel, name, chardev=f"char{name}", name=wanted)


def redirections(c: Context) -> None:
    """Add USB ports that a viewer can plug a device of its own into."""
    rules = c.spec.devices.redirfilter
    text = None
    if rules is not None:
        text = "|".join(_rule(one) for one in rules.usbdevs)
    for number, port in enumerate(c.spec.devices.redirdevs):
        name = c.names.counted("redirdevs", number, port)
        chardev(c, name, port)
        c.device("usb-redir", port, name, chardev=f"char{name}", filter=text)


def _rule(one: Any) -> str:
    """Return a rule as usbredir's library reads it."""
    words = [
        f"0x{number:0{digits}X}" if number is not None and number >= 0 else "-1"
        for number, digits in ((one.usb_class, 2), (one.vendor, 4), (one.product, 4))
    ]
    version = "-1"
    if one.version and one.version != "-1":
        major, _, minor = one.version.partition(".")
        version = f"0x{int(major):02X}{int(minor or 0):02X}"
    return ":".join([*words, version, "1" if one.allow else "0"])


def smartcards(c: Context) -> None:
    """Add smart cards."""
    for number, card in enumerate(c.spec.devices.smartcards):
        name = c.names.counted("smartcards", number, card)
        if card.mode == "host":
            c.device("ccid-card-emulated", card, name, backend="nss-emulated")
        elif card.mode == "host-certificates":
            held = {f"cert{n}": value for n, value in enumerate(card.certificates, 1)}
            c.device(
                "ccid-card-emulated", card, name, backend="certificates", **held,
                db=card.database or "/etc/pki/nssdb",
            )  # fmt: skip
        else:
            chardev(c, name, card)
            c.device("ccid-card-passthru", card, name, chardev=f"char{name}")
