"""Facts about what a host has beside domains."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

__all__ = [
    "DhcpLease",
    "ObjectSummary",
    "PoolInfo",
    "PoolState",
    "VolumeInfo",
    "VolumeRef",
]


@attrs.frozen
class ObjectSummary:
    """What a list of host objects prints of one.

    Attributes:
        key: what it is asked for by: its UUID as text, or its name where its family has
            no UUIDs (interfaces, node devices).
        name: its name; of a secret what it is for.
        uuid: its UUID, if its family has them.
        active: whether it is there now.
        persistent: whether its definition outlasts it.
        autostart: whether it starts with the host.
    """

    key: str
    name: str
    uuid: UUID | None = None
    active: bool = True
    persistent: bool = True
    autostart: bool = False


class PoolState(StrEnum):
    """States of a storage pool, as ``virStoragePoolState`` has them."""

    INACTIVE = "inactive"
    BUILDING = "building"
    RUNNING = "running"
    DEGRADED = "degraded"
    INACCESSIBLE = "inaccessible"


@attrs.frozen
class PoolInfo:
    """Figures of a storage pool.

    Attributes:
        state: what it is doing.
        capacity: its size in bytes.
        allocation: bytes taken.
        available: bytes free.
    """

    state: PoolState
    capacity: int = 0
    allocation: int = 0
    available: int = 0


@attrs.frozen
class VolumeRef:
    """Names a volume.

    Attributes:
        pool: key of its pool.
        name: its name in the pool.
        key: what is unique for it on the host.
        path: where domains find it.
    """

    pool: str
    name: str
    key: str
    path: str


@attrs.frozen
class VolumeInfo:
    """Figures of a volume.

    Attributes:
        type: ``"file"``, ``"block"``, ``"dir"``, ``"network"``, ``"netdir"`` or ``"ploop"``.
        capacity: the size that a guest sees, in bytes.
        allocation: bytes taken on the host.
    """

    type: str
    capacity: int
    allocation: int


@attrs.frozen
class DhcpLease:
    """An address that a network gave to a guest.

    Attributes:
        interface: the host's bridge.
        mac: the guest's MAC address.
        address: the address.
        prefix: length of its network part in bits.
        expires: when it lapses, aware; ``None``: never.
        hostname: what the guest calls itself, or ``None``.
        client_id: its DHCP client id, or ``None``.
    """

    interface: str
    mac: str
    address: str
    prefix: int
    expires: datetime | None = None
    hostname: str | None = None
    client_id: str | None = None
