"""A value is the same as XML, dict, JSON and TOML; wrong plain data is refused in words."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import jsonschema
import pytest
from hypothesis import given, settings

from polyvisor.errors import SchemaError
from polyvisor.model import DomainSpec, schema
from polyvisor.model.forms import from_dict, human_size, parse_size, to_dict
from polyvisor.testing.strategies import specs

GUEST = """
type = "kvm"
name = "web"
memory = "2 GiB"
vcpu = { count = 2 }

[[devices.disks]]
source = { file = "/srv/web.qcow2" }
target = { dev = "vda", bus = "virtio" }

[[devices.hostdevs]]
type = "usb"
source = { vendor_id = 0x1234, product_id = 0xbeef }
"""


@given(specs())
@settings(max_examples=150)
def test_any_spec_survives_every_form(spec: DomainSpec) -> None:
    """XML, TOML, JSON and dict each give back the value that they were made of."""
    assert DomainSpec.from_xml(spec.to_xml()) == spec
    assert DomainSpec.from_dict(spec.to_dict()) == spec
    assert DomainSpec.from_json(spec.to_json()) == spec
    assert DomainSpec.from_json(spec.to_json(indent=None).encode()) == spec
    assert DomainSpec.from_toml(spec.to_toml()) == spec


@given(specs())
@settings(max_examples=50)
def test_what_is_written_fits_the_json_schema(spec: DomainSpec) -> None:
    """The JSON Schema that editors get allows every dict that a spec is written as."""
    VALIDATOR.validate(json.loads(spec.to_json()))


VALIDATOR = jsonschema.Draft202012Validator(schema())


def test_the_human_form() -> None:
    """Sizes may be written with a unit; a table of several kinds says which it is."""
    spec = DomainSpec.from_toml(GUEST)
    assert spec.memory == 2 << 30
    assert spec.vcpus == 2
    assert spec.devices.disks[0].source is not None
    assert spec.devices.disks[0].source.file == "/srv/web.qcow2"
    assert "product id='0xbeef'" in spec.to_xml()
    assert 'memory = "2 GiB"' in spec.to_toml()
    assert spec.to_dict()["memory"] == 2 << 30
    assert DomainSpec.from_toml(GUEST.encode()) == spec
    VALIDATOR.validate(spec.to_dict() | {"memory": "2 GiB"})


def test_what_is_only_its_text_has_a_short_form() -> None:
    """A number or text may stand for an element of which nothing else is said."""
    short = 'type = "kvm"\nname = "web"\nmemory = "2 GiB"\nvcpu = 2\nmax_memory = "4 GiB"\n'
    spec = DomainSpec.from_toml(short)
    assert spec.vcpus == 2
    assert spec.max_memory is not None
    assert spec.max_memory.size == 4 << 30
    assert "vcpu = 2\n" in spec.to_toml()
    assert DomainSpec.from_toml(spec.to_toml()) == spec
    assert spec.to_dict()["vcpu"] == {"count": 2}
    VALIDATOR.validate({"type": "kvm", "name": "web", "memory": "2 GiB", "vcpu": 2})
    assert not VALIDATOR.is_valid({"type": "kvm", "name": "web", "memory": 1, "vcpu": "x"})


def test_the_json_schema_refuses_what_reading_refuses() -> None:
    """Unknown keys and words that the schema does not know are seen by an editor."""
    jsonschema.Draft202012Validator.check_schema(schema())
    assert not VALIDATOR.is_valid({"type": "kvm", "name": "a", "memory": 1, "memroy": 2})
    assert not VALIDATOR.is_valid({"type": "kvm", "name": "a", "memory": "much"})
    assert not VALIDATOR.is_valid({"type": "kvm", "name": "a"})
    assert VALIDATOR.is_valid({"type": "kvm", "name": "a", "memory": "1.5 GiB"})


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2 GiB", 2 << 30),
        ("1.5GiB", 3 << 29),
        ("1 kb", 1000),
        ("4096", 4096),
        (4096, 4096),
        (" 7 b ", 7),
    ],
)
def test_sizes_are_read(text: str | int, size: int) -> None:
    """A number and a unit, with or without a space, or bytes."""
    assert parse_size(text) == size
    assert parse_size(human_size(size)) == size


@pytest.mark.parametrize("text", ["", "-1", "2 GiBs", "1.5", "2^70", 2**63, -1, True, None, "٣"])
def test_what_is_no_size_is_refused(text: Any) -> None:
    """Words, negative and fractional bytes and what is out of range are no sizes."""
    with pytest.raises(SchemaError):
        parse_size(text)


BASE: dict[str, Any] = {"type": "kvm", "name": "web", "memory": 1024}


@pytest.mark.parametrize(
    ("changes", "where", "words"),
    [
        ({"memroy": 1}, "memroy", "did you mean 'memory'"),
        ({"memory": "2 GiBs"}, "memory", "not a unit of size"),
        ({"memory": 2**70}, "memory", "out of range"),
        ({"memory": -1}, "memory", "out of range"),
        ({"memory": 2**63 - 1}, "memory", "out of range"),
        ({"memory": True}, "memory", "not a size"),
        ({"memory": 1.5}, "memory", "not a size"),
        ({"name": ""}, "name", "empty"),
        ({"name": None}, "name", "empty"),
        ({"name": 7}, "name", "empty"),
        ({"title": 7}, "title", "not a string"),
        ({"title": "a\0b"}, "title", "U+0000"),
        ({"uuid": "x"}, "uuid", "not a UUID"),
        ({"vcpu": {"count": True}}, "vcpu.count", "True is not a whole number"),
        ({"vcpu": {"count": -1}}, "vcpu.count", "out of range"),
        ({"vcpu": {"count": "2"}}, "vcpu.count", "not a whole number"),
        ({"vcpu": "2"}, "vcpu.count", "not a whole number"),
        ({"vcpu": [2]}, "vcpu", "not a table"),
        ({"devices": 2}, "devices", "not a table"),
        ({"vcpu": {}}, "vcpu", "count is missing"),
        ({"devices": {"disks": {}}}, "devices.disks", "not a list"),
        ({"devices": {"disks": [7]}}, "devices.disks[0]", "not a table"),
        ({"devices": {"disks": [{"type": "fiel"}]}}, "devices.disks[0].type", "'file'"),
        ({"devices": {"disks": [{"readonly": 1}]}}, "devices.disks[0].readonly", "true or false"),
        ({"devices": {"hostdevs": [{}]}}, "devices.hostdevs[0]", "type is missing"),
        ({"devices": {"hostdevs": [{"type": "x"}]}}, "devices.hostdevs[0]", "'x'"),
        ({"devices": {"hostdevs": [7]}}, "devices.hostdevs[0]", "type is missing"),
        ({"pm": {"suspend_to_mem": {"enabled": 1}}}, "pm.suspend_to_mem.enabled", "true or false"),
        ({"metadata": "<metadata>"}, "metadata", "no element found"),
        ({"metadata": "<a/>"}, "metadata", "write <metadata>"),
        ({"extra": {"attributes": 7}}, "extra", "not what extra holds"),
    ],
)
def test_wrong_plain_data_is_refused(changes: dict[str, Any], where: str, words: str) -> None:
    """The error names the place and what would be right."""
    with pytest.raises(SchemaError) as caught:
        DomainSpec.from_dict({**BASE, **changes})
    assert caught.value.element == where
    assert words in str(caught.value)


@pytest.mark.parametrize("missing", ["type", "name", "memory"])
def test_what_must_be_there_is_named(missing: str) -> None:
    """A definition without a required key is refused by its name."""
    data = {key: value for key, value in BASE.items() if key != missing}
    with pytest.raises(SchemaError, match=f"{missing} is missing"):
        DomainSpec.from_dict(data)


def test_text_that_is_not_json_or_toml_is_refused_with_its_line() -> None:
    """The error of either parser becomes ours, with the line."""
    with pytest.raises(SchemaError, match="not JSON") as caught:
        DomainSpec.from_json('{\n"name": }')
    assert caught.value.line == 2
    with pytest.raises(SchemaError, match="not TOML") as caught:
        DomainSpec.from_toml("name = 'a'\nmemory = \n")
    assert caught.value.line == 2
    for wrong in (b"\xff", b"[" * 100_000, b"9" * 5000):
        with pytest.raises(SchemaError):
            DomainSpec.from_json(wrong)
        with pytest.raises(SchemaError):
            DomainSpec.from_toml(wrong)
    with pytest.raises(SchemaError, match="not a table"):
        DomainSpec.from_json("[]")


def test_tables_in_tables_end() -> None:
    """A definition nested without end is refused, not followed."""
    deep: dict[str, Any] = {}
    for _ in range(900):
        deep = {"backing_store": deep}
    with pytest.raises(SchemaError, match="deeper"):
        DomainSpec.from_dict({**BASE, "devices": {"disks": [deep]}})


def test_what_is_carried_untyped_is_in_every_form() -> None:
    """Attributes and elements that the model does not know stand under extra."""
    spec = DomainSpec.from_xml(
        "<domain type='kvm' new='1'><name>a</name><memory dumpCore='off' x='1'>4</memory>"
        "<newer><b c='d'/></newer></domain>"
    )
    data = spec.to_dict()
    assert data["extra"]["attributes"] == {"new": "1"}
    assert data["extra"]["elements"] == ["<newer>\n  <b c='d'/>\n</newer>"]
    assert DomainSpec.from_dict(data) == spec
    assert DomainSpec.from_toml(spec.to_toml()).to_xml() == spec.to_xml()


def test_a_part_of_a_definition_has_plain_forms_too() -> None:
    """The functions of forms take any element."""
    spec = DomainSpec.from_toml(GUEST)
    disk = spec.devices.disks[0]
    assert from_dict(type(disk), to_dict(disk)) == disk


def test_uuids_are_text() -> None:
    """Plain data holds what JSON has."""
    uuid = "4dea22b3-1d52-d8f3-2516-782e98ab3fa0"
    spec = DomainSpec.from_dict({**BASE, "uuid": uuid})
    assert spec.uuid == UUID(uuid)
    assert spec.to_dict()["uuid"] == uuid
