"""The names of libvirt's Python binding, on polyvisor.

``_connect``    connections, and what opens them
``_domain``     domains, snapshots, checkpoints; ``_objects``: networks, storage and the like
``_limits``     what domains may use; ``_inside``: their guests, agents and screens
``_migration``  moving domains; ``_stream``: consoles, pictures, the content of volumes
``_events``     events; ``_loop``: the loop in which functions are called
``_wire``       procedures as methods, and where they are served
``_error``      the error; ``_constants``: numbers and names
"""

from __future__ import annotations

from libvirt._connect import open, openAuth, openReadOnly, virConnect
from libvirt._constants import constants
from libvirt._domain import virDomain, virDomainCheckpoint, virDomainSnapshot
from libvirt._error import (
    libvirtError,
    registerErrorHandler,
    virGetLastError,
    virGetLastErrorCode,
    virGetLastErrorDomain,
    virGetLastErrorMessage,
    virResetLastError,
)
from libvirt._loop import (
    _EventCB,  # noqa: F401 - loops of others name these types
    _TimerCB,  # noqa: F401
    virEventAddHandle,
    virEventAddTimeout,
    virEventInvokeFreeCallback,
    virEventRegisterDefaultImpl,
    virEventRegisterImpl,
    virEventRemoveHandle,
    virEventRemoveTimeout,
    virEventRunDefaultImpl,
    virEventUpdateHandle,
    virEventUpdateTimeout,
)
from libvirt._objects import (
    virInterface,
    virNetwork,
    virNetworkPort,
    virNodeDevice,
    virNWFilter,
    virNWFilterBinding,
    virSecret,
    virStoragePool,
    virStorageVol,
)
from libvirt._stream import virStream

_constants = constants()
globals().update(_constants)

__all__ = [
    "getVersion",
    "libvirtError",
    "open",
    "openAuth",
    "openReadOnly",
    "registerErrorHandler",
    "virConnect",
    "virDomain",
    "virDomainCheckpoint",
    "virDomainSnapshot",
    "virEventAddHandle",
    "virEventAddTimeout",
    "virEventInvokeFreeCallback",
    "virEventRegisterDefaultImpl",
    "virEventRegisterImpl",
    "virEventRemoveHandle",
    "virEventRemoveTimeout",
    "virEventRunDefaultImpl",
    "virEventUpdateHandle",
    "virEventUpdateTimeout",
    "virGetLastError",
    "virGetLastErrorCode",
    "virGetLastErrorDomain",
    "virGetLastErrorMessage",
    "virInitialize",
    "virInterface",
    "virNWFilter",
    "virNWFilterBinding",
    "virNetwork",
    "virNetworkPort",
    "virNodeDevice",
    "virResetLastError",
    "virSecret",
    "virStoragePool",
    "virStorageVol",
    "virStream",
    *_constants,
]


def getVersion(type: str | None = None) -> int:
    """Return the version of libvirt whose interface this is."""
    return 9_000_000


def virInitialize() -> int:
    """Do nothing: what is needed is there when it is asked for."""
    return 0
