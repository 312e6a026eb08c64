"""What changes a domain, and who sits at its machine, awaitable.

Written by ``tests/house/aio_faces.py`` from the blocking handles; change those.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from polyvisor.aio._base import Face

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from polyvisor.handles._changing import Changing as SyncChanging
    from polyvisor.handles._seat import Seat as SyncSeat
    from polyvisor.jobs import ProgressCallback

__all__ = ["Changing", "Seat"]


class Changing(Face):
    """What changes a domain that goes on to be the same one."""

    __slots__ = ()

    sync: SyncChanging

    async def attach_device(
        self, xml: str, *, live: bool | None = None, config: bool = False
    ) -> None:
        """Add a device."""
        await self._run(self.sync.attach_device, xml, live=live, config=config)

    async def detach_device(
        self, xml: str, *, live: bool | None = None, config: bool = False
    ) -> None:
        """Remove the device that matches ``xml``; see :meth:`attach_device`."""
        await self._run(self.sync.detach_device, xml, live=live, config=config)

    async def detach_device_alias(
        self, alias: str, *, live: bool | None = None, config: bool = False
    ) -> None:
        """Remove the device that is called ``alias``; see :meth:`attach_device`."""
        await self._run(self.sync.detach_device_alias, alias, live=live, config=config)

    async def update_device(
        self, xml: str, *, live: bool | None = None, config: bool = False
    ) -> None:
        """Change the device that matches ``xml`` into it; see :meth:`attach_device`."""
        await self._run(self.sync.update_device, xml, live=live, config=config)

    async def set_vcpus(
        self, count: int, *, live: bool | None = None, config: bool = False
    ) -> None:
        """Set how many virtual CPUs are on; see :meth:`attach_device` for the rest."""
        await self._run(self.sync.set_vcpus, count, live=live, config=config)

    async def enable_vcpus(
        self,
        numbers: AbstractSet[int],
        enabled: bool = True,
        *,
        live: bool | None = None,
        config: bool = False,
    ) -> None:
        """Plug certain virtual CPUs in, or out; see :meth:`attach_device` for the rest."""
        await self._run(self.sync.enable_vcpus, numbers, enabled, live=live, config=config)

    async def set_memory(
        self, size: int, *, live: bool | None = None, config: bool = False
    ) -> None:
        """Set how many bytes of memory it has; see :meth:`attach_device` for the rest."""
        await self._run(self.sync.set_memory, size, live=live, config=config)

    async def set_memory_stats_period(
        self, seconds: int, *, live: bool | None = None, config: bool = False
    ) -> None:
        """Have its balloon tell how memory is used every so many seconds; 0: never."""
        await self._run(self.sync.set_memory_stats_period, seconds, live=live, config=config)

    async def set_max_vcpus(self, count: int, *, live: bool = False, config: bool = True) -> None:
        """Set how many virtual CPUs it may have, from its next start on."""
        await self._run(self.sync.set_max_vcpus, count, live=live, config=config)

    async def set_max_memory(self, size: int, *, live: bool = False, config: bool = True) -> None:
        """Set how many bytes of memory it may have, from its next start on."""
        await self._run(self.sync.set_max_memory, size, live=live, config=config)

    async def add_iothread(
        self, number: int, *, live: bool | None = None, config: bool = False
    ) -> None:
        """Add an I/O thread for disks; see :meth:`attach_device` for the rest."""
        await self._run(self.sync.add_iothread, number, live=live, config=config)

    async def remove_iothread(
        self, number: int, *, live: bool | None = None, config: bool = False
    ) -> None:
        """Remove an I/O thread that nothing uses; see :meth:`add_iothread`."""
        await self._run(self.sync.remove_iothread, number, live=live, config=config)

    async def set_iothread(
        self,
        number: int,
        values: Mapping[str, int],
        *,
        live: bool | None = None,
        config: bool = False,
    ) -> None:
        """Set how an I/O thread works; see :meth:`add_iothread`."""
        await self._run(self.sync.set_iothread, number, values, live=live, config=config)

    async def set_lifecycle_action(
        self, event: str, action: str, *, live: bool | None = None, config: bool | None = None
    ) -> None:
        """Say what is to happen when the guest ends of itself."""
        await self._run(self.sync.set_lifecycle_action, event, action, live=live, config=config)

    async def rename(self, name: str) -> None:
        """Give it another name; it must be persistent and off."""
        await self._run(self.sync.rename, name)

    async def set_title(
        self, text: str | None, *, live: bool | None = None, config: bool | None = None
    ) -> None:
        """Set its title, which is one line; ``None`` removes it."""
        await self._run(self.sync.set_title, text, live=live, config=config)

    async def set_description(
        self, text: str | None, *, live: bool | None = None, config: bool | None = None
    ) -> None:
        """Set its description; see :meth:`set_title`."""
        await self._run(self.sync.set_description, text, live=live, config=config)

    async def metadata(self, uri: str, *, inactive: bool = False) -> str | None:
        """Return the element of a namespace in its metadata, without prefix, or ``None``."""
        return await self._run(self.sync.metadata, uri, inactive=inactive)

    async def set_metadata(
        self,
        uri: str,
        prefix: str | None,
        xml: str | None,
        *,
        live: bool | None = None,
        config: bool | None = None,
    ) -> None:
        """Set the element of a namespace in its metadata."""
        await self._run(self.sync.set_metadata, uri, prefix, xml, live=live, config=config)


class Seat(Face):
    """Console, screen, keyboard and core of a domain."""

    __slots__ = ()

    sync: SyncSeat

    async def open_console(self, device: str | None = None, *, force: bool = False) -> int:
        """Return a file descriptor of a console, which is the caller's to close."""
        return await self._crew.run(
            lambda: self.sync.open_console(device, force=force), discard=os.close
        )

    async def screenshot(self, path: str | os.PathLike[str], *, screen: int = 0) -> str:
        """Write a picture of a screen to a file and return its media type (``image/png``)."""
        return await self._run(self.sync.screenshot, path, screen=screen)

    async def send_keys(
        self, codes: Sequence[int], *, codeset: str = "linux", hold: float = 0.0
    ) -> None:
        """Press keys together and let them go."""
        await self._run(self.sync.send_keys, codes, codeset=codeset, hold=hold)

    async def open_graphics(self, fd: int, *, screen: int = 0, skip_auth: bool = False) -> None:
        """Have its display serve the viewer at the other end of a socket."""
        await self._run(self.sync.open_graphics, fd, screen=screen, skip_auth=skip_auth)

    async def reload_graphics(self, kind: str | None = None) -> None:
        """Have its display use its certificates as they are now, for viewers to come."""
        await self._run(self.sync.reload_graphics, kind)

    async def dump(
        self,
        path: str | os.PathLike[str],
        *,
        live: bool = False,
        crash: bool = False,
        reset: bool = False,
        memory_only: bool = False,
        core_format: str = "raw",
        progress: ProgressCallback | None = None,
    ) -> None:
        """Write its memory into a file for a debugger; the file appears when it is whole."""
        await self._crew.job(
            lambda control: self.sync.dump(
                path,
                live=live,
                crash=crash,
                reset=reset,
                memory_only=memory_only,
                core_format=core_format,
                progress=control,
            ),
            progress,
        )
