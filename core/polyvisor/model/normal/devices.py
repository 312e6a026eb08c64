"""Devices whose defaults are few: inputs, file systems, host devices, watchdogs, sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.model.devices.hostdev import ScsiHostdev
from polyvisor.model.normal.change import changed, defaults, each
from polyvisor.model.normal.disks import lun_name

if TYPE_CHECKING:
    from polyvisor.model.devices.filesystem import Filesystem
    from polyvisor.model.devices.hostdev import Hostdev
    from polyvisor.model.devices.input import Input
    from polyvisor.model.devices.redirdev import Redirdev, RedirFilter, UsbDevFilter
    from polyvisor.model.devices.vsock import Vsock
    from polyvisor.model.devices.watchdog import Watchdog
    from polyvisor.model.domain import DomainSpec

__all__ = ["devices"]


def devices(spec: DomainSpec) -> DomainSpec:
    """Make the defaults of the other devices explicit."""
    held = spec.devices
    return changed(
        spec,
        devices=changed(
            held,
            filesystems=each(held.filesystems, _filesystem),
            inputs=each(held.inputs, lambda one: _input(one, spec)),
            hostdevs=each(held.hostdevs, _hostdev),
            redirdevs=each(held.redirdevs, _redirdev),
            watchdogs=each(held.watchdogs, _watchdog),
            redirfilter=None if held.redirfilter is None else _filter(held.redirfilter),
            vsock=None if held.vsock is None else _vsock(held.vsock),
        ),
    )


def _filesystem(filesystem: Filesystem) -> Filesystem:
    from polyvisor.model._codecs import scaled

    source = filesystem.source
    if source is not None and source.usage is not None:
        usage = scaled(source.usage, source.units or "") // 1024
        source = changed(source, usage=str(usage), units="KiB")
    return changed(defaults(filesystem, type="mount", accessmode="passthrough"), source=source)


def _input(one: Input, spec: DomainSpec) -> Input:
    """Make the bus explicit (virDomainInputDefParseXML)."""
    if one.bus is not None:
        return one
    kind, arch = (None, None) if spec.os.type is None else (spec.os.type.name, spec.os.arch)
    if kind == "hvm":
        x86 = arch in {None, "i686", "x86_64"}
        if one.type in {"mouse", "keyboard"} and x86:
            return changed(one, bus="ps2")
        if arch in {"s390", "s390x"}:
            return changed(one, bus="virtio")
        return one if one.type == "evdev" else changed(one, bus="usb")
    if kind in {"xen", "xenpvh", "linux"}:
        return changed(one, bus="xen")
    return changed(one, bus="parallels") if spec.type == "parallels" else one


def _hostdev(hostdev: Hostdev) -> Hostdev:
    hostdev = defaults(hostdev, mode="subsystem")
    if isinstance(hostdev, ScsiHostdev) and hostdev.source is not None:
        source = hostdev.source
        if source.protocol == "iscsi":
            hostdev = changed(hostdev, source=changed(source, name=lun_name(source.name)))
    return defaults(hostdev, managed=False) if hostdev.mode == "subsystem" else hostdev


def _redirdev(redirdev: Redirdev) -> Redirdev:
    return defaults(redirdev, bus="usb")


def _filter(rules: RedirFilter) -> RedirFilter:
    return changed(rules, usbdevs=each(rules.usbdevs, _rule))


def _rule(rule: UsbDevFilter) -> UsbDevFilter:
    """Leave out what fits any; write versions in full (virDomainRedirFilterUSBVersionHelper)."""
    ids = {name: getattr(rule, name) for name in ("usb_class", "vendor", "product")}
    version = None if rule.version == "-1" else rule.version
    if version is not None:
        major, _, minor = version.partition(".")
        version = f"{major}.{minor:0<2}"
    return changed(
        rule, version=version, **{n: None if number == -1 else number for n, number in ids.items()}
    )


def _watchdog(watchdog: Watchdog) -> Watchdog:
    return defaults(watchdog, action="reset")


def _vsock(vsock: Vsock) -> Vsock:
    if vsock.cid is None or vsock.cid.address is None:
        return vsock
    return changed(vsock, cid=defaults(vsock.cid, auto=False))
