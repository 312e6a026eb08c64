"""Certificates for QEMU's encrypted connections, and the password of their key, over QMP."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from polyvisor_qemu.qmp import QmpError

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyvisor_qemu.qmp import Command, Monitor

    Secret = Callable[[str | None, str | None], bytes]

__all__ = ["forget_certificates", "give_certificates"]

#: What follows the name of certificates in that of the password of their key.
_OF_KEY = "-password"


def give_certificates(
    name: str, folder: str, *, client: bool, verify: bool, uuid: Any, secret: Secret | None
) -> list[Command]:
    """Return what gives QEMU certificates (``tls-creds-x509`` of its qapi/crypto.json).

    Args:
        name: what QEMU is to call them; :func:`forget_certificates` puts them away.
        folder: where they are.
        client: it connects, and does not listen.
        verify: the other side must have one of the same authority.
        uuid: of the secret with the password of their key; nothing if it has none.
        secret: gives the value of a secret by its UUID.

    Raises:
        PolyvisorError: there is no such secret.
    """
    creds = {
        "qom-type": "tls-creds-x509",
        "id": name,
        "dir": folder,
        "endpoint": "client" if client else "server",
        "verify-peer": verify,
    }
    told: list[Command] = []
    if uuid:
        assert secret is not None
        creds["passwordid"] = f"{name}{_OF_KEY}"
        value = b64encode(secret(str(uuid), None)).decode()
        password = {"qom-type": "secret", "id": creds["passwordid"], "format": "base64"}
        told.append(("object-add", {**password, "data": value}))
    return [*told, ("object-add", creds)]


def forget_certificates(monitor: Monitor, name: str) -> None:
    """Put away what :func:`give_certificates` gave QEMU, if it is there."""
    for one in (name, f"{name}{_OF_KEY}"):
        with suppress(QmpError):
            monitor.execute("object-del", id=one)
