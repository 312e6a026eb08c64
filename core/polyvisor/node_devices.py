"""Handles of the host's devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from polyvisor.families import Collection, Handle

if TYPE_CHECKING:
    from polyvisor.connection import Connection
    from polyvisor.driver import NodeDevices
    from polyvisor.model import NodeDeviceSpec

__all__ = ["NodeDevice", "NodeDeviceCollection"]


class NodeDevice(Handle):
    """A handle of a device of the host."""

    __slots__ = ()

    _part: NodeDevices

    def spec(self) -> NodeDeviceSpec:
        """Return what is known of it."""
        from polyvisor.model import NodeDeviceSpec

        return NodeDeviceSpec.from_xml(self.xml())

    @property
    def parent(self) -> str | None:
        """Name of the device that it hangs on."""
        return self._part.parent(self.key)

    @property
    def capabilities(self) -> Sequence[str]:
        """What it is, such as ``"pci"``, ``"net"`` or ``"usb_device"``."""
        return self._part.capabilities(self.key)


class NodeDeviceCollection(Collection[NodeDevice]):
    """The devices of the host, by name."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(
            connection,
            "node-devices",
            lambda: connection._driver.node_devices,
            NodeDevice,
            _document,
        )


def _document() -> type[NodeDeviceSpec]:
    from polyvisor.model import NodeDeviceSpec

    return NodeDeviceSpec
