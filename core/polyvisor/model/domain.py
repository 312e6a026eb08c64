"""The domain: the root of a machine definition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self
from uuid import UUID, uuid4

import attrs

from polyvisor.model._codecs import (
    BYTES,
    INT,
    NAME,
    ON_OFF,
    UINT,
    UNIT,
    UUID_TEXT,
    YES_NO,
    choices,
    integer,
    scaled,
)
from polyvisor.model._cpuset import CPUSET
from polyvisor.model.binding import (
    Element,
    RawXml,
    attr,
    beside,
    child,
    children,
    element,
    size,
    subtree,
    text,
    value,
)
from polyvisor.model.devices import Devices
from polyvisor.model.document import Document
from polyvisor.model.os import Os

if TYPE_CHECKING:
    from polyvisor.model.build import Defaults
    from polyvisor.model.clock import Clock
    from polyvisor.model.cpu import Cpu
    from polyvisor.model.devices import Device
    from polyvisor.model.devices.disk import Disk
    from polyvisor.model.devices.interface import Interface
    from polyvisor.model.features import Features
    from polyvisor.model.namespaces import (
        BhyveCommandline,
        LxcNamespace,
        QemuCapabilities,
        QemuCommandline,
        QemuDeprecation,
        QemuOverride,
        XenCommandline,
    )
    from polyvisor.model.perf import Perf
    from polyvisor.model.resource import BlkioTune, Resource
    from polyvisor.model.security import KeyWrap, LaunchSecurity
    from polyvisor.model.sysinfo import Sysinfo
    from polyvisor.model.tuning import CpuTune, MemoryBacking, MemoryTune, NumaTune

__all__ = [
    "DefaultIoThread",
    "DomainSpec",
    "IdMap",
    "IdMapEntry",
    "IoThread",
    "IoThreadIds",
    "MaxMemory",
    "MetadataElement",
    "Pm",
    "PmState",
    "SecLabel",
    "Vcpu",
    "VcpuState",
    "VcpuStates",
]


VcpuPlacement = Literal["static", "auto"]
LifecycleAction = Literal[
    "destroy", "restart", "rename-restart", "preserve", "coredump-destroy", "coredump-restart"
]
LockFailureAction = Literal["poweroff", "restart", "pause", "ignore"]


@element(kw_only=True)
class Vcpu(Element):
    """How many virtual CPUs: ``<vcpu placement='static' cpuset='0-3' current='2'>4</vcpu>``."""

    placement: VcpuPlacement | None = attr(choices(VcpuPlacement))
    #: Host CPUs that they may run on.
    cpuset: str | None = attr(CPUSET)
    #: How many are plugged in at start; None: all.
    current: int | None = attr(integer(1, 2**31 - 1))
    #: How many there can be.
    count: int = text(integer(1, 2**31 - 1), required=True)


@element(kw_only=True)
class VcpuState(Element):
    """One virtual CPU, by itself."""

    id: int | None = attr(UINT)
    enabled: bool | None = attr(YES_NO)
    hotpluggable: bool | None = attr(YES_NO)
    order: int | None = attr(UINT)


@element(kw_only=True)
class VcpuStates(Element):
    """Virtual CPUs one by one: ``<vcpus>``."""

    vcpus: tuple[VcpuState, ...] = children(VcpuState, "vcpu")


@element(kw_only=True)
class MaxMemory(Element):
    """How far memory can be plugged: ``<maxMemory slots='16' unit='KiB'>N</maxMemory>``."""

    slots: int | None = attr(UINT)
    #: Always KiB, whatever it was read in.
    unit: str = attr(UNIT, default="KiB")
    #: In bytes.
    size: int = text(BYTES, required=True)

    def __attrs_post_init__(self) -> None:
        if self.unit != "KiB":
            size = scaled(str(self.size // 1024), self.unit)
            object.__setattr__(self, "size", size)
            object.__setattr__(self, "unit", "KiB")


@element(kw_only=True)
class IoThread(Element):
    """One I/O thread."""

    id: int | None = attr(UINT)
    thread_pool_min: int | None = attr(INT)
    thread_pool_max: int | None = attr(INT)


@element(kw_only=True)
class IoThreadIds(Element):
    """I/O threads one by one: ``<iothreadids>``."""

    iothreads: tuple[IoThread, ...] = children(IoThread, "iothread")


@element(kw_only=True)
class DefaultIoThread(Element):
    """The threads of the main loop."""

    thread_pool_min: int | None = attr(INT)
    thread_pool_max: int | None = attr(INT)


@element(kw_only=True)
class IdMapEntry(Element):
    """One range of a container's user or group ids."""

    start: int | None = attr(UINT)
    target: int | None = attr(UINT)
    count: int | None = attr(UINT)


@element(kw_only=True)
class IdMap(Element):
    """A container's user and group ids and the host's."""

    uids: tuple[IdMapEntry, ...] = children(IdMapEntry, "uid")
    gids: tuple[IdMapEntry, ...] = children(IdMapEntry, "gid")


@element(kw_only=True)
class PmState(Element):
    """Whether the guest may go into one sleep state."""

    enabled: bool | None = attr(YES_NO)


@element(kw_only=True)
class Pm(Element):
    """Sleep states."""

    suspend_to_mem: PmState | None = child(PmState, "suspend-to-mem")
    suspend_to_disk: PmState | None = child(PmState, "suspend-to-disk")


@element(kw_only=True)
class SecLabel(Element):
    """A security label of a domain or a device's source."""

    type: str | None = attr()
    model: str | None = attr()
    relabel: bool | None = attr(YES_NO)
    labelskip: bool | None = attr(YES_NO)
    label: str | None = value()
    imagelabel: str | None = value()
    baselabel: str | None = value()


@attrs.frozen
class MetadataElement:
    """One element of the metadata, as far as one can see without a schema."""

    #: Attributes by name, without namespace declarations.
    attrib: Mapping[str, str]
    #: The text directly in it.
    text: str
    #: The whole element.
    xml: RawXml


@element(kw_only=True)
class DomainSpec(Document):
    """A machine definition: libvirt's ``<domain>``.

    Values are frozen; :func:`attrs.evolve` makes a changed one.
    """

    XML_TAG: ClassVar[str] = "domain"
    XML_TITLE: ClassVar[str] = "domain"
    XML_NAMESPACES: ClassVar = {
        "qemu": "http://libvirt.org/schemas/domain/qemu/1.0",
        "lxc": "http://libvirt.org/schemas/domain/lxc/1.0",
        "bhyve": "http://libvirt.org/schemas/domain/bhyve/1.0",
        "xen": "http://libvirt.org/schemas/domain/xen/1.0",
        "vmware": "http://libvirt.org/schemas/domain/vmware/1.0",
    }

    #: The hypervisor: ``"qemu"``, ``"kvm"``, ``"xen"``, ``"test"`` …
    type: str = attr(required=True)
    #: The number of a running domain.
    id: int | None = attr(INT)
    name: str = value(NAME, required=True)
    uuid: UUID | None = value(UUID_TEXT)
    #: VM generation id; ``""``: to be generated.
    genid: str | None = value()
    title: str | None = value()
    description: str | None = value()
    metadata: RawXml | None = subtree()
    max_memory: MaxMemory | None = child(MaxMemory, "maxMemory")
    #: In bytes.
    memory: int = size(required=True)
    #: Whether a dump of the host's kernel or of the hypervisor holds the guest's memory.
    dump_core: bool | None = beside("memory", "dumpCore", ON_OFF)
    #: In bytes; None: as ``memory``.
    current_memory: int | None = size(name="currentMemory")
    blkiotune: BlkioTune | None = child(".resource:BlkioTune")
    memtune: MemoryTune | None = child(".tuning:MemoryTune")
    memory_backing: MemoryBacking | None = child(".tuning:MemoryBacking", "memoryBacking")
    vcpu: Vcpu | None = child(Vcpu)
    #: ``<vcpus>``; the number of virtual CPUs is :attr:`vcpus`.
    vcpu_states: VcpuStates | None = child(VcpuStates, "vcpus")
    iothreads: int | None = value(UINT)
    iothreadids: IoThreadIds | None = child(IoThreadIds)
    defaultiothread: DefaultIoThread | None = child(DefaultIoThread)
    cputune: CpuTune | None = child(".tuning:CpuTune")
    numatune: NumaTune | None = child(".tuning:NumaTune")
    resource: Resource | None = child(".resource:Resource")
    sysinfos: tuple[Sysinfo, ...] = children(".sysinfo:Sysinfo", "sysinfo")
    bootloader: str | None = value()
    bootloader_args: str | None = value()
    os: Os = child(Os, default=Os())
    idmap: IdMap | None = child(IdMap)
    features: Features | None = child(".features:Features")
    cpu: Cpu | None = child(".cpu:Cpu")
    clock: Clock | None = child(".clock:Clock")
    on_poweroff: LifecycleAction | None = value(choices(LifecycleAction))
    on_reboot: LifecycleAction | None = value(choices(LifecycleAction))
    on_crash: LifecycleAction | None = value(choices(LifecycleAction))
    on_lockfailure: LockFailureAction | None = value(choices(LockFailureAction))
    pm: Pm | None = child(Pm)
    perf: Perf | None = child(".perf:Perf")
    devices: Devices = child(Devices, default=Devices())
    seclabels: tuple[SecLabel, ...] = children(SecLabel, "seclabel")
    qemu_commandline: QemuCommandline | None = child(
        ".namespaces:QemuCommandline", "qemu:commandline"
    )
    qemu_capabilities: QemuCapabilities | None = child(
        ".namespaces:QemuCapabilities", "qemu:capabilities"
    )
    qemu_override: QemuOverride | None = child(".namespaces:QemuOverride", "qemu:override")
    qemu_deprecation: QemuDeprecation | None = child(
        ".namespaces:QemuDeprecation", "qemu:deprecation"
    )
    lxc_namespace: LxcNamespace | None = child(".namespaces:LxcNamespace", "lxc:namespace")
    bhyve_commandline: BhyveCommandline | None = child(
        ".namespaces:BhyveCommandline", "bhyve:commandline"
    )
    xen_commandline: XenCommandline | None = child(".namespaces:XenCommandline", "xen:commandline")
    vmware_datacenterpath: str | None = value(name="vmware:datacenterpath")
    keywrap: KeyWrap | None = child(".security:KeyWrap")
    launch_security: LaunchSecurity | None = child(".security:LaunchSecurity", "launchSecurity")

    @classmethod
    def build(
        cls,
        *,
        name: str,
        memory: int | str,
        vcpus: int = 1,
        type: str = "kvm",  # noqa: A002 - the attribute's name
        arch: str | None = None,
        machine: str | None = None,
        cpu: str | None = None,
        disks: Sequence[str | PathLike[str] | Mapping[str, Any] | Disk] = (),
        cdrom: str | PathLike[str] | None = None,
        interfaces: Sequence[str | Mapping[str, Any] | Interface] = (),
        boot: Sequence[str] = (),
        kernel: str | PathLike[str] | None = None,
        initrd: str | PathLike[str] | None = None,
        cmdline: str | None = None,
        firmware: str | None = None,
        graphics: str | None = None,
        console: bool = True,
        devices: Sequence[Device] = (),
        layers: Iterable[Defaults] | None = None,
        **fields: Any,
    ) -> Self:
        """Return a definition made of a few words, with defaults for the rest.

        :meth:`polyvisor.connection.DomainCollection.build` does the same with the type of a
        host and the defaults of plugins.

        Args:
            name: its name.
            memory: bytes, or text such as ``"2 GiB"``.
            vcpus: how many virtual CPUs.
            type: the hypervisor: ``"kvm"``, ``"qemu"``, ``"xen"``, ``"sim"`` …
            arch: the guest's architecture; ``None``: this machine's.
            machine: the machine type.
            cpu: a mode such as ``"host-passthrough"``, or a CPU model.
            disks: paths; or plain data as :meth:`from_dict` reads it, in which ``path``,
                ``format``, ``bus`` and ``cache`` are short for where these stand; or disks.
            cdrom: path of a medium.
            interfaces: ``"user"``, ``"network:NAME"``, ``"bridge:NAME"``, ``"direct:DEVICE"``;
                or plain data; or interfaces.
            boot: what to boot from in turn: ``"hd"``, ``"cdrom"``, ``"network"``, ``"fd"``.
            kernel: path of a kernel to boot directly.
            initrd: path of its initial memory disk.
            cmdline: its command line.
            firmware: ``"bios"`` or ``"efi"``.
            graphics: ``"vnc"`` or ``"spice"``, with a video card; ``None``: none.
            console: whether there is a console for text.
            devices: any other devices.
            layers: defaults instead of :data:`polyvisor.model.build.LAYERS`.
            fields: any other fields, as values or as plain data.

        Raises:
            SchemaError: a value is not allowed; names it.
            InvalidArgument: there is no such field, or no such device.
        """
        from polyvisor.model.build import LAYERS, build

        return build(
            cls,
            name=name,
            memory=memory,
            vcpus=vcpus,
            type=type,
            arch=arch,
            machine=machine,
            cpu=cpu,
            disks=disks,
            cdrom=cdrom,
            interfaces=interfaces,
            boot=boot,
            kernel=kernel,
            initrd=initrd,
            cmdline=cmdline,
            firmware=firmware,
            graphics=graphics,
            console=console,
            devices=devices,
            layers=LAYERS if layers is None else layers,
            **fields,
        )

    def with_uuid(self, uuid: UUID | None = None) -> Self:
        """Return the definition with a UUID: its own, or else the one given or a random one."""
        if self.uuid is not None:
            return self
        return attrs.evolve(self, uuid=uuid or uuid4())

    def normalised(self, *, live: bool = False) -> Self:
        """Return the definition as libvirt would keep it, before a hypervisor has a say.

        What is implied is made explicit, and devices stand in libvirt's order;
        :mod:`polyvisor.model.normal` tells what that is.

        Args:
            live: keep what only a running domain has, such as its number and block jobs.

        Raises:
            SchemaError: it says something that libvirt's parser cannot follow.
        """
        from polyvisor.model.normal import normalised

        return normalised(self, live=live)

    @property
    def vcpus(self) -> int:
        """How many virtual CPUs it starts with."""
        if self.vcpu is None:
            return 1
        return self.vcpu.current or self.vcpu.count

    def metadata_element(self, namespace: str, name: str) -> MetadataElement | None:
        """Return one child of the metadata.

        Args:
            namespace: its namespace URI.
            name: its name without prefix.
        """
        from polyvisor.model._metadata import find

        if self.metadata is None:
            return None
        found = find(self.metadata, namespace, name, self._declared())
        return None if found is None else MetadataElement(*found)

    def _declared(self) -> dict[str, str]:
        """Return the namespaces that hold for the metadata."""
        # A prefix may be declared on <domain> already; there it is carried along.
        given = self.extra.attributes if self.extra is not None else ()
        declared = {f"xmlns:{prefix}": uri for prefix, uri in self.XML_NAMESPACES.items()}
        declared.update((key, uri) for key, uri in given if key.startswith("xmlns"))
        return declared

    def metadata_of(self, namespace: str) -> str | None:
        """Return the metadata's element of a namespace, without its prefix, as libvirt tells it.

        Args:
            namespace: the URI.
        """
        from polyvisor.model._annotation import element_of

        if self.metadata is None:
            return None
        return element_of(self.metadata, namespace, self._declared())

    def with_metadata(self, namespace: str, prefix: str | None, xml: str | None) -> Self:
        """Return it with another element of a namespace in its metadata.

        Args:
            namespace: the URI.
            prefix: what the element's names are to begin with; needed with ``xml``.
            xml: the element, without prefix; ``None``: none of the namespace.

        Raises:
            InvalidArgument: ``xml`` comes without prefix, or the prefix is no name.
            XmlSyntaxError: ``xml`` is not one well-formed element.
        """
        from polyvisor.model._annotation import replaced

        changed = replaced(self.metadata, namespace, prefix, xml, self._declared())
        return attrs.evolve(self, metadata=changed)
