"""Graphics, sound, video."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_qemu.cmdline.words import joined, keyval

if TYPE_CHECKING:
    from polyvisor_qemu.cmdline.context import Context

__all__ = ["audios", "graphics", "sounds", "videos"]

_AUDIO = {"pulseaudio": "pa", "file": "wav"}
#: The one of libvirt's fields for a stream, and QEMU's (qapi/audio.json).
_STREAM = {
    "mixing_engine": "mixing-engine", "fixed_settings": "fixed-settings", "voices": "voices",
    "buffer_length": "buffer-length", "dev": "dev", "buffer_count": "buffer-count",
    "try_poll": "try-poll", "name": "name", "stream_name": "stream-name", "latency": "latency",
    "server_name": "server-name", "client_name": "client-name",
    "connect_ports": "connect-ports", "exact_name": "exact-name",
}  # fmt: skip
_SOUND = {"sb16": "sb16", "es1370": "ES1370", "ac97": "AC97", "ich6": "intel-hda",
          "ich9": "ich9-intel-hda", "usb": "usb-audio"}  # fmt: skip
_CODECS = {"duplex": "hda-duplex", "micro": "hda-micro", "output": "hda-output"}
_PRIMARY = {"vga": "VGA", "cirrus": "cirrus-vga", "vmvga": "vmware-svga", "qxl": "qxl-vga",
            "virtio": "virtio-vga", "bochs": "bochs-display", "ramfb": "ramfb"}  # fmt: skip
_SECONDARY = {
    "qxl": "qxl",
    "virtio": "virtio-gpu",
    "bochs": "bochs-display",
    "vga": "secondary-vga",
}


def audios(c: Context) -> None:
    """Add where sound goes."""
    for one in c.spec.devices.audios:
        kind = one.type or "none"
        values: dict[str, Any] = {"id": f"audio{one.id}", "driver": _AUDIO.get(kind, kind)}
        values |= {
            "timer-period": one.timer_period, "server": one.server_name, "path": one.path,
            "try-mmap": one.try_mmap, "exclusive": one.exclusive, "dsp-policy": one.dsp_policy,
        }  # fmt: skip
        for word, held in (("in", one.input), ("out", one.output)):
            if held is not None:
                stream = {
                    theirs: getattr(held, ours)
                    for ours, theirs in _STREAM.items()
                    if getattr(held, ours) is not None
                }
                if held.settings is not None:
                    for field in ("frequency", "channels", "format"):
                        if getattr(held.settings, field) is not None:
                            stream[field] = getattr(held.settings, field)
                values[word] = stream or None
        c.line.json("audiodev", values)


def _audio(c: Context, wanted: int | None) -> str | None:
    held = c.spec.devices.audios
    number = wanted or (held[0].id if held else None)
    return f"audio{number}" if number is not None else None


def graphics(c: Context) -> None:
    """Add screens for people."""
    held = c.spec.devices.graphics
    if not held:
        c.line.add("display", "none")
    for number, one in enumerate(held):
        if one.type == "vnc":
            _vnc(c, one)
        elif one.type == "spice":
            _spice(c, one)
        elif one.type == "egl-headless":
            node = one.gl.rendernode if one.gl is not None else None
            c.line.add("display", joined("egl-headless", rendernode=node or c.host.rendernode()))
        elif one.type == "sdl":
            if one.xauth:
                c.line.environment["XAUTHORITY"] = one.xauth
            if one.display:
                c.line.environment["DISPLAY"] = one.display
            gl = one.gl.enable if one.gl is not None else None
            c.line.add("display", joined("sdl", full__screen=one.fullscreen, gl=gl))
        elif one.type == "dbus":
            if one.p2p:
                raise c.refuse(f"graphics[{number}]", "D-Bus between two is not supported yet")
            gl = one.gl.enable if one.gl is not None else None
            c.line.add("display", joined("dbus", addr=one.address_text, gl=gl))
        else:
            raise c.refuse(f"graphics[{number}]", f"{one.type!r} is not supported by QEMU")


def _listens(one: Any) -> Any:
    return one.listens[0] if one.listens else None


def _socket(c: Context, one: Any, name: str) -> str:
    listen = _listens(one)
    return (listen.socket if listen is not None else None) or one.socket or (
        f"{c.host.run}/{name}.sock")  # fmt: skip


def _address(one: Any) -> str:
    listen = _listens(one)
    address = (listen.address if listen is not None else None) or one.listen or "127.0.0.1"
    return f"[{address}]" if ":" in address else address


def _vnc(c: Context, one: Any) -> None:
    listen = _listens(one)
    words: list[str] = []
    more: dict[str, Any] = {}
    if (listen is not None and listen.type == "socket") or one.socket:
        words = [f"vnc=unix:{keyval(_socket(c, one, 'vnc'))}"]
    elif listen is not None and listen.type == "none":
        words = ["none"]
    else:
        given = one.port if one.autoport is not True and one.port and one.port > 0 else None
        port = given or c.host.vnc_port()
        words = [f"{keyval(_address(one))}:{port - 5900 if port else 0}"]
        if not port:
            more["to"] = 99
        if one.websocket is not None and one.websocket:
            more["websocket"] = one.websocket if one.websocket > 0 else True
    if one.share_policy:
        more["share"] = one.share_policy
    if one.passwd or c.host.setting("vnc_password"):
        more["password"] = True
        c.passwords.append(
            (
                "vnc",
                one.passwd or str(c.host.setting("vnc_password")),
                one.passwd_valid_to,
                one.connected,
            )
        )
    folder = c.host.vnc_tls()
    if folder is not None:
        name = "vnc-tls-creds0"
        secret = c.tls_password("vnc", f"{name}-secret0")
        c.object_(
            "tls-creds-x509", name, dir=folder, endpoint="server",
            verify__peer=bool(c.host.setting("vnc_tls_x509_verify", False)), passwordid=secret,
        )  # fmt: skip
        more["tls-creds"] = name
    if c.host.setting("vnc_sasl"):
        more["sasl"] = True
    more["power-control"] = one.power_control
    more["audiodev"] = _audio(c, one.audio_id)
    c.line.add("vnc", joined(*words, **{k.replace("-", "__"): v for k, v in more.items()}))
    if one.keymap:
        c.line.add("k", one.keymap)


def _spice(c: Context, one: Any) -> None:
    listen = _listens(one)
    words: list[str] = []
    more: list[tuple[str, Any]] = []
    tls = c.host.spice_tls()
    wants_tls = one.default_mode != "insecure"
    if (listen is not None and listen.type == "socket") or one.socket:
        words = ["unix"]
        more = [("addr", _socket(c, one, "spice"))]
    elif listen is not None and listen.type == "none":
        more = [("port", 0)]
    else:
        auto = one.autoport is True or (one.autoport is None and (one.port is None or one.port < 0))
        port = one.port if one.autoport is not True and one.port and one.port > 0 else None
        if port is None and (auto or one.port == -1) and one.default_mode != "secure":
            port = c.host.spice_port(tls=False)
        secure = one.tls_port if one.tls_port and one.tls_port > 0 and not auto else None
        if secure is None and tls is not None and (auto or one.tls_port == -1) and wants_tls:
            secure = c.host.spice_port(tls=True)
        more = [("port", port), ("tls-port", secure)]
        address = _address(one).strip("[]")
        more.append(("addr", address))
    if one.mouse_mode is not None:
        more.append(("agent-mouse", one.mouse_mode == "client"))
    more.append(("sasl", True if c.host.setting("spice_sasl") else None))
    if tls is not None and any(key == "tls-port" and value for key, value in more):
        more.append(("x509-dir", tls))
    if one.passwd or c.host.setting("spice_password"):
        password = one.passwd or str(c.host.setting("spice_password"))
        c.passwords.append(("spice", password, one.passwd_valid_to, one.connected))
    else:
        more.append(("disable-ticketing", True))
    if one.default_mode in ("secure", "insecure"):
        kind = "tls-channel" if one.default_mode == "secure" else "plaintext-channel"
        more.append((kind, "default"))
    for channel in one.channels:
        word = {"secure": "tls-channel", "insecure": "plaintext-channel"}.get(channel.mode or "")
        if word is not None:
            more.append((word, channel.name))
    more += [
        ("image-compression", one.image_compression),
        ("jpeg-wan-compression", one.jpeg_compression),
        ("zlib-glz-wan-compression", one.zlib_compression),
        ("playback-compression", one.playback_compression),
        ("streaming-video", one.streaming_mode),
        ("disable-copy-paste", True if one.clipboard_copypaste is False else None),
        ("disable-agent-file-xfer", True if one.filetransfer_enable is False else None),
    ]  # fmt: skip
    if one.gl is not None and one.gl.enable:
        more += [("gl", True), ("rendernode", one.gl.rendernode or c.host.rendernode())]
    more.append(("seamless-migration", True))
    c.line.add("spice", ",".join(
        [*words, *(joined(**{key.replace("-", "__"): value}) for key, value in more
                   if value is not None)]))  # fmt: skip
    if one.keymap:
        c.line.add("k", one.keymap)


def videos(c: Context) -> None:
    """Add video cards."""
    for number, one in enumerate(c.spec.devices.videos):
        model = one.model
        kind = (model.type if model is not None else None) or "default"
        if kind == "none":
            continue
        kind = "vga" if kind == "default" else kind
        primary = number == 0 and (model is None or model.primary is not False)
        table = _PRIMARY if primary else _SECONDARY
        driver = table.get(kind)
        if driver is None:
            raise c.refuse(f"video[{number}]", f"{kind!r} is not supported by QEMU; use 'virtio'")
        _video(c, one, kind, driver, c.names.counted("videos", number, one))


def _video(c: Context, one: Any, kind: str, driver: str, name: str) -> None:
    """Add one card (qemuBuildDeviceVideoCmd)."""
    model = one.model
    values: dict[str, Any] = {}
    if kind == "virtio":
        accel = model.acceleration
        served = one.driver is not None and one.driver.name == "vhostuser"
        drawn = accel is not None and accel.accel3d
        if driver == "virtio-vga" and not c.machine.x86:
            driver = "virtio-gpu"
        if served:
            from polyvisor_qemu.cmdline.words import Listen

            number = c.line.descriptor(Listen(f"{c.host.run}/{name}-vhost-user-gpu.sock"))
            end = f"chr-vu-{name}"
            c.line.add("chardev", joined("socket", id=end, fd=number))
            values["chardev"] = end
            driver = driver.replace("virtio-", "vhost-user-")
        elif drawn:
            driver += "-gl"
        values |= {"max_outputs": model.heads, "blob": model.blob}
    elif kind == "qxl":
        values = {
            "max_outputs": model.heads,
            "ram_size": model.ram * 1024 if model.ram else None,
            "vram_size": model.vram * 1024 if model.vram else None,
            "vram64_size_mb": (model.vram64 or 0) // 1024,
            "vgamem_mb": model.vgamem // 1024 if model.vgamem else None,
        }
    elif kind in ("vga", "vmvga") and model is not None and model.vram:
        values = {"vgamem_mb": model.vram // 1024}
    elif kind == "bochs" and model.vram:
        values = {"vgamem": model.vram * 1024}
    if model is not None and model.resolution is not None:
        values |= {"xres": model.resolution.x, "yres": model.resolution.y}
    if driver in ("virtio-gpu", "virtio-gpu-gl", "vhost-user-gpu"):
        c.virtio(driver, one, name, **values)
        return
    c.device(driver, one, name, **values)


def sounds(c: Context) -> None:
    """Add sound cards."""
    for number, one in enumerate(c.spec.devices.sounds):
        name = c.names.counted("sounds", number, one)
        audio = _audio(c, one.audio_id)
        if one.model == "pcspk":
            c.line.add("machine", joined(pcspk__audiodev=audio))
            continue
        driver = _SOUND.get({"ich7": "ich6"}.get(one.model or "", one.model or ""))
        if driver is None:
            raise c.refuse(f"sound[{number}]", f"{one.model!r} is not supported by QEMU")
        if one.model not in ("ich6", "ich9", "ich7"):
            c.device(driver, one, name, audiodev=audio)
            continue
        c.device(driver, one, name)
        codecs = [codec.type or "duplex" for codec in one.codecs] or ["duplex"]
        for place, codec in enumerate(codecs):
            c.device(_CODECS[codec], None, f"{name}-codec{place}", bus=f"{name}.0", cad=place,
                     audiodev=audio)  # fmt: skip
