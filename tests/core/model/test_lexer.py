"""The quick parser reads what the careful one reads, shares what is alike, and holds a bound."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from polyvisor.errors import SchemaError, SpecError
from polyvisor.model import DomainSpec
from polyvisor.model import _lexer as lexer
from polyvisor.model._lexer import NotPlain, lex
from polyvisor.model._xml import parse
from polyvisor.testing.strategies import specs

if TYPE_CHECKING:
    from polyvisor.model._node import Node

HEAD = "<domain type='test'><name>x</name><memory>1</memory>"
LARGE = (Path(__file__).parents[2] / "bench" / "large.xml").read_text(encoding="utf-8")

#: Behind a document: harmless, and nothing that the quick parser reads.
CAREFULLY = "<?carefully?>"


def large(number: int) -> str:
    """Return a definition of 152 lines."""
    return LARGE.format(
        name=f"guest-{number}",
        uuid=f"00000000-0000-4000-8000-{number:012}",
        mac=f"52:54:00:00:{number // 256 % 256:02x}:{number % 256:02x}",
    )


def tree(node: Node) -> Any:
    """Return a node as plain data."""
    below = [tree(child) for child in node.children]
    return node.tag, list(node.attributes.items()), node.text, below


def same(text: str) -> bool:
    """Assert that the careful parser reads what the quick one does; say whether that does."""
    try:
        quick = tree(lex(text, new=True))
    except NotPlain:
        return False
    assert quick == tree(parse(text.encode()))
    return True


@pytest.mark.parametrize(
    "text",
    [
        large(1),
        "<?xml version='1.0' encoding='UTF-8'?>\n<!-- c --><a/>\n<!-- d -->\n",
        "<a b = '1'\n\tc='d>e'>\n<b.c-d_e/></a >",
        "<a>x<!-- y -->z</a>",
        "<a> <!-- y --> </a>",
        "<a>x<b/>y</a>",
        "<a b='&lt;&apos;'>&amp;amp;<!-- & -->&gt;&quot;</a>",
        "<a b='>' c='/>'>></a>",
        '<a b="1" c="2"/>',
        "<a/> ",
        "<a>ä\U0001f600\x7f\x85\xa0</a>",
        "<:a x:y='' xmlns:x=''/>",
        "<a>" * 256 + "</a>" * 256,
    ],
)
def test_plain_documents_are_read_quickly(text: str) -> None:
    """The quick parser reads them, and the same as the careful one."""
    assert same(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "x",
        "x<a/>",
        "<a/>x",
        "<a/><b/>",
        "<a>",
        "</a>",
        "<a/></a>",
        "<a></b>",
        "<a></a><",
        "< a/>",
        "<a b='1'c='2'/>",
        "<a b='1' b='2'/>",
        "<a b=1/>",
        "<a b/>",
        "<a b='1' c=\"2\"/>",
        "<a / >",
        "</a/>",
        "</a b='1'>",
        "<1/>",
        "<a>]]></a>",
        "<a>&amp</a>",
        "<a>&#65;</a>",
        "<a>&b;</a>",
        "<a b='&'/>",
        "<a/>&lt;",
        "<a>\r\n</a>",
        "<a b='\n'/>",
        "<a>\0</a>",
        "<a>\ud800</a>",
        "<a b='\uffff'/>",
        "<!-- a -- b --><a/>",
        "<!-- a ---><a/>",
        "<a><![CDATA[x]]></a>",
        "<a><?pi?></a>",
        "<!DOCTYPE a><a/>",
        " <?xml version='1.0'?><a/>",
        "<?xml version='1.1'?><a/>",
        "<?xml ver\u017fion='1.0'?><a/>",
        "\ufeff<a/>",
        "<\u00e4/>",
        "<a>" * 257 + "</a>" * 257,
        f"<a>{'x' * lexer.MAX_LENGTH}</a>",
    ],
)
def test_all_else_is_left_to_the_careful_parser(text: str) -> None:
    """What is wrong, or not plain, is not read quickly."""
    with pytest.raises(NotPlain):
        lex(text, new=True)


FRAGMENTS = [
    "<a", "<b", "</a", "</b", ">", "/>", "<a>", "</a>", "<b/>", " ", "\n", "c", "=", "'", '"',
    " c='1'", ' d="2"', "<!--", "-->", "-", "<!--x-->", "]]>", "&lt;", "?", "ä", "\u2028", "\x0b",
    "<c>t</c>", "&", ";",
]  # fmt: skip


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join))
@example("<a></b>")
def test_the_quick_parser_reads_nothing_differently(text: str) -> None:
    """Whatever it takes, the careful parser takes and reads the same."""
    same(text)
    same(f"<a>{text}</a>")


@given(st.data())
def test_a_damaged_document_is_read_the_same(data: st.DataObject) -> None:
    """Cut, and with something put in, a document is refused or read alike by both."""
    text = large(1)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    piece = data.draw(st.lists(st.sampled_from(FRAGMENTS), max_size=3).map("".join))
    same(text[:start] + piece + text[end:])


@given(specs())
def test_any_definition_is_read_the_same(spec: DomainSpec) -> None:
    """A definition has one value, whichever parser reads it and however often it was met."""
    xml = spec.to_xml()
    careful = DomainSpec.from_xml(xml + CAREFULLY)
    for _ in range(3):
        again = DomainSpec.from_xml(xml)
        assert again == careful
        assert again.to_xml() == careful.to_xml() == xml


def test_what_is_alike_is_one_value() -> None:
    """Equal parts of different documents are the same object, and nothing of the rest is."""
    _, _, one, two = (DomainSpec.from_xml(large(number)) for number in (3, 4, 1, 2))
    assert one.clock is two.clock
    assert one.devices.videos[0] is two.devices.videos[0]
    assert one.metadata is two.metadata
    assert one.devices.disks[0] != two.devices.disks[0]
    assert one.devices.disks[0].target is two.devices.disks[0].target
    assert (one.name, two.name) == ("guest-1", "guest-2")
    assert "guest-2" not in one.to_xml()


def test_a_document_met_once_leaves_nothing() -> None:
    """Only what was met before is remembered; what is mostly new is read carefully."""
    careful = {number: DomainSpec.from_xml(large(number) + CAREFULLY) for number in (1, 2, 3)}
    lexer.forget()
    pieces, elements, _ = lexer.tables()
    for number, known in ((1, 0), (2, 150), (3, 150)):
        assert DomainSpec.from_xml(large(number)) == careful[number]
        assert len(pieces) >= known
        assert bool(pieces) == bool(elements) == bool(known)


def test_a_changed_value_is_written_anew() -> None:
    """What was written once does not stand in the text of what was made from it."""
    spec = DomainSpec.from_xml(large(1))
    before = spec.to_xml()
    disk = spec.devices.disks[2]
    changed = attrs.evolve(
        spec,
        devices=attrs.evolve(spec.devices, disks=(attrs.evolve(disk, readonly=False, serial="S"),)),
    )
    assert "<serial>S</serial>" in changed.to_xml()
    assert "guest-1-system" not in changed.to_xml()
    assert spec.to_xml() == before == DomainSpec.from_xml(large(1)).to_xml()


def test_a_fault_is_placed_in_its_own_document() -> None:
    """The same faulty line is found at its line in each document it stands in."""
    good = DomainSpec.from_xml(f"{HEAD}\n<on_crash>destroy</on_crash></domain>")
    assert good.on_crash == "destroy"
    for lines in (1, 3, 2):
        with pytest.raises(SchemaError) as caught:
            DomainSpec.from_xml(HEAD + "\n" * lines + "<on_crash>explode</on_crash></domain>")
        assert (caught.value.line, caught.value.element) == (lines + 1, "domain/on_crash")


def test_an_unknown_prefix_means_what_its_document_says() -> None:
    """An element met before is read by the namespace declared around it now."""
    inner = "<q:commandline><q:arg value='-x'/></q:commandline></domain>"
    ours = HEAD.replace(">", " xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'>", 1) + inner
    other = HEAD.replace(">", " xmlns:q='urn:other'>", 1) + inner
    for _ in range(3):
        known, foreign = DomainSpec.from_xml(ours), DomainSpec.from_xml(other)
        assert known.qemu_commandline is not None
        assert foreign.qemu_commandline is None
        for xml, spec in (ours, known), (other, foreign):
            assert DomainSpec.from_xml(xml + CAREFULLY) == spec
            assert DomainSpec.from_xml(spec.to_xml()) == spec


def test_what_is_kept_is_bounded() -> None:
    """However many documents are read, and however strange, a bounded number is remembered."""
    lexer.forget()
    for number in range(1500):
        DomainSpec.from_xml(large(number))
    for number in range(6000):
        text = f"<a><b c='{number}'/><d>{number}</d></a>"
        with pytest.raises(NotPlain):
            lex(text)
        lex(text)
    lex(f"<a>{'<b/>' * 1000}<c d='{'x' * 1000}'/></a>", new=True)
    for table in lexer.tables():
        assert len(table) <= lexer.GENERATION
        assert len(table.older) <= lexer.GENERATION
    pieces, elements, _ = lexer.tables()
    assert max(map(len, pieces)) <= lexer.MAX_PIECE
    assert max(map(len, elements)) <= lexer.MAX_WEIGHT + 1


def test_passwords_are_not_kept() -> None:
    """A line with a password is read anew each time."""
    graphics = "<graphics type='vnc' passwd='geheim'/>"
    for _ in range(3):
        spec = DomainSpec.from_xml(f"{HEAD}<devices>{graphics}</devices></domain>")
        assert "passwd='geheim'" in spec.to_xml()
    assert lexer.tables()[0]
    for table in lexer.tables():
        assert not any("geheim" in str(key) for key in (*table, *table.older))


def test_many_threads_read_at_once() -> None:
    """Threads that read different documents all get their own."""
    lexer.forget()
    wrong: list[Any] = []

    def read(first: int) -> None:
        try:
            for number in range(first, first + 40):
                spec = DomainSpec.from_xml(large(number))
                again = DomainSpec.from_xml(large(number) + CAREFULLY)
                if spec != again or spec.to_xml() != again.to_xml():
                    wrong.append(number)
        except SpecError as error:
            wrong.append(error)

    threads = [threading.Thread(target=read, args=(1000 * one,)) for one in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
