"""What QEMU can give a domain, as libvirt's ``<domainCapabilities>`` says it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from polyvisor.errors import InvalidArgument
from polyvisor.model import DomainCapabilities
from polyvisor.model.cpu import CpuFeature, CpuModel
from polyvisor.model.domain_capabilities import (
    CpuModels,
    CpuModeSupport,
    CustomCpuSupport,
    DeviceSupport,
    EnumSupport,
    FeatureSupport,
    HostModelSupport,
    LoaderSupport,
    OsSupport,
    SevSupport,
    SgxSupport,
    Support,
    UsableCpuModel,
)
from polyvisor_qemu.cmdline.firmware import FAMILIES, described

if TYPE_CHECKING:
    from polyvisor_qemu.cmdline import Host
    from polyvisor_qemu.emulator import Emulator, MachineType
    from polyvisor_qemu.hostmodel import HostModel

__all__ = ["domain_capabilities"]

_VIRTIO = ("virtio", "virtio-transitional", "virtio-non-transitional")
#: Values of an attribute and the device or object that is there for each, in libvirt's order.
_BUSES = {"ide": "ide-hd", "fdc": "floppy", "scsi": "scsi-hd", "virtio": "virtio-blk-pci",
          "usb": "usb-storage", "sata": "ich9-ahci"}  # fmt: skip
_VIDEOS = {"vga": "VGA", "cirrus": "cirrus-vga", "vmvga": "vmware-svga", "qxl": "qxl-vga",
           "virtio": "virtio-gpu-pci", "none": None, "bochs": "bochs-display",
           "ramfb": "ramfb"}  # fmt: skip
_RNGS = {"random": "rng-random", "egd": "rng-egd", "builtin": "rng-builtin"}
_FOLDERS = {"path": "virtio-9p-pci", "virtiofs": "vhost-user-fs-pci"}
_TPMS = {"tpm-tis": "tpm-tis", "tpm-crb": "tpm-crb", "tpm-spapr": "tpm-spapr"}
_HOST_DEVICES = {"usb": "usb-host", "pci": "vfio-pci", "scsi": "scsi-generic"}
_MEMORY = {"file": "memory-backend-file", "anonymous": "memory-backend-ram",
           "memfd": "memory-backend-memfd"}  # fmt: skip
_HYPERV = ("relaxed", "vapic", "spinlocks", "vpindex", "runtime", "synic", "stimer", "reset",
           "vendor_id", "frequencies", "reenlightenment", "tlbflush", "ipi", "evmcs",
           "avic")  # fmt: skip


def domain_capabilities(
    known: Emulator,
    host: Host,
    *,
    machine: str | None,
    kind: str,
    model: HostModel | None = None,
) -> DomainCapabilities:
    """Return what an emulator can give a domain on this host.

    Args:
        known: what the emulator said of itself.
        host: where firmware is described.
        machine: a machine type or its alias; ``None``: the default.
        kind: ``"kvm"`` or ``"qemu"``.
        model: what the CPU mode ``host-model`` is.

    Raises:
        InvalidArgument: there is no such machine type, or KVM cannot be used.
    """
    found = known.machine(machine)
    if found is None:
        raise InvalidArgument(f"{known.path} has no machine type {machine!r}")
    if kind == "kvm" and not known.kvm_cpus:
        raise InvalidArgument("KVM cannot be used on this host; ask for 'qemu'")
    return DomainCapabilities(
        path=known.path,
        domain=kind,
        machine=found.name,
        arch=known.arch,
        max_vcpus=found.max_cpus,
        iothreads=known.has("iothread"),
        os=_os(known, host, found),
        cpu=_cpu(known, kind, model),
        memory_backing=_support(sourceType=_there(known, _MEMORY)),
        devices=_devices(known),
        features=_features(known, kind),
    )


def _support(supported: bool = True, **enums: Iterable[str]) -> Support:
    held = tuple(EnumSupport(name=name, allowed=tuple(allowed)) for name, allowed in enums.items())
    return Support(supported=supported, enums=held if supported else ())


def _there(known: Emulator, table: dict[str, Any]) -> list[str]:
    """Return the values whose device or object is there."""
    return [value for value, kind in table.items() if kind is None or known.has(kind)]


def _os(known: Emulator, host: Host, machine: MachineType) -> OsSupport:
    name = FAMILIES.get(machine.alias or "", machine.name)
    fitting = [
        one
        for one in described(host)
        if any(
            target["architecture"] == known.arch
            and any(_matches(pattern, machine.name, name) for pattern in target["machines"])
            for target in one["targets"]
        )
    ]
    kinds = {kind for one in fitting for kind in one.get("interface-types", ())}
    paths = [
        one["mapping"]["executable"]["filename"]
        for one in fitting
        if one["mapping"]["device"] == "flash"
    ]
    secure = any("secure-boot" in one.get("features", ()) for one in fitting)
    enums = {"type": ("rom", "pflash"), "readonly": ("yes", "no"),
             "secure": ("yes", "no") if secure else ("no",)}  # fmt: skip
    return OsSupport(
        supported=True,
        enums=(
            EnumSupport(
                name="firmware",
                allowed=tuple(
                    word for word, one in (("bios", "bios"), ("efi", "uefi")) if one in kinds
                ),
            ),
        ),
        loader=LoaderSupport(
            supported=True,
            paths=tuple(dict.fromkeys(paths)),
            enums=tuple(EnumSupport(name=n, allowed=allowed) for n, allowed in enums.items()),
        ),
    )


def _matches(pattern: str, *names: str) -> bool:
    from fnmatch import fnmatchcase

    return any(fnmatchcase(name, pattern) for name in names)


def _cpu(known: Emulator, kind: str, found: HostModel | None) -> CpuModels:
    """Return CPU modes; of ``custom`` the names that stay the same from version to version."""
    kvm = kind == "kvm"
    models = known.kvm_cpus if kvm else known.cpus
    switch = ("on", "off")
    passthrough = CpuModeSupport(
        name="host-passthrough",
        supported=kvm,
        enums=(EnumSupport(name="hostPassthroughMigratable", allowed=switch),) if kvm else (),
    )
    maximum = CpuModeSupport(
        name="maximum",
        supported="max" in models,
        enums=(EnumSupport(name="maximumMigratable", allowed=switch),) if "max" in models else (),
    )
    custom = CustomCpuSupport(
        supported=bool(models),
        models=tuple(
            UsableCpuModel(
                name=one.name,
                usable="unknown" if one.missing is None else "no" if one.missing else "yes",
                deprecated=True if one.deprecated else None,
            )
            for one in sorted(models.values(), key=lambda one: one.name)
            if one.name not in {"max", "host", "base"} and not re.search(r"-v\d+$", one.name)
        ),
    )
    model = HostModelSupport(supported=False)
    if found is not None:
        features = [CpuFeature(policy="require", name=name) for name in found.require]
        features += [CpuFeature(policy="disable", name=name) for name in found.disable]
        model = HostModelSupport(
            supported=True,
            model=CpuModel(fallback="forbid", name=found.name),
            vendor=found.vendor,
            features=tuple(features),
        )
    return CpuModels(modes=(passthrough, maximum, model, custom))


def _devices(known: Emulator) -> DeviceSupport:
    spice = "spice" in known.options
    virtio = _VIRTIO if known.has("virtio-blk-pci") else ()
    screens = [name for name, there in (
        ("sdl", _module("ui-sdl")), ("vnc", "vnc" in known.options), ("spice", spice),
        ("egl-headless", _module("ui-egl-headless")), ("dbus", _module("ui-dbus")),
    ) if there]  # fmt: skip
    backends = ["passthrough"] if known.has("tpm-passthrough") else []
    if known.has("tpm-emulator") and shutil.which("swtpm"):
        backends += ["emulator", "external"]
    vfio = ("default", "vfio") if os.path.exists("/dev/vfio/vfio") else ()
    return DeviceSupport(
        disk=_support(
            diskDevice=("disk", "cdrom", "floppy", "lun"),
            bus=_there(known, _BUSES),
            model=virtio,
        ),
        graphics=_support(bool(screens), type=screens),
        video=_support(modelType=_there(known, _VIDEOS)),
        hostdev=_support(
            mode=("subsystem",),
            startupPolicy=("default", "mandatory", "requisite", "optional"),
            subsysType=_there(known, _HOST_DEVICES),
            capsType=(),
            pciBackend=vfio,
        ),
        rng=_support(known.has("virtio-rng-pci"), model=_VIRTIO, backendModel=_there(known, _RNGS)),
        filesystem=_support(bool(_there(known, _FOLDERS)), driverType=_there(known, _FOLDERS)),
        tpm=_support(bool(backends), model=_there(known, _TPMS), backendModel=backends),
        redirdev=_support(known.has("usb-redir"), bus=("usb",)),
        channel=_support(type=["pty", "unix", *(["spicevmc"] if spice else [])]),
    )


def _module(name: str) -> bool:
    """Say whether a part of QEMU that Debian has in packages of their own is installed."""
    import glob

    return bool(glob.glob(f"/usr/lib/*/qemu/{name}.so"))


def _features(known: Emulator, kind: str) -> FeatureSupport:
    x86 = known.arch in {"x86_64", "i686"}
    return FeatureSupport(
        gic=_support(False) if x86 else _support(version=("2", "3")),
        vmcoreinfo=known.has("vmcoreinfo"),
        genid=known.has("vmgenid"),
        backing_store_input=True,
        backup=True,
        sev=SevSupport(supported=False),
        sgx=SgxSupport(supported=False),
        hyperv=_support(features=_HYPERV if kind == "kvm" else ("spinlocks", "vendor_id"))
        if x86
        else None,
    )
