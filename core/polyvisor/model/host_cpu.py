"""The host's CPU: model, features, page sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from polyvisor.model._codecs import UINT, ULONG, YES_NO
from polyvisor.model.binding import Element, attr, child, children, element, flag, inner, value
from polyvisor.model.document import Document

if TYPE_CHECKING:
    from polyvisor.model.cpu import CpuFeature, CpuTopology, MaxPhysAddr

__all__ = ["CpuCounter", "CpuSignature", "HostCpu", "HostCpuFeatures", "PageSize"]


@element(kw_only=True)
class CpuSignature(Element):
    """Family, model and stepping, as CPUID tells them."""

    family: int | None = attr(UINT)
    model: int | None = attr(UINT)
    stepping: int | None = attr(UINT)


@element(kw_only=True)
class CpuCounter(Element):
    """A counter such as ``tsc``."""

    name: str = attr(required=True)
    #: In Hz.
    frequency: int | None = attr(ULONG)
    #: Whether the hardware can scale it for a guest.
    scaling: bool | None = attr(YES_NO)


@element(kw_only=True)
class HostCpuFeatures(Element):
    """What paravirtual guests of old had to know."""

    pae: bool = flag()
    nonpae: bool = flag()
    vmx: bool = flag()
    svm: bool = flag()


@element(kw_only=True)
class PageSize(Element):
    """A size that pages can have."""

    unit: str | None = attr()
    #: In that unit.
    size: int | None = attr(UINT)


@element(kw_only=True)
class HostCpu(Document):
    """The host's CPU, or one to be compared with it: libvirt's ``<cpu>`` with ``<arch>``.

    Values are frozen; :func:`attrs.evolve` makes a changed one.
    """

    XML_TAG: ClassVar[str] = "cpu"
    XML_TITLE: ClassVar[str] = "host CPU"

    arch: str | None = value()
    modes: HostCpuFeatures | None = child(HostCpuFeatures, "features")
    model: str | None = value()
    vendor: str | None = value()
    microcode: int | None = inner("microcode", "version", UINT)
    signature: CpuSignature | None = child(CpuSignature)
    counter: CpuCounter | None = child(CpuCounter)
    topology: CpuTopology | None = child(".cpu:CpuTopology")
    maxphysaddr: MaxPhysAddr | None = child(".cpu:MaxPhysAddr")
    features: tuple[CpuFeature, ...] = children(".cpu:CpuFeature", "feature")
    pages: tuple[PageSize, ...] = children(PageSize, "pages")
