"""What a host is and which guests it can run."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal
from uuid import UUID

from polyvisor.model._codecs import ON_OFF, UINT, UUID_TEXT, YES_NO, choices, integer
from polyvisor.model.binding import (
    Element,
    attr,
    child,
    children,
    element,
    flag,
    inner,
    text,
    value,
    values,
)
from polyvisor.model.document import Document

if TYPE_CHECKING:
    from polyvisor.model.capabilities_topology import (
        CacheBanks,
        MemoryBandwidthNodes,
        Topology,
    )
    from polyvisor.model.host_cpu import HostCpu

__all__ = [
    "BaseLabel",
    "Capabilities",
    "Guest",
    "GuestArch",
    "GuestDomain",
    "GuestFeatures",
    "GuestMachine",
    "HostCapabilities",
    "MigrationFeatures",
    "PowerManagement",
    "SecurityModel",
    "Toggle",
    "UriTransports",
]

OsKind = Literal["xen", "xenpvh", "linux", "hvm", "exe", "uml"]


@element(kw_only=True)
class PowerManagement(Element):
    """How the host can sleep."""

    suspend_mem: bool = flag()
    suspend_disk: bool = flag()
    suspend_hybrid: bool = flag()


@element(kw_only=True)
class UriTransports(Element):
    """How guests can travel."""

    transports: tuple[str, ...] = values(name="uri_transport")


@element(kw_only=True)
class MigrationFeatures(Element):
    """How guests can be migrated."""

    live: bool = flag()
    uri_transports: UriTransports | None = child(UriTransports)


@element(kw_only=True)
class BaseLabel(Element):
    """The label that guests of a kind get."""

    type: str = attr(required=True)
    label: str | None = text()


@element(kw_only=True)
class SecurityModel(Element):
    """A way in which the host keeps guests apart."""

    model: str = value(required=True)
    doi: str | None = value()
    baselabels: tuple[BaseLabel, ...] = children(BaseLabel, "baselabel")


@element(kw_only=True)
class HostCapabilities(Element):
    """The host."""

    uuid: UUID | None = value(UUID_TEXT)
    cpu: HostCpu | None = child(".host_cpu:HostCpu")
    power_management: PowerManagement | None = child(PowerManagement)
    iommu: bool | None = inner("iommu", "support", YES_NO)
    migration_features: MigrationFeatures | None = child(MigrationFeatures)
    topology: Topology | None = child(".capabilities_topology:Topology")
    cache: CacheBanks | None = child(".capabilities_topology:CacheBanks")
    memory_bandwidth: MemoryBandwidthNodes | None = child(
        ".capabilities_topology:MemoryBandwidthNodes"
    )
    secmodels: tuple[SecurityModel, ...] = children(SecurityModel, "secmodel")


@element(kw_only=True)
class GuestMachine(Element):
    """A machine type."""

    #: The name that it stands for.
    canonical: str | None = attr()
    max_cpus: int | None = attr(UINT, name="maxCpus")
    deprecated: bool | None = attr(YES_NO)
    name: str = text(required=True)


@element(kw_only=True)
class GuestDomain(Element):
    """A hypervisor, and what it has of its own."""

    type: str = attr(required=True)
    emulator: str | None = value()
    machines: tuple[GuestMachine, ...] = children(GuestMachine, "machine")


@element(kw_only=True)
class GuestArch(Element):
    """An architecture, and what can run it."""

    name: str = attr(required=True)
    wordsize: int | None = value(integer(31, 64))
    emulator: str | None = value()
    loader: str | None = value()
    machines: tuple[GuestMachine, ...] = children(GuestMachine, "machine")
    domains: tuple[GuestDomain, ...] = children(GuestDomain, "domain")


@element(kw_only=True)
class Toggle(Element):
    """A feature, how it is by itself, and whether a guest may choose."""

    default: bool | None = attr(ON_OFF)
    toggle: bool | None = attr(YES_NO)


@element(kw_only=True)
class GuestFeatures(Element):
    """What guests of a kind can have."""

    pae: bool = flag()
    nonpae: bool = flag()
    ia64_be: bool = flag()
    acpi: Toggle | None = child(Toggle)
    apic: Toggle | None = child(Toggle)
    cpuselection: bool = flag()
    deviceboot: bool = flag()
    disksnapshot: Toggle | None = child(Toggle)
    hap: Toggle | None = child(Toggle)


@element(kw_only=True)
class Guest(Element):
    """A kind of guest."""

    os_type: OsKind = value(choices(OsKind), required=True)
    arch: GuestArch = child(GuestArch, required=True)
    features: GuestFeatures | None = child(GuestFeatures)


@element(kw_only=True)
class Capabilities(Document):
    """What a host is and which guests it can run: libvirt's ``<capabilities>``.

    Values are frozen; :func:`attrs.evolve` makes a changed one.
    """

    XML_TAG: ClassVar[str] = "capabilities"
    XML_TITLE: ClassVar[str] = "host's capabilities"

    host: HostCapabilities = child(HostCapabilities, required=True)
    guests: tuple[Guest, ...] = children(Guest, "guest")
