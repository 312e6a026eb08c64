"""libvirt's own test data goes through the model without loss."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

from polyvisor import model
from polyvisor.errors import SpecError
from polyvisor.model import DomainSpec

#: Folder of inputs or outputs → the upstream suites that read it.
DOMAIN_FOLDERS = {
    "genericxml2xmlindata": ("genericxml2xmltest",),
    "genericxml2xmloutdata": (),
    "qemuxml2argvdata": ("qemuxml2argvtest", "qemuxml2xmltest"),
    "qemuxml2xmloutdata": (),
    "lxcxml2xmldata": ("lxcxml2xmltest",),
    "lxcxml2xmloutdata": (),
    "bhyvexml2argvdata": ("bhyvexml2argvtest", "bhyvexml2xmltest"),
    "bhyvexml2xmloutdata": (),
    "bhyveargv2xmldata": (),
    "xml2vmxdata": ("xml2vmxtest",),
    "vmx2xmldata": (),
    "xlconfigdata": (),
    "xmconfigdata": (),
    "lxcconf2xmldata": (),
    "libxlxml2domconfigdata": ("libxlxml2domconfigtest",),
}


class Document(NamedTuple):
    """A class of documents other than domains and where upstream's tests keep them."""

    cls: str
    folders: tuple[str, ...]
    #: The suite that reads them.
    suite: str = ""
    #: Outputs of other parts of libvirt that its parser would not take.
    refused: tuple[str, ...] = ()
    #: Whether a name that ends in ``-invalid`` means the parser; else it means the schema.
    by_name: bool = True


DOCUMENTS = [
    Document("StoragePoolSpec", ("storagepoolxml2xmlin", "storagepoolxml2xmlout")),
    Document("StorageVolumeSpec", ("storagevolxml2xmlin", "storagevolxml2xmlout")),
    Document("NetworkSpec", ("networkxml2xmlin", "networkxml2xmlout"), "networkxml2xmltest"),
    # Changing a network in place does not count its interfaces as reading it does.
    Document("NetworkSpec", ("networkxml2xmlupdateout",), refused=("nat-network-forward-ifaces",)),
    Document("InterfaceSpec", ("interfaceschemadata",)),
    Document("SecretSpec", ("secretxml2xmlin",)),
    Document("NwFilterSpec", ("nwfilterxml2xmlin", "nwfilterxml2xmlout")),
    Document(
        "SnapshotSpec",
        ("qemudomainsnapshotxml2xmlin", "qemudomainsnapshotxml2xmlout"),
        by_name=False,
    ),
    Document(
        "CheckpointSpec",
        ("qemudomaincheckpointxml2xmlin", "qemudomaincheckpointxml2xmlout"),
        "qemudomaincheckpointxml2xmltest",
        by_name=False,
    ),
    Document("BackupSpec", ("domainbackupxml2xmlin", "domainbackupxml2xmlout")),
    Document("NodeDeviceSpec", ("nodedevschemadata", "nodedevxml2xmlout")),
    Document("Capabilities", ("capabilityschemadata",)),
    Document("DomainCapabilities", ("domaincapsdata",)),
]


def _corpora() -> Path | None:
    checkout = Path(__file__).resolve().parents[3]
    named = os.environ.get("POLYVISOR_CORPORA")
    for base in [Path(named)] if named else [checkout.parent / "shared" / "corpora"]:
        for folder in (
            base,
            base / "tests",
            *sorted(base.glob("*")),
            *sorted(base.glob("*/tests")),
        ):
            if (folder / "genericxml2xmlindata").is_dir():
                return folder
    return None


CORPORA = _corpora()


def _refused_upstream(root: Path) -> set[tuple[str, str]]:
    table = root / "cases.tsv"
    expected: dict[tuple[str, str], list[bool]] = defaultdict(list)
    if table.is_file():
        for line in table.read_text().splitlines()[1:]:
            suite, _macro, case, refused = line.split("\t")
            expected[suite, case].append(refused == "1")
    return {key for key, refusals in expected.items() if all(refusals)}


def _cases() -> Iterator[tuple[Path, bool]]:
    """Yield each domain document and whether upstream expects it to be refused."""
    if CORPORA is None:
        return
    refused = _refused_upstream(CORPORA)
    for folder, suites in DOMAIN_FOLDERS.items():
        for path in sorted((CORPORA / folder).glob("*.xml")):
            if b"<domain " not in path.read_bytes():
                continue
            yield path, any((suite, path.stem) in refused for suite in suites)


CASES = list(_cases())

needs_corpora = pytest.mark.skipif(
    not CASES, reason="no libvirt test data: set POLYVISOR_CORPORA to an unpacked source tree"
)


def content(xml: str | bytes) -> Counter[str]:
    """Count every element and attribute by path."""
    found: Counter[str] = Counter()

    def walk(node: ElementTree.Element, above: str) -> None:
        path = f"{above}/{node.tag}"
        found[path] += 1
        found.update(f"{path}/@{name}" for name in node.attrib)
        for child in node:
            walk(child, path)

    walk(ElementTree.fromstring(xml), "")
    return found


def _named(case: tuple[Path, bool]) -> str:
    return f"{case[0].parent.name}/{case[0].name}"


@needs_corpora
@pytest.mark.parametrize("case", CASES, ids=_named)
def test_nothing_of_a_domain_is_lost(case: tuple[Path, bool]) -> None:
    """Reading, writing and reading again gives equal values; each element and attribute is kept."""
    path, refused = case
    data = path.read_bytes()
    try:
        spec = DomainSpec.from_xml(data)
    except SpecError:
        assert refused
        return
    written = spec.to_xml()
    again = DomainSpec.from_xml(written)
    assert again == spec
    assert again.to_xml() == written
    assert not content(data) - content(written)


def _documents(document: Document) -> Iterator[tuple[Path, bool]]:
    """Yield each input and output of a kind and whether upstream refuses it."""
    assert CORPORA is not None
    refused = _refused_upstream(CORPORA)
    root = f"<{getattr(model, document.cls).XML_TAG}".encode()
    for folder in document.folders:
        for path in sorted((CORPORA / folder).glob("*.xml")):
            if root in path.read_bytes():
                marked = document.by_name and path.stem.endswith("-invalid")
                known = (document.suite, path.stem) in refused
                yield path, known or marked or path.stem in document.refused


DOCUMENT_CASES = (
    []
    if CORPORA is None
    else [
        (document, path, refused)
        for document in DOCUMENTS
        for path, refused in _documents(document)
    ]
)


@needs_corpora
@pytest.mark.parametrize(
    ("document", "path", "refused"),
    DOCUMENT_CASES,
    ids=[f"{path.parent.name}/{path.name}" for _, path, _ in DOCUMENT_CASES],
)
def test_no_form_of_a_document_loses_anything(
    document: Document, path: Path, refused: bool
) -> None:
    """XML, dict, JSON and TOML give equal values back, and XML every element and attribute."""
    cls = getattr(model, document.cls)
    data = path.read_bytes()
    if refused:
        with pytest.raises(SpecError):
            cls.from_xml(data)
        return
    spec = cls.from_xml(data)
    written = spec.to_xml()
    again = cls.from_xml(written)
    assert again == spec
    assert again.to_xml() == written
    assert cls.from_dict(spec.to_dict()) == spec
    assert cls.from_json(spec.to_json()) == spec
    assert cls.from_toml(spec.to_toml()) == spec
    assert not content(data) - content(written)
