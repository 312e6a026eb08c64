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

    def detach(self, driver: str | None = None) -> None:
        """Take it, a PCI device, from the host, so that a guest can have it.

        Args:
            driver: of the host's that hands it on, such as ``vfio-pci``; ``None``: the usual one.

        Raises:
            InvalidArgument: it is no PCI device, or there is no such driver.
            Unsupported: the host cannot give devices to guests.
        """
        self._connection._check_writable("detach a node device")
        self._part.detach(self.key, driver)

    def reattach(self) -> None:
        """Give it back to the host's own driver; raises as :meth:`detach`."""
        self._connection._check_writable("re-attach a node device")
        self._part.reattach(self.key)

    def reset(self) -> None:
        """Reset it, a PCI device.

        Raises:
            HypervisorError: it has no way to be reset.
        """
        self._connection._check_writable("reset a node device")
        self._part.reset(self.key)

    def destroy(self) -> None:
        """Remove it, a device that was made of another.

        Raises:
            Unsupported: it was not made.
        """
        self._connection._check_writable("destroy a node device")
        self._part.destroy(self.key)


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
