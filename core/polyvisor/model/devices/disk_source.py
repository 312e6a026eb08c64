"""Where the bytes of a disk are: a file, a block device, a server, a volume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from uuid import UUID

from polyvisor.model._codecs import ON_OFF, UINT, ULONG, UUID_TEXT, YES_NO, choices
from polyvisor.model.binding import (
    Element,
    RawXml,
    attr,
    child,
    children,
    element,
    inner,
    subtree,
    text,
)

if TYPE_CHECKING:
    from polyvisor.model.domain import SecLabel

__all__ = [
    "Auth",
    "Cookie",
    "Cookies",
    "DiskSource",
    "Encryption",
    "EncryptionCipher",
    "Identity",
    "Initiator",
    "IvGen",
    "PhysicalPciAddress",
    "Reconnect",
    "Reservations",
    "ReservationsSource",
    "Secret",
    "Slices",
    "SourceHost",
]

Protocol = Literal[
    "nbd", "rbd", "sheepdog", "gluster", "iscsi", "http", "https", "ftp", "ftps", "tftp", "ssh",
    "vxhs", "nfs",
]  # fmt: skip
HostTransport = Literal["tcp", "unix", "rdma"]


@element(kw_only=True)
class SourceHost(Element):
    """A server."""

    name: str | None = attr()
    port: str | None = attr()
    transport: HostTransport | None = attr(choices(HostTransport))
    socket: str | None = attr()


@element(kw_only=True)
class Secret(Element):
    """A secret of the host's store."""

    type: str | None = attr()
    usage: str | None = attr()
    uuid: UUID | None = attr(UUID_TEXT)


@element(kw_only=True)
class Auth(Element):
    """Who asks."""

    username: str | None = attr()
    secret: Secret | None = child(Secret)


@element(kw_only=True)
class EncryptionCipher(Element):
    """The cipher of an encrypted image."""

    name: str | None = attr()
    size: int | None = attr(UINT)
    mode: str | None = attr()
    hash: str | None = attr()


@element(kw_only=True)
class IvGen(Element):
    """How initialisation vectors are made."""

    name: str | None = attr()
    hash: str | None = attr()


@element(kw_only=True)
class Encryption(Element):
    """How an image is encrypted."""

    format: str | None = attr()
    engine: str | None = attr()
    secrets: tuple[Secret, ...] = children(Secret, "secret")
    cipher: EncryptionCipher | None = child(EncryptionCipher)
    ivgen: IvGen | None = child(IvGen)


@element(kw_only=True)
class ReservationsSource(Element):
    """The helper's socket."""

    type: str | None = attr()
    path: str | None = attr()
    mode: str | None = attr()
    reconnect: Reconnect | None = child(".devices.disk_source:Reconnect")


@element(kw_only=True)
class Reservations(Element):
    """Persistent reservations on a SCSI disk."""

    managed: bool | None = attr(YES_NO)
    source: ReservationsSource | None = child(ReservationsSource)


@element(kw_only=True)
class Initiator(Element):
    """Who an iSCSI initiator is."""

    iqn: str | None = inner("iqn", "name")


@element(kw_only=True)
class Cookie(Element):
    """One HTTP cookie."""

    name: str | None = attr()
    value: str | None = text()


@element(kw_only=True)
class Cookies(Element):
    """HTTP cookies."""

    cookies: tuple[Cookie, ...] = children(Cookie, "cookie")


@element(kw_only=True)
class Reconnect(Element):
    """Whether and after how many seconds to connect again."""

    enabled: bool | None = attr(YES_NO)
    timeout: int | None = attr(UINT)


@element(kw_only=True)
class Slice(Element):
    """A part of the storage, in bytes."""

    type: str | None = attr()
    offset: int | None = attr(ULONG)
    size: int | None = attr(ULONG)


@element(kw_only=True)
class Slices(Element):
    """Parts of the storage."""

    slices: tuple[Slice, ...] = children(Slice, "slice")


@element(kw_only=True)
class Identity(Element):
    """As whom an NFS server is asked."""

    user: str | None = attr()
    group: str | None = attr()


@element(kw_only=True)
class PhysicalPciAddress(Element):
    """A PCI device of the host."""

    domain: str | None = attr()
    bus: str | None = attr()
    slot: str | None = attr()
    function: str | None = attr()
    multifunction: bool | None = attr(ON_OFF)


@element(kw_only=True)
class DiskSource(Element):
    """Where the bytes are; which attributes count depends on the disk's type."""

    type: str | None = attr()
    file: str | None = attr()
    fdgroup: str | None = attr()
    dev: str | None = attr()
    dir: str | None = attr()
    protocol: Protocol | None = attr(choices(Protocol))
    name: str | None = attr()
    query: str | None = attr()
    tls: bool | None = attr(YES_NO)
    tls_hostname: str | None = attr(name="tlsHostname")
    pool: str | None = attr()
    volume: str | None = attr()
    mode: str | None = attr()
    managed: bool | None = attr(YES_NO)
    namespace: int | None = attr(UINT)
    path: str | None = attr()
    startup_policy: str | None = attr(name="startupPolicy")
    index: int | None = attr(UINT)
    hosts: tuple[SourceHost, ...] = children(SourceHost, "host")
    snapshot: str | None = inner("snapshot", "name")
    config: str | None = inner("config", "file")
    initiator: Initiator | None = child(Initiator)
    address: PhysicalPciAddress | None = child(PhysicalPciAddress)
    seclabels: tuple[SecLabel, ...] = children(".domain:SecLabel", "seclabel")
    auth: Auth | None = child(Auth)
    encryption: Encryption | None = child(Encryption)
    reservations: Reservations | None = child(Reservations)
    ssl_verify: bool | None = inner("ssl", "verify", YES_NO)
    cookies: Cookies | None = child(Cookies)
    readahead: int | None = inner("readahead", "size", ULONG)
    timeout: int | None = inner("timeout", "seconds", ULONG)
    identity: Identity | None = child(Identity)
    reconnect: Reconnect | None = child(Reconnect)
    slices: Slices | None = child(Slices)
    #: What a hypervisor's driver keeps of a running domain's disk.
    private_data: RawXml | None = subtree("privateData")
