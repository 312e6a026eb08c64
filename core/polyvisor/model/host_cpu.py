"""The host's CPU: model, features, page sizes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from polyvisor.model._codecs import UINT, ULONG, YES_NO
from polyvisor.model._xml import parse, raw, read_source
from polyvisor.model.binding import Element, attr, child, children, element, flag, inner, value
from polyvisor.model.document import Document

if TYPE_CHECKING:
    from polyvisor.model.cpu import CpuFeature, CpuTopology, MaxPhysAddr

__all__ = ["CpuCounter", "CpuSignature", "HostCpu", "HostCpuFeatures", "PageSize", "cpus_in"]

_DECLARATION = re.compile(r"<\?xml[^>]*\?>")


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


#: The way from a document's root to the CPUs in it.
_PLACES = {
    "cpu": (),
    "domain": ("cpu",),
    "capabilities": ("host", "cpu"),
    "domainCapabilities": ("cpu", "mode"),
}


def cpus_in(text: str) -> tuple[str, ...]:
    """Return each ``<cpu>`` in documents that follow each other in a text.

    They are CPUs of their own, and those of domains, of hosts' capabilities, and of domains'
    capabilities (what ``host-model`` is).

    Args:
        text: one or more XML documents.

    Raises:
        XmlSyntaxError: it is not well-formed, or hostile.
    """
    data = read_source(f"<documents>{_DECLARATION.sub('', text)}</documents>")
    found = []
    for document in parse(data).children:
        nodes = [document] if document.tag in _PLACES else []
        for tag in _PLACES.get(document.tag, ()):
            nodes = [below for node in nodes for below in node.children if below.tag == tag]
        for node in nodes:
            cpu = str(raw(data, node))
            if node.tag == "mode":
                if node.attributes.get("name") != "host-model" or "</mode>" not in cpu:
                    continue
                cpu = f"<cpu>{cpu.partition('>')[2].removesuffix('</mode>')}</cpu>"
            found.append(cpu)
    return tuple(found)
