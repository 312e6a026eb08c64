"""Subjects of certificates are what GnuTLS makes of them."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from polyvisor_qemu.subject import subject_of


class _Datum(ctypes.Structure):
    """``gnutls_datum_t``."""

    _fields_ = (("data", ctypes.c_char_p), ("size", ctypes.c_uint))


def gnutls(path: Path) -> str:
    """Return the subject of a certificate as libvirt gets it."""
    try:
        library = ctypes.CDLL("libgnutls.so.30")
    except OSError:
        pytest.skip("no libgnutls.so.30, which QEMU and libvirt use")
    pem = path.read_bytes()
    certificate = ctypes.c_void_p()
    assert library.gnutls_x509_crt_init(ctypes.byref(certificate)) == 0
    datum = _Datum(pem, len(pem))
    assert library.gnutls_x509_crt_import(certificate, ctypes.byref(datum), 1) == 0
    found, size = ctypes.create_string_buffer(1024), ctypes.c_size_t(1024)
    assert library.gnutls_x509_crt_get_dn(certificate, found, ctypes.byref(size)) == 0
    library.gnutls_x509_crt_deinit(certificate)
    return found.value.decode()


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Hold where a certificate is made."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return tmp_path / "server-cert.pem"


def make(path: Path, subject: str, *more: str) -> None:
    """Make a certificate of a subject."""
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-keyout", str(path.with_name("key.pem")), "-out", str(path), "-utf8",
            "-days", "2", "-subj", subject, *more,
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "subject",
    [
        "/CN=there.example",
        '/C=GB/ST=Kent/L=Dover/O=Ferry, Boats + Co/OU=a;b<c>"d"/CN=host',
        "/DC=example/DC=net/UID=someone/emailAddress=a@example.net/CN=Zoë",
        "/O=#1/CN= spaced ",
        "/O=one+OU=two/CN=back\\\\slash",
    ],
)
def test_it_is_what_gnutls_makes_of_it(made: Path, subject: str) -> None:
    """Order, names and what is escaped are the same."""
    make(made, subject)
    assert subject_of(str(made)) == gnutls(made)


def test_what_is_none_has_no_subject(made: Path, tmp_path: Path) -> None:
    """Files that are missing, large, cut off or something else, and names that are not known."""
    assert subject_of(str(tmp_path / "missing")) is None
    make(made, "/CN=host")
    pem = made.read_text()
    assert subject_of(str(made)) == "CN=host"
    body = pem.splitlines()
    wrong = tmp_path / "wrong.pem"
    for text in (
        "",
        "no certificate",
        pem + " " * 9000,
        "\n".join([body[0], *body[3:]]),
        "\n".join([*body[:3], body[-1]]),
        "\n".join([body[0], body[-1]]),
        "\n".join([body[0], "MAA=", body[-1]]),
        "\n".join([body[0], "MIQ=", body[-1]]),
    ):
        wrong.write_text(text)
        assert subject_of(str(wrong)) is None, text
    make(made, "/title=Lord/CN=host")
    assert subject_of(str(made)) is None
