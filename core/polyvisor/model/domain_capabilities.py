"""What one hypervisor can give a domain: libvirt's ``<domainCapabilities>``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from polyvisor.model._codecs import UINT, YES_NO, choices
from polyvisor.model.binding import (
    Choice,
    Element,
    attr,
    child,
    children,
    element,
    inner,
    size,
    text,
    value,
    values,
)
from polyvisor.model.document import Document

if TYPE_CHECKING:
    from polyvisor.model.cpu import CpuFeature, CpuModel

__all__ = [
    "CpuModeSupport",
    "CpuModels",
    "CustomCpuSupport",
    "DeviceSupport",
    "DomainCapabilities",
    "EnumSupport",
    "FeatureSupport",
    "HostModelSupport",
    "LoaderSupport",
    "OsSupport",
    "SevSupport",
    "SgxSection",
    "SgxSections",
    "SgxSupport",
    "Support",
    "UsableCpuModel",
]


@element(kw_only=True)
class EnumSupport(Element):
    """The values that one attribute can have."""

    name: str = attr(required=True)
    allowed: tuple[str, ...] = values(name="value")


@element(kw_only=True)
class Support(Element):
    """Whether a thing is supported, and which values its attributes can have."""

    supported: bool | None = attr(YES_NO)
    enums: tuple[EnumSupport, ...] = children(EnumSupport, "enum")

    def allowed(self, name: str) -> tuple[str, ...] | None:
        """Return the values that an attribute can have; None: nothing is said of it."""
        return next((one.allowed for one in self.enums if one.name == name), None)


@element(kw_only=True)
class LoaderSupport(Element):
    """Firmware images."""

    supported: bool | None = attr(YES_NO)
    paths: tuple[str, ...] = values(name="value")
    enums: tuple[EnumSupport, ...] = children(EnumSupport, "enum")


@element(kw_only=True)
class OsSupport(Support):
    """How a domain can boot."""

    loader: LoaderSupport | None = child(LoaderSupport)


@element(kw_only=True)
class CpuModeSupport(Support):
    """``host-passthrough`` and ``maximum``."""

    name: Literal["host-passthrough", "maximum"] = attr(
        choices(Literal["host-passthrough", "maximum"]), required=True
    )


@element(kw_only=True)
class HostModelSupport(Element):
    """``host-model``, and what it would be now."""

    name: Literal["host-model"] = attr(choices(Literal["host-model"]), default="host-model")
    supported: bool | None = attr(YES_NO)
    model: CpuModel | None = child(".cpu:CpuModel")
    vendor: str | None = value()
    features: tuple[CpuFeature, ...] = children(".cpu:CpuFeature", "feature")


@element(kw_only=True)
class UsableCpuModel(Element):
    """A CPU model, and whether it can be used here."""

    usable: Literal["yes", "no", "unknown"] | None = attr(choices(Literal["yes", "no", "unknown"]))
    deprecated: bool | None = attr(YES_NO)
    vendor: str | None = attr()
    name: str = text(required=True)


@element(kw_only=True)
class CustomCpuSupport(Element):
    """``custom``, and the models that there are."""

    name: Literal["custom"] = attr(choices(Literal["custom"]), default="custom")
    supported: bool | None = attr(YES_NO)
    models: tuple[UsableCpuModel, ...] = children(UsableCpuModel, "model")


@element(kw_only=True)
class CpuModels(Element):
    """The modes of a domain's CPU."""

    modes: tuple[CpuModeSupport | HostModelSupport | CustomCpuSupport, ...] = children(
        Choice(
            "name",
            {
                "host-passthrough": CpuModeSupport,
                "maximum": CpuModeSupport,
                "host-model": HostModelSupport,
                "custom": CustomCpuSupport,
            },
        ),
        "mode",
    )

    def mode(self, name: str) -> Any:
        """Return what is said of a mode, or None."""
        return next((one for one in self.modes if one.name == name), None)


@element(kw_only=True)
class DeviceSupport(Element):
    """Devices by kind."""

    XML_OPEN: ClassVar = True

    disk: Support | None = child(Support)
    graphics: Support | None = child(Support)
    video: Support | None = child(Support)
    hostdev: Support | None = child(Support)
    rng: Support | None = child(Support)
    filesystem: Support | None = child(Support)
    tpm: Support | None = child(Support)
    redirdev: Support | None = child(Support)
    channel: Support | None = child(Support)


@element(kw_only=True)
class SevSupport(Element):
    """AMD's encrypted guests."""

    supported: bool | None = attr(YES_NO)
    cbitpos: int | None = value(UINT)
    reduced_phys_bits: int | None = value(UINT, name="reducedPhysBits")
    max_guests: int | None = value(UINT, name="maxGuests")
    max_es_guests: int | None = value(UINT, name="maxESGuests")


@element(kw_only=True)
class SgxSection(Element):
    """Enclave memory of one NUMA node."""

    node: int | None = attr(UINT)
    #: In its unit.
    size: int | None = attr(UINT)
    unit: Literal["KiB"] | None = attr(choices(Literal["KiB"]))


@element(kw_only=True)
class SgxSections(Element):
    """Enclave memory by NUMA node."""

    sections: tuple[SgxSection, ...] = children(SgxSection, "section")


@element(kw_only=True)
class SgxSupport(Element):
    """Intel's enclaves."""

    supported: bool | None = attr(YES_NO)
    flc: bool | None = value(YES_NO)
    sgx1: bool | None = value(YES_NO)
    sgx2: bool | None = value(YES_NO)
    #: In bytes.
    section_size: int | None = size()
    sections: SgxSections | None = child(SgxSections)


@element(kw_only=True)
class FeatureSupport(Element):
    """Features by name."""

    gic: Support | None = child(Support)
    vmcoreinfo: bool | None = inner("vmcoreinfo", "supported", YES_NO)
    genid: bool | None = inner("genid", "supported", YES_NO)
    backing_store_input: bool | None = inner("backingStoreInput", "supported", YES_NO)
    backup: bool | None = inner("backup", "supported", YES_NO)
    s390_pv: bool | None = inner("s390-pv", "supported", YES_NO)
    sev: SevSupport | None = child(SevSupport)
    sgx: SgxSupport | None = child(SgxSupport)
    hyperv: Support | None = child(Support)


@element(kw_only=True)
class DomainCapabilities(Document):
    """What one hypervisor can give a domain of one machine type.

    Values are frozen; :func:`attrs.evolve` makes a changed one.
    """

    XML_TAG: ClassVar[str] = "domainCapabilities"
    XML_TITLE: ClassVar[str] = "domain's capabilities"

    #: The emulator.
    path: str = value(required=True)
    #: The hypervisor, such as ``"kvm"``.
    domain: str = value(required=True)
    machine: str | None = value()
    arch: str = value(required=True)
    max_vcpus: int | None = inner("vcpu", "max", UINT)
    iothreads: bool | None = inner("iothreads", "supported", YES_NO)
    os: OsSupport | None = child(OsSupport)
    cpu: CpuModels | None = child(CpuModels)
    memory_backing: Support | None = child(Support, "memoryBacking")
    devices: DeviceSupport | None = child(DeviceSupport)
    features: FeatureSupport | None = child(FeatureSupport)
