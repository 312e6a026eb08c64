"""Families of host objects: storage pools, networks, interfaces, node devices and more.

Each family is a part of its own. An object is named by its key: its UUID as text, or its
name in the families whose objects have none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Generic, TypeVar

if TYPE_CHECKING:
    from polyvisor.jobs import Job
    from polyvisor.model import (  # noqa: F401 - the bases below name them
        InterfaceSpec,
        NetworkSpec,
        NodeDeviceSpec,
        NwFilterSpec,
        SecretSpec,
        StoragePoolSpec,
        StorageVolumeSpec,
    )
    from polyvisor.model.document import Document
    from polyvisor.objects import DhcpLease, ObjectSummary, PoolInfo, VolumeInfo, VolumeRef

__all__ = [
    "DefinedObjects",
    "Interfaces",
    "Networks",
    "NodeDevices",
    "NwFilters",
    "Objects",
    "Secrets",
    "StartedObjects",
    "StoragePools",
    "Volumes",
]

_S = TypeVar("_S", bound="Document")


class Objects(ABC, Generic[_S]):
    """A family of objects that can be looked at."""

    #: Name of the family in events and messages, such as ``"network"``.
    family: ClassVar[str]

    @abstractmethod
    def summaries(self) -> Sequence[ObjectSummary]:
        """Return a line for each object, ordered by name."""

    @abstractmethod
    def by_name(self, name: str) -> ObjectSummary:
        """Return the object called ``name``.

        Raises:
            NotFound: there is none.
        """

    @abstractmethod
    def get(self, key: str) -> ObjectSummary:
        """Return the object with this key.

        Raises:
            NotFound: there is none.
        """

    @abstractmethod
    def xml(self, key: str, *, inactive: bool = False) -> str:
        """Return its document: of an active object the live one unless ``inactive``."""


class DefinedObjects(Objects[_S]):
    """A family whose objects are made from definitions."""

    @abstractmethod
    def define(self, spec: _S) -> str:
        """Keep a definition, or give an object a new one, and return its key.

        Raises:
            AlreadyExists: the name belongs to another object.
            SpecError: such an object cannot be here; says what stands in the way.
        """

    @abstractmethod
    def undefine(self, key: str) -> None:
        """Forget the definition; an active object becomes transient where there is that.

        Raises:
            OperationInvalid: it is active, in a family that has no transient objects.
        """


class StartedObjects(DefinedObjects[_S]):
    """A family whose objects are started and stopped."""

    @abstractmethod
    def create(self, spec: _S) -> str:
        """Start a transient object, forgotten when it stops, and return its key.

        Raises:
            AlreadyExists: the name or UUID belongs to another or to an active object.
        """

    @abstractmethod
    def start(self, key: str) -> None:
        """Start a defined object.

        Raises:
            OperationInvalid: it is active already.
        """

    @abstractmethod
    def destroy(self, key: str) -> None:
        """Stop it; what it holds is kept.

        Raises:
            OperationInvalid: it is not active.
        """

    @abstractmethod
    def set_autostart(self, key: str, autostart: bool) -> None:
        """Mark it to be started with the host, or not.

        Raises:
            OperationInvalid: it is transient.
        """


class Volumes(ABC):
    """The volumes of a driver's storage pools.

    All need the pool to be active, and raise
    :class:`~polyvisor.errors.OperationInvalid` if it is not.
    """

    @abstractmethod
    def list(self, pool: str) -> Sequence[VolumeRef]:
        """Return the volumes of a pool, ordered by name."""

    @abstractmethod
    def by_name(self, pool: str, name: str) -> VolumeRef:
        """Return the volume of a pool with this name.

        Raises:
            NotFound: there is none.
        """

    @abstractmethod
    def by_key(self, key: str) -> VolumeRef:
        """Return the volume of any active pool with this key.

        Raises:
            NotFound: there is none.
        """

    @abstractmethod
    def by_path(self, path: str) -> VolumeRef:
        """Return the volume of any active pool at this path.

        Raises:
            NotFound: there is none.
        """

    @abstractmethod
    def info(self, volume: VolumeRef) -> VolumeInfo:
        """Return its figures."""

    @abstractmethod
    def xml(self, volume: VolumeRef) -> str:
        """Return its document."""

    @abstractmethod
    def create(
        self, pool: str, spec: StorageVolumeSpec, *, source: VolumeRef | None, job: Job
    ) -> VolumeRef:
        """Make a volume, with the content of ``source`` if that is given.

        Raises:
            AlreadyExists: the pool has a volume of that name.
            StorageError: there is no room for it, or it cannot be written.
        """

    @abstractmethod
    def delete(self, volume: VolumeRef) -> None:
        """Remove it and what it holds."""

    @abstractmethod
    def resize(self, volume: VolumeRef, capacity: int, *, allocate: bool, shrink: bool) -> None:
        """Give it another capacity.

        Args:
            volume: the volume.
            capacity: in bytes.
            allocate: take the room at once.
            shrink: whether it may become smaller; without, that is refused.
        """

    @abstractmethod
    def wipe(self, volume: VolumeRef, job: Job) -> None:
        """Overwrite its content with zeros."""

    @abstractmethod
    def open(self, volume: VolumeRef, *, write: bool) -> BinaryIO:
        """Open its content, to be read or written from any position.

        Raises:
            StorageError: it cannot be opened.
        """


class StoragePools(StartedObjects["StoragePoolSpec"]):
    """Storage pools.

    Attributes:
        volumes: what is in them.
    """

    family = "pool"
    volumes: Volumes

    @abstractmethod
    def info(self, key: str) -> PoolInfo:
        """Return its figures."""

    @abstractmethod
    def build(self, key: str, *, overwrite: bool = False) -> None:
        """Make what lies below an inactive pool: its folder, file system, partition table.

        Args:
            key: the pool.
            overwrite: destroy what is there already; without, that is refused.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove what lies below an inactive pool."""

    @abstractmethod
    def refresh(self, key: str) -> None:
        """Look through an active pool anew."""


class Networks(StartedObjects["NetworkSpec"]):
    """Virtual networks."""

    family = "network"

    @abstractmethod
    def bridge(self, key: str) -> str:
        """Return the name of its bridge on the host.

        Raises:
            OperationInvalid: it has none.
        """

    def leases(self, key: str, mac: str | None = None) -> Sequence[DhcpLease]:
        """Return the addresses that it gave out, to one MAC address if that is given.

        Raises:
            Unsupported: the driver does not know them.
        """
        from polyvisor.errors import Unsupported

        raise Unsupported(
            "DHCP leases: this driver's networks give out no addresses", feature="networks"
        )


class Interfaces(DefinedObjects["InterfaceSpec"]):
    """The host's own network interfaces, by name."""

    family = "interface"

    @abstractmethod
    def by_mac(self, mac: str) -> Sequence[ObjectSummary]:
        """Return those with this MAC address."""

    @abstractmethod
    def mac(self, key: str) -> str | None:
        """Return its MAC address, if it has one."""

    @abstractmethod
    def start(self, key: str) -> None:
        """Bring it up."""

    @abstractmethod
    def destroy(self, key: str) -> None:
        """Take it down."""


class NodeDevices(Objects["NodeDeviceSpec"]):
    """The host's devices, by name."""

    family = "nodedev"

    @abstractmethod
    def parent(self, key: str) -> str | None:
        """Return the name of the device that it hangs on."""

    @abstractmethod
    def capabilities(self, key: str) -> Sequence[str]:
        """Return what it is, in libvirt's words, such as ``"pci"`` or ``"usb_device"``."""

    def detach(self, key: str, driver: str | None = None) -> None:
        """Take a PCI device from the host, so that a guest can have it.

        Args:
            key: its name.
            driver: of the host's that hands it on, such as ``vfio-pci``; ``None``: the usual one.

        Raises:
            InvalidArgument: it is no PCI device, or there is no such driver.
            Unsupported: the host cannot give devices to guests.
        """
        raise _fixed("detach a node device")

    def reattach(self, key: str) -> None:
        """Give a PCI device back to the host's own driver; raises as :meth:`detach`."""
        raise _fixed("re-attach a node device")

    def reset(self, key: str) -> None:
        """Reset a PCI device.

        Raises:
            InvalidArgument: it is no PCI device.
            HypervisorError: it has no way to be reset.
        """
        raise _fixed("reset a node device")

    def create(self, spec: NodeDeviceSpec) -> str:
        """Make a device that the host can make of another, such as a mediated one; return its key.

        Raises:
            NotFound: there is nothing it could be made of.
            Unsupported: none of this kind can be made.
        """
        raise _fixed("create a node device")

    def destroy(self, key: str) -> None:
        """Remove a device that was made.

        Raises:
            Unsupported: it was not made.
        """
        raise _fixed("destroy a node device")


class Secrets(DefinedObjects["SecretSpec"]):
    """Passphrases and keys; what a secret is for stands as its name."""

    family = "secret"

    @abstractmethod
    def by_usage(self, kind: str, usage: str) -> ObjectSummary:
        """Return the secret for a use.

        Args:
            kind: ``"volume"``, ``"ceph"``, ``"iscsi"``, ``"tls"`` or ``"vtpm"``.
            usage: what it is for.

        Raises:
            NotFound: there is none.
        """

    @abstractmethod
    def value(self, key: str) -> bytes:
        """Return its value, a private one's too: callers do not get that further.

        Raises:
            NotFound: it has none yet.
        """

    @abstractmethod
    def set_value(self, key: str, value: bytes) -> None:
        """Give it a value."""


class NwFilters(DefinedObjects["NwFilterSpec"]):
    """Rules for the traffic of domains."""

    family = "nwfilter"


def _fixed(operation: str) -> Exception:
    from polyvisor.errors import Unsupported

    return Unsupported(
        f"{operation}: this driver's devices stay as they are", feature="node-devices"
    )
