"""Structures of the protocol as bytes and back."""

from __future__ import annotations

import struct
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire_values import EVERYTHING, PROCEDURES, STRUCTURES, values

from polyvisor_remote.wire import (
    Packer,
    TypedParam,
    WireError,
    error_codec,
    mapping,
    params,
    program,
)

REMOTE = program("remote")
UUID = bytes(range(16))


@pytest.mark.parametrize("name", EVERYTHING)
def test_every_structure_comes_back_as_it_was_sent(name: str) -> None:
    """What a declared layout may hold comes back the same, and only whole and alone."""
    codec = EVERYTHING[name].codec

    @settings(max_examples=3, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(values(EVERYTHING[name]), st.randoms(use_true_random=False))
    def check(value: tuple[Any, ...], chance: Random) -> None:
        data = codec.encode(value)
        assert len(data) % 4 == 0
        assert codec.decode(data) == value
        with pytest.raises(WireError, match="were due"):
            codec.decode(data + bytes(4))
        if data:
            with pytest.raises(WireError):
                codec.decode(data[: chance.randrange(len(data))])

    check()


def test_every_declared_structure_is_made() -> None:
    """No line of the tables names a type that there is not, or a field twice."""
    assert len(STRUCTURES) > 900
    for one in STRUCTURES:
        assert len(one.codec.type._fields) == len(one.fields)


def test_bytes_are_those_of_the_standard() -> None:
    """Numbers are big-endian, strings and opaque data padded to four, lists counted (RFC 4506)."""
    open_ = REMOTE["connect_open"].arguments.codec
    assert open_.encode(("abc", 1)) == b"\0\0\0\1\0\0\0\3abc\0\0\0\0\1"
    assert open_.encode((None, 1)) == b"\0\0\0\0\0\0\0\1"
    found = REMOTE["connect_list_all_domains"].result.codec
    one = b"\0\0\0\1" + b"\0\0\0\1a\0\0\0" + UUID + b"\xff\xff\xff\xff" + b"\0\0\0\1"
    assert found.encode(([("a", UUID, -1)], 1)) == one
    info = REMOTE["domain_get_info"].result.codec
    assert info.encode((1, 2, 3, 4, 5)) == struct.pack(">IQQIQ", 1, 2, 3, 4, 5)
    node = REMOTE["node_get_info"].result.codec.encode((b"x86", 1, 2, 3, 4, 5, 6, 7))
    assert node[:16] == b"\0\0\0x\0\0\0008\0\0\0006\0\0\0\0"
    assert len(node) == 32 * 4 + 8 + 6 * 4
    stats = REMOTE["domain_get_job_stats"].result.codec
    assert stats.encode((1, [TypedParam("ab", 4, 7)])) == (
        b"\0\0\0\1\0\0\0\1" + b"\0\0\0\2ab\0\0" + b"\0\0\0\4" + bytes(7) + b"\7"
    )


def test_names_that_are_not_utf8_survive() -> None:
    """A path of any bytes is the same path when it is sent back."""
    codec = REMOTE["domain_restore"].arguments.codec
    data = b"\0\0\0\4/\xff\xfea"
    assert codec.encode(codec.decode(data)) == data


@pytest.mark.parametrize(
    ("procedure", "given_", "fault"),
    [
        ("connect_open", ("a\0b", 0), "zero byte"),
        ("connect_open", ("a", -1), "do not fit"),
        ("connect_open", ("a", 2**32), "do not fit"),
        ("connect_open", ("a",), "do not fit"),
        ("connect_open", (7, 0), "do not fit"),
        ("domain_lookup_by_uuid", (b"short",), "UUID has 16 bytes"),
        ("domain_lookup_by_name", ("x" * 4194305,), "cap of 4194304"),
        ("domain_send_key", (("a", UUID, 1), 0, 0, [1] * 17, 0), "cap of 16"),
        ("domain_save_params", (("a", UUID, 1), [TypedParam("a", 9, 1)], 0), "do not fit"),
    ],
)
def test_what_does_not_fit_is_not_sent(procedure: str, given_: tuple[object], fault: str) -> None:
    """A value that the type does not hold is refused before a byte of it is made."""
    with pytest.raises(WireError, match=fault):
        REMOTE[procedure].arguments.codec.encode(given_)


def test_an_error_has_libvirts_fields() -> None:
    """The structure of an error is known by name."""
    codec = error_codec()
    value = codec.type(42, 10, "no domain", 2, None, "no domain", None, None, -1, -1, None)
    assert codec.decode(codec.encode(value)) == value


def test_parameters_are_a_mapping() -> None:
    """Typed parameters say of themselves what they are, or are told."""
    sent = params({"a": "x", "b": True, "c": 1.5, "d": 3, "e": -3, "f": None, "g": 2}, {"g": 1})
    assert [(one.field, one.kind) for one in sent] == [
        ("a", 7), ("b", 6), ("c", 5), ("d", 4), ("e", 3), ("g", 1),
    ]  # fmt: skip
    assert mapping(sent) == {"a": "x", "b": True, "c": 1.5, "d": 3, "e": -3, "g": 2}
    assert mapping([*sent, *sent], repeated="abcdeg")["a"] == ["x", "x"]
    with pytest.raises(WireError, match="twice"):
        mapping([*sent, *sent])
    with pytest.raises(WireError, match="over 79"):
        mapping([TypedParam("n" * 80, 4, 1)])


@settings(deadline=None, database=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["a.i", "a.u", "b", "c.d", "skip"]),
            st.integers(-(2**31), 2**31 - 1)
            | st.text("xyé")
            | st.booleans()
            | st.floats()
            | st.none(),
        ),
        max_size=4,
    )
)
def test_what_is_packed_is_what_is_encoded_one_by_one(found: list[dict[str, Any]]) -> None:
    """Mappings with equal names, of whatever values, have the bytes of their parameters."""
    kinds = {"a.i": 1, "a.u": 2}
    packer = Packer(lambda name: None if name == "skip" else kinds.get(name, 0))
    codec = REMOTE["domain_get_job_stats"].result.codec
    for figures in [*found, *found]:
        for name in kinds:
            if not isinstance(figures.get(name), int) or figures[name] < 0:
                figures.pop(name, None)
        kept = {name: value for name, value in figures.items() if name != "skip"}
        packed = packer.pack(figures)
        assert codec.encode((0, packed)) == codec.encode((0, params(kept, kinds)))
        assert len(packed) == len(params(kept))


def test_procedures_are_known_by_name_and_number() -> None:
    """Each program is a collection of its procedures."""
    assert REMOTE[273] is REMOTE["connect_list_all_domains"]
    assert 454 not in REMOTE
    assert "no_such" not in REMOTE
    assert len(PROCEDURES) == sum(len(program(n)) for n in ("remote", "qemu", "lxc", "admin")) + 2
    with pytest.raises(KeyError):
        REMOTE[0]


def test_permissions_count_when_their_condition_holds() -> None:
    """A read-only client may have a definition, but not with what is secret in it."""
    xml = REMOTE["domain_get_xml_desc"]
    made = xml.arguments.codec.type
    assert not xml.refused_read_only(made(("a", UUID, 1), 2))
    assert xml.refused_read_only(made(("a", UUID, 1), 1))
    assert xml.refused_read_only(made(("a", UUID, 1), 8))
    assert REMOTE["domain_interface_addresses"].refused_read_only(made_addresses(1))
    assert not REMOTE["domain_interface_addresses"].refused_read_only(made_addresses(0))
    assert REMOTE["domain_create"].refused_read_only(None)
    assert REMOTE["connect_list_all_domains"].read_only


def made_addresses(source: int) -> object:
    """Return the arguments of a call for addresses from this source."""
    codec = REMOTE["domain_interface_addresses"].arguments.codec
    return codec.type(("a", UUID, 1), source, 0)
