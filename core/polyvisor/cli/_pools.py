"""What the commands for storage pools and volumes share: how a person names one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.cli._declare import option
from polyvisor.cli._families import Family
from polyvisor.cli._session import session

if TYPE_CHECKING:
    from polyvisor.storage import StorageVolume

__all__ = ["POOLS", "pool_option", "volume_of"]

POOLS = Family("pool", "storage pool", lambda connection: connection.storage_pools)

pool_option = option("--pool", help="The pool that it is in.")


def volume_of(name: str, pool: str | None) -> StorageVolume:
    """Return the volume that a person means: by name in a pool, by path or by key."""
    from polyvisor.errors import NotFound

    if pool is not None:
        found: StorageVolume = POOLS.object(pool).volume(name)
        return found
    pools = session().connection.storage_pools
    try:
        return pools.volume(path=name)
    except NotFound:
        return pools.volume(key=name)
