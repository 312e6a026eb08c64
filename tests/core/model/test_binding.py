"""A declared class reads and writes itself."""

from __future__ import annotations

import copy
import pickle
from typing import ClassVar, Literal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyvisor.errors import SchemaError
from polyvisor.model._codecs import HEX, ON_OFF, UINT, YES_NO, Fault, choices, integer
from polyvisor.model.binding import (
    Choice,
    Element,
    Extra,
    RawXml,
    attr,
    child,
    children,
    element,
    flag,
    inner,
    inners,
    read_document,
    size,
    subtree,
    text,
    value,
    values,
    write_document,
)

Colour = Literal["red", "green"]


@element(kw_only=True)
class Wheel(Element):
    """A child with text."""

    side: Colour | None = attr(choices(Colour))
    label: str | None = text()


@element(kw_only=True)
class Car(Element):
    """One kind."""

    kind: str = attr(default="car")
    seats: int | None = attr(UINT)


@element(kw_only=True)
class Bike(Element):
    """Another kind."""

    kind: str = attr(default="bike")
    bell: bool | None = attr(YES_NO)


@element(kw_only=True)
class Thing(Element):
    """All field kinds."""

    id: int = attr(integer(0, 99), required=True)
    port: int | None = attr(HEX(4))
    snake_name: str | None = attr(name="camelName")
    title: str | None = value()
    args: tuple[str, ...] = values(name="arg")
    memory: int | None = size()
    state: bool | None = inner("state", "on", ON_OFF)
    boots: tuple[str, ...] = inners("boot", "dev")
    ready: bool = flag()
    wheel: Wheel | None = child(Wheel)
    wheels: tuple[Wheel, ...] = children(Wheel, "spare")
    vehicle: Car | Bike | None = child(Choice("kind", {"car": Car, "bike": Bike}))
    mixed: tuple[Car | Bike, ...] = children({"auto": Car, "rad": Bike})
    metadata: RawXml | None = subtree()


FULL = """\
<thing id='7' port='0x00ff' camelName='a&apos;b'>
  <title>one &lt; two</title>
  <arg>x</arg>
  <arg>y</arg>
  <memory unit='KiB'>2048</memory>
  <state on='off'/>
  <boot dev='hd'/>
  <boot dev='network'/>
  <ready/>
  <wheel side='red'>front</wheel>
  <spare/>
  <spare side='green'/>
  <vehicle kind='bike' bell='no'/>
  <auto kind='car' seats='4'/>
  <rad kind='bike'/>
  <auto kind='car'/>
  <metadata>
    <a:b xmlns:a="urn:a" c="d">
      <!-- kept
 as it is -->
      <a:e/>
    </a:b>
  </metadata>
</thing>
"""


def read(xml: str) -> Thing:
    """Return the thing that a text describes."""
    return read_document(Thing, xml, "thing")


def write(thing: Thing) -> str:
    """Return a thing's text."""
    return write_document(thing, "thing")


def test_every_kind_of_field_is_read() -> None:
    """Each kind of field has its value in Python."""
    thing = read(FULL)
    assert (thing.id, thing.port, thing.snake_name) == (7, 255, "a'b")
    assert (thing.title, thing.args, thing.memory) == ("one < two", ("x", "y"), 2048 * 1024)
    assert (thing.state, thing.boots, thing.ready) == (False, ("hd", "network"), True)
    assert thing.wheel == Wheel(side="red", label="front")
    assert thing.wheels == (Wheel(), Wheel(side="green"))
    assert thing.vehicle == Bike(bell=False)
    assert thing.mixed == (Car(seats=4), Bike(), Car())
    assert thing.metadata is not None
    assert "kept\n as it is" in thing.metadata
    assert thing.extra is None


def test_canonical_text_is_written_back_unchanged() -> None:
    """What is in canonical form already comes out as it went in."""
    assert write(read(FULL)) == FULL


def test_what_is_not_declared_is_carried() -> None:
    """Attributes, elements, second singletons and attributes of values come out again."""
    xml = """\
<thing id='1' zzz='q' xmlns:n='urn:n'>
  <title lang='de' n:x='1'>t</title>
  <arg>a</arg>
  <arg quoted='yes'>b</arg>
  <boot dev='hd' order='2'/>
  <wheel size='17'>
    <nut/>
  </wheel>
  <title>second</title>
  <n:other k='&quot;'>
    <deep>x</deep>
  </n:other>
</thing>
"""
    thing = read(xml)
    assert thing.title == "t"
    assert thing.args == ("a", "b")
    assert thing.extra is not None
    assert ("zzz", "q") in thing.extra.attributes
    assert write(thing) == xml
    assert read(write(thing)) == thing


def test_text_cannot_pass_for_a_child() -> None:
    """A value that looks like markup is escaped, also where attributes are put back."""
    thing = Thing(
        id=1,
        title="\n  <arg",
        args=("a",),
        extra=Extra(of_values=(("arg", 0, (("k", "v"),)),)),
    )
    again = read(write(thing))
    assert again == thing


def test_values_are_frozen_comparable_hashable_and_copied() -> None:
    """Instances behave as values."""
    thing = read(FULL)
    assert thing == read(FULL)
    assert hash(thing) == hash(read(FULL))
    assert thing != attrs.evolve(thing, id=8)
    assert thing != "thing"
    assert copy.deepcopy(thing) is thing
    assert pickle.loads(pickle.dumps(thing)) == thing
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        thing.id = 2  # type: ignore[misc]
    assert repr(Wheel(side="red")) == "Wheel(side='red')"


@pytest.mark.parametrize(
    ("xml", "line", "path", "words"),
    [
        ("<thing/>", 1, "thing", ["has no attribute id"]),
        ("<thing id='x'/>", 1, "thing", ["attribute id", "'x'", "0 to 99"]),
        ("<thing id='100'/>", 1, "thing", ["out of range"]),
        ("<thing id='1_0'/>", 1, "thing", ["not a whole number"]),
        ("<thing id='\u0661'/>", 1, "thing", ["not a whole number"]),
        (
            "<thing id='1'>\n<wheel side='gren'/></thing>",
            2,
            "thing/wheel",
            ["did you mean 'green'"],
        ),
        ("<thing id='1'>\n<spare/>\n<spare side=''/></thing>", 3, "thing/spare[2]", ["red"]),
        (
            "<thing id='1'><state on='yes'/></thing>",
            1,
            "thing/state",
            ["on or off"],
        ),
        ("<thing id='1'><vehicle kind='boat'/></thing>", 1, "thing/vehicle", ["car, bike"]),
        ("<thing id='1'><vehicle/></thing>", 1, "thing/vehicle", ["attribute kind is missing"]),
        (
            "<thing id='1'><memory unit='QiB'>1</memory></thing>",
            1,
            "thing/memory",
            ["unit of size"],
        ),
        ("<thing id='1'><memory>-1</memory></thing>", 1, "thing/memory", ["out of range"]),
        ("<thing id='1'><memory/></thing>", 1, "thing/memory", ["not a whole number"]),
        ("<thing id='1'><memory unit='EiB'>8</memory></thing>", 1, "thing/memory", ["8 EiB"]),
        ("<other/>", 1, "other", ["<other>", "<thing>"]),
    ],
)
def test_wrong_values_are_refused_with_place_and_advice(
    xml: str, line: int, path: str, words: list[str]
) -> None:
    """An error names line, element, fault and what would be right."""
    with pytest.raises(SchemaError) as caught:
        read(xml)
    assert (caught.value.line, caught.value.element) == (line, path)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("thing", "path"),
    [
        (Thing(id=-1), "thing"),
        (Thing(id="1' x='"), "thing"),  # type: ignore[arg-type]
        (Thing(id=1, snake_name=3), "thing"),  # type: ignore[arg-type]
        (Thing(id=1, title="\0"), "thing/title"),
        (Thing(id=1, title="\ud800"), "thing/title"),
        (Thing(id=1, memory=-5), "thing/memory"),
        (Thing(id=1, wheel=Wheel(side="x' y='")), "thing/wheel"),  # type: ignore[arg-type]
        (Thing(id=1, wheel="<wheel/>"), "thing"),  # type: ignore[arg-type]
        (Thing(id=1, mixed=(Wheel(),)), "thing"),  # type: ignore[arg-type]
    ],
)
def test_wrong_values_are_not_written(thing: Thing, path: str) -> None:
    """A value that was built wrong is refused when it is written, with its element."""
    with pytest.raises(SchemaError) as caught:
        write(thing)
    assert caught.value.element == path


@pytest.mark.parametrize(
    ("unit", "bytes_"),
    [
        ("", 1024), ("b", 1024), ("bytes", 1024), ("k", 1024), ("KiB", 1024), ("KB", 1024),
        ("MiB", 1024**2), ("m", 1024**2), ("GB", 976563 * 1024), ("TiB", 1024**4),
    ],
)  # fmt: skip
def test_units_of_size_are_libvirts(unit: str, bytes_: int) -> None:
    """A size is bytes in Python, rounded up to whole KiB."""
    xml = f"<thing id='1'><memory unit='{unit}'>1</memory></thing>"
    assert read(xml).memory == bytes_


def test_a_lazy_class_is_imported_when_met() -> None:
    """A class given as module and name is found when its element stands in a document."""

    @element(kw_only=True)
    class Holder(Element):
        """Holds a disk."""

        disk: Element | None = child(".devices.disk:Disk")
        nothing: Element | None = child("no.such.module:Class")

    holder = read_document(Holder, "<holder><disk type='block'/></holder>", "holder")
    assert type(holder.disk).__name__ == "Disk"
    assert write_document(holder, "holder").count("<disk type='block' device='disk'/>") == 1


words = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("\t\n\r'\"<>&"))
wheels = st.builds(
    Wheel, side=st.sampled_from([None, "red", "green"]), label=st.none() | words.filter(bool)
)
vehicles = st.builds(Car, seats=st.none() | st.integers(0, 2**32 - 1)) | st.builds(
    Bike, bell=st.sampled_from([None, True, False])
)
things = st.builds(
    Thing,
    id=st.integers(0, 99),
    port=st.none() | st.integers(0, 0xFFFF),
    snake_name=st.none() | words,
    title=st.none() | words,
    args=st.lists(words, max_size=3).map(tuple),
    memory=st.none() | st.integers(0, 2**52).map(lambda kib: kib * 1024),
    state=st.sampled_from([None, True, False]),
    boots=st.lists(words, max_size=3).map(tuple),
    ready=st.booleans(),
    wheel=st.none() | wheels,
    wheels=st.lists(wheels, max_size=3).map(tuple),
    vehicle=st.none() | vehicles,
    mixed=st.lists(vehicles, max_size=3).map(tuple),
)


@given(things)
def test_any_value_survives_xml(thing: Thing) -> None:
    """Whatever a value holds comes back from its XML, and is written the same again."""
    xml = write(thing)
    again = read(xml)
    assert again == thing
    assert write(again) == xml


@element(kw_only=True)
class Options(Element):
    """An element of a namespace of its own."""

    names: tuple[str, ...] = inners("fs:option", "name")


@element(kw_only=True)
class Mount(Element):
    """A class with everything that is done besides filling fields."""

    XML_NAMESPACES: ClassVar = {"fs": "urn:fs"}

    low: int | None = attr(UINT)
    high: int | None = attr(UINT)
    room: int = size(default=0, unit="bytes", scale=1)
    options: Options | None = child(Options, "fs:options")

    def __attrs_post_init__(self) -> None:
        if self.high is None:
            object.__setattr__(self, "high", self.low)

    def _refuse(self) -> None:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise Fault("low is above high", "swap them")


@pytest.mark.parametrize(
    "xml",
    [
        "<mount xmlns:fs='urn:fs'><fs:options><fs:option name='a'/></fs:options></mount>",
        "<mount xmlns:x='urn:fs'><x:options><x:option name='a'/></x:options></mount>",
        "<mount><options xmlns='urn:fs'><option name='a'/></options></mount>",
        "<mount><x:options xmlns:x='urn:fs'><x:option name='a'/></x:options></mount>",
    ],
)
def test_namespaces_are_read_under_any_prefix(xml: str) -> None:
    """The URI counts; what is written has the prefix of the declaration, and is read the same."""
    value = read_document(Mount, xml, "mount")
    assert value.options is not None
    assert value.options.names == ("a",)
    written = write_document(value, "mount")
    assert "<fs:option name='a'/>" in written
    assert "xmlns:fs='urn:fs'" in written
    assert read_document(Mount, written, "mount") == value


def test_a_foreign_namespace_is_carried() -> None:
    """The same prefix for another namespace is not taken for the known one."""
    xml = "<mount xmlns:fs='urn:other'><fs:options><fs:option name='a'/></fs:options></mount>"
    value = read_document(Mount, xml, "mount")
    assert value.options is None
    assert value.extra is not None
    assert read_document(Mount, write_document(value, "mount"), "mount") == value


def test_what_is_implied_is_made_explicit() -> None:
    """It is so however an instance comes about; a size may have a default."""
    read = read_document(Mount, "<mount low='3'/>", "mount")
    assert read == Mount(low=3) == Mount(low=3, high=3, room=0)
    assert "<room unit='bytes'>0</room>" in write_document(read, "mount")


def test_contradictions_are_refused() -> None:
    """Fields that cannot stand together are refused both ways, with line and element."""
    with pytest.raises(SchemaError, match=r"line 2: mount: low is above high; swap them"):
        read_document(Mount, "\n<mount low='3' high='2'/>", "mount")
    with pytest.raises(SchemaError, match="mount: low is above high"):
        write_document(Mount(low=3, high=2), "mount")
