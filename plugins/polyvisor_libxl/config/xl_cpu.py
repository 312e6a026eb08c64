"""The guest's CPU and NUMA nodes in ``xl.cfg``: nestedhvm, cpuid, vnuma."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from polyvisor.model.cpu import Cpu, CpuFeature, Distance, Distances, Numa, NumaCell
from polyvisor_libxl.config.grammar import Atom, Entry, Items
from polyvisor_libxl.config.settings import Settings, number
from polyvisor_libxl.config.tables import CPU_FEATURES
from polyvisor_libxl.cpusets import compact, members

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor_libxl.completion import Kind

__all__ = ["NESTED", "cpu", "cpu_entries", "distance"]

#: What a processor's own virtualisation is called, by vendor; xl calls both nestedhvm.
NESTED = ("vmx", "svm")
#: What a bit of cpuid can be set to: xl.cfg(5), cpuid.
POLICIES: dict[str, Any] = {
    "1": "force", "0": "disable", "x": "optional", "k": "optional", "s": "optional",
}  # fmt: skip
BITS = {"force": "1", "require": "1", "optional": "x", "disable": "0", "forbid": "0"}
_FROM_LIBXL = {theirs: ours for ours, theirs in CPU_FEATURES.items()}
_FEATURE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
#: How far a node is from itself and, where nothing is said, from others (ACPI's SLIT).
LOCAL, REMOTE, UNREACHABLE = 10, 20, 255
MOST_NODES = 1024


def cpu(settings: Settings, vcpus: int, guest: Kind) -> Cpu | None:
    """Return the guest's CPU, ``None`` where nothing is said of it.

    Args:
        settings: the configuration.
        vcpus: how many virtual CPUs there can be.
        guest: what kind of guest it is.
    """
    features: dict[str, str] = {}
    nested = settings.truth("nestedhvm") if guest == "hvm" else None
    policies = settings.text("cpuid")
    if nested is False:
        # Which of the two the host's processor has is not known here.
        features[NESTED[0]] = "disable"
    if policies is not None:
        features.update(_cpuid(settings, policies))
    numa = _numa(settings, vcpus)
    passthrough = nested is not None or policies is not None
    if not passthrough and numa is None:
        return None
    return Cpu(
        mode="host-passthrough" if passthrough else None,
        features=tuple(
            CpuFeature(policy=policy, name=name)  # type: ignore[arg-type]
            for name, policy in features.items()
        ),
        numa=numa,
    )


def _cpuid(settings: Settings, text: str) -> dict[str, str]:
    first, *rest = text.split(",")
    if first.strip() != "host":
        settings.fail("cpuid", f"cpuid begins with {first!r} and should begin with 'host'")
    found = {}
    for part in rest:
        name, equals, bit = (word.strip() for word in part.partition("="))
        if not equals or bit not in POLICIES or not _FEATURE.fullmatch(name):
            known = ", ".join(POLICIES)
            settings.fail("cpuid", f"cpuid: {part!r} should set a feature to one of {known}")
        found[_FROM_LIBXL.get(name, name)] = POLICIES[bit]
    return found


def _numa(settings: Settings, vcpus: int) -> Numa | None:
    nodes = settings.lists("vnuma")
    if not nodes:
        return None
    if len(nodes) > MOST_NODES:
        settings.fail("vnuma", f"vnuma has {len(nodes)} nodes and can have {MOST_NODES}")
    cells = []
    count = 0
    for place, node in enumerate(nodes):
        cell, held = _cell(settings, place, node, len(nodes))
        count += held
        cells.append(cell)
    if count > vcpus:
        settings.fail("vnuma", f"vnuma has {count} virtual CPUs, more than the guest's {vcpus}")
    return Numa(cells=tuple(cells))


def _cell(settings: Settings, place: int, node: Items, count: int) -> tuple[NumaCell, int]:
    said: dict[str, tuple[str, Atom]] = {}
    for item in node.items:
        if isinstance(item, Items):
            settings.fail(item, f"node {place} of vnuma has a list in it and should have texts")
        key, equals, value = (word.strip() for word in item.text.partition("="))
        if not equals or key not in {"pnode", "size", "vcpus", "vdistances"}:
            settings.fail(
                item, f"{item.text!r} of vnuma's node {place} should set pnode, size, vcpus or "
                "vdistances"
            )  # fmt: skip
        said[key] = (value, item)
    for key in ("pnode", "size", "vcpus"):
        if not said.get(key, ("",))[0]:
            settings.fail(node, f"node {place} of vnuma does not say its {key}")
    pnode = number(said["pnode"][0])
    if pnode is None or pnode < 0:
        settings.fail(said["pnode"][1], f"pnode is {said['pnode'][0]!r}, not a number")
    size = number(said["size"][0])
    if size is None or not 0 < size < 1 << 40:
        settings.fail(said["size"][1], f"size is {said['size'][0]!r}, not a number of MiB")
    vcpus = members(said["vcpus"][0])
    if vcpus is None:
        settings.fail(said["vcpus"][1], f"vcpus is {said['vcpus'][0]!r}, not a set such as 0-3")
    distances = None
    if "vdistances" in said and said["vdistances"][0]:
        distances = _distances(settings, *said["vdistances"], place, count)
    return (
        NumaCell(id=place, cpus=compact(vcpus), memory=size << 10, unit="KiB", distances=distances),
        len(vcpus),
    )


def _distances(settings: Settings, text: str, item: Atom, place: int, count: int) -> Distances:
    numbers = [number(word) for word in text.split(",")]
    if len(numbers) != count:
        settings.fail(item, f"node {place} of vnuma has {len(numbers)} distances, not {count}")
    siblings = []
    for other, value in enumerate(numbers):
        least = LOCAL if other == place else LOCAL + 1
        most = LOCAL if other == place else UNREACHABLE
        if value is None or not least <= value <= most:
            settings.fail(
                item,
                f"node {place} of vnuma: the distance to node {other} is to be {least} to {most}",
            )
        siblings.append(Distance(id=other, value=value))
    return Distances(siblings=tuple(siblings))


def distance(numa: Numa, here: int, there: int) -> int:
    """Return how far a node is from another, said or implied (virDomainNumaGetNodeDistance)."""
    for sibling in _siblings(numa, here):
        if sibling.id == there and sibling.value:
            return sibling.value
    return LOCAL if here == there else REMOTE


def _siblings(numa: Numa, here: int) -> tuple[Distance, ...]:
    distances = numa.cells[here].distances
    return () if distances is None else distances.siblings


def cpu_entries(spec: DomainSpec, guest: Kind) -> dict[str, Entry]:
    """Return what to set for the guest's CPU."""
    entries: dict[str, Entry] = {}
    held = spec.cpu
    if held is None:
        return entries
    if held.mode == "host-passthrough":
        off = {"disable", "forbid"}
        if guest == "hvm":
            entries["nestedhvm"] = int(
                not any(one.name in NESTED and one.policy in off for one in held.features)
            )
        bits = [
            f"{CPU_FEATURES.get(one.name or '', one.name)}={BITS[one.policy or 'require']}"
            for one in held.features
            if one.name not in NESTED
        ]
        if bits:
            entries["cpuid"] = ",".join(["host", *bits])
    if held.numa is not None and held.numa.cells:
        numa = held.numa
        entries["vnuma"] = [_node(numa, place) for place in range(len(numa.cells))]
    return entries


def _node(numa: Numa, place: int) -> list[Entry]:
    cell = numa.cells[place]
    far = ",".join(str(distance(numa, place, other)) for other in range(len(numa.cells)))
    return [
        f"pnode={place}",
        f"size={(cell.memory or 0) >> 10}",
        f"vcpus={cell.cpus or ''}",
        f"vdistances={far}",
    ]
