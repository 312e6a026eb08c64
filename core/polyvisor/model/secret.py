"""Secrets: what a passphrase or key kept by the host is for."""

from __future__ import annotations

from typing import ClassVar, Literal, Self
from uuid import UUID

import attrs

from polyvisor.model._codecs import UUID_TEXT, YES_NO, Fault, choices
from polyvisor.model.binding import Element, attr, child, element, value
from polyvisor.model.document import Document

__all__ = ["SecretSpec", "SecretUsage"]

UsageType = Literal["none", "volume", "ceph", "iscsi", "tls", "vtpm"]
#: The element that says what the secret is for.
_NAMED_BY: dict[str, str] = {
    "volume": "volume",
    "ceph": "name",
    "iscsi": "target",
    "tls": "name",
    "vtpm": "name",
}


@element(kw_only=True)
class SecretUsage(Element):
    """What the secret is for."""

    type: UsageType = attr(choices(UsageType), required=True)
    #: Path or key of the volume that it unlocks.
    volume: str | None = value()
    #: For ``ceph``, ``tls`` and ``vtpm``.
    name: str | None = value()
    #: For ``iscsi``.
    target: str | None = value()

    @property
    def id(self) -> str | None:
        """What the secret is found by, beside its type."""
        field = _NAMED_BY.get(self.type)
        return None if field is None else getattr(self, field)

    def _refuse(self) -> None:
        field = _NAMED_BY.get(self.type)
        if field is not None and not getattr(self, field):
            raise Fault(f"usage of type {self.type!r} has no <{field}>", "add it")


@element(kw_only=True)
class SecretSpec(Document):
    """A secret without its value: libvirt's ``<secret>``.

    Values are frozen; :func:`attrs.evolve` makes a changed one.
    """

    XML_TAG: ClassVar[str] = "secret"
    XML_TITLE: ClassVar[str] = "secret"

    #: Whether it is kept in memory only.
    ephemeral: bool = attr(YES_NO, default=False)
    #: Whether its value is not given to callers.
    private: bool = attr(YES_NO, default=False)
    uuid: UUID | None = value(UUID_TEXT)
    description: str | None = value()
    usage: SecretUsage | None = child(SecretUsage)

    def definition(self) -> Self:
        """Return what libvirt keeps of it when it is defined."""
        spec = super().definition()
        if spec.usage is not None:
            field = _NAMED_BY.get(spec.usage.type)
            usage = attrs.evolve(
                spec.usage,
                volume=spec.usage.volume if field == "volume" else None,
                name=spec.usage.name if field == "name" else None,
                target=spec.usage.target if field == "target" else None,
            )
            spec = attrs.evolve(spec, usage=usage)
        return spec
