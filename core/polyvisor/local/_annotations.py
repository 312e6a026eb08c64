"""What is written down about domains: title, description, metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.driver import Annotations
from polyvisor.errors import InvalidArgument
from polyvisor.events import EventKind
from polyvisor.local._fields import changed

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.local._hold import Hold
    from polyvisor.local._keeper import Keeper
    from polyvisor.model import DomainSpec

__all__ = ["LocalAnnotations"]


class LocalAnnotations(Annotations):
    """Changes definitions alone; no guest hears of it."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def set_text(
        self, uuid: UUID, kind: str, text: str | None, *, live: bool, config: bool
    ) -> None:
        if kind not in ("title", "description"):
            raise InvalidArgument(f"set {kind!r}: the texts of a domain are title and description")
        if kind == "title" and text is not None and "\n" in text:
            raise InvalidArgument("set title: a title is one line; what is longer is a description")
        value: dict[str, Any] = {kind: text or None}

        def with_text(spec: DomainSpec) -> DomainSpec:
            return attrs.evolve(spec, **value)

        with self._keeper.hold(uuid, f"set {kind}") as hold:
            changes = changed(hold, with_text, live=live, config=config)
            if kind == "title" and (config or hold.known.definition is None):
                changes["title"] = text or None
            self._record(hold, kind, config, changes)

    def set_metadata(
        self, uuid: UUID, uri: str, prefix: str | None, xml: str | None, *, live: bool, config: bool
    ) -> None:
        def with_element(spec: DomainSpec) -> DomainSpec:
            return spec.with_metadata(uri, prefix, xml)

        with self._keeper.hold(uuid, "set metadata") as hold:
            changes = changed(hold, with_element, live=live, config=config)
            self._record(hold, uri, config, changes)

    def _record(self, hold: Hold, detail: str, config: bool, changes: dict[str, Any]) -> None:
        hold.change((EventKind.METADATA_CHANGED, detail), durable=config, **changes)
