"""Displays of VNC whose certificates are put in place of others while guests run."""

from __future__ import annotations

import shutil
import socket
import ssl
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.errors import OperationInvalid, Unsupported

if TYPE_CHECKING:
    Hosts = Any

pytestmark = pytest.mark.real

SCREEN = "<graphics type='vnc' autoport='yes' listen='127.0.0.1'/>"
#: Security types of RFB: VeNCrypt, and of its own that without a password, with certificates.
VENCRYPT, X509_NONE = 19, 260


def shown(port: int) -> bytes:
    """Return the certificate that a display shows to a viewer (RFB 3.8, VeNCrypt 0.2)."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:

        def told(count: int) -> bytes:
            data = b""
            while len(data) < count:
                piece = raw.recv(count - len(data))
                assert piece, "the display hangs up"
                data += piece
            return data

        raw.sendall(told(12))
        assert VENCRYPT in told(told(1)[0])
        raw.sendall(bytes([VENCRYPT]))
        assert told(2) == b"\0\2"
        raw.sendall(b"\0\2")
        assert told(1) == b"\0"
        count = told(1)[0]
        assert X509_NONE in struct.unpack(f">{count}I", told(4 * count))
        raw.sendall(struct.pack(">I", X509_NONE))
        assert told(1) == b"\1"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(raw) as encrypted:
            found = encrypted.getpeercert(binary_form=True)
    assert found is not None
    return found


def test_viewers_to_come_see_the_certificate_that_is_there(
    hosts: Hosts, certificates: Callable[[str], Path]
) -> None:
    """That which the display began with until it is told to look again."""
    own = certificates("first.example").rename(hosts.root.parent / "display")
    other = certificates("second.example")
    host = hosts.open("a", vnc_tls_x509_cert_dir=str(own))
    domain = host.domains.create(hosts.counting(more=SCREEN))
    port = domain.spec().devices.graphics[0].port
    first = shown(port)
    assert ssl.DER_cert_to_PEM_cert(first).strip() in (own / "server-cert.pem").read_text()
    for name in ("ca-cert.pem", "server-cert.pem", "server-key.pem"):
        shutil.copy(other / name, own / name)
    assert shown(port) == first
    domain.reload_graphics()
    second = shown(port)
    assert ssl.DER_cert_to_PEM_cert(second).strip() in (other / "server-cert.pem").read_text()
    (own / "server-key.pem").write_text("no key")
    with pytest.raises(OperationInvalid, match="reload graphics"):
        domain.reload_graphics("vnc")
    assert shown(port) == second
    with pytest.raises(Unsupported, match="VNC alone"):
        domain.reload_graphics("spice")


def test_a_display_without_certificates_has_none_to_reload(hosts: Hosts) -> None:
    """That is said, in QEMU's words."""
    domain = hosts.open("a").domains.create(hosts.counting(more=SCREEN))
    with pytest.raises(OperationInvalid, match="tls"):
        domain.reload_graphics()
