"""Storage pools."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from uuid import UUID

from polyvisor.errors import NotFound
from polyvisor.model import StoragePoolSpec
from polyvisor_remote.server._families.arguments import check_flags, need
from polyvisor_remote.server._families.objects import (
    LIST_FLAGS,
    counted,
    filtered,
    key_of,
    named,
    reference,
)
from polyvisor_remote.server.dispatch import serves

if TYPE_CHECKING:
    from polyvisor.driver import StoragePools
    from polyvisor_remote.server.session import Session

#: ``virStoragePoolState``.
_STATES = ("inactive", "building", "running", "degraded", "inaccessible")
# virStoragePoolCreateFlags
_WITH_BUILD, _WITH_OVERWRITE, _WITH_NO_OVERWRITE = 1, 2, 4
_CREATE = _WITH_BUILD | _WITH_OVERWRITE | _WITH_NO_OVERWRITE
# virStoragePoolBuildFlags
_NO_OVERWRITE, _OVERWRITE = 4, 8
_INACTIVE_XML = 1
#: Types of pool that a list may choose, from the seventh flag on
#: (``virConnectListAllStoragePoolsFlags``).
_TYPES = (
    "dir", "fs", "netfs", "logical", "disk", "iscsi", "scsi", "mpath", "rbd", "sheepdog",
    "gluster", "zfs", "vstorage", "iscsi-direct",
)  # fmt: skip
_FIRST_TYPE = 6
_LIST = LIST_FLAGS | sum(1 << _FIRST_TYPE + bit for bit in range(len(_TYPES)))


def part_of(session: Session, procedure: str) -> StoragePools:
    """Return the driver's storage pools."""
    return need(session.driver.storage_pools, procedure)


@serves("connect_list_all_storage_pools")
def list_all(session: Session, arguments: Any) -> tuple[list[Any], int]:
    """Return those that flags choose."""
    part = part_of(session, "connect_list_all_storage_pools")
    found = filtered(part.summaries(), arguments.flags)
    wanted = {name for bit, name in enumerate(_TYPES) if arguments.flags & 1 << _FIRST_TYPE + bit}
    if wanted:
        found = [one for one in found if StoragePoolSpec.from_xml(part.xml(one.key)).type in wanted]
    return counted(list(map(reference, found)), arguments, _LIST, "connect_list_all_storage_pools")


@serves("connect_num_of_storage_pools")
def num(session: Session, arguments: Any) -> tuple[int]:
    """Count the active ones."""
    found = part_of(session, "connect_num_of_storage_pools").summaries()
    return (sum(one.active for one in found),)


@serves("connect_list_storage_pools")
def list_active(session: Session, arguments: Any) -> tuple[list[str]]:
    """Name the active ones."""
    found = part_of(session, "connect_list_storage_pools").summaries()
    return (named(found, arguments.maxnames, active=True),)


@serves("connect_num_of_defined_storage_pools")
def num_defined(session: Session, arguments: Any) -> tuple[int]:
    """Count the inactive ones."""
    found = part_of(session, "connect_num_of_defined_storage_pools").summaries()
    return (sum(not one.active for one in found),)


@serves("connect_list_defined_storage_pools")
def list_defined(session: Session, arguments: Any) -> tuple[list[str]]:
    """Name the inactive ones."""
    found = part_of(session, "connect_list_defined_storage_pools").summaries()
    return (named(found, arguments.maxnames, active=False),)


def _missing(what: str, error: NotFound) -> NotFound:
    return NotFound(f"no storage pool with matching {what}", kind="storage pool", key=error.key)


@serves("storage_pool_lookup_by_name")
def lookup_by_name(session: Session, arguments: Any) -> tuple[Any]:
    """Find one by its name."""
    part = part_of(session, "storage_pool_lookup_by_name")
    try:
        return (reference(part.by_name(arguments.name)),)
    except NotFound as error:
        raise _missing(f"name '{arguments.name}'", error) from error


@serves("storage_pool_lookup_by_uuid")
def lookup_by_uuid(session: Session, arguments: Any) -> tuple[Any]:
    """Find one by its UUID."""
    key = str(UUID(bytes=arguments.uuid))
    part = part_of(session, "storage_pool_lookup_by_uuid")
    try:
        return (reference(part.get(key)),)
    except NotFound as error:
        raise _missing(f"uuid '{key}'", error) from error


@serves("storage_pool_lookup_by_target_path")
def lookup_by_target_path(session: Session, arguments: Any) -> tuple[Any]:
    """Find the active one that is at a path."""
    part = part_of(session, "storage_pool_lookup_by_target_path")
    wanted = os.path.normpath(arguments.path)
    for one in part.summaries():
        target = StoragePoolSpec.from_xml(part.xml(one.key)).target if one.active else None
        if target is not None and target.path and os.path.normpath(target.path) == wanted:
            return (reference(one),)
    words = f"no storage pool with matching target path '{arguments.path}'"
    raise NotFound(words, kind="storage pool", key=arguments.path)


@serves("storage_pool_lookup_by_volume")
def lookup_by_volume(session: Session, arguments: Any) -> tuple[Any]:
    """Find the one that a volume is in."""
    part = part_of(session, "storage_pool_lookup_by_volume")
    return (reference(part.get(part.volumes.by_key(arguments.vol.key).pool)),)


@serves("storage_pool_define_xml", slow=True)
def define_xml(session: Session, arguments: Any) -> tuple[Any]:
    """Keep a definition."""
    check_flags(arguments.flags, 1, "virStoragePoolDefineXML")
    part = part_of(session, "storage_pool_define_xml")
    return (reference(part.get(part.define(StoragePoolSpec.from_xml(arguments.xml)))),)


@serves("storage_pool_create_xml", slow=True)
def create_xml(session: Session, arguments: Any) -> tuple[Any]:
    """Start a transient one, made first if flags say so."""
    check_flags(arguments.flags, _CREATE, "virStoragePoolCreateXML")
    part = part_of(session, "storage_pool_create_xml")
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


@serves("storage_pool_create", slow=True)
def create(session: Session, arguments: Any) -> None:
    """Start one, made first if flags say so."""
    check_flags(arguments.flags, _CREATE, "virStoragePoolCreate")
    part = part_of(session, "storage_pool_create")
    key = key_of(arguments.pool)
    if arguments.flags:
        part.build(key, overwrite=bool(arguments.flags & _WITH_OVERWRITE))
    part.start(key)


@serves("storage_pool_build", slow=True)
def build(session: Session, arguments: Any) -> None:
    """Make what lies below one."""
    check_flags(arguments.flags, _NO_OVERWRITE | _OVERWRITE, "virStoragePoolBuild")
    part = part_of(session, "storage_pool_build")
    part.build(key_of(arguments.pool), overwrite=bool(arguments.flags & _OVERWRITE))


@serves("storage_pool_destroy", slow=True)
def destroy(session: Session, arguments: Any) -> None:
    """Stop one; what is in it stays."""
    part_of(session, "storage_pool_destroy").destroy(key_of(arguments.pool))


@serves("storage_pool_delete", slow=True)
def delete(session: Session, arguments: Any) -> None:
    """Remove what lies below one."""
    check_flags(arguments.flags, 0, "virStoragePoolDelete")
    part_of(session, "storage_pool_delete").delete(key_of(arguments.pool))


@serves("storage_pool_undefine", slow=True)
def undefine(session: Session, arguments: Any) -> None:
    """Forget a definition."""
    part_of(session, "storage_pool_undefine").undefine(key_of(arguments.pool))


@serves("storage_pool_refresh", slow=True)
def refresh(session: Session, arguments: Any) -> None:
    """Look through one anew."""
    check_flags(arguments.flags, 0, "virStoragePoolRefresh")
    part_of(session, "storage_pool_refresh").refresh(key_of(arguments.pool))


@serves("storage_pool_get_info")
def get_info(session: Session, arguments: Any) -> tuple[int, int, int, int]:
    """Return its state and sizes."""
    info = part_of(session, "storage_pool_get_info").info(key_of(arguments.pool))
    return _STATES.index(info.state), info.capacity, info.allocation, info.available


@serves("storage_pool_get_xml_desc")
def get_xml_desc(session: Session, arguments: Any) -> tuple[str]:
    """Return a definition."""
    check_flags(arguments.flags, _INACTIVE_XML, "virStoragePoolGetXMLDesc")
    part = part_of(session, "storage_pool_get_xml_desc")
    return (part.xml(key_of(arguments.pool), inactive=bool(arguments.flags)),)


@serves("storage_pool_get_autostart")
def get_autostart(session: Session, arguments: Any) -> tuple[int]:
    """Say whether it starts with the host."""
    part = part_of(session, "storage_pool_get_autostart")
    return (int(part.get(key_of(arguments.pool)).autostart),)


@serves("storage_pool_set_autostart", slow=True)
def set_autostart(session: Session, arguments: Any) -> None:
    """Have it start with the host, or not."""
    part = part_of(session, "storage_pool_set_autostart")
    part.set_autostart(key_of(arguments.pool), bool(arguments.autostart))


@serves("storage_pool_is_active")
def is_active(session: Session, arguments: Any) -> tuple[int]:
    """Say whether it is there now."""
    return (int(part_of(session, "storage_pool_is_active").get(key_of(arguments.pool)).active),)


@serves("storage_pool_is_persistent")
def is_persistent(session: Session, arguments: Any) -> tuple[int]:
    """Say whether there is a definition."""
    part = part_of(session, "storage_pool_is_persistent")
    return (int(part.get(key_of(arguments.pool)).persistent),)
