"""Where on the host character devices end (qemuBuildChardevStr)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_qemu.cmdline.words import Listen, Open, joined

if TYPE_CHECKING:
    from polyvisor_qemu.cmdline.context import Context

__all__ = ["as_qmp", "chardev"]

#: What QMP knows under another type of value than the command line (qapi/char.json).
_TRUTHS = ("server", "wait", "telnet", "append", "logappend", "clipboard", "mouse")


def chardev(
    c: Context, name: str, device: Any, *, kind: str | None = None, wait: bool = False
) -> None:
    """Add a device's end on the host.

    Args:
        c: the definition.
        name: the device's name; its end is ``char`` and that.
        device: what has ``sources``, ``log`` and ``protocol``.
        kind: its type; ``None``: as the device says.
        wait: whether QEMU, serving at a socket, begins only when somebody has come.

    Raises:
        SemanticError: something is missing, or this QEMU has no such end.
    """
    kind = kind or device.type
    source = device.sources[0] if device.sources else None
    path = source.path if source is not None else None
    end = f"char{name}"
    log: dict[str, Any] = {} if kind == "file" else _log(c, name, device)
    if kind in ("pty", "null", "vc", "stdio"):
        text = joined(kind, id=end, **log)
    elif kind == "file":
        if path is None:
            raise c.refuse(name, "has no path; say which file it writes")
        append = source is not None and source.append is True
        number = c.line.descriptor(Open(path, append))
        where = _fdset(c, number, f"{name}-source")
        log = _log(c, name, device)
        text = joined("file", id=end, path=where, append=True, **log)
    elif kind == "dev":
        word = "parallel" if device.__class__.__name__ == "Parallel" else "serial"
        text = joined(word, id=end, path=path, **log)
    elif kind == "pipe":
        text = joined("pipe", id=end, path=path, **log)
    elif kind == "unix":
        text = _unix(c, name, device, source, end, wait=wait, log=log)
    elif kind == "tcp":
        text = _tcp(c, name, device, source, end, log)
    elif kind == "udp":
        text = _udp(c, name, device, end, log)
    elif kind == "spicevmc":
        words = {"Redirdev": "usbredir", "Smartcard": "smartcard"}
        word = words.get(device.__class__.__name__, "vdagent")
        text = joined("spicevmc", id=end, name=word, **log)
    elif kind == "spiceport":
        text = joined("spiceport", id=end, name=source.channel if source else None, **log)
    elif kind == "qemu-vdagent":
        text = joined(
            "qemu-vdagent", id=end, name="vdagent",
            clipboard=source.clipboard if source else None,
            mouse={"client": True, "server": False}.get((source.mouse if source else None) or ""),
            **log,
        )  # fmt: skip
    elif kind == "dbus":
        text = joined("dbus", id=end, name=source.channel if source else None, **log)
    else:
        raise c.refuse(name, f"type {kind!r} is not supported by QEMU; use 'pty' or 'unix'")
    c.line.add("chardev", text)


def _fdset(c: Context, number: int, what: str) -> str:
    """Hand over an open file and return the path under which QEMU opens it again."""
    place = sum(word == "-add-fd" for word in c.line.args)
    c.line.add("add-fd", joined(set=place, fd=number, opaque=what))
    return f"/dev/fdset/{place}"


def _log(c: Context, name: str, device: Any) -> dict[str, Any]:
    """Hand over the file that gets all that the guest writes."""
    if device.log is None or device.log.file is None:
        return {}
    number = c.line.descriptor(Open(device.log.file, device.log.append is not False))
    where = _fdset(c, number, f"{name}-log")
    return {"logfile": where, "logappend": True}


def _unix(
    c: Context,
    name: str,
    device: Any,
    source: Any,
    end: str,
    *,
    wait: bool,
    log: dict[str, Any],
) -> str:
    path = source.path if source is not None else None
    again = source.reconnect if source is not None else None
    seconds = again.timeout if again is not None and again.enabled else None
    if source is not None and source.mode == "connect":
        return joined("socket", id=end, path=path, reconnect=seconds, **log)
    if path is None:
        channels = c.spec.devices.channels
        number = next((n for n, one in enumerate(channels) if one is device), 0)
        target = channels[number].target if device.__class__.__name__ == "Channel" else None
        path = c.host.channel(number, target.name if target is not None else name)
    if wait:
        return joined("socket", id=end, path=path, server=True, **log)
    number = c.line.descriptor(Listen(path))
    return joined("socket", id=end, fd=number, server=True, wait=False, **log)


def _tcp(c: Context, name: str, device: Any, source: Any, end: str, log: dict[str, Any]) -> str:
    if source is None or source.service is None:
        raise c.refuse(name, "has no host and service")
    server = source.mode == "bind"
    again = source.reconnect
    folder = c.host.chardev_tls()
    wanted = source.tls if source.tls is not None else c.host.setting("chardev_tls", False)
    creds = None
    if folder is not None and wanted:
        creds = f"obj{end}_tls0"
        password = c.tls_password("chardev", f"{end}-secret0")
        c.object_(
            "tls-creds-x509", creds, dir=folder, endpoint="server" if server else "client",
            verify__peer=bool(c.host.setting("chardev_tls_x509_verify", not server)),
            passwordid=password,
        )  # fmt: skip
    return joined(
        "socket", id=end, host=source.host or "127.0.0.1", port=source.service,
        telnet=True if device.protocol == "telnet" else None,
        server=True if server else None, wait=False if server else None,
        reconnect=again.timeout if again is not None and again.enabled else None,
        tls__creds=creds, **log,
    )  # fmt: skip


def _udp(c: Context, name: str, device: Any, end: str, log: dict[str, Any]) -> str:
    there = next((one for one in device.sources if one.mode != "bind"), None)
    here = next((one for one in device.sources if one.mode == "bind"), None)
    if there is None or there.service is None:
        raise c.refuse(name, "has no service to connect to")
    return joined(
        "udp", id=end, host=there.host or "", port=there.service,
        localaddr=(here.host or "") if here is not None else "",
        localport=(here.service or "0") if here is not None else "0", **log,
    )  # fmt: skip


def as_qmp(values: dict[str, str]) -> dict[str, Any]:
    """Return what ``chardev-add`` takes for an option's values (ChardevBackend, qapi/char.json).

    Args:
        values: those of ``-chardev``, its kind under ``""``.
    """
    kind = values[""]
    known: dict[str, Any] = {
        key: value == "on" if key in _TRUTHS else value for key, value in values.items()
    }
    data: dict[str, Any] = {key: known[key] for key in ("logfile", "logappend") if key in known}
    path = values.get("path")
    if kind == "socket":
        if "fd" in values:
            place = {"type": "fd", "data": {"str": values["fd"]}}
        elif path is not None:
            place = {"type": "unix", "data": {"path": path}}
        else:
            place = _inet(values.get("host"), values.get("port"))
        data |= {"addr": place, "server": known.get("server", False)}
        data |= {key: known[key] for key in ("wait", "telnet", "tls-creds") if key in known}
        if "reconnect" in values:
            data["reconnect"] = int(values["reconnect"])
    elif kind == "udp":
        data["remote"] = _inet(values.get("host"), values.get("port"))
        data["local"] = _inet(values.get("localaddr"), values.get("localport"))
    elif kind == "file":
        data |= {"out": path, "append": known.get("append", False)}
    elif kind == "spicevmc":
        data["type"] = values.get("name")
    elif kind == "spiceport":
        data["fqdn"] = values.get("name")
    elif kind == "dbus":
        data["name"] = values.get("name")
    elif kind == "qemu-vdagent":
        data |= {key: known[key] for key in ("clipboard", "mouse") if key in known}
    elif path is not None:
        data["device"] = path
    return {"id": values["id"], "backend": {"type": kind, "data": data}}


def _inet(host: str | None, port: str | None) -> dict[str, Any]:
    return {"type": "inet", "data": {"host": host or "", "port": port or "0"}}
