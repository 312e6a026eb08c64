"""libvirt's cookie of QEMU migrations: read, and what was read written again, or refused."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from uuid import UUID

from polyvisor.errors import MigrationError, PolyvisorError
from polyvisor.model import Cpu
from polyvisor_qemu.cookies import Graphics, Nbd, QemuCookie

_COOKIE = QemuCookie(
    "web",
    UUID(int=5),
    "host<1>",
    UUID(int=6),
    features=("lockstate",),
    graphics=Graphics("spice", 5900, "::", 5901, "a=b"),
    domain="<domain type='kvm'>\n  <name>web</name>\n</domain>",
    nbd=Nbd(49153, (("vda", 1 << 30),)),
    statistics={"started": 1, "delta": -2, "memory_bps": 0, "downtime": 30},
    cpu="<cpu mode='custom' match='exact'>\n  <model fallback='forbid'>qemu64</model>\n</cpu>",
    allow_reboot=True,
    capabilities=(("xbzrle", True), ("multifd", False)),
    bitmaps=(("vda", (("a", "b"),)),),
)
EXAMPLES = (
    _COOKIE.to_bytes(),
    _COOKIE.to_bytes(b'{"polyvisor-migration": 1}'),
    b"<!DOCTYPE a [<!ENTITY b 'c'>]><qemu-migration><name>&b;</name></qemu-migration>\0",
)


def one(data: bytes) -> None:
    """Read a cookie or refuse it; what it says, ours says as well."""
    try:
        cookie, ours = QemuCookie.from_bytes(data)
    except MigrationError:
        return
    again, behind = QemuCookie.from_bytes(cookie.to_bytes(ours.replace(b"\0", b"")))
    assert behind == ours.replace(b"\0", b"")
    assert _facts(again) == _facts(cookie)
    if cookie.cpu is not None:
        # What a guest is given must be a CPU, or be refused before there is one.
        with suppress(PolyvisorError):
            assert Cpu.from_xml(cookie.cpu) == Cpu.from_xml(again.cpu or "")


def _facts(cookie: QemuCookie) -> tuple[Any, ...]:
    """Return what has no spaces in it, which attributes do not keep."""
    screen = cookie.graphics
    return (
        cookie.uuid,
        cookie.host,
        cookie.features,
        cookie.nbd,
        cookie.statistics,
        cookie.allow_reboot,
        None if screen is None else (screen.kind, screen.port, screen.tls_port),
        None
        if cookie.capabilities is None
        else [automatic for _, automatic in cookie.capabilities],
    )
