"""What upstream's tests read and expect, and what is made of it here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import attrs
from data import Case, canonical, cases, corpora, tree
from lxml import etree

from polyvisor import model
from polyvisor.errors import SpecError

__all__ = ["SUITES", "Comparison", "Result", "Suite", "compare", "comparisons"]

# --- what upstream compares ---------------------------------------------------------------------

#: From the input and the expected document to what is written.
Write = Callable[[bytes, bytes], str]


class Comparison(NamedTuple):
    """One document that upstream reads, and what it expects of it."""

    case: str
    input: Path
    expected: Path
    write: Write
    #: What the model makes of it without a hypervisor's plugin, where that is another thing.
    alone: Write | None = None


def _document(name: str) -> Write:
    return lambda data, _expected: getattr(model, name).from_xml(data).definition().to_xml()


def _domain(data: bytes, _expected: bytes) -> str:
    return model.DomainSpec.from_xml(data).normalised().to_xml()


def _running(data: bytes, _expected: bytes) -> str:
    return model.DomainSpec.from_xml(data).normalised(live=True).to_xml()


def _fake(*disks: str) -> model.DomainSpec:
    """Return a domain such as upstream's tests make up for documents that belong to one."""
    devices = "".join(
        f"<disk><source file='/fake/{name}.qcow2'/><target dev='{name}'/></disk>" for name in disks
    )
    return model.DomainSpec.from_xml(
        "<domain type='qemu'><name>fake</name><memory>1</memory>"
        f"<devices>{devices}</devices></domain>"
    )


def _backup(data: bytes, _expected: bytes) -> str:
    """Align with a domain that has the disks named and one more."""
    backup = model.BackupSpec.from_xml(data)
    domain = _fake(*(disk.name for disk in backup.disks), "vdextradisk")
    return backup.aligned(domain, "SUFFIX").to_xml()


def _snapshot(data: bytes, expected: bytes) -> str:
    """Take it now, at the time and in the state that upstream's test makes up."""
    known = model.SnapshotSpec.from_xml(expected)
    taken = model.SnapshotSpec.from_xml(data).created(known.creation_time or 0, known.domain)
    # A name made of the time is not compared upstream.
    taken = attrs.evolve(taken, state=known.state)
    return (taken if known.name else attrs.evolve(taken, name=None)).to_xml()


def _checkpoint(data: bytes, expected: bytes) -> str:
    """Make it now, of a domain with the disks, and the sizes, that upstream's test makes up."""
    known = model.CheckpointSpec.from_xml(expected)
    domain = _fake(*(disk.name for disk in known.disks))
    made = model.CheckpointSpec.from_xml(data).created(known.creation_time or 0, domain)
    sizes = {disk.name: disk.size for disk in known.disks}
    assert made.disk_list is not None
    disks = tuple(attrs.evolve(disk, size=sizes[disk.name]) for disk in made.disks)
    held = attrs.evolve(made.disk_list, disks=disks)
    return attrs.evolve(made, domain=None, parent=known.parent, disk_list=held).to_xml()


def _pair(inputs: str, outputs: str, write: Write) -> Callable[[Path, Case], list[Comparison]]:
    """Return how files are found that are called as the case; ``{}`` stands for its name."""

    def find(root: Path, case: Case) -> list[Comparison]:
        given = root / f"{inputs.format(case.name)}.xml"
        expected = root / f"{outputs.format(case.name)}.xml"
        return [Comparison(case.name, given, expected, write)]

    return find


def _often_same(
    folders: tuple[str, str], prefix: str, write: Write
) -> Callable[[Path, Case], list[Comparison]]:
    """Return how files are found whose output is the input unless the macro says otherwise."""
    differs = _pair(f"{folders[0]}/{prefix}{{}}", f"{folders[1]}/{prefix}{{}}", write)
    same = _pair(f"{folders[0]}/{prefix}{{}}", f"{folders[0]}/{prefix}{{}}", write)
    return lambda root, case: (differs if "DIFFERENT" in case.macro else same)(root, case)


def _snapshots(root: Path, case: Case) -> list[Comparison]:
    end = {"DO_TEST_IN": ("in", "in"), "DO_TEST_OUT": ("out", "out")}.get(case.macro, ("in", "out"))
    given, expected = (root / f"qemudomainsnapshotxml2xml{one}" / f"{case.name}.xml" for one in end)
    write = _document("SnapshotSpec") if case.macro == "DO_TEST_OUT" else _snapshot
    return [Comparison(case.name, given, expected, write)]


def _checkpoints(root: Path, case: Case) -> list[Comparison]:
    again = case.macro == "DO_TEST_OUT"
    given = root / f"qemudomaincheckpointxml2xml{'out' if again else 'in'}" / f"{case.name}.xml"
    expected = root / "qemudomaincheckpointxml2xmlout" / f"{case.name}.xml"
    write = _document("CheckpointSpec") if again else _checkpoint
    return [Comparison(case.name, given, expected, write)]


def _volumes(root: Path, case: Case) -> list[Comparison]:
    """Find all that have an output at the first case: the table names pools, not volumes."""
    if case is not cases()[case.suite][0]:
        return []
    write = _document("StorageVolumeSpec")
    return [
        Comparison(path.stem, path, root / "storagevolxml2xmlout" / path.name, write)
        for path in sorted((root / "storagevolxml2xmlin").glob("*.xml"))
    ]


def _backups(root: Path, case: Case) -> list[Comparison]:
    if not case.macro.startswith("DO_TEST_BACKUP"):
        return []
    return _pair("domainbackupxml2xmlin/{}", "domainbackupxml2xmlout/{}", _backup)(root, case)


def _generic(root: Path, case: Case) -> list[Comparison]:
    if case.macro.startswith("DO_TEST_BACKUP"):
        return []
    folders = ("genericxml2xmlindata", "genericxml2xmloutdata")
    return _often_same(folders, "", _running)(root, case)


def _by_qemu(macro: str, *, live: bool) -> Write:
    """Return how QEMU's plugin completes a definition, for the emulator that a case is about.

    What that can do, the table tells in part: nothing (``NOCAPS``), or what a release could.
    Where the test lists it, the table does not; the first that fits is taken of nothing,
    everything, each device alone, and the few that belong to PCI Express.
    """
    from polyvisor_qemu.layout import MODERN, Abilities, laid_out

    nothing = Abilities(
        devices=frozenset(), virtio_express=False, migratable=False, default_cpus=False, gic="2"
    )
    known = {"NOCAPS": [nothing], "LATEST": [MODERN], "VER": [MODERN]}
    choices = next((one for word, one in known.items() if word in macro), None)
    if choices is None:
        few = [frozenset({one}) for one in sorted(MODERN.devices)]
        express = [
            frozenset({"gpex", "virtio-mmio", port}) for port in ("pcie-root-port", "ioh3420")
        ]
        express += [one | {"qemu-xhci", "pcie-pci-bridge"} for one in express]
        choices = [
            nothing,
            MODERN,
            attrs.evolve(nothing, devices=MODERN.devices),
            *(attrs.evolve(nothing, devices=one) for one in (*few, *express)),
            *(attrs.evolve(nothing, devices=one, virtio_express=True) for one in express),
            attrs.evolve(MODERN, gic="2"),
            attrs.evolve(nothing, gic="3"),
        ]

    def write(data: bytes, expected: bytes) -> str:
        spec = model.DomainSpec.from_xml(data)
        wanted = canonical(expected)
        written = ""
        for choice in choices:
            xml = laid_out(spec, choice, live=live, new=False).to_xml()
            written = written or xml
            if canonical(xml) == wanted:
                return xml
        return written

    return write


def _qemu(root: Path, case: Case) -> list[Comparison]:
    """Find what is expected of a running and of a stopped domain, which are often the same."""
    given = root / "qemuxml2argvdata" / f"{case.name}.xml"
    released = "LATEST" in case.macro or "VER" in case.macro
    suffixes = [".*-latest", ".*-[0-9]*"] if released else [""]
    found = []
    for state in ("-active", "-inactive", ""):
        if state == "" and found:
            continue
        for suffix in suffixes:
            files = sorted((root / "qemuxml2xmloutdata").glob(f"{case.name}{state}{suffix}.xml"))
            if files:
                write = _by_qemu(case.macro, live=state == "-active")
                alone = _running if state == "-active" else _domain
                found.append(Comparison(f"{case.name}{state}", given, files[0], write, alone))
                break
    return found


class Suite(NamedTuple):
    """One of upstream's tests."""

    name: str
    #: Its cases in the table.
    table: str
    find: Callable[[Path, Case], list[Comparison]]
    #: Elements that the hypervisor's driver chooses and no plugin of ours knows, as XPath.
    unknown: str = ""


def _plainly(name: str, table: str, inputs: str, outputs: str, cls: str) -> Suite:
    return Suite(name, table, _pair(f"{inputs}/{{}}", f"{outputs}/{{}}", _document(cls)))


SUITES = [
    Suite("genericxml2xml", "genericxml2xmltest", _generic),
    Suite("qemuxml2xml", "qemuxml2xmltest", _qemu),
    Suite(
        "lxcxml2xml",
        "lxcxml2xmltest",
        _often_same(("lxcxml2xmldata", "lxcxml2xmloutdata"), "lxc-", _domain),
    ),
    Suite(
        "bhyvexml2xml",
        "bhyvexml2xmltest",
        _pair(
            "bhyvexml2argvdata/bhyvexml2argv-{}", "bhyvexml2xmloutdata/bhyvexml2xmlout-{}", _domain
        ),
        "devices/controller | devices/*/address[@type = 'pci']"
        # Upstream's test makes up the address of an interface that has none.
        " | devices/interface/mac[@address = '52:54:00:00:00:00']",
    ),
    _plainly(
        "networkxml2xml", "networkxml2xmltest", "networkxml2xmlin", "networkxml2xmlout",
        "NetworkSpec",
    ),
    _plainly(
        "storagepoolxml2xml", "storagepoolxml2xmltest", "storagepoolxml2xmlin",
        "storagepoolxml2xmlout", "StoragePoolSpec",
    ),
    Suite("storagevolxml2xml", "storagevolxml2xmltest", _volumes),
    _plainly(
        "nodedevxml2xml", "nodedevxml2xmltest", "nodedevschemadata", "nodedevxml2xmlout",
        "NodeDeviceSpec",
    ),
    _plainly(
        "interfacexml2xml", "interfacexml2xmltest", "interfaceschemadata", "interfaceschemadata",
        "InterfaceSpec",
    ),
    _plainly(
        "secretxml2xml", "secretxml2xmltest", "secretxml2xmlin", "secretxml2xmlin", "SecretSpec"
    ),
    _plainly(
        "nwfilterxml2xml", "nwfilterxml2xmltest", "nwfilterxml2xmlin", "nwfilterxml2xmlout",
        "NwFilterSpec",
    ),
    Suite("domainsnapshotxml2xml", "qemudomainsnapshotxml2xmltest", _snapshots),
    Suite("domaincheckpointxml2xml", "qemudomaincheckpointxml2xmltest", _checkpoints),
    Suite("domainbackupxml2xml", "genericxml2xmltest", _backups),
]  # fmt: skip


# --- measuring ----------------------------------------------------------------------------------


class Result(NamedTuple):
    """What came of one comparison."""

    comparison: Comparison
    #: ``equal``; ``driver``: but for what only the hypervisor's driver knows; ``differs``;
    #: ``refused``.
    outcome: str
    #: Where it differs, or why it is refused.
    cause: str = ""
    #: Whether the model is right without a plugin.
    alone: bool = False


def compare(one: Comparison, unknown: str = "") -> Result:
    """Read, write and compare.

    Args:
        one: the documents.
        unknown: elements that only the hypervisor's driver knows, as XPath.
    """
    data, expected = one.input.read_bytes(), one.expected.read_bytes()
    wanted = canonical(expected)
    try:
        written = one.write(data, expected)
        alone = canonical((one.alone or one.write)(data, expected)) == wanted
    except SpecError as error:
        return Result(one, "refused", str(error))
    if canonical(written) == wanted:
        return Result(one, "equal", "", alone)
    if unknown and _without(written, unknown) == _without(expected, unknown):
        return Result(one, "driver", difference(written, expected), alone)
    return Result(one, "differs", difference(written, expected), alone)


def _without(xml: str | bytes, unknown: str) -> bytes:
    """Return a document in canonical form without some elements."""
    root = tree(xml)
    for node in root.xpath(unknown):
        node.getparent().remove(node)
    return etree.tostring(root, method="c14n")


def difference(written: str, expected: bytes) -> str:
    """Return the path of what differs first, without numbers."""
    ours, theirs = tree(written), tree(expected)
    while True:
        pairs = list(zip(ours, theirs, strict=False))
        apart = next(((a, b) for a, b in pairs if etree.tostring(a) != etree.tostring(b)), None)
        if ours.attrib != theirs.attrib or (ours.text or "") != (theirs.text or ""):
            return _path(theirs)
        if apart is None and len(ours) == len(theirs):
            return _path(theirs)
        if apart is None:
            more = ours if len(ours) > len(theirs) else theirs
            return _path(more[len(pairs)])
        if apart[0].tag != apart[1].tag:
            return _path(apart[1])
        ours, theirs = apart


def _path(node: etree._Element) -> str:
    return "/".join(
        [*(str(one.tag) for one in reversed(list(node.iterancestors()))), str(node.tag)]
    )


def comparisons(suite: Suite) -> Iterator[Comparison]:
    """Yield what a suite compares, of cases whose files are all there."""
    root = corpora()
    if root is None:
        return
    for case in cases()[suite.table]:
        if not case.refused:
            for one in suite.find(root, case):
                if one.input.is_file() and one.expected.is_file():
                    yield one
