"""Commands as they are declared: what click is to be told, kept until it is needed.

Importing click and making its objects takes longer than most commands do. So the decorators
here only note what they are given. Ordinary command lines are read from these notes
(:mod:`polyvisor.cli._read`); help, errors, completion and documentation are click's, which is
told the same by :meth:`Command.click`.

The names, and what they take, are click's own: its documentation is that of this module.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import click

__all__ = [
    "COMMON",
    "Command",
    "Group",
    "Parameter",
    "Typed",
    "argument",
    "choice",
    "command",
    "echo",
    "group",
    "number",
    "option",
    "path",
]

_F = TypeVar("_F", bound=Callable[..., Any])

# The attribute of a function that has what its decorators noted.
_NOTES = "polyvisor_parameters"


class Typed:
    """A type of click's that is not made yet.

    Args:
        name: its name in click.
        arguments: what it is made with.
        settings: the same, by name.
    """

    def __init__(self, name: str, *arguments: Any, **settings: Any) -> None:
        self.name = name
        self.arguments = arguments
        self.settings = settings

    def click(self) -> click.ParamType[Any]:
        """Make it."""
        import click

        made: click.ParamType[Any] = getattr(click, self.name)(*self.arguments, **self.settings)
        return made


def path(**settings: Any) -> Typed:
    """Return the type of a path."""
    return Typed("Path", **settings)


def choice(*words: str) -> Typed:
    """Return the type of one of some words."""
    return Typed("Choice", words)


def number(kind: type[int | float], least: float) -> Typed:
    """Return the type of a number that is at least ``least``."""
    return Typed("IntRange" if kind is int else "FloatRange", least)


class Parameter:
    """An option or an argument.

    Attributes:
        kind: ``"option"`` or ``"argument"``.
        names: as click takes them.
        settings: as click takes them; a type may be a :class:`Typed`.
        store: the attribute of the session that it sets, if it is one that all commands have.
    """

    def __init__(
        self, kind: str, names: tuple[str, ...], settings: dict[str, Any], store: str | None = None
    ) -> None:
        self.kind = kind
        self.names = names
        self.settings = settings
        self.store = store

    @property
    def destination(self) -> str:
        """The name of the function's argument that gets the value (click's rule)."""
        plain = [name for name in self.names if name.isidentifier()]
        if plain:
            return plain[0].lower()
        longest = max(self.names, key=lambda name: len(name) - len(name.lstrip("-")))
        return longest.lstrip("-").replace("-", "_").lower()

    def decorate(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Tell click."""
        import click

        settings: dict[str, Any] = {
            key: value.click() if isinstance(value, Typed) else value
            for key, value in self.settings.items()
        }
        if self.store is not None:
            settings |= {"expose_value": False, "callback": _storing(self.store)}
        decorator = click.option if self.kind == "option" else click.argument
        return decorator(*self.names, **settings)(function)


def _storing(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, _parameter: click.Parameter, value: Any) -> None:
        from polyvisor.cli._session import Session

        found = ctx.find_object(Session)
        if value:
            # While a word is being completed there is no session.
            ctx.meta[f"polyvisor.{name}"] = value
            if found is not None:
                setattr(found, name, value)

    return callback


def _common(store: str, *names: str, **settings: Any) -> Parameter:
    return Parameter("option", names, settings, store)


#: The options that every command has, before or after its name.
COMMON = (
    _common(
        "target",
        "-c",
        "--connect",
        metavar="TARGET",
        help="URI or configured name of the connection.",
    ),
    _common(
        "readonly",
        "-r",
        "--readonly",
        is_flag=True,
        help="Refuse everything that changes something.",
    ),
    _common("json", "--json", is_flag=True, help="Print facts and errors as JSON."),
    _common("quiet", "-q", "--quiet", is_flag=True, help="Print no more than what was asked for."),
    _common("debug", "--debug", is_flag=True, help="Show the traceback of an error."),
)


class Command:
    """A command.

    Attributes:
        name: its name.
        function: what it does.
        parameters: its own options and arguments, in order.
        whole: whether these are all; else click was told of others directly.
    """

    def __init__(self, name: str, function: Callable[..., None]) -> None:
        self.name = name
        self.function = function
        self.parameters: list[Parameter] = vars(function).get(_NOTES, [])
        self.whole: bool = not hasattr(function, "__click_params__")
        self._click: click.Command | None = None

    def click(self) -> click.Command:
        """Return it as click's command."""
        if self._click is None:
            import click

            function = self.function
            for parameter in reversed([*COMMON, *self.parameters]):
                function = parameter.decorate(function)
            self._click = click.command(
                self.name, context_settings={"help_option_names": ["-h", "--help"]}
            )(function)
        return self._click


class Group(Command):
    """Commands under a name of their own, such as ``polyvisor spec check``; read by click.

    Attributes:
        commands: those below it.
    """

    def __init__(self, name: str, function: Callable[..., None]) -> None:
        super().__init__(name, function)
        self.whole = False
        self.commands: list[Command] = []

    def add(self, *commands: Command) -> None:
        """Put commands below it."""
        self.commands += commands

    def click(self) -> click.Command:
        """Return it as click's group."""
        if self._click is None:
            import click

            function = self.function
            for parameter in reversed(COMMON):
                function = parameter.decorate(function)
            made = click.group(self.name, context_settings={"help_option_names": ["-h", "--help"]})(
                function
            )
            for below in self.commands:
                made.add_command(below.click())
            self._click = made
        return self._click


def group(name: str) -> Callable[[Callable[..., None]], Group]:
    """Make a group of commands, with the options that all have."""
    return lambda function: Group(name, function)


def command(name: str) -> Callable[[Callable[..., None]], Command]:
    """Make a command, with the options that all have."""
    return lambda function: Command(name, function)


def option(*names: str, **settings: Any) -> Callable[[_F], _F]:
    """Add an option."""
    return _noting(Parameter("option", names, settings))


def argument(name: str, **settings: Any) -> Callable[[_F], _F]:
    """Add an argument."""
    return _noting(Parameter("argument", (name,), settings))


def _noting(parameter: Parameter) -> Callable[[_F], _F]:
    def decorate(function: _F) -> _F:
        # Decorators are called from the last to the first.
        vars(function).setdefault(_NOTES, []).insert(0, parameter)
        return function

    return decorate


def echo(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print text at once, with a newline behind it unless ``nl`` is false."""
    stream = sys.stderr if err else sys.stdout
    stream.write(f"{text}\n" if nl else str(text))
    stream.flush()
