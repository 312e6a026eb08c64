"""Definitions on the command line: convert, compare, check and edit."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
import tomllib
from pathlib import Path

import pytest

from polyvisor.model import DomainSpec

WRONG = """\
<domain type='sim'>
  <name>two</name>
  <memory>1024</memory>
  <os><type>hvm</type></os>
  <devices>
    <disk><source file='/a'/><target dev='vda'/></disk>
    <disk><source file='/b'/><target dev='vda'/></disk>
  </devices>
</domain>
"""
NETWORK = "<network><name>n</name><ip address='10.0.0.1' netmask='255.0.0.0'/></network>"


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Let the next command read ``data`` from its standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_convert_goes_through_every_form_without_loss(polyvisor, monkeypatch) -> None:
    """XML to TOML to JSON and back to XML is the same definition; FILE may be ``-``."""
    spec = DomainSpec.from_xml(Path("examples/tick.xml"))
    toml = polyvisor("spec", "convert", "examples/tick.xml", "--to", "toml")
    assert toml.code == 0
    assert tomllib.loads(toml.out)["name"] == spec.name
    stdin(monkeypatch, toml.out.encode())
    told = polyvisor("spec", "convert", "-", "--to", "json")
    assert json.loads(told.out)["name"] == spec.name
    stdin(monkeypatch, told.out.encode())
    xml = polyvisor("spec", "convert", "-", "--from", "json", "--to", "xml")
    # A path in a file counts from its folder, and standard input has none.
    assert DomainSpec.from_xml(xml.out).memory == spec.memory
    assert DomainSpec.from_xml(xml.out).os == spec.os
    normal = polyvisor("spec", "convert", "examples/tick.xml", "--to", "xml", "--normalise")
    assert "<on_crash>destroy</on_crash>" in normal.out


def test_convert_takes_other_documents(polyvisor) -> None:
    """XML says what it defines; for TOML ``--kind`` does."""
    Path("n.xml").write_text(NETWORK)
    done = polyvisor("spec", "convert", "n.xml", "--to", "toml")
    assert tomllib.loads(done.out)["name"] == "n"
    Path("n.toml").write_text(done.out)
    back = polyvisor("spec", "convert", "n.toml", "--kind", "network", "--to", "xml")
    assert back.code == 0
    assert "<name>n</name>" in back.out
    assert polyvisor("spec", "convert", "n.toml", "--kind", "x", "--to", "xml").code == 1


def test_convert_goes_through_a_hypervisors_own_form(polyvisor) -> None:
    """A configuration that a plugin knows is recognised, read and written."""
    Path("guest.cfg").write_text('name = "g"\ntype = "hvm"\nmemory = 64\nvcpus = 2\n')
    done = polyvisor("spec", "convert", "guest.cfg", "--to", "xml")
    if done.code:
        pytest.skip(f"no plugin reads it: {done.err}")
    assert DomainSpec.from_xml(done.out).vcpus == 2
    Path("guest.xml").write_text(done.out)
    back = polyvisor("spec", "convert", "guest.xml", "--to", "xen-xl")
    assert 'name = "g"' in back.out


def test_a_form_that_is_not_there_is_wrong_usage(polyvisor) -> None:
    """The forms there are are named; the exit code is 2."""
    done = polyvisor("spec", "convert", "examples/tick.xml", "--to", "yaml")
    assert done.code == 2
    assert "xml, toml, json" in done.err
    assert polyvisor("spec", "convert", "none.xml", "--to", "xml").code == 1


def test_diff_tells_what_must_change_and_when(polyvisor) -> None:
    """Each change has a line, and data; the exit code says whether there is one."""
    Path("a.xml").write_text(DomainSpec.from_xml(Path("examples/tick.xml")).to_xml())
    same = polyvisor("spec", "diff", "a.xml", "a.xml")
    assert (same.code, same.out) == (0, "")
    text = Path("a.xml").read_text()
    Path("b.xml").write_text(text.replace("<name>", "<title>T</title><name>"))
    done = polyvisor("spec", "diff", "a.xml", "b.xml")
    assert (done.code, done.out) == (1, "title added: T (live)\n")
    facts = polyvisor("--json", "spec", "diff", "a.xml", "b.xml").facts
    assert facts[0]["path"] == "title"
    assert facts[0]["live"] is True
    assert polyvisor("spec", "diff", "a.xml", "b.xml", "--abi").code == 0
    assert polyvisor("spec", "diff", "-", "-").code == 2


def test_check_prints_all_that_is_wrong(polyvisor, monkeypatch) -> None:
    """Findings have a line each, with place and advice; the exit code is 1 for errors."""
    Path("wrong.xml").write_text(WRONG)
    done = polyvisor("spec", "check", "wrong.xml")
    assert done.code == 1
    assert done.out.startswith("line 7: domain/devices/disk[2]/target: the target 'vda'")
    stdin(monkeypatch, WRONG.encode())
    facts = polyvisor("--json", "spec", "check", "-").facts
    assert [(one["rule"], one["line"]) for one in facts] == [("disk-target-twice", 7)]
    fine = polyvisor("spec", "check", "examples/tick.xml")
    assert (fine.code, fine.out) == (0, "examples/tick.xml: nothing is wrong\n")


def test_check_tells_of_what_cannot_be_read_in_the_same_way(polyvisor) -> None:
    """A fault that reading finds is a finding too."""
    Path("bad.xml").write_text(WRONG.replace("1024", "much"))
    done = polyvisor("--json", "spec", "check", "bad.xml")
    assert done.code == 1
    assert [(one["rule"], one["line"]) for one in done.facts] == [("schema", 3)]
    Path("bad.xml").write_text("<domain>")
    done = polyvisor("--json", "spec", "check", "bad.xml")
    assert [(one["rule"], one["line"]) for one in done.facts] == [("xml-syntax", 1)]


RNG = """\
<grammar xmlns='http://relaxng.org/ns/structure/1.0'><start><element name='domain'>
<attribute name='type'/><element name='name'><text/></element></element></start></grammar>
"""


def test_check_and_define_hold_xml_against_the_schema_on_request(polyvisor, monkeypatch) -> None:
    """The schemas are those of the folder that is named; where there are none, that is said."""
    Path("rng").mkdir()
    Path("rng/domain.rng").write_text(RNG)
    Path("small.xml").write_text("<domain type='sim'>\n<name>a</name>\n</domain>")
    done = polyvisor("--json", "spec", "check", "examples/tick.xml", "--schemas", "rng")
    assert done.code == 1
    assert {one["rule"] for one in done.facts} == {"relax-ng"}
    done = polyvisor("--json", "spec", "check", "small.xml", "--schemas", "rng")
    assert "relax-ng" not in {one["rule"] for one in done.facts}

    monkeypatch.setenv("POLYVISOR_SCHEMAS", str(Path("rng").resolve()))
    refused = polyvisor("define", "--validate", "examples/tick.xml")
    assert refused.code == 1
    assert "relax-ng" in refused.err
    assert polyvisor("list", "--all", "--name").out == ""
    monkeypatch.setenv("POLYVISOR_SCHEMAS", str(Path("none").resolve()))
    missing = polyvisor("spec", "check", "--schema", "examples/tick.xml")
    assert missing.code == 1
    assert "no RELAX NG schemas in" in missing.err


def test_define_takes_toml(polyvisor) -> None:
    """What is defined may be in any form."""
    toml = polyvisor("spec", "convert", "examples/tick.xml", "--to", "toml").out
    Path("examples/t.toml").write_text(toml)
    assert polyvisor("define", "examples/t.toml").code == 0
    assert polyvisor("list", "--all", "--name").out == "tick\n"


def test_define_names_lines(polyvisor) -> None:
    """A definition that contradicts itself is refused with the line."""
    Path("wrong.xml").write_text(WRONG)
    done = polyvisor("define", "wrong.xml")
    assert done.code == 1
    assert "line 7" in done.err
    assert "disk-target-twice" in done.err


def test_the_json_schema_is_printed(polyvisor) -> None:
    """Editors get a schema of domains, or of another kind."""
    assert "memory" in str(polyvisor("spec", "schema").facts["$defs"])
    assert "bridge" in str(polyvisor("spec", "schema", "--kind", "network").facts["$defs"])
    assert polyvisor("spec", "schema", "--kind", "x").code == 2


# --- edit -------------------------------------------------------------------------------------


@pytest.fixture
def editor(monkeypatch, tmp_path):
    """Hold a function that makes a Python statement the editor; ``text`` is what is edited."""

    def make(*rounds: str) -> None:
        script = tmp_path / "editor.py"
        cases = "".join(f"    if turn == {n}:\n        {code}\n" for n, code in enumerate(rounds))
        script.write_text(
            f"import pathlib, sys\n"
            f"path, count = pathlib.Path(sys.argv[-1]), pathlib.Path({str(tmp_path / 'n')!r})\n"
            f"turn = int(count.read_text()) if count.exists() else 0\n"
            f"count.write_text(str(turn + 1))\ntext = path.read_text()\n"
            f"if True:\n{cases or '    pass'}\npath.write_text(text)\n"
        )
        monkeypatch.delenv("VISUAL", raising=False)
        monkeypatch.setenv("EDITOR", f"{sys.executable} {script}")
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        stdin(monkeypatch, b"")

    return make


def left(folder: Path) -> list[Path]:
    """Return the texts that lie in a folder."""
    return sorted(folder.glob("polyvisor-tick-*"))


def test_edit_changes_a_definition(tick, editor, tmp_path) -> None:
    """What the editor writes is defined, and its file is gone."""
    editor("text = text.replace('<name>', '<title>edited</title><name>')")
    done = tick("edit", "tick")
    assert (done.code, done.out) == (0, "Domain 'tick' edited\n")
    assert "<title>edited</title>" in tick("dumpxml", "tick").out
    assert not left(tmp_path)


def test_edit_without_a_change_does_nothing(tick, editor, tmp_path) -> None:
    """An unchanged text is not defined anew."""
    editor()
    assert tick("edit", "tick").out == "Domain 'tick' not changed\n"
    assert not left(tmp_path)


def test_edit_can_be_done_in_toml(tick, editor) -> None:
    """The text may be TOML instead of XML."""
    editor("text = 'title = \"short\"\\n' + text")
    assert tick("edit", "tick", "--as", "toml").code == 0
    assert "<title>short</title>" in tick("dumpxml", "tick").out


def test_a_refused_text_is_opened_again(tick, editor, tmp_path) -> None:
    """The fault is told, the text is as it was left, and what is right then is defined."""
    editor("text = text.replace('</name>', '')", "text = text.replace('tick', 'tick</name>', 1)")
    done = tick("edit", "tick")
    assert done.code == 0, done.err
    assert "mismatched tag" in done.err
    assert not left(tmp_path)


def test_a_text_that_is_given_up_stays(tick, editor, tmp_path) -> None:
    """The file is named and its owner's alone; the definition is as before."""
    before = tick("dumpxml", "tick").out
    editor("text = text.replace('</name>', '')")
    done = tick("edit", "tick")
    assert done.code == 1
    [path] = left(tmp_path)
    assert str(path) in done.err
    assert "<name>tick\n" in path.read_text()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert tick("dumpxml", "tick").out == before


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("sys.exit(3)", "the editor ended with 3"),
        ("import re; text = re.sub('<uuid>.{8}', '<uuid>ffffffff', text)", "UUID is another"),
        ("import re; text = re.sub('<uuid>.*</uuid>', '', text)", "UUID is another"),
    ],
)
def test_what_cannot_be_taken_loses_nothing(tick, editor, tmp_path, code, words) -> None:
    """An editor that fails and a text that is another domain's leave the text behind."""
    editor(code)
    done = tick("edit", "tick")
    assert done.code == 1
    assert words in done.err
    assert len(left(tmp_path)) == 1
