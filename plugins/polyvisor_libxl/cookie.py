"""The cookie from begin to prepare: libvirt's, byte for byte, with ours behind its NUL.

Source of the form: ``libxlMigrationCookieXMLFormat`` and ``libxlMigrationEatCookie`` of
libvirt's src/libxl/libxl_migration.c. It looks at the last byte, which must be NUL, and then
reads up to the first one; so what polyvisor tells itself can stand between the two, and
libvirt neither minds nor sees it.
"""

from __future__ import annotations

from typing import Self
from uuid import UUID

import attrs

from polyvisor.errors import MigrationError
from polyvisor.model import escape_text

__all__ = ["LibxlCookie", "unwrap"]

#: Bytes of a cookie at most; ``VIR_MIGRATE_COOKIE_MAX`` of libvirt's remote_protocol.x.
LIMIT = 4 << 20
#: A larger version is no version.
_MAX_VERSION = 1 << 16


@attrs.frozen
class LibxlCookie:
    """What libvirt's Xen driver tells in begin.

    Attributes:
        name: the domain's name.
        uuid: its UUID.
        hostname: the source's name.
        version: version of the migration stream.
    """

    name: str
    uuid: UUID
    hostname: str
    version: int

    def to_bytes(self, ours: bytes = b"") -> bytes:
        """Return the cookie as it travels.

        Args:
            ours: what stands behind libvirt's part; no NUL in it.
        """
        text = (
            "<libxl-migration>\n"
            f"  <name>{escape_text(self.name)}</name>\n"
            f"  <uuid>{self.uuid}</uuid>\n"
            f"  <hostname>{escape_text(self.hostname)}</hostname>\n"
            f"  <migration-stream-version>{self.version}</migration-stream-version>\n"
            "</libxl-migration>\n"
        )
        return text.encode() + b"\0" + (ours + b"\0" if ours else b"")

    @classmethod
    def from_bytes(cls, data: bytes) -> tuple[Self, bytes]:
        """Read a cookie; return it and what of ours stands behind it.

        Raises:
            MigrationError: it is damaged; says how.
        """
        if len(data) > LIMIT:
            raise _refused(f"it has {len(data)} bytes, more than {LIMIT}")
        if not data.endswith(b"\0"):
            raise _refused("it does not end with a NUL byte")
        text, _, ours = data.partition(b"\0")
        fields = _fields(text)
        for field in ("name", "uuid", "migration-stream-version"):
            if not fields.get(field):
                raise _refused(f"<{field}> is missing")
        try:
            uuid = UUID(fields["uuid"])
        except ValueError as error:
            raise _refused(f"{fields['uuid'][:80]!r} is not a UUID") from error
        number = fields["migration-stream-version"]
        digits = number.lstrip("0")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 5) or (
            int(digits) >= _MAX_VERSION
        ):
            raise _refused(f"{number[:80]!r} is not a version of a migration stream")
        cookie = cls(fields["name"], uuid, fields.get("hostname", ""), int(digits))
        return cookie, ours.rstrip(b"\0")


def _fields(text: bytes) -> dict[str, str]:
    """Return the text of the elements below the root."""
    from xml.parsers import expat

    fields: dict[str, str] = {}
    path: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        path.append(name)
        if len(path) > 8:
            raise _refused("its XML is nested too deeply")
        if len(path) == 1 and name != "libxl-migration":
            raise _refused(f"it is a <{name[:40]}>, not a <libxl-migration>")

    def data(words: str) -> None:
        if len(path) == 2:
            fields[path[1]] = fields.get(path[1], "") + words

    def end(name: str) -> None:
        path.pop()

    def doctype(*_: object) -> None:
        raise _refused("its XML has a document type")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = data
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, ValueError) as error:
        raise _refused(f"its XML is damaged ({error})") from error
    return fields


def _refused(why: str) -> MigrationError:
    return MigrationError(
        f"prepare: the source's cookie cannot be used: {why}",
        phase="prepare",
        side="destination",
        owner="source",
        operation="migrate",
    )


def unwrap(
    data: bytes | None, *, name: str, uuid: UUID | None
) -> tuple[bytes | None, tuple[int, ...]]:
    """Read the cookie for a domain that is to arrive.

    Returns:
        What polyvisor told itself, ``None`` if libvirt wrote it, and the stream's version;
        1 if there is no cookie at all, since sources that old write none.

    Raises:
        MigrationError: it is damaged, or of another domain.
    """
    if not data:
        return None, (1,)
    cookie, ours = LibxlCookie.from_bytes(data)
    if uuid is not None and cookie.uuid != uuid:
        raise _refused(f"it is of the domain {cookie.uuid}, but {name!r} is {uuid}")
    if cookie.name != name:
        raise _refused(f"it is of the domain {cookie.name[:80]!r}, not {name!r}")
    return ours or None, (cookie.version,)
