"""The NBD server in QEMU that backups are pulled from, encrypted if that is wanted."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import OperationInvalid, Timeout
from polyvisor_qemu.credentials import forget_certificates, give_certificates
from polyvisor_qemu.qmp import QmpError

if TYPE_CHECKING:
    from polyvisor.model.backup import BackupDisk, BackupServer
    from polyvisor_qemu.hypervisor import QemuHypervisor
    from polyvisor_qemu.qmp import Monitor

__all__ = ["serve", "stop_serving"]

#: Seconds in which exports that were told to end have ended.
_ENDING = 60.0
#: The port of NBD, and how many after it are tried (libvirt's qemu_conf.c has its own range).
_PORT, _PORTS = 10809, 1000
#: QEMU's name for the certificates.
_CREDENTIALS = "backup-tls"


def serve(
    hypervisor: QemuHypervisor,
    monitor: Monitor,
    server: BackupServer,
    facts: dict[str, Any],
    disks: list[BackupDisk],
) -> BackupServer:
    """Let QEMU serve what is kept for reading; return where it does.

    Args:
        hypervisor: whose settings and secrets say which certificates there are.
        monitor: the guest's.
        server: where it is to serve.
        facts: of the backup; gets what has to be put away in the end.
        disks: what is served.
    """
    more: dict[str, Any] = {"tls_creds": _credentials(hypervisor, monitor)} if server.tls else {}
    facts["served"] = True
    if server.socket is not None:
        facts["socket"] = server.socket
        where = {"type": "unix", "data": {"path": server.socket}}
        _listen(monitor, where, more)
    else:
        host, first = server.name or "localhost", _PORT
        while True:
            port = server.port or _free(host, first)
            try:
                data = {"host": host, "port": str(port)}
                _listen(monitor, {"type": "inet", "data": data}, more)
                break
            except OperationInvalid as error:
                # Somebody else may have taken it since it was found free.
                if server.port or "in use" not in error.message:
                    raise
                first = port + 1
        server = attrs.evolve(server, transport="tcp", name=host, port=port)
    for disk in disks:
        one = facts["disks"][disk.name]
        monitor.execute(
            "block-export-add", id=f"backup-{disk.name}", type="nbd", node_name=one["node"],
            name=disk.exportname or disk.name, writable=False,
            bitmaps=[] if one["bitmap"] is None else [one["bitmap"]],
        )  # fmt: skip
    return server


def _credentials(hypervisor: QemuHypervisor, monitor: Monitor) -> str:
    """Give QEMU its certificates, from where libvirt has them; return their name."""
    settings = hypervisor.settings
    folder = settings.get("backup_tls_x509_cert_dir") or settings.get(
        "default_tls_x509_cert_dir", "/etc/pki/qemu"
    )
    told = give_certificates(
        _CREDENTIALS,
        str(folder),
        client=False,
        verify=bool(settings.get("backup_tls_x509_verify", True)),
        uuid=settings.get("backup_tls_x509_secret_uuid"),
        secret=hypervisor.secret,
    )
    try:
        monitor.execute_all(*told)
    except QmpError as error:
        raise OperationInvalid(
            f"backup: no encrypted server with the certificates in {folder}: "
            f"{error.native_message}; the setting backup_tls_x509_cert_dir says where they are"
        ) from error
    return _CREDENTIALS


def _listen(monitor: Monitor, where: dict[str, Any], more: dict[str, Any]) -> None:
    try:
        monitor.execute("nbd-server-start", addr=where, **more)
    except QmpError as error:
        raise OperationInvalid(f"backup: no server: {error.native_message}") from error


def _free(host: str, first: int) -> int:
    """Return a port from ``first`` on at which nobody listens."""
    for port in range(first, _PORT + _PORTS):
        try:
            with socket.create_server((host, port)):
                return port
        except OSError:
            continue
    raise OperationInvalid(f"backup: no port of {host} is free from {_PORT} on; say which")


def stop_serving(monitor: Monitor, disks: Iterable[str]) -> None:
    """End the server, if there is one, with all that it had."""
    names = {f"backup-{disk}" for disk in disks}
    for name in names:
        with suppress(QmpError):
            monitor.execute("block-export-del", id=name, mode="hard")
    deadline = time.monotonic() + _ENDING
    while any(one["id"] in names for one in monitor.execute("query-block-exports")):
        if time.monotonic() > deadline:
            raise Timeout(f"backup: QEMU did not stop serving in {_ENDING:g} s")
        monitor.next_event(0.05)
    with suppress(QmpError):
        monitor.execute("nbd-server-stop")
    forget_certificates(monitor, _CREDENTIALS)
