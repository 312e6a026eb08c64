"""Documents are held against libvirt's RELAX NG schemas where these are."""

from __future__ import annotations

from pathlib import Path

import pytest

import polyvisor
from polyvisor.connection import as_spec
from polyvisor.errors import SchemaError, StorageError, XmlSyntaxError
from polyvisor.model import DomainSpec
from polyvisor.model.schemas import ensure_valid, schema_folder, validate

EXAMPLES = Path(__file__).parents[3] / "examples"
LIBVIRT = Path("/usr/share/libvirt/schemas")

#: A grammar in two files, as libvirt's are.
DOMAIN = """\
<grammar xmlns='http://relaxng.org/ns/structure/1.0'><include href='common.rng'/>
<start><element name='domain'><attribute name='type'/><ref name='name'/>
<optional><element name='memory'><data type='int'
 datatypeLibrary='http://www.w3.org/2001/XMLSchema-datatypes'/></element></optional>
</element></start></grammar>
"""
COMMON = """\
<grammar xmlns='http://relaxng.org/ns/structure/1.0'>
<define name='name'><element name='name'><text/></element></define></grammar>
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Hold a folder with schemas."""
    (tmp_path / "domain.rng").write_text(DOMAIN)
    (tmp_path / "common.rng").write_text(COMMON)
    return tmp_path


def test_what_fits_has_no_findings(folder: Path) -> None:
    """A document in any encoding that fits its schema passes."""
    text = (
        "<?xml version='1.0' encoding='iso-8859-1'?>\n<domain type='a'><name>\xe4</name></domain>"
    )
    assert validate(text.encode("latin-1"), folder=folder) == ()
    ensure_valid("<domain type='a'><name>b</name><memory>1</memory></domain>", folder=folder)


def test_what_does_not_fit_is_told_with_its_line(folder: Path) -> None:
    """The error names the innermost element at fault; all findings are data."""
    text = (
        "<?xml version='1.0'?>\n<domain type='a'>\n<name>b</name>\n<memory>much</memory></domain>"
    )
    with pytest.raises(SchemaError, match="memory") as caught:
        ensure_valid(text, folder=folder, operation="define")
    error = caught.value
    assert (error.rule, error.line, error.element) == ("relax-ng", 4, "domain/memory")
    assert error.findings
    assert error.to_dict()["findings"][0]["rule"] == "relax-ng"


def test_where_there_are_no_schemas_that_is_said(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Argument and environment name the folder; the error says where was looked and what to do."""
    with pytest.raises(StorageError, match=r"install libvirt's.*POLYVISOR_SCHEMAS") as caught:
        schema_folder(tmp_path / "none")
    assert str(tmp_path / "none") in str(caught.value)
    monkeypatch.setenv("POLYVISOR_SCHEMAS", str(folder))
    assert schema_folder() == str(folder)
    with pytest.raises(StorageError, match="cannot use the schema"):
        validate("<network/>")
    with pytest.raises(SchemaError, match="no schema for <x>"):
        validate("<x/>")


def test_hostile_documents_do_not_reach_the_other_parser(folder: Path) -> None:
    """Entities and depth are refused as in reading."""
    with pytest.raises(XmlSyntaxError, match="document type"):
        validate("<!DOCTYPE d [<!ENTITY x 'y'>]><domain>&x;</domain>", folder=folder)
    with pytest.raises(XmlSyntaxError, match="deeper"):
        validate("<domain>" + "<a>" * 10_000, folder=folder)


def test_defining_validates_on_request(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``validate`` a definition is held against the schema first, without it is not."""
    monkeypatch.setenv("POLYVISOR_SCHEMAS", str(folder))
    text = (
        "<domain type='test'><name>b</name><memory>1024</memory><os><type>hvm</type></os></domain>"
    )
    with polyvisor.open("test:///default") as host:
        with pytest.raises(SchemaError, match="relax-ng"):
            host.domains.define(text, validate=True)
        with pytest.raises(SchemaError, match="relax-ng"):
            host.domains.create(DomainSpec.from_xml(text), validate=True)
        assert host.domains.define(text).name == "b"


@pytest.mark.real
@pytest.mark.skipif(not LIBVIRT.is_dir(), reason="libvirt's schemas are not installed")
def test_libvirts_own_schemas_take_what_is_written() -> None:
    """What is written for the examples and for a network fits libvirt's schemas."""
    assert validate(as_spec(EXAMPLES / "tick.xml").to_xml()) == ()
    assert validate("<network><name>n</name></network>") == ()
    [finding, *_] = validate("<network><name>n</name><wrong/></network>")
    assert finding.line == 1


@pytest.mark.real
def test_the_example_is_valid_where_it_lies(tmp_path: Path) -> None:
    """A file's relative paths count from its folder for libvirt's own schema too."""
    with polyvisor.open("sim:///valid") as host:
        assert host.domains.define(EXAMPLES / "tick.xml", validate=True).name == "tick"
