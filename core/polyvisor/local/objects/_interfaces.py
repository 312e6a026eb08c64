"""The host's own network interfaces, known by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from polyvisor.driver import Interfaces
from polyvisor.local.objects._family import LocalFamily

if TYPE_CHECKING:
    from polyvisor.model import InterfaceSpec
    from polyvisor.objects import ObjectSummary

__all__ = ["LocalInterfaces"]


class LocalInterfaces(LocalFamily["InterfaceSpec"], Interfaces):
    """Interfaces; bringing one up or down is for those derived."""

    title: ClassVar[str] = "interface"

    def document(self) -> type[InterfaceSpec]:
        from polyvisor.model import InterfaceSpec

        return InterfaceSpec

    @property
    def _has_uuids(self) -> bool:
        return False

    def key_of(self, spec: InterfaceSpec) -> str | None:
        return spec.name

    def by_mac(self, mac: str) -> Sequence[ObjectSummary]:
        wanted = mac.lower()
        return [one for one in self.summaries() if (self.mac(one.key) or "").lower() == wanted]

    def mac(self, key: str) -> str | None:
        return self.spec(key).mac
