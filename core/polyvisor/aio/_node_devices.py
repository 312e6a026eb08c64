"""Devices, awaitable.

Written by ``tests/house/aio_faces.py`` from the blocking handles; change those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.aio._families import Collection, Handle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from polyvisor.model import NodeDeviceSpec
    from polyvisor.node_devices import NodeDevice as SyncNodeDevice
    from polyvisor.node_devices import NodeDeviceCollection as SyncNodeDeviceCollection

__all__ = ["NodeDevice", "NodeDeviceCollection"]


class NodeDevice(Handle):
    """A handle of a device of the host."""

    __slots__ = ()

    sync: SyncNodeDevice

    async def spec(self) -> NodeDeviceSpec:
        """Return what is known of it."""
        return await self._run(self.sync.spec)

    @property
    def parent(self) -> Awaitable[str | None]:
        """Name of the device that it hangs on; to be awaited."""
        return self._get("parent")

    @property
    def capabilities(self) -> Awaitable[Sequence[str]]:
        """What it is, such as ``"pci"``, ``"net"`` or ``"usb_device"``; to be awaited."""
        return self._get("capabilities")

    async def detach(self, driver: str | None = None) -> None:
        """Take it, a PCI device, from the host, so that a guest can have it."""
        await self._run(self.sync.detach, driver)

    async def reattach(self) -> None:
        """Give it back to the host's own driver; raises as :meth:`detach`."""
        await self._run(self.sync.reattach)

    async def reset(self) -> None:
        """Reset it, a PCI device."""
        await self._run(self.sync.reset)

    async def destroy(self) -> None:
        """Remove it, a device that was made of another."""
        await self._run(self.sync.destroy)


class NodeDeviceCollection(Collection[NodeDevice]):
    """The devices of the host, by name."""

    __slots__ = ()

    sync: SyncNodeDeviceCollection

    def _wrap(self, sync: Any) -> NodeDevice:
        return NodeDevice(self._host, sync)
