"""Changing domains: devices attached and detached, virtual CPUs, memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.driver import Devices, Resources
from polyvisor.errors import AlreadyExists, InvalidArgument, NotFound
from polyvisor.events import EventKind
from polyvisor.state import Document

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from polyvisor.local import Hold
    from polyvisor.model import DomainSpec
    from polyvisor_libxl.driver import LibxlDriver

__all__ = ["LibxlDevices", "LibxlResources"]

#: The lists of a definition's devices that can change, with libxl's name for what is in them.
_LISTS = {"disks": "disk", "interfaces": "nic", "hostdevs": "pci"}


class LibxlDevices(Devices):
    """Attaches and detaches disks, network interfaces and PCI devices of the host."""

    def __init__(self, driver: LibxlDriver) -> None:
        self._driver = driver

    def attach(self, uuid: UUID, xml: str, *, live: bool, config: bool) -> None:
        """See :meth:`polyvisor.driver.Devices.attach`."""
        with self._driver.hold(uuid, "attach a device") as hold:
            name, device = _parsed(hold, xml)

            def added(spec: DomainSpec) -> DomainSpec:
                there = getattr(spec.devices, name)
                if any(_same(name, one, device) for one in there):
                    raise AlreadyExists(
                        f"attach a device to {spec.name!r}: it has {_identity(name, device)} "
                        f"already",
                        domain=spec.name,
                    )
                return _with(spec, name, (*there, device))

            self._change(hold, name, device, added, live=live, config=config, add=True)

    def detach(self, uuid: UUID, xml: str, *, live: bool, config: bool) -> None:
        """See :meth:`polyvisor.driver.Devices.detach`."""
        with self._driver.hold(uuid, "detach a device") as hold:
            name, device = _parsed(hold, xml)

            def removed(spec: DomainSpec) -> DomainSpec:
                there = getattr(spec.devices, name)
                left = tuple(one for one in there if not _same(name, one, device))
                if len(left) == len(there):
                    raise NotFound(
                        f"detach a device of {spec.name!r}: it has no {_identity(name, device)}",
                        key=str(_identity(name, device)),
                    )
                return _with(spec, name, left)

            self._change(hold, name, device, removed, live=live, config=config, add=False)

    def _change(
        self,
        hold: Hold,
        name: str,
        device: Any,
        change: Callable[[DomainSpec], DomainSpec],
        *,
        live: bool,
        config: bool,
        add: bool,
    ) -> None:
        changes = _changed(hold, change, live=live, config=config)
        if not live:
            hold.change(durable=True, **changes)
            return
        hypervisor, guest = self._driver.hypervisor, hold.guest
        before, after = guest.spec, changes["live"].spec()
        # As libxl numbers it: among all devices of the definition that has it.
        text = _native(hypervisor, after if add else before, name, device)
        domid = hypervisor.domid(guest, hold.operation)
        hypervisor.context.change_device(domid, guest.name, _LISTS[name], text, add=add)
        kind = EventKind.DEVICE_ADDED if add else EventKind.DEVICE_REMOVED
        hold.change((kind, _identity(name, device)), durable=config, **changes)


class LibxlResources(Resources):
    """Changes virtual CPUs and memory."""

    def __init__(self, driver: LibxlDriver) -> None:
        self._driver = driver

    def set_vcpus(self, uuid: UUID, count: int, *, live: bool, config: bool) -> None:
        """See :meth:`polyvisor.driver.Resources.set_vcpus`."""
        from polyvisor.model.domain import Vcpu

        def changed(spec: DomainSpec) -> DomainSpec:
            vcpu = spec.vcpu or Vcpu(count=1)
            if not 0 < count <= vcpu.count:
                raise InvalidArgument(
                    f"set vCPUs of {spec.name!r}: {count} is not between 1 and the {vcpu.count} "
                    f"it may have at most"
                )
            current = count if count < vcpu.count else None
            return attrs.evolve(spec, vcpu=attrs.evolve(vcpu, current=current))

        with self._driver.hold(uuid, "set vCPUs") as hold:
            changes = _changed(hold, changed, live=live, config=config)
            if live:
                hypervisor = self._driver.hypervisor
                domid = hypervisor.domid(hold.guest, hold.operation)
                hypervisor.context.set_vcpus(domid, hold.guest.name, count)
            hold.change(durable=config, **changes)

    def set_memory(self, uuid: UUID, size: int, *, live: bool, config: bool) -> None:
        """See :meth:`polyvisor.driver.Resources.set_memory`."""

        def changed(spec: DomainSpec) -> DomainSpec:
            if not 0 < size <= spec.memory:
                raise InvalidArgument(
                    f"set memory of {spec.name!r}: {size} bytes is not between 1 and the "
                    f"{spec.memory} it may have at most"
                )
            return attrs.evolve(spec, current_memory=size)

        with self._driver.hold(uuid, "set memory") as hold:
            changes = _changed(hold, changed, live=live, config=config)
            if live:
                hypervisor = self._driver.hypervisor
                domid = hypervisor.domid(hold.guest, hold.operation)
                hypervisor.context.set_memory(domid, hold.guest.name, size)
            hold.change(durable=config, **changes)


def _changed(
    hold: Hold, change: Callable[[DomainSpec], DomainSpec], *, live: bool, config: bool
) -> dict[str, Any]:
    """Return the new documents of a domain's record.

    Raises:
        OperationInvalid: there is no such document.
    """
    changes: dict[str, Any] = {}
    if live:
        hold.need_active()
        changes["live"] = Document(change(hold.guest.spec))
    if config:
        definition = hold.known.definition
        if definition is None:
            raise hold.invalid("it is transient, there is no definition to change")
        changes["definition"] = Document(change(definition.spec()))
    return changes


def _parsed(hold: Hold, xml: str) -> tuple[str, Any]:
    """Return in which list of devices a device belongs, and the device."""
    from polyvisor.model import DomainSpec
    from polyvisor_libxl.completion import completed

    kind = hold.known.live or hold.known.definition
    assert kind is not None
    machine = kind.spec()
    # A definition around it, so that it is read, and completed, as in one.
    read = DomainSpec.from_xml(
        f"<domain type='xen'><name>x</name><memory>1</memory><devices>{xml}</devices></domain>"
    )
    found = completed(attrs.evolve(read, os=machine.os, bootloader=machine.bootloader))
    given = [
        (name, getattr(found.devices, name)[0])
        for name in _LISTS
        if len(getattr(read.devices, name)) == 1
    ]
    if len(given) != 1:
        raise InvalidArgument(
            f"{hold.operation} of {machine.name!r}: give one <disk>, <interface> or <hostdev>; "
            f"others do not change while a Xen guest exists"
        )
    return given[0]


def _with(spec: DomainSpec, name: str, devices: tuple[Any, ...]) -> DomainSpec:
    changed: dict[str, Any] = {name: devices}
    return attrs.evolve(spec, devices=attrs.evolve(spec.devices, **changed))


def _identity(name: str, device: Any) -> str:
    """Return by what a device is told from others of its kind, in words."""
    if name == "disks":
        return f"disk {device.target.dev if device.target is not None else None}"
    if name == "interfaces":
        return f"interface {device.mac.address if device.mac is not None else None}"
    source = getattr(device, "source", None)
    return f"host device {source.address if source is not None else None}"


def _same(name: str, one: Any, other: Any) -> bool:
    return _identity(name, one) == _identity(name, other)


def _native(hypervisor: Any, spec: DomainSpec, name: str, device: Any) -> str:
    """Return a device as libxl's JSON, out of a definition that has it."""
    config = json.loads(hypervisor.native(spec))
    field = {"disks": "disks", "interfaces": "nics", "hostdevs": "pcidevs"}[name]
    place = [_same(name, one, device) for one in getattr(spec.devices, name)].index(True)
    return json.dumps(config[field][place])
