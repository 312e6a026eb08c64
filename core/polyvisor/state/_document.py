"""A definition as text and as value, each made from the other when first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

__all__ = ["Document"]


class Document:
    """A domain's definition.

    Args:
        spec: the value, if it is at hand.
        text: the XML, if it is at hand.
        load: gives the XML when it is first asked for.
    """

    __slots__ = ("_load", "_spec", "_text")

    def __init__(
        self,
        spec: DomainSpec | None = None,
        *,
        text: str | None = None,
        load: Callable[[], str] | None = None,
    ) -> None:
        self._spec = spec
        self._text = text
        self._load = load

    def spec(self) -> DomainSpec:
        """Return the value."""
        if self._spec is None:
            from polyvisor.model import DomainSpec

            self._spec = DomainSpec.from_xml(self.text())
        return self._spec

    def mentions(self, *words: str) -> bool:
        """Say whether the XML may have one of some words; it is not parsed for that.

        A definition that is a value already is not written for it: it may have them all.
        """
        return self._spec is not None or any(word in self.text() for word in words)

    def text(self) -> str:
        """Return the XML."""
        if self._text is None:
            if self._load is not None:
                self._text = self._load()
            else:
                assert self._spec is not None
                self._text = self._spec.to_xml()
        return self._text
