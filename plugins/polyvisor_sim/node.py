"""What a ``test:///path/node.xml`` host is and holds when it is opened.

The file is in libvirt's format; what it does not say is as on ``test:///default``::

    <node>
      <domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>
        <test:runstate>5</test:runstate>        a virDomainState; running if absent
        <test:transient/> <test:hasmanagedsave/>
        …
      </domain>
      <domain file='other.xml'/>                relative to this file
      <cpu> <mhz/> <model/> <active/> <nodes/> <sockets/> <cores/> <threads/> </cpu>
      <memory>8192000</memory>                  KiB
      <auth> <user password='p'>name</user> </auth>
      <network/> <interface/> <pool/> <device/> libvirt's documents, or file='…'; a pool may
                                                hold <volume/>
    </node>
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

import attrs

from polyvisor.errors import SchemaError, StorageError
from polyvisor.model.binding import Element, attr, child, children, element, read_document, text
from polyvisor.model.binding import value as text_of
from polyvisor.state import ObjectRecord
from polyvisor_sim.default import facts

if TYPE_CHECKING:
    from polyvisor.host import HostInfo
    from polyvisor.model import DomainSpec, StoragePoolSpec
    from polyvisor.model.binding import RawXml

__all__ = ["StartingDomain", "World", "read_world"]

#: Elements of a node file → families of objects.
_FAMILIES = {"network": "network", "interface": "interface", "pool": "pool", "device": "nodedev"}

#: What UUIDs of objects that state none are made from, so that they are always the same.
_UNNAMED = UUID("5dd1b3b4-9b5b-4c0e-8f50-2a3a51d5a0c7")

_NAMESPACE = "http://libvirt.org/schemas/domain/test/1.0"

# Numbers of virDomainState (libvirt-domain.h).
_RUNNING, _PAUSED, _SHUTOFF, _CRASHED, _LAST = 1, 3, 5, 6, 8


@attrs.frozen
class StartingDomain:
    """A domain that a host has from the beginning.

    Attributes:
        spec: its definition.
        active: whether it runs.
        paused: whether its vCPUs are stopped.
        persistent: whether its definition is kept.
        managed_save: whether it has a managed save image.
    """

    spec: DomainSpec
    active: bool = True
    paused: bool = False
    persistent: bool = True
    managed_save: bool = False


@attrs.frozen
class World:
    """A host to begin with.

    Attributes:
        host: facts about it.
        domains: the domains it has.
        objects: networks, interfaces, pools and devices, as they are kept.
        users: passwords by user name; ``None`` for a user without; empty: open to all.
    """

    host: HostInfo
    domains: tuple[StartingDomain, ...]
    objects: tuple[ObjectRecord, ...] = ()
    users: dict[str, str | None] = attrs.field(factory=dict, repr=False)


@element(kw_only=True)
class _Cpu(Element):
    """``<cpu>`` of a node file."""

    mhz: str | None = text_of()
    model: str | None = text_of()
    active: str | None = text_of()
    nodes: str | None = text_of()
    sockets: str | None = text_of()
    cores: str | None = text_of()
    threads: str | None = text_of()


@element(kw_only=True)
class _User(Element):
    """``<user>`` of a node file."""

    password: str | None = attr()
    name: str | None = text()


@element(kw_only=True)
class _Auth(Element):
    """``<auth>`` of a node file."""

    users: tuple[_User, ...] = children(_User, "user")


@element(kw_only=True)
class _Node(Element):
    """A node file; its domains are in ``extra``."""

    cpu: _Cpu | None = child(_Cpu)
    memory: str | None = text_of()
    auth: _Auth | None = child(_Auth)


@element(kw_only=True)
class _Reference(Element):
    """``<domain file='…'/>``."""

    file: str | None = attr()


def read_world(path: str) -> World:
    """Return what the node file at ``path`` describes.

    Raises:
        StorageError: it, or a file that it names, cannot be read.
        SpecError: it is not what it should be; names file and fault.
    """
    from pathlib import Path

    node = _in_file(path, lambda: read_document(_Node, Path(path), "node", what="node file"))
    elements = node.extra.elements if node.extra is not None else ()
    domains = [
        _in_file(path, lambda raw=raw: _starting_domain(path, raw))
        for raw in elements
        if _tag(raw) == "domain"
    ]
    users = node.auth.users if node.auth is not None else ()
    return World(
        _in_file(path, lambda: _host(node)),
        tuple(domains),
        tuple(_in_file(path, lambda: list(_objects(path, elements)))),
        {user.name or "": user.password for user in users},
    )


def _in_file(path: str, read: Any) -> Any:
    """Return what ``read`` gives; its faults are told with the file they are in."""
    from polyvisor.errors import SpecError

    try:
        return read()
    except SpecError as error:
        if not error.message.startswith(path):
            error.message = f"{path}: {error.message}"
        raise


def _tag(raw: str) -> str:
    return raw[1:].split(maxsplit=1)[0].split(">")[0].rstrip("/")


def _starting_domain(path: str, raw: RawXml) -> StartingDomain:
    from polyvisor.model import DomainSpec

    reference = read_document(_Reference, raw, "domain")
    if reference.file is None:
        spec = DomainSpec.from_xml(raw)
    else:
        from pathlib import Path

        other = Path(path).parent / reference.file
        spec = _in_file(str(other), lambda: DomainSpec.from_xml(other))
    spec, said = _take_test_elements(spec)
    state = said.get("runstate", str(_RUNNING)).strip()
    if not state.isdigit() or int(state[:9]) >= _LAST:
        raise _wrong(f"domain {spec.name!r}: runstate {state!r} is not one of 0 to {_LAST - 1}")
    number = int(state)
    # A crashed domain still holds its guest in libvirt; here there is none any more.
    found = StartingDomain(
        spec,
        active=number not in (_SHUTOFF, _CRASHED),
        paused=number == _PAUSED,
        persistent="transient" not in said,
        managed_save="hasmanagedsave" in said,
    )
    if not found.persistent and not found.active:
        raise _wrong(f"domain {spec.name!r}: a transient domain cannot be shut off")
    if found.managed_save and found.active:
        raise _wrong(f"domain {spec.name!r}: a domain with a managed save image is shut off")
    return found


def _take_test_elements(spec: DomainSpec) -> tuple[DomainSpec, dict[str, str]]:
    """Split off the elements of the test driver's namespace, which are not the domain's."""
    extra = spec.extra
    if extra is None:
        return spec, {}
    prefixes = {
        name.removeprefix("xmlns:")
        for name, uri in extra.attributes
        if uri == _NAMESPACE and name.startswith("xmlns:")
    }
    said: dict[str, str] = {}
    kept = []
    for raw in extra.elements:
        prefix, _, name = _tag(raw).partition(":")
        if name and (prefix in prefixes or _NAMESPACE in raw):
            said[name] = raw.partition(">")[2].partition("<")[0]
        else:
            kept.append(raw)
    attributes = tuple(pair for pair in extra.attributes if pair[1] != _NAMESPACE)
    extra = attrs.evolve(extra, attributes=attributes, elements=tuple(kept))
    if not (extra.attributes or extra.elements or extra.of_values):
        extra = None
    return attrs.evolve(spec, extra=extra), said


def _objects(path: str, elements: Iterable[RawXml]) -> Iterator[ObjectRecord]:
    """Yield what the node file has beside domains."""
    for raw in elements:
        family = _FAMILIES.get(_tag(raw))
        if family is not None:
            whole = _referred(path, raw)
            yield _started(family, whole)


def _referred(path: str, raw: RawXml) -> str:
    """Return an element of a node file, or the whole of the file that it names."""
    file = read_document(_Reference, raw, _tag(raw)).file
    if file is None:
        return raw
    from pathlib import Path

    other = Path(path).parent / file
    try:
        return other.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"cannot read {other}, which {path} names: {error}") from error


def _started(family: str, text: str) -> ObjectRecord:
    """Return the record of an active, persistent object."""
    from uuid import uuid5

    from polyvisor import model

    if family == "network":
        network = model.NetworkSpec.from_xml(text)
        uuid = network.uuid or uuid5(_UNNAMED, network.name)
        whole = attrs.evolve(network, uuid=uuid).to_xml()
        return ObjectRecord(family, str(uuid), network.name, whole, whole)
    if family == "pool":
        pool = model.StoragePoolSpec.from_xml(text)
        uuid = pool.uuid or uuid5(_UNNAMED, pool.name)
        volumes = _volumes(pool)
        whole = attrs.evolve(pool, uuid=uuid).definition().to_xml()
        return ObjectRecord(family, str(uuid), pool.name, whole, whole, data={"volumes": volumes})
    if family == "interface":
        interface = model.InterfaceSpec.from_xml(text)
        whole = interface.to_xml()
        return ObjectRecord(family, interface.name, interface.name, whole, whole)
    device = model.NodeDeviceSpec.from_xml(text)
    if device.name is None:
        raise _wrong("a device has no <name>")
    capabilities = [getattr(one, "type") for one in device.capabilities]  # noqa: B009 - each has one
    data = {"capabilities": capabilities, "parent": device.parent_name}
    return ObjectRecord(family, device.name, device.name, None, device.to_xml(), data=data)


def _volumes(pool: StoragePoolSpec) -> dict[str, str]:
    """Return the documents of the volumes that stand inside a pool's, by name."""
    from polyvisor.model import StorageVolumeSpec

    found = {}
    folder = pool.target.path if pool.target is not None else None
    for raw in pool.extra.elements if pool.extra is not None else ():
        if _tag(raw) == "volume":
            spec = StorageVolumeSpec.from_xml(raw).definition()
            path = spec.target.path or f"{folder or pool.name}/{spec.name}"
            target = attrs.evolve(spec.target, path=path)
            found[spec.name] = attrs.evolve(spec, key=spec.key or path, target=target).to_xml()
    return found


def _host(node: _Node) -> HostInfo:
    usual = facts()
    cpu = node.cpu if node.cpu is not None else _Cpu()
    nodes = _number("nodes", cpu.nodes, usual.numa_nodes)
    sockets = _number("sockets", cpu.sockets, usual.sockets)
    cores = _number("cores", cpu.cores, usual.cores)
    threads = _number("threads", cpu.threads, usual.threads)
    cpus = nodes * sockets * cores * threads
    return attrs.evolve(
        usual,
        cpu_mhz=_number("mhz", cpu.mhz, usual.cpu_mhz),
        cpu_model=usual.cpu_model if cpu.model is None else cpu.model,
        cpus=min(cpus, _number("active", cpu.active, cpus)),
        numa_nodes=nodes,
        sockets=sockets,
        cores=cores,
        threads=threads,
        memory=_number("memory", node.memory, usual.memory >> 10) << 10,
    )


def _number(name: str, said: str | None, usual: int) -> int:
    if said is None:
        return usual
    if not (said.strip().isascii() and said.strip().isdigit()) or len(said) > 15:
        raise _wrong(f"<{name}> is a whole number, not {said[:40]!r}")
    return int(said)


def _wrong(fault: str) -> SchemaError:
    return SchemaError(f"node file: {fault}", element="node", fault=fault)
