"""Disks that are on servers: NBD, iSCSI, Ceph, Gluster, HTTP and FTP, NFS, SSH (qemu_block.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_qemu.cmdline.storage import port_of

if TYPE_CHECKING:
    from polyvisor_qemu.cmdline.context import Context

__all__ = ["iscsi", "network"]


def network(c: Context, name: str, source: Any, disk: Any) -> dict[str, Any] | None:
    """Return the block node for a source on a server, ``None`` if QEMU has none for it.

    Args:
        c: the definition.
        name: what the node is called, without its end.
        source: the source.
        disk: the disk that it belongs to.
    """
    protocol = source.protocol
    if protocol in ("http", "https", "ftp", "ftps", "tftp"):
        return _url(c, name, source)
    made = {"nbd": _nbd, "iscsi": iscsi, "rbd": _rbd, "gluster": _gluster, "nfs": _nfs,
            "ssh": _ssh}.get(protocol or "")  # fmt: skip
    return made(c, name, source) if made is not None else None


def _url(c: Context, name: str, source: Any) -> dict[str, Any]:
    host = source.hosts[0]
    address = f"[{host.name}]" if ":" in (host.name or "") else host.name
    path = (source.name or "").lstrip("/")
    query = f"?{source.query}" if source.query else ""
    port = port_of(source.protocol, host)
    node: dict[str, Any] = {
        "driver": source.protocol,
        "url": f"{source.protocol}://{address}:{port}/{path}{query}",
    }
    if source.auth is not None and source.auth.username:
        node["username"] = source.auth.username
        node["password-secret"] = c.secret(f"{name}-storage-auth-secret0", source.auth.secret)
    if source.ssl_verify is not None:
        node["sslverify"] = source.ssl_verify
    if source.cookies is not None and source.cookies.cookies:
        # They may let in who knows them, so they are handed over as a secret is.
        text = "; ".join(f"{one.name}={one.value or ''}" for one in source.cookies.cookies)
        node["cookie-secret"] = c.inline_secret(f"{name}-storage-httpcookie-secret0", text)
    node["readahead"] = source.readahead
    node["timeout"] = source.timeout
    return node


def _server(protocol: str, host: Any, *, typed: bool = True) -> dict[str, Any]:
    if host.transport == "unix":
        return {"type": "unix", "path": host.socket}
    found: dict[str, Any] = {"host": host.name, "port": port_of(protocol, host)}
    return {"type": "inet", **found} if typed else found


def _nbd(c: Context, name: str, source: Any) -> dict[str, Any]:
    node: dict[str, Any] = {"driver": "nbd", "server": _server("nbd", source.hosts[0])}
    node["export"] = source.name
    if source.tls:
        folder = c.host.setting("nbd_tls_x509_cert_dir", "/etc/pki/qemu")
        tls = f"obj{name}-storage_tls0"
        secret = c.tls_password("nbd", f"{tls}-secret0")
        node["tls-creds"] = c.object_(
            "tls-creds-x509", tls, dir=folder, endpoint="client", verify__peer=True,
            passwordid=secret,
        )  # fmt: skip
        node["tls-hostname"] = source.tls_hostname
    node["reconnect-delay"] = (
        source.reconnect.timeout
        if source.reconnect is not None and source.reconnect.enabled is not False
        else None
    )
    return node


def iscsi(c: Context, name: str, source: Any) -> dict[str, Any]:
    """Return the block node for an iSCSI target."""
    host = source.hosts[0]
    target, _, lun = (source.name or "").partition("/")
    address = f"[{host.name}]" if ":" in (host.name or "") else host.name
    node: dict[str, Any] = {
        "driver": "iscsi", "portal": f"{address}:{port_of('iscsi', host)}", "target": target,
        "lun": int(lun or 0), "transport": "tcp",
    }  # fmt: skip
    if source.auth is not None and source.auth.username:
        word = "secret0" if name.endswith("-backend") else "storage-auth-secret0"
        node["user"] = source.auth.username
        node["password-secret"] = c.secret(f"{name}-{word}", source.auth.secret)
    initiator = source.initiator
    node["initiator-name"] = initiator.iqn if initiator is not None else None
    return node


def _rbd(c: Context, name: str, source: Any) -> dict[str, Any]:
    pool, _, image = (source.name or "").partition("/")
    namespace: str | None = None
    if "/" in image:
        namespace, _, image = image.partition("/")
    node: dict[str, Any] = {
        "driver": "rbd", "pool": pool, "namespace": namespace, "image": image,
        "server": [_server("rbd", host, typed=False) for host in source.hosts] or None,
        "snapshot": source.snapshot, "conf": source.config,
    }  # fmt: skip
    if source.auth is not None and source.auth.username:
        node["user"] = source.auth.username
        node["auth-client-required"] = ["cephx", "none"]
        node["key-secret"] = c.secret(f"{name}-storage-auth-secret0", source.auth.secret)
    crypt = source.encryption
    if crypt is not None and crypt.engine == "librbd":
        key = c.secret(f"{name}-format-encryption-secret0", crypt.secrets[0])
        node["encrypt"] = {"format": crypt.format, "key-secret": key}
    return node


def _gluster(c: Context, name: str, source: Any) -> dict[str, Any]:
    volume, _, path = (source.name or "").partition("/")
    return {
        "driver": "gluster", "volume": volume, "path": path,
        "server": [_server("gluster", host) for host in source.hosts],
        "debug": c.host.setting("gluster_debug_level", 4),
    }  # fmt: skip


def _nfs(c: Context, name: str, source: Any) -> dict[str, Any]:
    node: dict[str, Any] = {
        "driver": "nfs", "server": {"host": source.hosts[0].name, "type": "inet"},
        "path": source.name,
    }  # fmt: skip
    if source.identity is not None:
        import grp
        import pwd

        user, group = source.identity.user, source.identity.group
        if user is not None:
            node["user"] = int(user.lstrip("+")) if user.lstrip("+").isdecimal() else (
                pwd.getpwnam(user).pw_uid)  # fmt: skip
        if group is not None:
            node["group"] = int(group.lstrip("+")) if group.lstrip("+").isdecimal() else (
                grp.getgrnam(group).gr_gid)  # fmt: skip
    return node


def _ssh(c: Context, name: str, source: Any) -> dict[str, Any]:
    user = source.auth.username if source.auth is not None else None
    return {
        "driver": "ssh", "path": source.name,
        "server": _server("ssh", source.hosts[0], typed=False), "user": user,
    }  # fmt: skip
