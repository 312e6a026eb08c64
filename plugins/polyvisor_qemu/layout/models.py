"""Models, formats and back ends of devices that a definition leaves open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import SemanticError
from polyvisor.model.os import OsType
from polyvisor_qemu.layout.machines import panic_model, scsi_model, usb_model

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.layout.machines import Machine

__all__ = ["modelled", "prepared"]

#: Video memory of a QXL card that the guest sees in text mode, in KiB (QEMU_QXL_VGAMEM_DEFAULT).
QXL_VGAMEM = 16384
#: Models of serial ports by their type (qemuDomainChrDefPostParse).
SERIAL_MODELS = {
    "isa-serial": "isa-serial",
    "usb-serial": "usb-serial",
    "pci-serial": "pci-serial",
    "spapr-vio-serial": "spapr-vty",
    "sclp-serial": "sclpconsole",
    "isa-debug": "isa-debugcon",
}


def prepared(spec: DomainSpec, machine: Machine) -> DomainSpec:
    """Choose what the generic rules build on: emulator, video cards, models of interfaces.

    Raises:
        SemanticError: a socket whose path is chosen at start is to be connected to.
    """
    _check_sockets(spec)
    kind = spec.os.type or OsType(name="hvm")
    kind = attrs.evolve(kind, arch=machine.arch, machine=kind.machine or machine.name or None)
    held = spec.devices
    return attrs.evolve(
        spec,
        os=attrs.evolve(spec.os, type=kind),
        devices=attrs.evolve(
            held,
            emulator=held.emulator or f"/usr/bin/qemu-system-{_emulated(machine.arch)}",
            interfaces=tuple(_interface(one, machine) for one in held.interfaces),
            videos=_videos(spec, machine),
        ),
    )


def _check_sockets(spec: DomainSpec) -> None:
    """Refuse to reconnect to a socket without path: QEMU listens at one that is chosen."""
    for channel in spec.devices.channels:
        source = channel.source
        if channel.type == "unix" and source is not None and source.path is None:
            again = source.reconnect
            if again is not None and again.enabled:
                fault = (
                    "to reconnect is for mode 'connect', and a socket without path is listened at"
                )
                raise SemanticError(
                    f"domain {spec.name!r}: {fault}; give its path, or remove <reconnect>",
                    domain=spec.name,
                    element="domain/devices/channel/source/reconnect",
                    fault=fault,
                )


def _emulated(arch: str) -> str:
    return {"i686": "i386", "armv7l": "arm", "armv6l": "arm", "ppc64le": "ppc64"}.get(arch, arch)


def _interface(interface: Any, machine: Machine) -> Any:
    if interface.model is not None or interface.type == "hostdev":
        return interface
    model = "virtio" if interface.type == "vdpa" else _net_model(machine)
    return attrs.evolve(interface, model=model)


def _net_model(machine: Machine) -> str:
    """Return the model of an interface without one (qemuDomainDefaultNetModel)."""
    if machine.z or machine.virt:
        return "virtio"
    if machine.arm:
        return "smc91c111" if machine.name == "versatilepb" else "lan9118"
    for device, model in (("rtl8139", "rtl8139"), ("e1000", "e1000"), ("virtio-net", "virtio")):
        if machine.can(device):
            return model
    return "rtl8139"


def _videos(spec: DomainSpec, machine: Machine) -> tuple[Any, ...]:
    from polyvisor.model.devices.video import Video, VideoModel

    videos = spec.devices.videos
    if spec.devices.graphics and not videos:
        videos = (Video(model=VideoModel(type="default")),)
    result = []
    for video in videos:
        model = video.model or VideoModel(type="default")
        if model.type in {None, "default"}:
            model = attrs.evolve(model, type=_video_type(machine))
        if model.type == "qxl":
            model = attrs.evolve(model, vgamem=model.vgamem or QXL_VGAMEM)
        result.append(attrs.evolve(video, model=model))
    return tuple(result)


def _video_type(machine: Machine) -> Any:
    if machine.power:
        return "vga"
    if machine.virt or machine.z:
        return "virtio"
    return "cirrus" if machine.can("cirrus") else "vga" if machine.can("vga") else "default"


def modelled(spec: DomainSpec, machine: Machine, *, new: bool) -> DomainSpec:
    """Choose models and formats of devices."""
    held = spec.devices
    return attrs.evolve(
        spec,
        devices=attrs.evolve(
            held,
            disks=tuple(map(_disk, held.disks)),
            controllers=tuple(_controller(one, machine, new=new) for one in held.controllers),
            serials=tuple(_serial(one, machine) for one in held.serials),
            panics=tuple(_panic(one, machine) for one in held.panics),
            shmems=tuple(map(_shmem, held.shmems)),
            tpms=tuple(_tpm(one, machine) for one in held.tpms),
            vsock=None
            if held.vsock is None
            else attrs.evolve(held.vsock, model=held.vsock.model or "virtio"),
        ),
    )


def _disk(disk: Any) -> Any:
    from polyvisor.model.devices.disk import DiskDriver, DiskFormat

    driver = disk.driver or DiskDriver()
    kind = driver.type
    if kind is None and disk.type != "volume":
        kind = "raw"
    driver = attrs.evolve(driver, name=driver.name or "qemu", type=kind)
    mirror = disk.mirror
    if mirror is not None and mirror.format is None:
        mirror = attrs.evolve(mirror, format=DiskFormat(type="raw"))
    return attrs.evolve(
        disk,
        driver=driver,
        mirror=mirror,
        source=_encrypted(disk.source),
        encryption=_engine(disk.encryption),
        backing_store=_chain(disk.backing_store),
    )


def _chain(image: Any) -> Any:
    """Return a chain of images with the engine of each one's encryption."""
    if image is None:
        return None
    return attrs.evolve(
        image, source=_encrypted(image.source), backing_store=_chain(image.backing_store)
    )


def _encrypted(source: Any) -> Any:
    return source and attrs.evolve(source, encryption=_engine(source.encryption))


def _engine(encryption: Any) -> Any:
    if encryption is None or encryption.engine is not None:
        return encryption
    return attrs.evolve(encryption, engine="qemu")


def _controller(controller: Any, machine: Machine, *, new: bool) -> Any:
    if controller.type == "scsi" and controller.model in {None, "auto"}:
        return attrs.evolve(controller, model=scsi_model(machine))
    if controller.type == "usb" and controller.model is None:
        return attrs.evolve(
            controller, model=usb_model(machine, new=new, placed=controller.address)
        )
    return controller


def _serial(serial: Any, machine: Machine) -> Any:
    from polyvisor.model.devices.chardev import ChardevTarget

    target = serial.target or ChardevTarget()
    kind = target.type
    if kind in {None, "isa-serial"}:
        kind = None
        if machine.x86:
            kind = "isa-serial"
        elif machine.pseries:
            kind = "spapr-vio-serial"
        elif machine.virt:
            kind = "system-serial"
        elif machine.z:
            kind = "sclp-serial"
    model = target.model
    if model is None and kind is not None:
        model = SERIAL_MODELS.get(kind)
        if kind == "system-serial" and machine.virt:
            model = "pl011" if machine.arm else "16550a"
    return attrs.evolve(serial, target=attrs.evolve(target, type=kind, model=model))


def _panic(panic: Any, machine: Machine) -> Any:
    if panic.model not in {None, "default"}:
        return panic
    return attrs.evolve(panic, model=panic_model(machine))


def _shmem(shmem: Any) -> Any:
    model = shmem.model or "ivshmem"
    size = shmem.size
    if model != "ivshmem-doorbell" and not size:
        size = 4 << 20
    msi = shmem.msi
    if model == "ivshmem-doorbell":
        from polyvisor.model.devices.shmem import ShmemMsi

        msi = msi or ShmemMsi()
        msi = attrs.evolve(msi, ioeventfd=True if msi.ioeventfd is None else msi.ioeventfd)
    return attrs.evolve(shmem, model=model, size=size, msi=msi)


def _tpm(tpm: Any, machine: Machine) -> Any:
    model = tpm.model or ("tpm-spapr" if machine.power else "tpm-tis")
    backend = tpm.backend
    if backend is not None and backend.type == "emulator" and backend.version is None:
        newer = model in {"tpm-spapr", "tpm-crb"} or machine.virt
        backend = attrs.evolve(backend, version="2.0" if newer else "1.2")
    return attrs.evolve(tpm, model=model, backend=backend)
