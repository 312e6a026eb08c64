"""Ordinary command lines are read without click, and mean what click takes them to mean."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyvisor.cli._app import COMMANDS, find
from polyvisor.cli._click import polyvisor as group
from polyvisor.cli._declare import COMMON, Command
from polyvisor.cli._read import read
from polyvisor.cli._session import Session


def words_of(command: Command) -> list[str]:
    """Return the words that mean something to a command."""
    return [name for one in (*COMMON, *command.parameters) for name in one.names]


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """Draw a command line, right or wrong, made of what a command knows."""
    name = draw(st.sampled_from(sorted(COMMANDS)))
    command = find(name)
    assert command is not None
    words = words_of(command)
    word = st.sampled_from(
        [*words, *(f"{one}=x" for one in words if one.startswith("--")), "--", "-"]
    ) | st.sampled_from(["a", "b c", "", "1", "2.5", "-1", "--help", "-h", "-qr", "list", "é"])
    before = draw(st.lists(st.sampled_from(words_of(command)[:7]) | st.just("x"), max_size=3))
    return [*before, name, *draw(st.lists(word, max_size=6))]


def as_click_reads(line: list[str]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return the command, its values and the session's settings as click reads a line."""
    session = Session()
    with group.make_context("polyvisor", list(line), obj=session) as above:
        name, command, rest = group.resolve_command(above, [*above._protected_args, *above.args])
        assert command is not None
        with command.make_context(name, rest, parent=above) as context:
            return str(name), context.params, settings_of(session)


def settings_of(session: Session) -> dict[str, Any]:
    """Return what the common options set."""
    return {one.store: getattr(session, one.store) for one in COMMON if one.store}


@settings(max_examples=1000)
@given(lines())
def test_what_is_read_without_click_is_what_click_reads(line: list[str]) -> None:
    """The same command with the same values; everything else is left to click."""
    call = read(line, find)
    if call is None:
        return
    session = Session()
    for name, value in call.session.items():
        setattr(session, name, value)
    assert (call.command.name, call.values, settings_of(session)) == as_click_reads(line)


@pytest.mark.parametrize(
    "line",
    [
        "list",
        "-c test:///default list --all",
        "list --connect test:///default --name",
        "--connect=test:///default --json dominfo test",
        "dumpxml -c test:///default --inactive test",
        "define examples/tick.xml",
        "-c sim:///a save tick file -q",
        "domstats a b c",
        "snapshot-create-as tick name",
        "plugins --json",
    ],
)
def test_ordinary_lines_are_read_without_click(line: str) -> None:
    """What people and scripts type all day does not wait for click."""
    assert read(line.split(), find) is not None


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--help",
        "list --help",
        "lst",
        "list extra",
        "dominfo",
        "dominfo a b",
        "list --nothing",
        "list --all=yes",
        "list -c",
        "list --name --uuid",
        "run x.xml --timeout=1",
        "-qr list",
        "demo --only sim",
    ],
)
def test_what_needs_judging_is_left_to_click(line: str) -> None:
    """Help, mistakes and values that must be checked have one place, click."""
    assert read(line.split(), find) is None


def test_every_command_is_told_to_click_as_it_is_declared() -> None:
    """Nothing that is declared is lost on the way."""
    for name in COMMANDS:
        command = find(name)
        assert command is not None
        told = command.click()
        assert told.name == name
        taken = [one for one in told.params if one.expose_value]
        assert [one.name for one in taken] == [one.destination for one in command.parameters]
        options = {word for one in told.params for word in one.opts if word.startswith("-")}
        assert {word for word in words_of(command) if word.startswith("-")} <= options
        assert isinstance(told, click.Command)
        assert command.click() is told


def test_a_list_of_domains_imports_no_more_than_it_needs() -> None:
    """No parser of commands or of documents, and no part of a driver that is not asked."""
    code = (
        "import sys; from polyvisor.cli import main\n"
        "code = main(['-c', sys.argv[1], 'list', '--all'])\n"
        "sys.stderr.write(' '.join(sys.modules)); sys.exit(code)"
    )
    for uri in ("test:///default", "sim:///default"):
        done = subprocess.run(
            [sys.executable, "-c", code, uri], check=True, capture_output=True, text=True
        )
        loaded = set(done.stderr.split())
        ours = {name for name in loaded if name.startswith("polyvisor.")}
        assert not {name for name in ours if name.startswith("polyvisor.model")}
        assert (
            not {
                "polyvisor._event",
                "polyvisor._figures",
                "polyvisor.host",
                "polyvisor.jobs",
                "polyvisor.saveimage",
                "polyvisor.support",
            }
            & ours
        )
        assert {name for name in ours if name.startswith("polyvisor.local.")} == {
            f"polyvisor.local.{room}"
            for room in (
                "_alterations",
                "_domains",
                "_driver",
                "_hypervisor",
                "_keeper",
                "_travel",
            )
        }
        assert {name for name in ours if name.startswith("polyvisor.driver.")} == {
            f"polyvisor.driver.{room}" for room in ("_base", "_domains")
        }
        assert not {
            "argparse", "asyncio", "click", "dataclasses", "difflib", "email", "importlib.metadata",
            "ipaddress", "json", "logging", "lxml", "pyexpat", "socket", "subprocess", "tempfile",
            "tomllib", "urllib.parse",
        } & loaded  # fmt: skip
