"""The command line as click has it: help, errors, completion, and all that is not ordinary."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import click

from polyvisor.cli._app import COMMANDS, find
from polyvisor.cli._declare import COMMON
from polyvisor.errors import PolyvisorError

if TYPE_CHECKING:
    from polyvisor.cli._declare import Command
    from polyvisor.cli._session import Session

__all__ = ["polyvisor", "run", "show"]


class Commands(click.Group):
    """Our own commands by table, those of plugins by asking the registry."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *sorted(self._of_plugins())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = find(cmd_name)
        return self._of_plugins().get(cmd_name) if command is None else command.click()

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            near = get_close_matches(args[0], self.list_commands(ctx), n=1) if args else []
            if near and "did you mean" not in error.message.lower():
                raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx) from None
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, summary) for name, (_, summary) in COMMANDS.items()]
        rows += [
            (name, command.get_short_help_str(60))
            for name, command in sorted(self._of_plugins().items())
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def _of_plugins(self) -> dict[str, click.Command]:
        from polyvisor.connection import registry

        try:
            return {command.name: command for command in registry().commands() if command.name}
        except PolyvisorError:
            return {}  # a wrong configuration is reported by the command that needs it


def _with_common(function: Callable[..., Any]) -> Callable[..., Any]:
    for parameter in reversed(COMMON):
        function = parameter.decorate(function)
    return function


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="DOMAIN is a name, an id or a UUID. TARGET is a URI or a connection of "
    "polyvisor.toml; without -c it is the configured default.",
)
@_with_common
@click.version_option(package_name="polyvisor", message="%(prog)s %(version)s")
def polyvisor() -> None:
    """Run virtual machines on any hypervisor."""


def run(words: Sequence[str], session: Session) -> int:
    """Run a command line and return its exit code, 0 if the command is to say.

    Errors of usage are shown; all others are raised.
    """
    if os.environ.get("_POLYVISOR_COMPLETE") == "bash_complete":
        _join_what_bash_split()
    try:
        polyvisor.main(list(words), prog_name="polyvisor", standalone_mode=False, obj=session)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.Abort as stop:
        raise KeyboardInterrupt from stop
    except click.ClickException as error:
        return _say(error, words)
    return 0


def _join_what_bash_split() -> None:
    """Put URIs together again, which bash hands over in three words, split at the colon."""
    words = os.environ.get("COMP_WORDS", "").split(" ")
    current = int(os.environ.get("COMP_CWORD", "0"))
    while ":" in words[1:-1]:
        at = words.index(":", 1)
        words[at - 1 : at + 2] = ["".join(words[at - 1 : at + 2])]
        current -= min(2, max(0, current - at + 1))
    os.environ.update(COMP_WORDS=" ".join(words), COMP_CWORD=str(current))


def show(error: Exception, command: Command, words: Sequence[str]) -> int:
    """Show what a command says against its usage as click does, and return the exit code.

    Args:
        error: what it raised.
        command: the command, called without click.
        words: the command line.
    """
    if not isinstance(error, click.ClickException):
        raise error
    if isinstance(error, click.UsageError) and error.ctx is None:
        above = click.Context(polyvisor, info_name="polyvisor")
        error.ctx = click.Context(command.click(), info_name=command.name, parent=above)
    return _say(error, words)


def _say(error: click.ClickException, words: Sequence[str]) -> int:
    # Where the line makes no sense, what it says of the form of errors still counts.
    if "--json" not in takewhile(lambda word: word != "--", words):
        error.show()
        return error.exit_code
    import json

    facts = {"code": "usage", "message": error.format_message()}
    if isinstance(error, click.UsageError) and error.ctx is not None:
        facts["usage"] = error.ctx.get_usage()
        facts["help"] = f"{error.ctx.command_path} --help"
    click.echo(json.dumps({"error": facts}, ensure_ascii=False), err=True)
    return error.exit_code
