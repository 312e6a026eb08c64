"""libvirt's migration cookie: read, and what was read written again, or refused."""

from __future__ import annotations

from uuid import UUID

from polyvisor.errors import MigrationError
from polyvisor_libxl.cookie import LibxlCookie, unwrap

_COOKIE = LibxlCookie("web", UUID(int=5), "host<1>", 2)
EXAMPLES = (
    _COOKIE.to_bytes(),
    _COOKIE.to_bytes(b'{"polyvisor-migration": 1}'),
    b"<libxl-migration><name>a</name><uuid>" + b"0" * 32 + b"</uuid><x/>"
    b"<migration-stream-version>1</migration-stream-version></libxl-migration>\0",
    b"<!DOCTYPE a [<!ENTITY b 'c'>]><libxl-migration><name>&b;</name></libxl-migration>\0",
)


def one(data: bytes) -> None:
    """Read a cookie or refuse it; what it says, ours says as well."""
    try:
        cookie, ours = LibxlCookie.from_bytes(data)
    except MigrationError:
        return
    assert 0 < cookie.version < 1 << 16
    again, behind = LibxlCookie.from_bytes(cookie.to_bytes(ours.replace(b"\0", b"")))
    assert (again.uuid, again.version) == (cookie.uuid, cookie.version)
    assert behind == ours.replace(b"\0", b"")
    assert unwrap(data, name=cookie.name, uuid=cookie.uuid) == (ours or None, (cookie.version,))
