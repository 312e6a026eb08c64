"""What differs between two definitions, in words and as data.

Devices are matched by what a person would call the same device (a disk by its target, an
interface by its MAC address …), so that a device that was put in front of the others is
one addition and not a change of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any

import attrs

from polyvisor.model.binding import Element, bindings_of
from polyvisor.model.forms import human_size, is_size, to_dict

__all__ = ["Change", "ChangeKind", "abi_difference", "diff"]


class ChangeKind(StrEnum):
    """What happened to a value."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@attrs.frozen
class Change:
    """One difference.

    Attributes:
        path: where, in the names of the model: ``"devices.disks[vda].driver.cache"``.
        kind: what happened.
        old: the earlier value as plain data, ``None`` if added.
        new: the later value as plain data, ``None`` if removed.
        live: whether the hypervisors that polyvisor knows can do it to a running domain:
            ``True``, ``False``, or ``None`` where that depends on the device or driver.
    """

    path: str
    kind: ChangeKind
    old: Any
    new: Any
    live: bool | None = None

    def __str__(self) -> str:
        if self.kind is ChangeKind.ADDED:
            return f"{self.path} added: {_words(self.new)}"
        if self.kind is ChangeKind.REMOVED:
            return f"{self.path} removed: {_words(self.old)}"
        return f"{self.path}: {_words(self.old)} → {_words(self.new)}"

    def to_dict(self) -> dict[str, Any]:
        """Return the change as plain data."""
        return {**attrs.asdict(self), "kind": str(self.kind), "text": str(self)}


def diff(old: Element, new: Element) -> tuple[Change, ...]:
    """Return what must change for ``old`` to become ``new``, in the schema's order.

    Args:
        old: a value.
        new: a value of the same class.
    """
    return tuple(_compare(old, new, ""))


# --- comparing --------------------------------------------------------------------------------

# What names a device: fields to try in turn, with dots for a field of a child.
_IDENTITY = (
    "target.dev",
    "mac.address",
    "alias.name",
    "target.dir",
    "target.name",
    "type_index",
    "name",
    "id",
    "target.port",
    "vcpu",
)


def _compare(old: Any, new: Any, path: str) -> Iterator[Change]:
    if old == new:
        return
    if old.__class__ is not new.__class__:
        yield _change(path, old, new)
        return
    for name, binding in bindings_of(old.__class__):
        before, after = getattr(old, name), getattr(new, name)
        if before == after:
            continue
        where = f"{path}.{name}" if path else name
        if isinstance(before, tuple) and isinstance(after, tuple):
            yield from _compare_lists(before, after, where)
        elif isinstance(before, Element) and isinstance(after, Element):
            yield from _compare(before, after, where)
        elif is_size(binding):
            yield _change(where, _size(before), _size(after))
        else:
            yield _change(where, before, after)
    if old.extra != new.extra:
        yield _change(f"{path}.extra" if path else "extra", old.extra, new.extra)


def _compare_lists(old: Sequence[Any], new: Sequence[Any], path: str) -> Iterator[Change]:
    before, after = _named(old), _named(new)
    for key, item in before.items():
        where = f"{path}[{key}]"
        if key not in after:
            yield _change(where, item, None)
        elif isinstance(item, Element):
            yield from _compare(item, after[key], where)
        elif item != after[key]:
            yield _change(where, item, after[key])
    for key, item in after.items():
        if key not in before:
            yield _change(f"{path}[{key}]", None, item)
    if list(before) != list(after) and set(before) == set(after):
        yield Change(path, ChangeKind.CHANGED, list(before), list(after), _live(path))


def _named(items: Sequence[Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for number, item in enumerate(items):
        key = _identity(item) if isinstance(item, Element) else None
        if key is None or key in named:
            key = str(number) if key is None else f"{key}#{number}"
        named[key] = item
    return named


def _identity(item: Element) -> str | None:
    kind, index = getattr(item, "type", None), getattr(item, "index", None)
    if kind is not None and index is not None:
        return f"{kind} {index}"
    for path in _IDENTITY:
        value: Any = item
        for step in path.split("."):
            value = getattr(value, step, None)
        if value is not None and not isinstance(value, Element):
            return str(value)
    return None


def _size(value: int | None) -> str | None:
    return None if value is None else human_size(value)


def _change(path: str, old: Any, new: Any) -> Change:
    kind = ChangeKind.CHANGED
    if old is None or old == ():
        kind = ChangeKind.ADDED
    elif new is None or new == ():
        kind = ChangeKind.REMOVED
    return Change(path, kind, _data(old), _data(new), _live(path))


def _data(value: Any) -> Any:
    if isinstance(value, Element):
        return to_dict(value)
    if isinstance(value, tuple):
        return [_data(item) for item in value]
    if attrs.has(value.__class__):
        return attrs.asdict(value)
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def _words(value: Any) -> str:
    import json

    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return text if len(text) <= 100 else f"{text[:99]}…"


# --- what can be changed while it runs --------------------------------------------------------

# First steps of a path, and whether a running domain can be changed there; the longest
# prefix counts. The source is what libvirt's own commands do to a running domain:
# setmem, setvcpus, schedinfo, blkiotune, memtune, numatune, metadata, attach-device,
# update-device.
_LIVE: tuple[tuple[str, bool | None], ...] = (
    ("title", True),
    ("description", True),
    ("metadata", True),
    ("current_memory", True),
    ("vcpu.current", None),
    ("vcpus", None),
    ("cputune", True),
    ("blkiotune", True),
    ("memtune", True),
    ("numatune", None),
    ("perf", True),
    ("iothreadids", None),
    ("devices", None),
    ("devices.emulator", False),
    ("devices.controllers", None),
    ("devices.videos", False),
    ("devices.tpms", False),
    ("devices.sounds", False),
    ("devices.iommu", False),
    ("id", True),
)


def _live(path: str) -> bool | None:
    plain = _without_keys(path)
    best: tuple[int, bool | None] = (-1, False)
    for prefix, live in _LIVE:
        if (plain == prefix or plain.startswith(f"{prefix}.")) and len(prefix) > best[0]:
            best = (len(prefix), live)
    return best[1]


def _without_keys(path: str) -> str:
    """Cut the keys in brackets, which may hold dots, out of a path."""
    depth, step = 0, ""
    for character in path:
        if character == "[":
            depth += 1
        elif character == "]":
            depth -= 1
        elif depth == 0:
            step += character
    return step


# --- ABI --------------------------------------------------------------------------------------

# What the guest does not see, so that a restore or migration may change it; the source is
# virDomainDefCheckABIStability and what it calls (domain_conf.c).
_INVISIBLE = (
    "id", "title", "description", "metadata", "dump_core", "current_memory", "on_poweroff",
    "on_reboot", "on_crash", "on_lockfailure", "cputune", "blkiotune", "memtune", "numatune",
    "memory_backing", "resource", "seclabels", "perf", "idmap", "bootloader", "bootloader_args",
    "iothreads", "iothreadids", "defaultiothread", "vcpu.placement", "vcpu.cpuset",
    "clock.offset", "clock.adjustment", "clock.basis", "clock.timezone", "clock.start",
    "os.loader", "os.nvram", "os.kernel", "os.initrd", "os.cmdline", "os.dtb", "os.boot",
    "os.bootmenu", "os.bios", "os.firmware", "os.firmware_name",
    "devices.emulator", "devices.graphics", "devices.audios", "devices.leases",
)  # fmt: skip
# The same inside any device: what is behind it on the host.
_HOST_SIDE = frozenset(
    {
        "source", "sources", "driver", "alias", "auth", "encryption", "extra", "seclabels",
        "backenddomain", "type", "protocol", "log", "tty", "boot", "managed",
        # disks
        "backing_store", "mirror", "iotune", "snapshot", "rawio", "sgio", "shareable",
        "transient", "private_data",
        # interfaces
        "bandwidth", "script", "downscript", "filterref", "link", "virtualport", "tune", "vlan",
        "backend", "guest_address", "ips", "routes", "port_forwards", "guest", "coalesce",
        "port_isolated", "trust_guest_rx_filters", "teaming", "target_managed",
        # others
        "accessmode", "fmode", "dmode", "binary", "space_hard_limit", "space_soft_limit",
        "audio_id", "action", "stats_period", "rate", "server",
    }
)  # fmt: skip
# Of these some the guest sees nevertheless: by kind of device, the steps behind it.
_SEEN = {
    "inputs": ("type",),
    "controllers": ("type",),
    "hubs": ("type",),
    "disks": ("driver.queues", "driver.queue_size"),
    "tpms": ("backend.type", "backend.version"),
}
_SEEN_OF_VIRTIO = ("driver.iommu", "driver.ats", "driver.packed", "driver.page_per_vq")
# And some stand in what the guest sees, but are not for it.
_UNSEEN = {
    "channels": ("target.state",),
    "memories": ("target.requested", "target.current"),
    "interfaces": ("target",),
    "controllers": ("target",),
}


def _is_visible(path: str) -> bool:
    """Say whether a guest would notice a change there."""
    path = _without_keys(path)
    if any(path == prefix or path.startswith(f"{prefix}.") for prefix in _INVISIBLE):
        return False
    if not path.startswith("devices."):
        return True
    _, kind, *inside = path.split(".")
    if not inside:
        return True
    step = ".".join(inside[:2])
    if step in _SEEN_OF_VIRTIO or step in _SEEN.get(kind, ()):
        return True
    unseen = _UNSEEN.get(kind, ())
    return not (inside[0] in _HOST_SIDE or inside[0] in unseen or step in unseen)


def abi_difference(old: Element, new: Element) -> Change | None:
    """Return the first difference that a running guest would notice, or ``None``.

    A saved or migrating guest can go on only with a machine that looks the same to it:
    the same memory, CPUs and devices at the same places. What stands behind a device on
    the host may differ.

    Args:
        old: the definition that the guest runs with.
        new: the definition that it is to go on with.
    """
    return next((change for change in diff(old, new) if _is_visible(change.path)), None)
