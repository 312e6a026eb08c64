"""Memory modules of a running guest: where they are, and how large the guest has made them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import InvalidArgument, Unsupported
from polyvisor_qemu.plugged import Plugged

if TYPE_CHECKING:
    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.qmp import Monitor

__all__ = ["as_they_are", "resized", "with_base"]


def _told(monitor: Monitor) -> dict[str, dict[str, Any]]:
    """Return what QEMU tells of each module, by names."""
    devices = monitor.execute("query-memory-devices")
    return {one["data"]["id"]: one["data"] for one in devices if "id" in one["data"]}


def with_base(monitor: Monitor, module: Any, name: str) -> Any:
    """Return a module that was plugged in with where it is, or how large it is at first."""
    told = _told(monitor).get(name, {})
    if module.model == "virtio-mem":
        return _sized(module, told.get("size"))
    if module.model in ("dimm", "nvdimm") and "addr" in told:
        from polyvisor.model.devices.address import DimmAddress

        slot = told.get("slot")
        return attrs.evolve(module, address=DimmAddress(slot=slot, base=told["addr"]))
    return module


def _sized(module: Any, size: int | None) -> Any:
    if module.target is None or size is None or module.target.current == size:
        return module
    return attrs.evolve(module, target=attrs.evolve(module.target, current=size))


def as_they_are(guest: Guest, monitor: Monitor, spec: DomainSpec) -> DomainSpec:
    """Return a definition with how much of its modules a guest uses (``virtio-mem`` alone)."""
    told = _told(monitor)
    plugged = Plugged(guest)
    memories = tuple(
        _sized(one, told.get(plugged.name("memories", one), {}).get("size"))
        if one.model == "virtio-mem"
        else one
        for one in spec.devices.memories
    )
    return attrs.evolve(spec, devices=attrs.evolve(spec.devices, memories=memories))


def resized(guest: Guest, monitor: Monitor, plugged: Plugged, old: Any, new: Any) -> Any:
    """Ask a guest to use so much of a module, and return it with what it uses now.

    Raises:
        Unsupported: it is not one whose size changes, or something else of it is to change.
        InvalidArgument: the size is no multiple of the module's blocks, or too large.
    """
    before, wanted = old.target, new.target
    plain = (
        before is not None
        and wanted is not None
        and attrs.evolve(before, requested=None, current=None)
        == attrs.evolve(wanted, requested=None, current=None)
    )
    if old.model != "virtio-mem" or not plain:
        raise Unsupported(
            f"update a device of {guest.name!r}: of its memory only what is requested of "
            f"virtio-mem changes while the guest runs",
            feature="devices.attach",
            domain=guest.name,
        )
    size = wanted.requested or 0
    if size > wanted.size or (wanted.block and size % wanted.block):
        raise InvalidArgument(
            f"update a device of {guest.name!r}: {size} bytes are not a multiple of its blocks of "
            f"{wanted.block} up to {wanted.size}"
        )
    name = plugged.name("memories", old)
    path = f"/machine/peripheral/{name}"
    monitor.execute("qom-set", path=path, property="requested-size", value=size)
    changed = attrs.evolve(new, target=attrs.evolve(wanted, current=before.current))
    plugged.change("memories", name, changed)
    return _sized(changed, _told(monitor).get(name, {}).get("size"))
