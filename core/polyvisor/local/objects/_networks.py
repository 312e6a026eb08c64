"""Virtual networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from polyvisor.driver import Networks
from polyvisor.errors import OperationInvalid, SpecError
from polyvisor.local.objects._family import LocalFamily

if TYPE_CHECKING:
    from polyvisor.model import NetworkSpec

__all__ = ["LocalNetworks"]

#: Modes in which libvirt makes the bridge itself (``virNetworkDefParseXML``).
_OWN_BRIDGE = frozenset({"none", "nat", "route", "open"})
_MOST_BRIDGES = 4096


class LocalNetworks(LocalFamily["NetworkSpec"], Networks):
    """Networks whose bridges get names of their own; starting one is for those derived."""

    title: ClassVar[str] = "network"

    def document(self) -> type[NetworkSpec]:
        from polyvisor.model import NetworkSpec

        return NetworkSpec

    def complete(self, spec: NetworkSpec) -> NetworkSpec:
        """Give the network a bridge and that a name, where libvirt does."""
        from polyvisor.model.network import NetworkBridge

        mode = spec.forward.mode if spec.forward is not None else "none"
        if mode not in _OWN_BRIDGE:
            return spec
        bridge = spec.bridge if spec.bridge is not None else NetworkBridge()
        taken = self._bridges(besides=self.key_of(spec))
        if bridge.name is None:
            names = (f"virbr{number}" for number in range(_MOST_BRIDGES))
            free = next((name for name in names if name not in taken), None)
            if free is None:
                raise SpecError(
                    f"network {spec.name!r}: no name from virbr0 to virbr{_MOST_BRIDGES - 1} is "
                    f"free for its bridge; give it one"
                )
            bridge = attrs.evolve(bridge, name=free)
        elif bridge.name in taken:
            raise SpecError(
                f"network {spec.name!r}: the bridge {bridge.name!r} belongs to the network "
                f"{taken[bridge.name]!r}; choose another name"
            )
        return attrs.evolve(
            spec,
            bridge=attrs.evolve(
                bridge,
                stp=True if bridge.stp is None else bridge.stp,
                delay=0 if bridge.delay is None else bridge.delay,
            ),
        )

    def bridge(self, key: str) -> str:
        spec = self.spec(key)
        if spec.bridge is None or spec.bridge.name is None:
            raise OperationInvalid(f"network {spec.name!r} has no bridge of its own")
        return spec.bridge.name

    def _bridges(self, *, besides: str | None) -> dict[str, str]:
        """Return bridge → network, of all networks but one."""
        found = {}
        for summary in self.summaries():
            if summary.key != besides:
                spec = self.spec(summary.key)
                if spec.bridge is not None and spec.bridge.name is not None:
                    found[spec.bridge.name] = summary.name
        return found
