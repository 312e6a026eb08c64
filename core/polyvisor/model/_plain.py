"""What turns a document into plain data, JSON and TOML and back; imported by every document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from polyvisor.model._declare import Element

    _Base = Element
else:
    _Base = object

__all__ = ["PlainForms"]


class PlainForms(_Base):
    """The plain forms of a document; :mod:`polyvisor.model.forms` tells what they look like."""

    __slots__ = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return what plain data describes.

        Args:
            data: as :meth:`to_dict` gives it; sizes may be text such as ``"2 GiB"``.

        Raises:
            SchemaError: a key is unknown or a value not allowed; names the place.
        """
        from polyvisor.model.forms import from_dict

        return from_dict(cls, data)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, as JSON has it: sizes in bytes, no defaults."""
        from polyvisor.model.forms import to_dict

        return to_dict(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return what JSON text describes.

        Raises:
            SchemaError: it is not JSON, or not what the schema allows.
        """
        from polyvisor.model.forms import from_json

        return from_json(cls, text)

    def to_json(self, *, indent: int | None = 2) -> str:
        """Return it as JSON text.

        Args:
            indent: spaces for each level; ``None``: all on one line.
        """
        from polyvisor.model.forms import to_json

        return to_json(self, indent=indent)

    @classmethod
    def from_toml(cls, text: str | bytes) -> Self:
        """Return what TOML text describes.

        Raises:
            SchemaError: it is not TOML, or not what the schema allows.
        """
        from polyvisor.model.forms import from_toml

        return from_toml(cls, text)

    def to_toml(self) -> str:
        """Return it as TOML text, with sizes such as ``"2 GiB"``.

        Raises:
            SchemaError: it holds a text that TOML cannot.
        """
        from polyvisor.model.forms import to_toml

        return to_toml(self)
