"""Memory, boot, clock, life cycle and features."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from polyvisor.model._metadata import sanitised
from polyvisor.model.domain import Vcpu
from polyvisor.model.normal.change import changed, defaults, each
from polyvisor.model.os import OsType

if TYPE_CHECKING:
    from polyvisor.model.clock import Clock
    from polyvisor.model.domain import DomainSpec, SecLabel
    from polyvisor.model.features import Features
    from polyvisor.model.os import Os
    from polyvisor.model.tuning import HugePage, MemoryBacking, MemoryTune

__all__ = ["machine"]

#: From here on a limit of memory means none (VIR_DOMAIN_MEMORY_PARAM_UNLIMITED, in bytes).
UNLIMITED = 9007199254740991 * 1024


def machine(spec: DomainSpec) -> DomainSpec:
    """Make the defaults of what is not a device explicit."""
    current = spec.current_memory
    return changed(
        spec,
        current_memory=spec.memory if not current else min(current, spec.memory),
        metadata=None if spec.metadata is None else sanitised(spec.metadata),
        memtune=None if spec.memtune is None else _memtune(spec.memtune),
        memory_backing=None if spec.memory_backing is None else _backing(spec.memory_backing),
        vcpu=Vcpu(placement="static", count=1) if spec.vcpu is None else spec.vcpu,
        bootloader_args=spec.bootloader_args if spec.bootloader is not None else None,
        os=_os(spec),
        features=None if spec.features is None else _features(spec.features),
        clock=_clock(spec.clock),
        on_poweroff=spec.on_poweroff or "destroy",
        on_reboot=spec.on_reboot or "restart",
        on_crash=spec.on_crash or "destroy",
        seclabels=each(spec.seclabels, _seclabel),
    )


def _memtune(tune: MemoryTune) -> MemoryTune | None:
    limits = ("hard_limit", "soft_limit", "min_guarantee", "swap_hard_limit")
    kept = {name: getattr(tune, name) for name in limits}
    kept = {n: None if size is None or size >= UNLIMITED else size for n, size in kept.items()}
    if tune.extra is None and all(size is None for size in kept.values()):
        return None
    return changed(tune, **kept)


def _backing(backing: MemoryBacking) -> MemoryBacking:
    pages = backing.hugepages
    if pages is None:
        return backing
    return changed(backing, hugepages=changed(pages, pages=each(pages.pages, _page)))


def _page(page: HugePage) -> HugePage:
    from polyvisor.model._codecs import unit_factor

    if page.size is None or page.unit == "KiB":
        return page
    return changed(page, size=page.size * unit_factor(page.unit or "") // 1024, unit="KiB")


def _os(spec: DomainSpec) -> Os:
    held = spec.os
    kind = held.type or OsType(name="xen" if spec.bootloader is not None else "hvm")
    # Xen's paravirtual guests are called by an older name (virDomainDefFormatInternal).
    name = "linux" if kind.name == "xen" and spec.type == "xen" else kind.name
    kind = changed(kind, name=name, arch=kind.arch or os.uname().machine)
    boot = held.boot
    if (
        not boot
        and spec.bootloader is None
        and kind.name == "hvm"
        and not any(
            device.boot is not None and device.boot.order is not None for device in spec.devices
        )
    ):
        boot = ("hd",)
    loader = held.loader
    if loader is not None and loader.path is not None:
        loader = defaults(loader, type="rom")
    menu = held.bootmenu
    if menu is not None and not menu.enable:
        menu = changed(menu, timeout=None)
    return changed(held, type=kind, boot=boot, loader=loader, bootmenu=menu)


def _features(features: Features) -> Features:
    if features.hyperv is not None:
        features = changed(features, hyperv=defaults(features.hyperv, mode="custom"))
    if features.capabilities is not None:
        features = changed(features, capabilities=defaults(features.capabilities, policy="default"))
    if features.smm is not None:
        features = changed(features, smm=defaults(features.smm, state=True))
    return features


def _clock(clock: Clock | None) -> Clock:
    from polyvisor.model.clock import Clock

    clock = defaults(clock or Clock(), offset="utc")
    if clock.offset == "variable":
        return defaults(clock, adjustment="0", basis="utc")
    return clock


def _seclabel(label: SecLabel) -> SecLabel:
    if label.type is None and label.model is None and label.label is None:
        return label
    label = defaults(label, type="dynamic")
    if label.type == "none":
        return changed(label, relabel=None)
    return defaults(label, relabel=True)
