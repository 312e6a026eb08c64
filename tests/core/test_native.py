"""Formats of foreign configurations: announced, recognised, opened, and used by two commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from polyvisor import native
from polyvisor.errors import PluginError, SpecError, StorageError
from polyvisor.hookspecs import hookimpl
from polyvisor.native import NativeInfo
from polyvisor.plugins import API_VERSION, Registry

TOY = '''
"""Two toy languages, one of which takes whatever begins with its word."""

import polyvisor
from polyvisor.errors import SpecError
from polyvisor.model import DomainSpec
from polyvisor.native import NativeFormat, NativeInfo

polyvisor_api = 1


@polyvisor.hookimpl
def polyvisor_native_formats():
    return [
        NativeInfo("toy-one", "The first toy", (".one",), "polyvisor_toys:One"),
        NativeInfo("toy-two", "The second toy", (".two",), "polyvisor_toys:Two"),
    ]


class One(NativeFormat):
    name = "toy-one"

    def recognises(self, data):
        return data.startswith(b"toy ")

    def read(self, data, *, path):
        if data.endswith(b"?"):
            raise SpecError(f"{path}:1: a question", line=1, fault="a question")
        return DomainSpec(type="test", name=data.decode().split()[1], memory=1 << 20)

    def write(self, spec):
        return f"toy {spec.name}"


class Two(One):
    name = "toy-two"
'''


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Hold a registry with two toy formats whose module can be imported."""
    site = tmp_path / "site"
    info = site / "polyvisor_toys-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: polyvisor-toys\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[polyvisor]\ntoys = polyvisor_toys\n")
    (site / "polyvisor_toys.py").write_text(TOY)
    monkeypatch.syspath_prepend(str(site))
    sys.modules.pop("polyvisor_toys", None)
    registry = Registry(only=["toys"])
    assert registry.statuses["toys"].faults == []
    return registry


def test_formats_are_listed_under_the_names_they_announce(toys: Registry) -> None:
    """The list has what the plugin announced, and its status too."""
    assert list(native.formats(toys)) == ["toy-one", "toy-two"]
    assert [info.name for info in toys.statuses["toys"].native_formats] == ["toy-one", "toy-two"]


def test_a_format_is_opened_by_name(toys: Registry) -> None:
    """A name that is almost one gets the right one told; what is no format is refused."""
    assert native.open_format("toy-two", toys).name == "toy-two"
    with pytest.raises(PluginError, match=r"'toy-too'; did you mean 'toy-two'\?"):
        native.open_format("toy-too", toys)


def test_the_end_of_the_name_decides_between_formats_that_both_take_it(toys: Registry) -> None:
    """What both formats recognise belongs to the one whose suffix the file has."""
    assert native.identify(b"toy x", path="a.two", plugins=toys).name == "toy-two"
    assert native.identify(b"toy x", path="a.cfg", plugins=toys).name == "toy-one"
    with pytest.raises(SpecError, match=r"a\.one: not a configuration .*toy-one, toy-two"):
        native.identify(b"toil x", path="a.one", plugins=toys)


def test_a_file_is_loaded(toys: Registry, tmp_path: Path) -> None:
    """The format is recognised or named; a missing or too long file is refused in words."""
    file = tmp_path / "guest.one"
    file.write_bytes(b"toy guest")
    assert native.load(file, plugins=toys).name == "guest"
    assert native.load(file, "toy-two", plugins=toys).name == "guest"
    with pytest.raises(StorageError, match="No such file"):
        native.load(tmp_path / "none", plugins=toys)
    file.write_bytes(b"toy " + bytes(native.MAX_SIZE))
    with pytest.raises(SpecError, match="longer than"):
        native.load(file, plugins=toys)


def test_a_factory_that_is_no_format_is_named() -> None:
    """What a plugin announces as a format and is none is refused by its reference."""

    class Wrong:
        polyvisor_api = API_VERSION

        @hookimpl
        def polyvisor_native_formats(self):
            return [NativeInfo("wrong", "No format", (), "builtins:dict")]

    registry = Registry(points=[])
    registry.register(Wrong(), "first")
    second = registry.register(Wrong(), "second")
    assert second.native_formats == []
    assert "'wrong' already belongs to plugin 'first'" in second.faults[0]
    with pytest.raises(PluginError, match=r"builtins:dict is not a polyvisor\.native"):
        native.open_format("wrong", registry)


def command(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run a command line in a process of its own, which finds the toys."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "polyvisor", *arguments],
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "site")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def test_both_commands_convert(toys: Registry, tmp_path: Path) -> None:
    """From native to XML and back, from a file or a defined domain; errors in one line."""
    (tmp_path / "guest.one").write_text("toy guest")
    code, xml, errors = command(tmp_path, "domxml-from-native", "toy-one", "guest.one")
    assert (code, errors) == (0, "")
    assert "<name>guest</name>" in xml
    (tmp_path / "guest.xml").write_text(xml)
    back = command(tmp_path, "domxml-to-native", "toy-one", "--xml", "guest.xml")
    assert back == (0, "toy guest\n", "")
    domain = ("-c", "test:///default", "domxml-to-native", "toy-two", "--domain", "test")
    assert command(tmp_path, *domain) == (0, "toy test\n", "")
    assert command(tmp_path, "domxml-to-native", "toy-one")[0] == 2
    (tmp_path / "wrong.one").write_text("toy what?")
    refused = command(tmp_path, "domxml-from-native", "toy-one", "wrong.one")
    assert refused == (1, "", "polyvisor: error: wrong.one:1: a question\n")
