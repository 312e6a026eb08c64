"""Groups of values that tune domains: memory, disks, NUMA, interfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_remote.server._families.arguments import impact, need
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure, function_name, unsupported
from polyvisor_remote.wire import mapping, params
from polyvisor_remote.wire.params import INT, STRING, UINT, ULLONG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polyvisor_remote.server.session import Session
    from polyvisor_remote.wire import TypedParam

#: ``VIR_TYPED_PARAM_STRING_OKAY``: the client takes texts.
_TEXT = 4
#: What stands for a limit that there is not (``VIR_DOMAIN_MEMORY_PARAM_UNLIMITED``), in KiB.
_UNLIMITED = 9007199254740991
#: ``virDomainNumatuneMemMode``.
_NUMA_MODES = ("strict", "preferred", "interleave", "restrictive")
_MEASURES = tuple(
    f"{way}_{unit}_sec{most}"
    for most in ("", "_max")
    for unit in ("bytes", "iops")
    for way in ("total", "read", "write")
)
#: The values of each group in libvirt's order, with their types
#: (``VIR_DOMAIN_MEMORY_*``, ``BLKIO_*``, ``NUMA_*``, ``BLOCK_IOTUNE_*``, ``BANDWIDTH_*``).
_GROUPS: Mapping[str, Mapping[str, int]] = {
    "memtune": dict.fromkeys(("hard_limit", "soft_limit", "swap_hard_limit"), ULLONG),
    "blkiotune": {
        "weight": UINT,
        "device_weight": STRING,
        "device_read_iops_sec": STRING,
        "device_write_iops_sec": STRING,
        "device_read_bytes_sec": STRING,
        "device_write_bytes_sec": STRING,
    },
    "numatune": {"numa_mode": INT, "numa_nodeset": STRING},
    "blkdeviotune": {
        **dict.fromkeys((*_MEASURES, "size_iops_sec"), ULLONG),
        "group_name": STRING,
        **dict.fromkeys((f"{name}_length" for name in _MEASURES if "_max" in name), ULLONG),
    },
    "domiftune": dict.fromkeys(
        (
            "inbound.average",
            "inbound.peak",
            "inbound.burst",
            "inbound.floor",
            "outbound.average",
            "outbound.peak",
            "outbound.burst",
        ),
        UINT,
    ),
}


def _shown(group: str, found: Mapping[str, int | str]) -> dict[str, int | str]:
    """Return all values of a group as libvirt has them; one that is not set as what it means."""
    shown: dict[str, int | str] = {}
    for name, kind in _GROUPS[group].items():
        value = found.get(name)
        if group == "memtune":
            value = _UNLIMITED if not value else int(value) // 1024
        elif name == "numa_mode":
            value = _NUMA_MODES.index(value) if value in _NUMA_MODES else 0
        elif value is None:
            value = "" if kind == STRING else 0
        shown[name] = value
    return shown


def _taken(group: str, given: Mapping[str, Any]) -> dict[str, int | str]:
    """Return what a client gives as drivers take it."""
    taken: dict[str, int | str] = {}
    for name, value in given.items():
        if name not in _GROUPS[group]:
            raise Failure(8, f"parameter '{name}' not supported")
        if group == "memtune":
            taken[name] = 0 if value >= _UNLIMITED else value * 1024
        elif name == "numa_mode":
            if not 0 <= value < len(_NUMA_MODES):
                raise Failure(8, f"unsupported numatune mode: '{value}'")
            taken[name] = _NUMA_MODES[value]
        else:
            taken[name] = value
    return taken


def _get(
    session: Session, arguments: Any, group: str, procedure: str, device: str | None
) -> tuple[list[TypedParam], int]:
    """Return a group's values, or how many it has if that is all that is asked."""
    function, kinds = function_name(procedure), _GROUPS[group]
    part = need(session.driver.tuning, procedure)
    uuid = session.uuid(arguments.dom)
    where = impact(session, uuid, arguments.flags, function, also=_TEXT)
    if all(where.values()):
        raise Failure(
            8,
            f"flags 'VIR_DOMAIN_AFFECT_LIVE' and 'VIR_DOMAIN_AFFECT_CONFIG' in function "
            f"{function} are mutually exclusive",
        )
    if group not in part.groups():
        raise unsupported(procedure)
    found = part.get(uuid, group, device, live=where["live"]) if arguments.nparams else {}
    shown = params(_shown(group, found), kinds)
    return shown[: max(0, arguments.nparams)], len(shown)


def _set(session: Session, arguments: Any, group: str, procedure: str, device: str | None) -> None:
    part = need(session.driver.tuning, procedure)
    uuid = session.uuid(arguments.dom)
    where = impact(session, uuid, arguments.flags, function_name(procedure), also=_TEXT)
    if group not in part.groups():
        raise unsupported(procedure)
    part.set(uuid, group, _taken(group, mapping(arguments.params)), device, **where)


#: What each pair of calls is about: the group, and the argument that names a device.
_CALLS = {
    "memory_parameters": ("memtune", None),
    "blkio_parameters": ("blkiotune", None),
    "numa_parameters": ("numatune", None),
    "block_io_tune": ("blkdeviotune", "disk"),
    "interface_parameters": ("domiftune", "device"),
}


def _serve(call: str, group: str, argument: str | None) -> None:
    def device(arguments: Any) -> str | None:
        return None if argument is None else getattr(arguments, argument)

    @serves(f"domain_get_{call}", slow=True)
    def get(session: Session, arguments: Any) -> tuple[list[TypedParam], int]:
        return _get(session, arguments, group, f"domain_get_{call}", device(arguments))

    @serves(f"domain_set_{call}", slow=True)
    def set_(session: Session, arguments: Any) -> None:
        _set(session, arguments, group, f"domain_set_{call}", device(arguments))


for _call, _about in _CALLS.items():
    _serve(_call, *_about)
