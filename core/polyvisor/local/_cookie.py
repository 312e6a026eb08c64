"""What the two sides of a migration tell one another beside the definition."""

from __future__ import annotations

import json
from typing import Any

import attrs

from polyvisor.errors import MigrationError

__all__ = ["Cookie", "agree", "need_same"]

#: Version of the cookie itself; fields may be added without a new one.
FORMAT = 1


@attrs.frozen
class Cookie:
    """One cookie.

    Attributes:
        migration: the migration's identity.
        versions: versions of the stream that the source can write.
        version: the one that was agreed.
        hostname: where it was written.
        running: whether the guest ran when the migration began.
        definition: the persistent definition, as XML, if there is one.
        hypervisor: whose stream it is, ``""`` if that is not said.
        statistics: how it went, of perform and finish (:mod:`polyvisor.local._jobs`).
    """

    migration: str
    versions: tuple[int, ...] = ()
    version: int | None = None
    hostname: str = ""
    running: bool = True
    definition: str | None = None
    hypervisor: str = ""
    statistics: dict[str, int] | None = None

    def to_bytes(self) -> bytes:
        """Return the cookie as it travels."""
        return json.dumps({"polyvisor-migration": FORMAT, **attrs.asdict(self)}).encode()

    @classmethod
    def from_bytes(cls, data: bytes | None, phase: str, side: str) -> Cookie | None:
        """Read a cookie; ``None`` if the other side sent none.

        Raises:
            MigrationError: it is no cookie of ours, or of a later format.
        """
        if data is None:
            return None

        def refused(why: str) -> MigrationError:
            return MigrationError(
                f"{phase}: the cookie of the other side cannot be used: {why}",
                phase=phase,
                side=side,
                owner="source",
            )

        if data.startswith(b"<"):
            # A form of libvirt's, by another hypervisor's driver, with ours behind its NUL.
            data = data.partition(b"\0")[2].rstrip(b"\0")
        try:
            fields: dict[str, Any] = json.loads(data)
            form = fields.pop("polyvisor-migration")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise refused("it is not one of polyvisor's") from error
        if not isinstance(form, int) or form > FORMAT:
            raise refused(
                f"it has the format {form!r}, this polyvisor knows up to {FORMAT}; bring both "
                f"sides to the same version of polyvisor"
            )
        known = {field.name for field in attrs.fields(cls)}
        try:
            cookie = cls(**{name: value for name, value in fields.items() if name in known})
            return attrs.evolve(cookie, versions=tuple(int(each) for each in cookie.versions))
        except (TypeError, ValueError) as error:
            raise refused(f"it is damaged ({error})") from error


def need_same(cookie: Cookie | None, hypervisor: str, name: str) -> None:
    """Refuse a guest whose memory another hypervisor than ``hypervisor`` writes.

    Raises:
        MigrationError: the source says so.
    """
    if cookie is None or cookie.hypervisor in ("", hypervisor):
        return
    raise MigrationError(
        f"prepare {name!r}: the source runs it on {cookie.hypervisor!r}, the destination is "
        f"{hypervisor!r}, which cannot read the memory of such a guest; migrate to a host of "
        f"the same hypervisor, or start its definition there afresh",
        phase="prepare",
        side="destination",
        owner="source",
        domain=name,
        operation="migrate",
    )


def agree(written: tuple[int, ...], readable: tuple[int, ...], name: str) -> int:
    """Choose the stream version: the latest that the source writes and we read.

    A source that says nothing (``written`` is empty) writes version 1: so old is one that
    cannot say.

    Raises:
        MigrationError: there is none.
    """
    written = written or (1,)
    common = set(written) & set(readable)
    if common:
        return max(common)
    newer = "the source" if min(written) > max(readable) else "the destination"
    raise MigrationError(
        f"prepare {name!r}: the source writes the migration stream in version "
        f"{_words(written)}, the destination reads {_words(readable)}; {newer} is too new for "
        f"the other, update that",
        phase="prepare",
        side="destination",
        owner="source",
        domain=name,
        operation="migrate",
    )


def _words(versions: tuple[int, ...]) -> str:
    return ", ".join(str(version) for version in sorted(versions))
