"""Save images on the command line: inspected, verified, converted, their definitions changed."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from struct import pack

import pytest

XML = (
    "<domain type='test'><name>one</name><uuid>6ee10d3e-5d3c-4d0a-8b8e-3f6a8f4f3f11</uuid>"
    "<memory unit='MiB'>24</memory><os><type>hvm</type></os></domain>"
)


def qemu(folder: Path) -> Path:
    """Write an image of the QEMU driver's."""
    xml = XML.encode() + bytes(40)
    path = folder / "qemu.save"
    path.write_bytes(b"LibvirtQemudSave" + pack("<5I56x", 2, len(xml), 1, 0, 0) + xml + b"QEVM")
    return path


def plain(folder: Path) -> Path:
    """Write an image of the test driver's."""
    path = folder / "test.save"
    path.write_bytes(b"TestGuestMagic\0" + pack("<I", len(XML)) + XML.encode())
    return path


def xen(folder: Path, *, junk: bytes = b"") -> Path:
    """Write an image of Xen's, with a stream of a guest of eight pages."""
    compose = pytest.importorskip("polyvisor_libxl.streams.compose")
    guest = compose.Guest(pages=8)
    stream = compose.libxl(compose.libxc(guest, compose.records(guest)), compose.tail(guest))
    xml = XML.replace("test", "xen").encode() + b"\0"
    path = folder / "xen.save"
    head = b"libvirt-xml\n \0 \r" + pack("<II40x", 2, len(xml))
    path.write_bytes(head + xml + stream + junk)
    return path


def test_inspect(polyvisor, tmp_path) -> None:
    """Header, machine and stream are printed, as text and as JSON."""
    path = xen(tmp_path)
    plain = polyvisor("image", "inspect", str(path))
    assert plain.code == 0
    assert "Domain:                one\n" in plain.out
    assert "libxc   PAGE_DATA" in plain.out
    facts = polyvisor("image", "inspect", "--json", str(path)).facts
    assert (facts["format"], facts["domain"], facts["pages"]) == ("libvirt-libxl", "one", 8)
    facts = polyvisor("image", "inspect", "--json", str(qemu(tmp_path))).facts
    assert (facts["format"], facts["domain"], facts["was_running"]) == ("libvirt-qemu", "one", True)


def test_map(polyvisor, tmp_path) -> None:
    """The picture is a PNG; a format that cannot tell pages says so."""
    target = tmp_path / "map.png"
    done = polyvisor("image", "inspect", str(xen(tmp_path)), "--map", str(target))
    assert done.code == 0
    assert target.read_bytes().startswith(b"\x89PNG")
    done = polyvisor("image", "inspect", str(qemu(tmp_path)), "--map", str(target))
    assert done.code == 1
    assert "does not say which page is of what kind" in done.err


def test_verify(polyvisor, tmp_path) -> None:
    """A sound image gives 0, another 1, with each fault's place and rule."""
    path = xen(tmp_path)
    done = polyvisor("image", "verify", "--strict", str(path))
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{path}: libvirt-libxl: sound (")
    path = xen(tmp_path, junk=b"junk")
    size = path.stat().st_size
    done = polyvisor("image", "verify", str(path))
    assert done.code == 1
    first, last = done.out.splitlines()
    assert first == f"{path}: fault: byte {size - 4}: the image does not end here [stream.trailing]"
    assert ": 1 fault (" in last
    facts = polyvisor("image", "verify", "--json", str(path)).facts
    assert not facts["ok"]
    assert facts["findings"][0]["rule"] == "stream.trailing"


def test_verify_a_format_without_a_check_of_its_own(polyvisor, tmp_path) -> None:
    """Of other formats the header is held against its rules."""
    path = qemu(tmp_path)
    size = path.stat().st_size - len(b"QEVM")
    done = polyvisor("image", "verify", str(path))
    assert done.out.endswith(f"sound (its header, {size} bytes)\n")
    path.write_bytes(path.read_bytes()[:100])
    done = polyvisor("image", "verify", str(path))
    assert done.code == 1
    assert "fault: byte 100: cut off in the definition" in done.out


def test_verify_what_is_no_image(polyvisor, tmp_path) -> None:
    """What no format knows is an error, not a finding."""
    (tmp_path / "x").write_bytes(b"nothing of that sort")
    done = polyvisor("image", "verify", str(tmp_path / "x"))
    assert done.code == 1
    assert "not a save image that any plugin knows" in done.err


def test_convert(polyvisor, tmp_path) -> None:
    """An image is written in another format, or to the standard output."""
    path, target = xen(tmp_path), tmp_path / "stream"
    done = polyvisor("image", "convert", str(path), "--to", "libxl-stream", "-o", str(target))
    assert (done.code, done.err) == (0, "")
    assert target.read_bytes().startswith(b"LibxlFmt")
    done = polyvisor("image", "convert", str(qemu(tmp_path)), "--to", "xl", "-o", str(target))
    assert done.code == 1
    assert "cannot be made into one of 'xl', into nothing" in done.err


@pytest.mark.parametrize("make", [qemu, plain, xen], ids=["qemu", "test", "xen"])
def test_definitions_are_changed(make, polyvisor, tmp_path) -> None:
    """Whatever the format: another definition is put in, what comes behind stays as it is."""
    path = make(tmp_path)
    before = path.read_bytes()
    shown = polyvisor("save-image-dumpxml", str(path)).out
    (tmp_path / "new.xml").write_text(shown.replace("<name>", "<title>long</title><name>"))
    done = polyvisor("save-image-define", str(path), str(tmp_path / "new.xml"))
    assert done.out == f"State file {path} updated.\n"
    assert "<title>long</title>" in polyvisor("save-image-dumpxml", str(path)).out
    after = path.read_bytes()
    ending = before[before.rindex(b"</domain>") + 10 :].lstrip(b"\0")
    assert after.endswith(ending)
    (tmp_path / "new.xml").write_text(shown.replace(">24<", ">48<"))
    done = polyvisor("save-image-define", str(path), str(tmp_path / "new.xml"))
    assert done.code == 1
    assert "another machine than the one the guest knows" in done.err
    assert path.read_bytes() == after


def test_paused_is_changed(polyvisor, tmp_path) -> None:
    """Whether the guest is to run is changed alone as well."""
    path = qemu(tmp_path)
    (tmp_path / "same.xml").write_text(polyvisor("save-image-dumpxml", str(path)).out)
    polyvisor("save-image-define", str(path), str(tmp_path / "same.xml"), "--paused")
    assert polyvisor("save-image-dumpxml", "--json", str(path)).facts["was_running"] is False
    polyvisor("save-image-define", str(path), str(tmp_path / "same.xml"), "--running")
    assert polyvisor("save-image-dumpxml", "--json", str(path)).facts["was_running"] is True


def test_paused_where_there_is_no_place_for_it(polyvisor, tmp_path) -> None:
    """What an image cannot say is refused, not dropped."""
    path = plain(tmp_path)
    (tmp_path / "same.xml").write_text(polyvisor("save-image-dumpxml", str(path)).out)
    done = polyvisor("save-image-define", str(path), str(tmp_path / "same.xml"), "--paused")
    assert done.code == 1
    assert "has no place for a guest that is to stay paused" in done.err


def test_edit(polyvisor, tmp_path, monkeypatch) -> None:
    """An editor changes the definition; what it may not change is refused."""
    path = plain(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's|<name>|<title>edited</title><name>|' \"$1\"\n")
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(editor))
    done = polyvisor("save-image-edit", str(path))
    assert done.out == f"State file {path} edited.\n"
    assert "<title>edited</title>" in polyvisor("save-image-dumpxml", str(path)).out
    editor.write_text("#!/bin/sh\ntrue\n")
    assert polyvisor("save-image-edit", str(path)).out == f"State file {path} not changed.\n"
    editor.write_text("#!/bin/sh\nsed -i 's|<name>one|<name>two|' \"$1\"\n")
    done = polyvisor("save-image-edit", str(path))
    assert done.code == 1
    assert "another machine" in done.err
