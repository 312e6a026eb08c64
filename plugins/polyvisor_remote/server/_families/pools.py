"""Storage pools."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from polyvisor.model import StoragePoolSpec
from polyvisor_remote.server._families.objects import LIST_FLAGS, counted, filtered, reference
from polyvisor_remote.server._families.routine import Family

if TYPE_CHECKING:
    from polyvisor.driver import StoragePools

#: ``virStoragePoolState``.
_STATES = ("inactive", "building", "running", "degraded", "inaccessible")
# virStoragePoolCreateFlags
_WITH_BUILD, _WITH_OVERWRITE, _WITH_NO_OVERWRITE = 1, 2, 4
_CREATE = _WITH_BUILD | _WITH_OVERWRITE | _WITH_NO_OVERWRITE
# virStoragePoolBuildFlags
_NO_OVERWRITE, _OVERWRITE = 4, 8
#: Types of pool that a list may choose, from the seventh flag on
#: (``virConnectListAllStoragePoolsFlags``).
_TYPES = (
    "dir", "fs", "netfs", "logical", "disk", "iscsi", "scsi", "mpath", "rbd", "sheepdog",
    "gluster", "zfs", "vstorage", "iscsi-direct",
)  # fmt: skip
_FIRST_TYPE = 6
_LIST = LIST_FLAGS | sum(1 << _FIRST_TYPE + bit for bit in range(len(_TYPES)))

POOLS: Family[StoragePools] = Family(
    "storage_pool", "storage_pools", "pool", lambda driver: driver.storage_pools
)
POOLS.serve_lists()
POOLS.serve_lookups()
POOLS.serve_definitions(StoragePoolSpec, inactive_xml=True, flagged=False)
POOLS.serve_end()
POOLS.serve_facts("active", "persistent")
POOLS.serve_autostart()


@POOLS.serves("connect_list_all_storage_pools", flags=None)
def list_all(part: StoragePools, arguments: Any) -> tuple[list[Any], int]:
    """Return those that flags choose."""
    found = filtered(part.summaries(), arguments.flags)
    wanted = {name for bit, name in enumerate(_TYPES) if arguments.flags & 1 << _FIRST_TYPE + bit}
    if wanted:
        found = [one for one in found if StoragePoolSpec.from_xml(part.xml(one.key)).type in wanted]
    return counted(list(map(reference, found)), arguments, _LIST, "connect_list_all_storage_pools")


@POOLS.serves("storage_pool_lookup_by_target_path")
def lookup_by_target_path(part: StoragePools, arguments: Any) -> tuple[Any]:
    """Find the active one that is at a path."""
    wanted = os.path.normpath(arguments.path)
    for one in part.summaries():
        target = StoragePoolSpec.from_xml(part.xml(one.key)).target if one.active else None
        if target is not None and target.path and os.path.normpath(target.path) == wanted:
            return (reference(one),)
    raise POOLS.missing(f"target path '{arguments.path}'")


@POOLS.serves("storage_pool_lookup_by_volume")
def lookup_by_volume(part: StoragePools, arguments: Any) -> tuple[Any]:
    """Find the one that a volume is in."""
    return (reference(part.get(part.volumes.by_key(arguments.vol.key).pool)),)


@POOLS.serves("storage_pool_create_xml", slow=True, flags=_CREATE)
def create_xml(part: StoragePools, arguments: Any) -> tuple[Any]:
    """Start a transient one, made first if flags say so."""
    spec = StoragePoolSpec.from_xml(arguments.xml)
    if not arguments.flags:
        return (reference(part.get(part.create(spec))),)
    key = part.define(spec)
    try:
        part.build(key, overwrite=bool(arguments.flags & _WITH_OVERWRITE))
        part.start(key)
    finally:
        part.undefine(key)
    return (reference(part.get(key)),)


@POOLS.serves("storage_pool_create", slow=True, flags=_CREATE)
def create(part: StoragePools, arguments: Any) -> None:
    """Start one, made first if flags say so."""
    key = POOLS.key(arguments)
    if arguments.flags:
        part.build(key, overwrite=bool(arguments.flags & _WITH_OVERWRITE))
    part.start(key)


@POOLS.serves("storage_pool_build", slow=True, flags=_NO_OVERWRITE | _OVERWRITE)
def build(part: StoragePools, arguments: Any) -> None:
    """Make what lies below one."""
    part.build(POOLS.key(arguments), overwrite=bool(arguments.flags & _OVERWRITE))


@POOLS.serves("storage_pool_delete", slow=True)
def delete(part: StoragePools, arguments: Any) -> None:
    """Remove what lies below one."""
    part.delete(POOLS.key(arguments))


@POOLS.serves("storage_pool_refresh", slow=True)
def refresh(part: StoragePools, arguments: Any) -> None:
    """Look through one anew."""
    part.refresh(POOLS.key(arguments))


@POOLS.serves("storage_pool_get_info")
def get_info(part: StoragePools, arguments: Any) -> tuple[int, int, int, int]:
    """Return its state and sizes."""
    info = part.info(POOLS.key(arguments))
    return _STATES.index(info.state), info.capacity, info.allocation, info.available
