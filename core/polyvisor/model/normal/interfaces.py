"""Network interfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.model.normal.change import changed, each

if TYPE_CHECKING:
    from polyvisor.model.devices.interface import Interface
    from polyvisor.model.domain import DomainSpec

__all__ = ["interfaces"]

#: Names that libvirt gives to the host's side of a running guest's interface.
GENERATED = ("vnet", "macvtap", "macvlan")

#: Models by name in small letters (virDomainNetModel, domain_conf.c).
KNOWN = {
    name.lower(): name
    for name in (
        "netfront", "rtl8139", "virtio", "e1000", "e1000e", "virtio-transitional",
        "virtio-non-transitional", "usb-net", "spapr-vlan", "lan9118", "scm91c111", "vlance",
        "vmxnet", "vmxnet2", "vmxnet3", "Am79C970A", "Am79C973", "82540EM", "82545EM", "82543GC",
    )
}  # fmt: skip


def interfaces(spec: DomainSpec) -> DomainSpec:
    """Leave out what libvirt chooses anew at each start."""
    held = spec.devices
    return changed(spec, devices=changed(held, interfaces=each(held.interfaces, _interface)))


def _interface(interface: Interface) -> Interface:
    target = interface.target
    if target is not None and target.startswith(GENERATED):
        interface = changed(interface, target=None)
    frames = interface.coalesce and interface.coalesce.rx and interface.coalesce.rx.frames
    model = KNOWN.get((interface.model or "").lower(), interface.model)
    interface = changed(
        interface, model=model, coalesce=interface.coalesce if frames and frames.max else None
    )
    if interface.type == "hostdev":
        return interface
    # Options are of virtio's driver alone (virDomainNetDefParseXML).
    if model is None or not model.startswith("virtio"):
        interface = changed(interface, driver=None)
        if interface.backend is not None:
            interface = changed(interface, backend=changed(interface.backend, vhost=None))
    elif interface.driver is not None and interface.driver.queues == 1:
        interface = changed(interface, driver=changed(interface.driver, queues=None))
    for name in ("driver", "backend"):
        held = getattr(interface, name)
        if held is not None and held == type(held)():
            interface = changed(interface, **{name: None})
    return interface
