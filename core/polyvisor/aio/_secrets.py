"""Secrets, awaitable.

Written by ``tests/house/aio_faces.py`` from the blocking handles; change those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.aio._families import Collection, Defined

if TYPE_CHECKING:
    from polyvisor.model import SecretSpec
    from polyvisor.secrets import Secret as SyncSecret
    from polyvisor.secrets import SecretCollection as SyncSecretCollection

__all__ = ["Secret", "SecretCollection"]


class Secret(Defined):
    """A handle of a secret."""

    __slots__ = ()

    sync: SyncSecret

    async def spec(self) -> SecretSpec:
        """Return its definition, which does not hold its value."""
        return await self._run(self.sync.spec)

    async def value(self) -> bytes:
        """Return its value."""
        return await self._run(self.sync.value)

    async def set_value(self, value: bytes) -> None:
        """Give it a value."""
        await self._run(self.sync.set_value, value)


class SecretCollection(Collection[Secret]):
    """The secrets of a connection."""

    __slots__ = ()

    sync: SyncSecretCollection

    def _wrap(self, sync: Any) -> Secret:
        return Secret(self._host, sync)

    async def for_use(self, kind: str, usage: str) -> Secret:
        """Return the secret for a use."""
        return Secret(self._host, await self._run(self.sync.for_use, kind, usage))
