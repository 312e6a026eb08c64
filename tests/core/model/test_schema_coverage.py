"""Everything that libvirt's schemas name is typed in the model."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import pytest
from lxml import etree

from polyvisor import model
from polyvisor.model.binding import Binding, Choice, Element, resolve

RNG = "{http://relaxng.org/ns/structure/1.0}"


def _schemas() -> Path | None:
    here = Path(__file__).resolve().parents[3]
    for base in (os.environ.get("POLYVISOR_CORPORA"), here.parent / "shared" / "corpora"):
        if base:
            for folder in Path(base).glob("**/schemas"):
                return folder
    return None


class Content(NamedTuple):
    """What an element may hold."""

    attributes: set[str]
    children: dict[str, list[etree._Element]]


class Grammar:
    """A RELAX NG grammar with its includes, as far as names go."""

    def __init__(self, path: Path, namespaces: Mapping[str, str]) -> None:
        self.prefixes = {uri: f"{prefix}:" for prefix, uri in namespaces.items()}
        self.defines: dict[str, list[etree._Element]] = {}
        self.starts: list[etree._Element] = []
        self._load(path, set())

    def _load(self, path: Path, loaded: set[str]) -> None:
        if path.name in loaded:
            return
        loaded.add(path.name)
        for node in (
            etree.parse(path).getroot().iter(f"{RNG}include", f"{RNG}define", f"{RNG}start")
        ):
            if node.tag == f"{RNG}include":
                self._load(path.parent / node.get("href", ""), loaded)
            elif node.tag == f"{RNG}define":
                self.defines.setdefault(node.get("name", ""), []).append(node)
            elif not self.starts:
                self.starts.append(node)

    def content(self, nodes: list[etree._Element]) -> Content:
        """Return the attributes and child elements that the patterns allow."""
        found = Content(set(), {})
        for node in nodes:
            self._collect(node, found, set())
        return found

    def _collect(self, node: etree._Element, found: Content, seen: set[str]) -> None:
        for below in node:
            if below.tag == f"{RNG}attribute":
                found.attributes.update(_names(below))
            elif below.tag == f"{RNG}element":
                for name in _names(below, self.prefixes):
                    found.children.setdefault(name, []).append(below)
            elif below.tag == f"{RNG}ref":
                name = below.get("name", "")
                if name not in seen:
                    seen.add(name)
                    for definition in self.defines.get(name, []):
                        self._collect(definition, found, seen)
            elif below.tag not in {f"{RNG}name", f"{RNG}except", f"{RNG}list"}:
                self._collect(below, found, seen)


def _names(node: etree._Element, prefixes: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yield the names that a pattern allows, of elements with their namespace's prefix."""
    prefix = ""
    if prefixes is not None:
        scope: etree._Element | None = node
        while scope is not None and scope.get("ns") is None:
            scope = scope.getparent()
        prefix = "" if scope is None else prefixes.get(scope.get("ns", ""), "")
    if node.get("name"):
        yield prefix + node.get("name", "")
        return
    for below in node.iterfind(f"{RNG}name"):
        yield prefix + (below.text or "").strip()
    for below in node.iterfind(f"{RNG}choice/{RNG}name"):
        yield prefix + (below.text or "").strip()


def _typed(classes: set[type[Element]]) -> tuple[set[str], dict[str, set[type[Element]] | None]]:
    """Return the attributes and children that the classes type; ``None``: carried or plain."""
    attributes: set[str] = set()
    children: dict[str, set[type[Element]] | None] = {}
    inside: dict[str, set[str]] = {}
    for cls in classes:
        for field in attrs.fields(cls):
            binding: Binding | None = field.metadata.get("xml")
            if binding is None:
                continue
            name = binding.name or field.name
            if binding.kind == "attr":
                attributes.add(name)
            elif binding.kind == "child":
                refs: Any = binding.ref
                for tag, ref in (refs if isinstance(refs, dict) else {name: refs}).items():
                    options = ref.refs.values() if isinstance(ref, Choice) else [ref]
                    known = children.setdefault(tag, set())
                    if known is not None:
                        known.update(resolve(option) for option in options)
            elif binding.kind == "raw":
                children[name] = None
            elif binding.kind != "text":
                children.setdefault(name, set())
                if binding.attribute:
                    inside.setdefault(name, set()).add(binding.attribute)
    for name, names in inside.items():
        for attribute in names:
            attributes.add(f"{name}@{attribute}")
    return attributes, children


def missing(grammar: Grammar, root: str, *roots: type[Element]) -> list[str]:
    """Return the paths of what the schema allows and the classes do not type."""
    start = grammar.content(grammar.starts).children[root]
    queue: deque[tuple[str, list[etree._Element], frozenset[type[Element]], set[str]]] = deque(
        [(root, start, frozenset(roots), set())]
    )
    seen: set[tuple[frozenset[int], frozenset[type[Element]]]] = set()
    gaps: list[str] = []
    while queue:
        path, patterns, classes, above = queue.popleft()
        key = (frozenset(id(pattern) for pattern in patterns), classes)
        if key in seen:
            continue
        seen.add(key)
        allowed = grammar.content(patterns)
        attributes, children = _typed(set(classes))
        gaps.extend(f"{path}@{name}" for name in sorted(allowed.attributes - attributes - above))
        for name, below in sorted(allowed.children.items()):
            if name not in children:
                gaps.append(f"{path}/{name}")
                continue
            known = children[name]
            if known is None:
                continue
            if known:
                # Where an attribute decides the class, one kind may be a plain value.
                plain = {word.partition("@")[2] for word in attributes if f"{name}@" in word}
                queue.append((f"{path}/{name}", below, frozenset(known), plain))
                continue
            inner = grammar.content(below)
            gaps.extend(
                f"{path}/{name}@{attribute}"
                for attribute in sorted(inner.attributes)
                if f"{name}@{attribute}" not in attributes
            )
            gaps.extend(f"{path}/{name}/{tag}" for tag in sorted(inner.children))
    return gaps


DOCUMENTS = [
    ("domain.rng", "domain", "DomainSpec"),
    ("storagepool.rng", "pool", "StoragePoolSpec"),
    ("storagevol.rng", "volume", "StorageVolumeSpec"),
    ("network.rng", "network", "NetworkSpec"),
    ("networkport.rng", "networkport", "NetworkPortSpec"),
    ("interface.rng", "interface", "InterfaceSpec"),
    ("secret.rng", "secret", "SecretSpec"),
    ("nwfilter.rng", "filter", "NwFilterSpec"),
    ("domainsnapshot.rng", "domainsnapshot", "SnapshotSpec"),
    ("domaincheckpoint.rng", "domaincheckpoint", "CheckpointSpec"),
    ("domainbackup.rng", "domainbackup", "BackupSpec"),
    ("nodedev.rng", "device", "NodeDeviceSpec"),
    ("capability.rng", "capabilities", "Capabilities"),
    ("domaincaps.rng", "domainCapabilities", "DomainCapabilities"),
    ("cpu.rng", "cpu", "Cpu HostCpu"),
]


#: What the schemas allow and libvirt's parsers never look at.
UNREAD = {
    # storagepool.rng puts them below the format; virStoragePoolDefParseSource reads ./vendor.
    "pool/source/format/product",
    "pool/source/format/vendor",
    # domainsnapshot.rng adds to what may stand beside a network source, which a domain's disk
    # adds to as well; virDomainSnapshotDiskDefParseXML reads name, driver and source.
    *(
        f"domainsnapshot/disks/disk/{name}"
        for name in (
            "acpi", "address", "alias", "auth", "backenddomain", "blockio", "boot", "encryption",
            "geometry", "iotune", "mirror", "product", "readonly", "serial", "shareable",
            "target", "transient", "vendor", "wwn",
        )
    ),
    *(
        f"domainsnapshot/disks/disk/driver@{name}"
        for name in (
            "ats", "cache", "copy_on_read", "detect_zeroes", "discard", "error_policy",
            "event_idx", "io", "ioeventfd", "iommu", "iothread", "name", "packed", "page_per_vq",
            "queue_size", "queues", "rerror_policy",
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize(("file", "root", "name"), DOCUMENTS)
def test_the_schema_is_typed(file: str, root: str, name: str) -> None:
    """No element and no attribute of the document's schema is merely carried along."""
    schemas = _schemas()
    if schemas is None:
        pytest.skip("no schemas: set POLYVISOR_CORPORA to libvirt's test data")
    classes = [getattr(model, one) for one in name.split()]
    grammar = Grammar(schemas / file, getattr(classes[0], "XML_NAMESPACES", {}))
    gaps = [gap for gap in missing(grammar, root, *classes) if gap not in UNREAD]
    assert not gaps, f"{len(gaps)} not typed: {', '.join(gaps)}"
