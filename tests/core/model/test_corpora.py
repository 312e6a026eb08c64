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
    #: Folder of inputs, of what upstream prints of them, and the suite that reads them.
    inputs: str
    outputs: str
    suite: str
    #: The share of outputs that are upstream's.
    share: float = 1.0
    #: Outputs of other parts of libvirt that its parser would not take.
    refused: tuple[str, ...] = ()


DOCUMENTS = [
    Document("StoragePoolSpec", "storagepoolxml2xmlin", "storagepoolxml2xmlout", ""),
    # vol-qcow2-nocow is not run upstream: its output has what the others lost long ago.
    Document("StorageVolumeSpec", "storagevolxml2xmlin", "storagevolxml2xmlout", "", 0.94),
    Document("NetworkSpec", "networkxml2xmlin", "networkxml2xmlout", "networkxml2xmltest"),
    # Changing a network in place does not count its interfaces as reading it does.
    Document(
        "NetworkSpec",
        "networkxml2xmlupdateout",
        "networkxml2xmlupdateout",
        "",
        refused=("nat-network-forward-ifaces",),
    ),
    Document("InterfaceSpec", "interfaceschemadata", "interfaceschemadata", ""),
    Document("SecretSpec", "secretxml2xmlin", "secretxml2xmlin", ""),
    # Outputs of inputs that are refused are what older versions made of them.
    Document("NwFilterSpec", "nwfilterxml2xmlin", "nwfilterxml2xmlout", "", 0.97),
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


@needs_corpora
@pytest.mark.parametrize("folder", DOMAIN_FOLDERS)
def test_nothing_is_lost(folder: str) -> None:
    """Reading, writing and reading again gives equal values; each element and attribute is kept."""
    faults = []
    for path, refused in CASES:
        if path.parent.name != folder:
            continue
        data = path.read_bytes()
        try:
            spec = DomainSpec.from_xml(data)
        except SpecError as error:
            if not refused:
                faults.append(f"{path.name}: refused: {error}")
            continue
        written = spec.to_xml()
        again = DomainSpec.from_xml(written)
        if again != spec:
            faults.append(f"{path.name}: differs when read again")
        elif again.to_xml() != written:
            faults.append(f"{path.name}: is written differently the second time")
        elif lost := content(data) - content(written):
            faults.append(f"{path.name}: lost {dict(lost)}")
    assert not faults, "\n".join(faults)


@needs_corpora
def test_generic_output_is_upstreams() -> None:
    """What the model writes for the generic suite is what libvirt prints, in the known share."""
    assert CORPORA is not None
    same, different = [], []
    for path, refused in CASES:
        if path.parent.name != "genericxml2xmlindata" or refused:
            continue
        expected = CORPORA / "genericxml2xmloutdata" / path.name
        if not expected.is_file():
            expected = path
        try:
            written = DomainSpec.from_xml(path).to_xml()
        except SpecError:
            continue
        right = canonical(written) == canonical(expected.read_bytes())
        (same if right else different).append(path.name)
    share = len(same) / (len(same) + len(different))
    assert share >= GENERIC_SHARE, f"{share:.0%} equal; these differ: {different}"


#: The share reached so far; raise it with each field that is typed.
GENERIC_SHARE = 0.4


def canonical(xml: str | bytes) -> str:
    """Return a document without what canonical XML leaves open, and without indentation."""
    return ElementTree.canonicalize(xml, strip_text=True)


def _documents(document: Document) -> Iterator[tuple[Path, bool]]:
    """Yield each input and output of a kind and whether upstream refuses it."""
    assert CORPORA is not None
    refused = _refused_upstream(CORPORA)
    root = f"<{getattr(model, document.cls).XML_TAG}".encode()
    for folder in dict.fromkeys((document.inputs, document.outputs)):
        for path in sorted((CORPORA / folder).glob("*.xml")):
            if root in path.read_bytes():
                yield (
                    path,
                    (
                        (document.suite, path.stem) in refused
                        or path.stem in document.refused
                        # So upstream names inputs that its parser must refuse.
                        or path.stem.endswith("-invalid")
                    ),
                )


@needs_corpora
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.inputs)
def test_no_form_of_a_document_loses_anything(document: Document) -> None:
    """XML, dict, JSON and TOML give equal values back, and XML every element and attribute."""
    cls = getattr(model, document.cls)
    faults = []
    for path, refused in _documents(document):
        data = path.read_bytes()
        try:
            spec = cls.from_xml(data)
        except SpecError as error:
            if not refused:
                faults.append(f"{path.name}: refused: {error}")
            continue
        if refused:
            faults.append(f"{path.name}: is accepted")
        written = spec.to_xml()
        again = {
            "XML": cls.from_xml(written),
            "dict": cls.from_dict(spec.to_dict()),
            "JSON": cls.from_json(spec.to_json()),
            "TOML": cls.from_toml(spec.to_toml()),
        }
        faults += [f"{path.name}: differs as {form}" for form in again if again[form] != spec]
        if again["XML"].to_xml() != written:
            faults.append(f"{path.name}: is written differently the second time")
        if lost := content(data) - content(written):
            faults.append(f"{path.name}: lost {dict(lost)}")
    assert not faults, "\n".join(faults)


@needs_corpora
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.outputs)
def test_a_definition_is_printed_as_upstream_does(document: Document) -> None:
    """What libvirt keeps when it defines an input is what its tests expect, in the known share."""
    assert CORPORA is not None
    cls = getattr(model, document.cls)
    same, different = [], []
    for path, refused in _documents(document):
        expected = CORPORA / document.outputs / path.name
        if refused or not expected.is_file():
            continue
        written = cls.from_xml(path).definition().to_xml()
        right = canonical(written) == canonical(expected.read_bytes())
        (same if right else different).append(f"{path.parent.name}/{path.name}")
    assert same
    share = len(same) / (len(same) + len(different))
    assert share >= document.share, f"{share:.0%} equal; these differ: {different}"
