"""Hostile and broken XML is refused in bounded time and memory, with the line."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from polyvisor.errors import SpecError, StorageError, XmlSyntaxError
from polyvisor.model import DomainSpec, RawXml
from polyvisor.model._xml import MAX_BYTES

HEAD = "<domain type='test'><name>x</name><memory>1</memory>"

BILLION_LAUGHS = (
    "<!DOCTYPE domain [<!ENTITY a 'ha'>"
    + "".join(f"<!ENTITY a{i} '{f'&a{i - 1 if i > 1 else chr(0)};' * 10}'>" for i in range(1, 10))
    + "]><domain type='test'><name>&a9;</name></domain>"
).replace("&a\0;", "&a;")


@pytest.mark.parametrize(
    ("source", "line", "word"),
    [
        (BILLION_LAUGHS, 1, "document type"),
        ("<!DOCTYPE d SYSTEM 'file:///etc/passwd'>\n<domain/>", 1, "document type"),
        ("<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><domain>&x;</domain>", 1, "doc"),
        ("<!DOCTYPE d PUBLIC '-//X' 'http://127.0.0.1:9/x'>\n<domain/>", 1, "document type"),
        ("<domain>\n&x;</domain>", 2, "undefined entity"),
        ("<domain>\n" + "<a>" * 10_000, 2, "deeper than 256"),
        ("<domain>\n<a>\n</domain>", 3, "mismatched tag"),
        ("<domain>\n<name>a\0b</name></domain>", 2, "NUL"),
        (b"<domain>\n<name>\xff\xfe</name></domain>", 2, "0xff is not valid UTF-8"),
        (b"<domain>\n<name>\xc3", 2, ""),
        ("<domain>\n<name>\ud800</name></domain>", 2, "surrogate"),
        ("<domain a='1' a='2'/>", 1, "duplicate attribute"),
        ("<domain>&#0;</domain>", 1, "invalid character"),
        ("<domain/><domain/>", 1, "junk after document element"),
        ("", None, "empty"),
        (b"  \n", None, "empty"),
        ("not xml", 1, "syntax error"),
        (b"<?xml version='1.0' encoding='ebcdic'?><domain/>", 1, "ebcdic"),
    ],
)
def test_broken_and_hostile_documents_are_refused(
    source: str | bytes, line: int | None, word: str
) -> None:
    """The error is a syntax error that names the line and the fault."""
    with pytest.raises(XmlSyntaxError) as caught:
        DomainSpec.from_xml(source)
    assert caught.value.line == line
    assert word in str(caught.value)


@pytest.mark.parametrize(
    "build",
    [
        lambda: "x" * (1 << 27),
        lambda: f"{HEAD}<title>{'x' * MAX_BYTES}</title></domain>",
        lambda: HEAD + "<a/>" * 1_000_000,
        lambda: HEAD + "<a " + " ".join(f"a{i}=''" for i in range(400_000)) + "/>",
        lambda: HEAD + "<a>" * 250_000,
        lambda: HEAD + "<!-- -->x" * 200_000 + "</domain",
        lambda: HEAD + "<disk><backingStore>" * 100_000,
        lambda: "<" * 128_000,
        lambda: HEAD + "".join(f"<a{number}>" for number in range(15_000)),
        lambda: f"<a{' ' * 128_000}",
        lambda: f"<a>{'&amp;' * 25_000}",
    ],
    ids=[
        "text",
        "title",
        "elements",
        "attributes",
        "depth",
        "comments",
        "stores",
        "cuts",
        "names",
        "blanks",
        "entities",
    ],
)
def test_size_is_bounded_in_time_and_memory(build: object) -> None:
    """A huge document is refused within two seconds, without memory for a tree of it."""
    source = build()  # type: ignore[operator]
    tracemalloc.start()
    try:
        start = time.perf_counter()
        with pytest.raises(XmlSyntaxError):
            DomainSpec.from_xml(source)
        taken = time.perf_counter() - start
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 2
    assert peak < 4 * len(source) + (2 << 20)


def test_many_unknown_elements_take_linear_time() -> None:
    """What is carried unread is cut out once each, however many there are."""

    def seconds(count: int) -> float:
        source = HEAD + "<a><b/></a>" * count + "</domain>"
        start = time.perf_counter()
        spec = DomainSpec.from_xml(source)
        assert spec.extra is not None
        assert len(spec.extra.elements) == count
        return time.perf_counter() - start

    seconds(100)
    assert seconds(8_000) < 40 * max(seconds(1_000), 0.01)


@pytest.mark.parametrize(
    "devices",
    [
        "<disk type='file' device='disk'><target dev='hdusb' bus='ide'/></disk>",
        "<controller type='scsi'/>" * 10_000,
    ],
    ids=["thousands of controllers below a disk's", "thousands without a number"],
)
def test_controllers_are_numbered_in_linear_time(devices: str) -> None:
    """Each controller costs the same, however many there are."""
    head = "<domain type='kvm'><name>a</name><memory>1</memory><os><type>hvm</type></os>"
    spec = DomainSpec.from_xml(f"{head}<devices>{devices}</devices></domain>")
    before = time.process_time()
    assert len(spec.normalised().devices.controllers) > 3000
    assert time.process_time() - before < 1


def test_a_sparse_file_of_a_gibibyte_is_refused_at_once(tmp_path: Path) -> None:
    """A file is not read beyond the limit."""
    path = tmp_path / "huge.xml"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(XmlSyntaxError, match="limit"):
        DomainSpec.from_xml(path)


def test_a_missing_file_is_a_storage_error(tmp_path: Path) -> None:
    """The path stands in the error."""
    with pytest.raises(StorageError) as caught:
        DomainSpec.from_xml(tmp_path / "none.xml")
    assert caught.value.path == str(tmp_path / "none.xml")


def test_a_doctype_without_contents_is_harmless() -> None:
    """A document type that declares nothing is read over."""
    spec = DomainSpec.from_xml(f"<!DOCTYPE domain>{HEAD}</domain>")
    assert spec.name == "x"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_encodings_are_read(encoding: str) -> None:
    """UTF-8, UTF-16 and Latin-1 are read, and carried elements are cut out right."""
    declared = "" if encoding.startswith("utf") else f"<?xml version='1.0' encoding='{encoding}'?>"
    text = declared + HEAD + "<title>ä</title><unknown>ö</unknown></domain>"
    spec = DomainSpec.from_xml(text.encode(encoding))
    assert spec.title == "ä"
    assert spec.extra is not None
    assert spec.extra.elements == ("<unknown>ö</unknown>",)


def test_raw_xml_is_canonical() -> None:
    """Layout and quotes do not matter to the value of a subtree; contents do."""
    one = RawXml.parse("<a  b='1'\n xmlns='urn:x'><!--c--><d></d>\n</a>")
    two = RawXml.parse('<a xmlns="urn:x" b="1">\n<!--c-->\n  <d/></a>')
    assert one == two
    assert RawXml.parse("<a>x <b/>\ny</a>") == "<a>x <b/>&#10;y</a>"
    assert RawXml.parse("<a><?pi x?><![CDATA[<]]></a>") == "<a><?pi x?>&lt;</a>"
    with pytest.raises(XmlSyntaxError):
        RawXml.parse("<a>")


@given(st.binary(max_size=200) | st.text(max_size=200))
@example(b"<domain type='test'><name>x</name><memory>1</memory></domain>")
@example(f"{HEAD}<devices><disk type='file'><source file='&#9;'/></disk></devices></domain>")
def test_any_input_is_read_or_refused(source: str | bytes) -> None:
    """Nothing but a SpecError comes out of bad input."""
    try:
        spec = DomainSpec.from_xml(source)
    except SpecError:
        return
    assert DomainSpec.from_xml(spec.to_xml()) == spec
