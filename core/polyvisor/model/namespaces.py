"""What hypervisors' drivers keep in namespaces of their own below ``<domain>``."""

from __future__ import annotations

from typing import Literal

from polyvisor.model._codecs import choices
from polyvisor.model.binding import Element, attr, child, children, element, inners

__all__ = [
    "BhyveCommandline",
    "CommandlineEnv",
    "LxcNamespace",
    "LxcShare",
    "LxcShareNet",
    "QemuCapabilities",
    "QemuCommandline",
    "QemuDeprecation",
    "QemuFrontend",
    "QemuOverride",
    "QemuOverrideDevice",
    "QemuProperty",
    "XenCommandline",
]

PropertyType = Literal["string", "signed", "unsigned", "bool", "remove"]
DeprecationBehavior = Literal["none", "omit", "reject", "crash"]


@element(kw_only=True)
class CommandlineEnv(Element):
    """An environment variable of the hypervisor's process."""

    name: str = attr(required=True)
    value: str | None = attr()


@element(kw_only=True)
class QemuCommandline(Element):
    """Arguments and environment handed to QEMU as they are: ``<qemu:commandline>``."""

    args: tuple[str, ...] = inners("qemu:arg", "value")
    envs: tuple[CommandlineEnv, ...] = children(CommandlineEnv, "qemu:env")


@element(kw_only=True)
class QemuCapabilities(Element):
    """Capabilities of QEMU to be taken as there or not there: ``<qemu:capabilities>``."""

    add: tuple[str, ...] = inners("qemu:add", "capability")
    delete: tuple[str, ...] = inners("qemu:del", "capability")


@element(kw_only=True)
class QemuDeprecation(Element):
    """What QEMU does when asked for what is deprecated: ``<qemu:deprecation>``."""

    behavior: DeprecationBehavior | None = attr(choices(DeprecationBehavior))


@element(kw_only=True)
class QemuProperty(Element):
    """A property of a device set past libvirt's own elements."""

    name: str = attr(required=True)
    type: PropertyType = attr(choices(PropertyType), required=True)
    value: str | None = attr()


@element(kw_only=True)
class QemuFrontend(Element):
    """The guest's side of a device."""

    properties: tuple[QemuProperty, ...] = children(QemuProperty, "qemu:property")


@element(kw_only=True)
class QemuOverrideDevice(Element):
    """A device by its alias."""

    alias: str = attr(required=True)
    frontend: QemuFrontend | None = child(QemuFrontend, "qemu:frontend")


@element(kw_only=True)
class QemuOverride(Element):
    """Properties of devices set past libvirt's own elements: ``<qemu:override>``."""

    devices: tuple[QemuOverrideDevice, ...] = children(QemuOverrideDevice, "qemu:device")


@element(kw_only=True)
class LxcShareNet(Element):
    """Whose network a container shares."""

    type: Literal["netns", "name", "pid"] | None = attr(choices(Literal["netns", "name", "pid"]))
    value: str | None = attr()


@element(kw_only=True)
class LxcShare(Element):
    """Whose namespace a container shares."""

    type: Literal["name", "pid"] | None = attr(choices(Literal["name", "pid"]))
    value: str | None = attr()


@element(kw_only=True)
class LxcNamespace(Element):
    """Namespaces that a container shares with others: ``<lxc:namespace>``."""

    sharenet: LxcShareNet | None = child(LxcShareNet, "lxc:sharenet")
    shareipc: LxcShare | None = child(LxcShare, "lxc:shareipc")
    shareuts: LxcShare | None = child(LxcShare, "lxc:shareuts")


@element(kw_only=True)
class BhyveCommandline(Element):
    """Arguments handed to bhyve as they are: ``<bhyve:commandline>``."""

    args: tuple[str, ...] = inners("bhyve:arg", "value")
    envs: tuple[CommandlineEnv, ...] = children(CommandlineEnv, "bhyve:env")


@element(kw_only=True)
class XenCommandline(Element):
    """Arguments handed to Xen's device model as they are: ``<xen:commandline>``."""

    args: tuple[str, ...] = inners("xen:arg", "value")
    envs: tuple[CommandlineEnv, ...] = children(CommandlineEnv, "xen:env")
