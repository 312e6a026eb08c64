"""Bad input gets one line that says what, where and what to do, and nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

SPEC = (
    "<domain type='test'><name>{name}</name><memory>1024</memory><os><type>hvm</type></os></domain>"
)


def one_line(ran: Any, *words: str) -> str:
    """Hold that a command failed with one line, in which the words stand; return it."""
    assert (ran.code, ran.out) == (1, ""), ran
    assert ran.err.startswith("polyvisor: error: ")
    assert ran.err.count("\n") == 1
    assert "Traceback" not in ran.err
    for word in words:
        assert word in ran.err, ran.err
    return ran.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("<domain>", ["line"]),
        ("<network/>", ["network", "domain"]),
        ("not XML at all", []),
        (SPEC.format(name="a").replace("1024", "much"), ["memory", "much"]),
        (SPEC.format(name="a").replace("<memory>1024</memory>", ""), ["memory"]),
        (SPEC.format(name="a/b"), ["name", "a/b"]),
        (SPEC.format(name="a&#10;b"), ["name"]),
        (SPEC.format(name="n" * 10240), ["name"]),
        (SPEC.format(name=""), ["name"]),
        ("<!DOCTYPE a [<!ENTITY x 'y'>]>" + SPEC.format(name="&x;"), []),
        ("<domain>" + "<a>" * 20000, []),
    ],
)
def test_wrong_definitions(polyvisor, tmp_path, text: str, words: list[str]) -> None:
    """Malformed, hostile and wrong files are refused, and nothing is defined."""
    (tmp_path / "bad.xml").write_text(text)
    line = one_line(polyvisor("define", "bad.xml"), "bad.xml", *words)
    assert len(line) < 2000
    assert polyvisor("list", "--all", "--name").out == ""


def test_a_hundred_megabytes(polyvisor, tmp_path) -> None:
    """A file far beyond any definition is refused by its size, in bounded time."""
    with (tmp_path / "huge.xml").open("w") as file:
        file.write(SPEC.format(name="a")[:-9] + "<description>")
        for _ in range(100):
            file.write("x" * (1 << 20))
        file.write("</description></domain>")
    one_line(polyvisor("define", "huge.xml"))


def test_names_and_uuids_that_are_taken(tick, tmp_path) -> None:
    """The same name with another UUID, and the same UUID with another name, are refused."""
    text = tick("dumpxml", "tick").out
    uuid = tick("domuuid", "tick").out.strip()
    (tmp_path / "name.xml").write_text(
        text.replace(uuid, "5" + uuid[1:] if uuid[0] != "5" else "6" + uuid[1:])
    )
    one_line(tick("define", "name.xml"), "tick", uuid)
    (tmp_path / "uuid.xml").write_text(text.replace("<name>tick", "<name>tock"))
    done = tick("define", "uuid.xml")
    if done.code:
        one_line(done, uuid)
    names = tick("list", "--all", "--name").out.split()
    assert len(names) == 1


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("smi:///a", ["smi", "sim"]),
        ("nosuch:///", ["nosuch", "qemu", "sim", "test"]),
        ("nowhere", ["nowhere"]),
        ("sim:///a/../b", ["sim"]),
        ("://", []),
    ],
)
def test_unknown_targets(polyvisor, target: str, words: list[str]) -> None:
    """A scheme or name that is not known is answered with those that are."""
    one_line(polyvisor("-c", target, "list"), *words)


def test_a_plugin_that_is_switched_off(polyvisor, monkeypatch) -> None:
    """Its scheme says so."""
    monkeypatch.setenv("POLYVISOR_PLUGINS", "-qemu")
    one_line(polyvisor("-c", "qemu:///session", "list"), "qemu")


def test_unknown_domains(tick) -> None:
    """A name that is not there, for every command that takes one."""
    for command in ("start", "destroy", "dominfo", "dumpxml", "undefine", "suspend"):
        one_line(tick(command, "tock"), "tock")


def test_wrong_moments(tick) -> None:
    """What cannot be done now says why, and changes nothing."""
    one_line(tick("destroy", "tick"), "tick")
    one_line(tick("suspend", "tick"), "tick")
    one_line(tick("save", "tick", "image"), "tick")
    tick("start", "tick")
    one_line(tick("start", "tick"), "tick")
    assert tick("domstate", "tick").out.strip() == "running"


def test_save_images_cut_short(tick, tmp_path) -> None:
    """At whatever byte an image ends, it is refused and the domain stays as it is."""
    tick("start", "tick")
    tick("save", "tick", "image")
    whole = (tmp_path / "image").read_bytes()
    head = whole.index(b"</domain>") + 9
    for length in [*range(0, 64, 7), head - 20, head, head + 2, len(whole) // 2, len(whole) - 1]:
        # Not cut at the end of the XML: that is what libvirt's own test driver writes,
        # whose guests have no memory.
        (tmp_path / "cut").write_bytes(whole[:length])
        one_line(tick("restore", "cut"), "cut")
        assert tick("domstate", "tick").out.strip() == "shut off"
    assert tick("restore", "image").code == 0


def test_save_images_of_others(tick, tmp_path) -> None:
    """Something else, and nothing at all."""
    (tmp_path / "other").write_bytes(b"\x7fELF" + bytes(4096))
    one_line(tick("restore", "other"), "other")
    one_line(tick("restore", "missing"), "missing")


def test_an_unwritable_place(tick) -> None:
    """A save that cannot make its file leaves the guest running."""
    tick("start", "tick")
    one_line(tick("save", "tick", "/dev/full/image"), "/dev/full")
    one_line(tick("save", "tick", "nowhere/image"), "nowhere")
    assert tick("domstate", "tick").out.strip() == "running"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk(tick, tmp_path) -> None:
    """A save that finds no room says so, leaves the guest running and no file."""
    tick("start", "tick")
    (tmp_path / "small").mkdir()
    tried = subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True)
    if tried.returncode:
        pytest.skip(f"no mount namespaces here: {tried.stderr.decode().strip()}")
    script = (
        "mount -t tmpfs -o size=64k none small && "
        f"{sys.executable} -m polyvisor save tick small/image; code=$?; ls -A small; exit $code"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    ran = SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr)
    one_line(ran, "small/image", "No space left")
    assert tick("domstate", "tick").out.strip() == "running"


def test_errors_as_json(tick) -> None:
    """With ``--json`` the line is an object with a stable code."""
    done = tick("start", "tock", "--json")
    assert done.code == 1
    error = json.loads(done.err)["error"]
    assert error["code"] == "not-found"
    assert "tock" in error["message"]


def test_debug_shows_the_traceback(tick) -> None:
    """``--debug`` shows where an error came from."""
    done = tick("start", "tock", "--debug")
    assert done.code == 1
    assert "Traceback" in done.err


def test_wrong_usage(polyvisor) -> None:
    """Exit code 2, with the nearest command."""
    done = polyvisor("strat", "tick")
    assert done.code == 2
    assert "start" in done.err
    assert polyvisor("start").code == 2
    assert polyvisor("list", "--no-such-option").code == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("dominfo", "--json"), "Missing argument 'DOMAIN'."),
        (("--json", "dominfo"), "Missing argument 'DOMAIN'."),
        (("list", "--json", "--no-such-option"), "No such option '--no-such-option'."),
        (("--json", "frob"), "No such command 'frob'."),
    ],
)
def test_wrong_usage_as_json(polyvisor, words, message) -> None:
    """Whoever reads JSON reads of wrong usage too, and how it is right."""
    done = polyvisor(*words)
    assert done.code == 2
    assert done.out == ""
    (line,) = done.err.splitlines()
    facts = json.loads(line)["error"]
    assert facts["code"] == "usage"
    assert facts["message"].startswith(message)
    assert facts["usage"].startswith("Usage: polyvisor")
    assert facts["help"].endswith("--help")
    assert polyvisor("dominfo", "--", "--json").code == 1  # a domain of that name


def test_readonly(tick) -> None:
    """``--readonly`` refuses what changes something."""
    one_line(tick("-r", "start", "tick"))
    assert tick("-r", "dominfo", "tick").code == 0
