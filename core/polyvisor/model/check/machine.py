"""The machine around the devices: firmware, features, timers, labels, life cycle."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from uuid import UUID

from polyvisor.model.check._rule import Problem, at, placed, rule, rules_of

if TYPE_CHECKING:
    from polyvisor.model.domain import DomainSpec, SecLabel
    from polyvisor.model.os import Loader

__all__ = ["RULES"]

_loadparm = re.compile(r"[A-Za-z0-9. ]{1,8}", re.ASCII).fullmatch


@rule("boot-menu-timeout", "The boot menu waits 65,535 milliseconds at most.")
def _menu(spec: DomainSpec) -> Iterator[Problem]:
    menu = spec.os.bootmenu
    if menu is not None and menu.enable and menu.timeout is not None and menu.timeout > 65535:
        fault = f"the timeout of {menu.timeout} ms is out of range"
        yield Problem("domain/os/bootmenu", fault, "use 0 to 65535")


@rule("loadparm", "What an s390 loader is told has 1 to 8 letters, digits, dots and blanks.")
def _boot_parameter(spec: DomainSpec) -> Iterator[Problem]:
    for tag, number, twins, device in placed(spec.devices):
        word = device.boot.loadparm if device.boot is not None else None
        if word is not None and not _loadparm(word):
            where = f"{at(tag, number, twins)}/boot"
            fault = f"{word!r} is no loadparm"
            yield Problem(where, fault, "use 1 to 8 of A-Z, a-z, 0-9, dots and blanks")


@rule("init-missing", "A container says what to run first.", types=("lxc", "vz", "parallels"))
def _init(spec: DomainSpec) -> Iterator[Problem]:
    if spec.os.type is not None and spec.os.type.name == "exe" and not spec.os.init:
        yield Problem("domain/os", "there is no init to run", "add <init>/sbin/init</init>")


@rule("firmware", "Firmware is chosen by its features or by its path, and has variables if it can.")
def _firmware(spec: DomainSpec) -> Iterator[Problem]:
    held = spec.os
    loader = held.loader
    if held.firmware_name is not None:
        yield from _chosen(spec, loader)
    else:
        # With a path the features are compared to those of the firmware that lies there.
        if held.firmware is not None and held.firmware.features and loader is None:
            fault = "features choose a firmware, but none is to be chosen"
            yield Problem("domain/os/firmware", fault, "add <os firmware='efi'>")
        if loader is not None and loader.path is None:
            fault = "the loader has no path, and no firmware is to be chosen"
            yield Problem("domain/os/loader", fault, "add the path, or <os firmware='efi'>")
    features = held.firmware.features if held.firmware is not None else ()
    wanted = {feature.name: feature.enabled for feature in features}
    if wanted.get("enrolled-keys") and wanted.get("secure-boot") is False:
        fault = "enrolled-keys needs secure-boot, which is switched off"
        yield Problem("domain/os/firmware", fault, "switch both on or both off")
    if loader is None:
        return
    if loader.stateless and held.nvram is not None:
        fault = "the loader is stateless and has variables"
        yield Problem("domain/os/nvram", fault, "remove <nvram>, or stateless")
    if loader.stateless is False:
        if held.firmware_name is None and loader.path is not None and loader.type != "pflash":
            fault = "only a pflash loader has variables"
            yield Problem("domain/os/loader", fault, "use type='pflash', or remove stateless")
        elif held.firmware_name == "bios":
            yield Problem("domain/os/loader", "a BIOS has no variables", "remove stateless")


def _chosen(spec: DomainSpec, loader: Loader | None) -> Iterator[Problem]:
    held = spec.os
    advice = "remove it, or <os firmware='…'>"
    if loader is not None:
        for name in ("readonly", "type", "path"):
            # libvirt takes readonly='no' and no readonly for the same.
            if getattr(loader, name):
                fault = f"the loader's {name} stands beside a firmware to be chosen"
                yield Problem("domain/os/loader", fault, advice)
        if loader.secure is False:
            fault = "secure='no' stands beside a firmware to be chosen"
            yield Problem("domain/os/loader", fault, "use the feature secure-boot")
    if held.nvram is not None:
        if loader is not None and held.nvram.template is not None:
            fault = "a template stands beside a firmware to be chosen"
            yield Problem("domain/os/nvram", fault, advice)
        if held.firmware_name != "efi":
            fault = f"a {held.firmware_name} has no variables"
            yield Problem("domain/os/nvram", fault, "remove <nvram>")


@rule("life-cycle", "Memory is dumped when a guest crashes, not when it ends or reboots.")
def _life_cycle(spec: DomainSpec) -> Iterator[Problem]:
    for name in ("on_poweroff", "on_reboot"):
        action = getattr(spec, name)
        if action in {"coredump-destroy", "coredump-restart"}:
            yield Problem(f"domain/{name}", f"{action!r} is for on_crash", "use 'destroy'")


@rule("timer", "A timer has only what its kind has.")
def _timers(spec: DomainSpec) -> Iterator[Problem]:
    timers = spec.clock.timers if spec.clock is not None else ()
    for number, timer in enumerate(timers):
        where = at("timer", number, timers, "domain/clock")
        name, catchup = timer.name, timer.catchup
        wrong = []
        if name in {"kvmclock", "hypervclock"} and timer.tickpolicy is not None:
            wrong.append("tickpolicy")
        if name != "tsc":
            wrong += [what for what in ("frequency", "mode") if getattr(timer, what)]
        if name not in {"platform", "rtc"} and timer.track is not None:
            wrong.append("track")
        for what in wrong:
            yield Problem(where, f"the timer {name} has no {what}", "remove it")
        set_up = catchup is not None and (catchup.threshold or catchup.limit or catchup.slew)
        if set_up and timer.tickpolicy != "catchup":
            fault = "<catchup> is for tickpolicy='catchup'"
            yield Problem(f"{where}/catchup", fault, "remove it, or use that policy")


@rule("smbios-uuid", "The firmware tables name the domain's own UUID.")
def _smbios(spec: DomainSpec) -> Iterator[Problem]:
    for info in spec.sysinfos:
        entries = info.system.entries if info.system is not None else ()
        for entry in entries:
            if entry.name != "uuid" or not entry.value or spec.uuid is None:
                continue
            try:
                told = UUID(entry.value)
            except ValueError:
                fault = f"{entry.value!r} is no UUID"
                yield Problem("domain/sysinfo/system", fault, f"use {spec.uuid}")
                continue
            if told != spec.uuid:
                fault = f"the UUID is {told} there and {spec.uuid} in <uuid>"
                yield Problem("domain/sysinfo/system", fault, "use the same, or leave one out")


@rule("iommu", "An IOMMU has the attributes of its model, and what they need.")
def _iommu(spec: DomainSpec) -> Iterator[Problem]:
    iommu = spec.devices.iommu
    if iommu is None:
        return
    where, driver = "domain/devices/iommu", iommu.driver
    if iommu.model in {"smmuv3", "virtio"}:
        names = ("intremap", "caching_mode", "eim", "iotlb", "aw_bits")
        given = [name for name in names if driver is not None and getattr(driver, name) is not None]
        for name in given:
            yield Problem(f"{where}/driver", f"{iommu.model} has no {name}", "remove it")
    if iommu.model in {"smmuv3", "intel"} and iommu.address is not None:
        yield Problem(f"{where}/address", f"{iommu.model} has no address", "remove it")
    if iommu.model == "virtio" and iommu.address is not None and iommu.address.type != "pci":
        yield Problem(f"{where}/address", "virtio sits on PCI", "use type='pci'")
    if driver is None:
        return
    ioapic = spec.features.ioapic if spec.features is not None else None
    if driver.intremap and ioapic != "qemu":
        fault = "interrupts are remapped where the I/O APIC is QEMU's"
        yield Problem(f"{where}/driver", fault, "add <ioapic driver='qemu'/> to <features>")
    if driver.eim and not driver.intremap:
        yield Problem(f"{where}/driver", "eim needs intremap", "add intremap='on'")


@rule("tpm", "There is one TPM, and one proxy at most; its back end is whole.")
def _tpm(spec: DomainSpec) -> Iterator[Problem]:
    seen: set[bool] = set()
    tpms = spec.devices.tpms
    for number, tpm in enumerate(tpms):
        where = at("tpm", number, tpms)
        proxy = tpm.model == "spapr-tpm-proxy"
        if proxy in seen:
            fault = f"there is a second {'TPM proxy' if proxy else 'TPM'}"
            yield Problem(where, fault, "keep one")
        seen.add(proxy)
        backend = tpm.backend
        if backend is None:
            continue
        if backend.type == "emulator" and backend.active_pcr_banks and backend.version == "1.2":
            fault = "PCR banks are chosen in version 2.0"
            yield Problem(f"{where}/backend", fault, "use version='2.0', or remove them")
        if backend.type == "external":
            source = backend.source
            if source is None or source.path is None:
                yield Problem(f"{where}/backend", "there is no path of a socket", "add <source>")
            elif source.type not in {None, "unix"}:
                yield Problem(f"{where}/backend/source", "it is no UNIX socket", "use type='unix'")
            elif source.mode not in {None, "connect"}:
                yield Problem(f"{where}/backend/source", "it connects", "use mode='connect'")


@rule("shmem-name", "Shared memory has a name that can be a file's.")
def _shmem(spec: DomainSpec) -> Iterator[Problem]:
    shmems = spec.devices.shmems
    for number, shmem in enumerate(shmems):
        if "/" in shmem.name or shmem.name in {"", ".", ".."}:
            where = at("shmem", number, shmems)
            yield Problem(where, f"{shmem.name!r} is no name", "use one without slashes")


@rule("vsock-cid", "The numbers of sockets of guests begin with 3.")
def _vsock(spec: DomainSpec) -> Iterator[Problem]:
    cid = spec.devices.vsock.cid if spec.devices.vsock is not None else None
    if cid is not None and cid.address is not None and 0 < cid.address < 3:
        fault = f"the number {cid.address} is the host's"
        yield Problem("domain/devices/vsock/cid", fault, "use 3 or more")


@rule("panic-twice", "There is one panic device of a model.")
def _panic(spec: DomainSpec) -> Iterator[Problem]:
    seen: set[str | None] = set()
    panics = spec.devices.panics
    for number, panic in enumerate(panics):
        if panic.model in seen:
            where = at("panic", number, panics)
            yield Problem(where, f"there is a second one of model {panic.model}", "keep one")
        seen.add(panic.model)


@rule(
    "filesystem",
    "A shared folder has a place in the guest, of its own with virtiofs.",
)
def _filesystems(spec: DomainSpec) -> Iterator[Problem]:
    seen: set[str] = set()
    held = spec.devices.filesystems
    for number, filesystem in enumerate(held):
        where = at("filesystem", number, held)
        kind = filesystem.driver.type if filesystem.driver is not None else None
        target = filesystem.target
        if target is None:
            yield Problem(where, "it has no place in the guest", "add <target dir='…'/>")
        elif kind == "virtiofs":
            if target in seen:
                yield Problem(f"{where}/target", f"{target!r} is taken", "use another")
            seen.add(target)
        order = filesystem.boot.order if filesystem.boot is not None else None
        if order and kind != "virtiofs":
            yield Problem(f"{where}/boot", "only virtiofs can be booted from", "remove it")


@rule("id-map", "A container's users and groups are mapped both, its root among them.")
def _id_map(spec: DomainSpec) -> Iterator[Problem]:
    ids = spec.idmap
    if ids is None:
        return
    if bool(ids.uids) is not bool(ids.gids):
        yield Problem("domain/idmap", "only one of users and groups is mapped", "map both")
    for tag, entries in (("uid", ids.uids), ("gid", ids.gids)):
        if entries and min(entry.start or 0 for entry in entries) != 0:
            yield Problem(f"domain/idmap/{tag}", "root is not mapped", "begin with start='0'")


@rule("seclabel-twice", "There is one label of a model, and no device overrides where none is set.")
def _labels(spec: DomainSpec) -> Iterator[Problem]:
    labels = spec.seclabels
    if len(labels) > 1:
        yield from _label_models(labels, "domain")
    for tag, number, twins, device in placed(spec.devices):
        source = getattr(device, "source", None)
        own: tuple[SecLabel, ...] = getattr(source, "seclabels", ())
        if own:
            where = f"{at(tag, number, twins)}/source"
            if len(own) > 1:
                yield from _label_models(own, where)
            fixed = {label.model for label in labels if label.relabel is False}
            for label in own:
                if label.model in fixed:
                    fault = "the label is overridden where the domain says relabel='no'"
                    yield Problem(f"{where}/seclabel", fault, "remove it, or use relabel='yes'")


def _label_models(labels: tuple[SecLabel, ...], where: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for number, label in enumerate(labels):
        place = at("seclabel", number, labels, where)
        if label.model is None and label.type != "none":
            yield Problem(place, "one of several labels has no model", "add it")
        elif label.model is not None and label.model in seen:
            yield Problem(place, f"there is a second label of model {label.model}", "keep one")
        seen.add(label.model or "")


@rule("blkio-twice", "The share of a block device is said once.")
def _blkio(spec: DomainSpec) -> Iterator[Problem]:
    devices = spec.blkiotune.devices if spec.blkiotune is not None else ()
    seen: set[str] = set()
    for number, device in enumerate(devices):
        if device.path in seen:
            where = at("device", number, devices, "domain/blkiotune")
            yield Problem(where, f"{device.path!r} is there already", "keep one")
        seen.add(device.path)


@rule("fibrechannel-appid", "The name for the storage network has 1 to 128 printable characters.")
def _appid(spec: DomainSpec) -> Iterator[Problem]:
    word = spec.resource.fibrechannel_appid if spec.resource is not None else None
    if word is not None and not (1 <= len(word) <= 128 and word.isascii() and word.isprintable()):
        where = "domain/resource/fibrechannel"
        yield Problem(where, f"{word!r} is no appid", "use 1 to 128 ASCII characters")


RULES = rules_of(vars())
