"""libvirt's cookie of QEMU migrations: read, and what was read written again, or refused."""

from __future__ import annotations

from uuid import UUID

from polyvisor.errors import MigrationError
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
    statistics={"started": 1, "delta": -2},
    cpu="<cpu/>",
    capabilities=(("xbzrle", True),),
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
    assert (again.uuid, again.host, again.nbd) == (cookie.uuid, cookie.host, cookie.nbd)
    assert behind == ours.replace(b"\0", b"")
