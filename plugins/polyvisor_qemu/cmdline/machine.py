"""Machine, accelerator, clock, what is booted, and what QEMU does when the guest ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor_qemu.cmdline.context import refused
from polyvisor_qemu.cmdline.memory import default_ram
from polyvisor_qemu.cmdline.words import joined

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.cmdline.context import Context

__all__ = ["actions", "clock", "machine", "poweroff_action", "smbios"]

_POWEROFF = {"destroy": "poweroff", "preserve": "pause"}
_REBOOT = {"restart": "reset", "destroy": "shutdown"}
_CRASH = {"destroy": "shutdown", "preserve": "pause", "restart": "pause"}


def machine(c: Context, flash: dict[str, str]) -> None:
    """Add machine and accelerator.

    Args:
        c: the definition.
        flash: block nodes of the firmware, by the machine's property.
    """
    spec, features = c.spec, c.spec.features
    words: dict[str, object] = {"usb": False}
    if features is not None:
        words["vmport"] = features.vmport
        if features.smm is not None:
            words["smm"] = features.smm.state is not False
        words["kernel_irqchip"] = {"kvm": "on", "qemu": "split"}.get(features.ioapic or "")
        if features.gic is not None and c.machine.virt and c.machine.arm:
            words["gic-version"] = features.gic
    words["dump-guest-core"] = bool(spec.dump_core)
    iommu = spec.devices.iommu
    if iommu is not None and iommu.model == "smmuv3":
        words["iommu"] = "smmuv3"
    if any(one.model == "nvdimm" for one in spec.devices.memories):
        words["nvdimm"] = True
    words["memory-backend"] = default_ram(c)
    if spec.cpu is not None and spec.cpu.numa is not None and spec.cpu.numa.interconnects:
        words["hmat"] = True
    words |= flash
    if c.machine.x86 or (c.machine.arm and c.machine.virt):
        # libvirt's rule: no <acpi/>, no ACPI.
        words["acpi"] = None if features is not None and features.acpi else False
    for timer in spec.clock.timers if spec.clock is not None else ():
        if timer.name == "hpet" and c.machine.x86:
            words["hpet"] = timer.present
    name = c.machine.name or "none"
    c.line.add("machine", joined(name, **{k.replace("-", "__"): v for k, v in words.items()}))
    accelerator = {"kvm": "kvm", "hvf": "hvf", "xen": "xen"}.get(spec.type, "tcg")
    size = features.tcg.tb_cache if features is not None and features.tcg is not None else None
    ring = features.kvm.dirty_ring if features is not None and features.kvm is not None else None
    c.line.add(
        "accel",
        joined(
            accelerator,
            tb__size=size >> 20 if size and accelerator == "tcg" else None,
            dirty__ring__size=ring.size if ring is not None and ring.state else None,
        ),
    )
    for part, state in (
        ("disable_s3", spec.pm.suspend_to_mem if spec.pm is not None else None),
        ("disable_s4", spec.pm.suspend_to_disk if spec.pm is not None else None),
    ):
        if state is not None and state.enabled is not None and c.machine.x86:
            chip = "ICH9-LPC" if c.machine.q35 else "PIIX4_PM"
            c.line.add("global", f"{chip}.{part}={int(not state.enabled)}")


def clock(c: Context) -> None:
    """Add the clock and what its timers do about lost ticks."""
    given = c.spec.clock
    words: dict[str, object] = {"base": "utc"}
    late: list[str] = []
    if given is not None:
        if given.offset == "localtime" or (
            given.offset == "variable" and given.basis == "localtime"
        ):
            words["base"] = "localtime"
        if given.offset == "variable" and (given.adjustment or "0").lstrip("+-").isdecimal():
            seconds = int(given.adjustment or 0)
            if seconds or given.basis == "utc":
                words["base"] = _moment(seconds, local=given.basis == "localtime")
        elif given.offset == "absolute" and given.start is not None:
            words["base"] = _at(given.start)
        elif given.offset == "timezone" and given.timezone:
            c.line.environment["TZ"] = given.timezone
            words["base"] = "localtime"
        for timer in given.timers:
            if timer.name == "rtc":
                words["clock"] = {"guest": "vm", "wall": "host", "realtime": "rt"}.get(
                    timer.track or ""
                )
                words["driftfix"] = {"catchup": "slew", "delay": "none"}.get(timer.tickpolicy or "")
            elif timer.name == "pit" and timer.tickpolicy in ("delay", "discard"):
                late = ["global", f"kvm-pit.lost_tick_policy={timer.tickpolicy}"]
    c.line.add("rtc", joined(**words))
    if late:
        c.line.add(*late)


def _at(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _moment(seconds: int, *, local: bool) -> str:
    import time

    now = time.time()
    return _at(now + seconds + (time.localtime(now).tm_gmtoff if local else 0))


def poweroff_action(spec: DomainSpec) -> str:
    """Return what QEMU is to do when the guest has shut down (``ShutdownAction``)."""
    return _POWEROFF[spec.on_poweroff or "destroy"]


def actions(c: Context) -> None:
    """Say what QEMU does of itself when the guest ends, so that nobody need watch."""
    c.line.add("action", joined(**action_words(c.spec)))


def action_words(spec: DomainSpec) -> dict[str, str]:
    """Return what QEMU is to do when the guest ends, by the names of ``-action``.

    Raises:
        SpecError: QEMU does nothing of the kind.
    """
    words = {}
    for element, wanted, known, key in (
        ("on_poweroff", spec.on_poweroff or "destroy", _POWEROFF, "shutdown"),
        ("on_reboot", spec.on_reboot or "restart", _REBOOT, "reboot"),
    ):
        if wanted not in known:
            raise refused(
                spec,
                f"domain/{element}",
                f"{wanted!r} is not supported; use {' or '.join(known)}",
            )
        words[key] = known[wanted]
    # Only a panic device tells QEMU of a crash.
    if spec.devices.panics:
        wanted = spec.on_crash or "destroy"
        if wanted not in _CRASH:
            raise refused(
                spec,
                "domain/on_crash",
                f"{wanted!r} is not supported; use {' or '.join(_CRASH)}",
            )
        words["panic"] = _CRASH[wanted]
    return words


#: Tables of SMBIOS and the words for their entries (qemuBuildSmbiosBiosStr and its like).
_TABLES = {
    "bios": (0, {"vendor": "vendor", "version": "version", "date": "date", "release": "release"}),
    "system": (1, {"manufacturer": "manufacturer", "product": "product", "version": "version",
                   "serial": "serial", "uuid": "uuid", "sku": "sku", "family": "family"}),
    "base_boards": (2, {"manufacturer": "manufacturer", "product": "product",
                        "version": "version", "serial": "serial", "asset": "asset",
                        "location": "location"}),
    "chassis": (3, {"manufacturer": "manufacturer", "version": "version", "serial": "serial",
                    "asset": "asset", "sku": "sku"}),
}  # fmt: skip


def smbios(c: Context) -> None:
    """Add what the guest's firmware says of the machine, and files for it."""
    for info in c.spec.sysinfos:
        if info.type == "fwcfg":
            for entry in info.entries:
                value = {"file": entry.file} if entry.file else {"string": entry.value}
                c.line.add("fw_cfg", joined(name=entry.name, **value))
        elif c.spec.os.smbios == "sysinfo":
            for field, (number, known) in _TABLES.items():
                held = getattr(info, field)
                for table in held if isinstance(held, tuple) else (held,) if held else ():
                    words = {known[e.name]: e.value for e in table.entries if e.name in known}
                    c.line.add("smbios", joined(type=number, **words))
            if info.oem_strings is not None:
                strings = ",".join(joined(value=e.value) for e in info.oem_strings.entries)
                c.line.add("smbios", f"type=11,{strings}")
