"""Ordinary command lines, read from the declarations without click.

What is not quite ordinary (help, a mistake, a value that must be checked, a command of a
plugin) is not judged here but left to click, so that there is one place for each rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from polyvisor.cli._declare import COMMON, Command, Parameter, Typed

if TYPE_CHECKING:
    from polyvisor.cli._session import Session

__all__ = ["Call", "read"]

# Settings of options and arguments that leave their value as it was typed.
_PLAIN = frozenset(
    {
        "flag_value",
        "help",
        "is_flag",
        "metavar",
        "multiple",
        "nargs",
        "required",
        "shell_complete",
        "type",
    }
)


class Call:
    """A command, and what it is called with.

    Attributes:
        command: the command.
        values: the function's arguments.
        session: what the common options set, by attribute of the session.
    """

    def __init__(self, command: Command, values: dict[str, Any], session: dict[str, Any]) -> None:
        self.command = command
        self.values = values
        self.session = session

    def run(self, session: Session) -> None:
        """Do it."""
        for name, value in self.session.items():
            setattr(session, name, value)
        self.command.function(**self.values)


def read(words: Sequence[str], find: Callable[[str], Command | None]) -> Call | None:
    """Return what a command line says; ``None`` if that is for click to judge.

    Args:
        words: what follows the program's name.
        find: gives the command of a name.
    """
    line = _Line(words)
    before = line.options(COMMON)
    if before is None or not line.words:
        return None
    command = find(line.words.pop(0))
    if command is None or not command.whole:
        return None
    parameters = command.parameters
    if not all(_is_plain(parameter) for parameter in parameters):
        return None
    options = [parameter for parameter in parameters if parameter.kind == "option"]
    typed = line.options((*COMMON, *options), among=True)
    if typed is None:
        return None
    values: dict[str, Any] = {}
    for parameter in options:
        usual: Any = False if parameter.settings.get("is_flag") else None
        if parameter.settings.get("multiple"):
            usual = ()
        values.setdefault(parameter.destination, usual)
    values |= {key: value for key, value in typed.items() if key in values}
    arguments = [parameter for parameter in parameters if parameter.kind == "argument"]
    if not _fill(values, arguments, line.arguments):
        return None
    stored = {
        parameter.store: value
        for given in (before, typed)
        for parameter in COMMON
        if (value := given.get(parameter.destination)) and parameter.store
    }
    return Call(command, values, stored)


def _is_plain(parameter: Parameter) -> bool:
    settings = parameter.settings
    kind = settings.get("type")
    return (
        settings.keys() <= _PLAIN
        and (parameter.kind == "argument" or not settings.keys() & {"nargs", "required"})
        and (kind is None or parameter.kind == "option" or _keeps(kind))
        and not any("/" in name for name in parameter.names)
    )


def _keeps(kind: object) -> bool:
    """Say whether a type leaves words as they are."""
    return kind is str or (isinstance(kind, Typed) and kind.name == "Path" and not kind.settings)


def _fill(values: dict[str, Any], arguments: list[Parameter], words: list[str]) -> bool:
    """Give the arguments their words; return whether all is as it should be."""
    for number, parameter in enumerate(arguments):
        if parameter.settings.get("nargs", 1) == -1:
            if number + 1 < len(arguments) or parameter.settings.get("required"):
                return False
            values[parameter.destination] = tuple(words)
            return True
        if words:
            values[parameter.destination] = words.pop(0)
        elif parameter.settings.get("required", True):
            return False
        else:
            values[parameter.destination] = None
    return not words


class _Line:
    """The words of a command line that are still to be read.

    Attributes:
        words: those words.
        arguments: words that are no options.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self.arguments: list[str] = []

    def options(self, known: Sequence[Parameter], *, among: bool = False) -> dict[str, Any] | None:
        """Read options up to the first word that is none, or to the end.

        Args:
            known: the options that there are.
            among: whether arguments may stand among them.

        Returns:
            Values by destination; ``None`` if one is not ordinary.
        """
        names = {name: parameter for parameter in known for name in parameter.names}
        found: dict[str, Any] = {}
        while self.words:
            word = self.words[0]
            if not word.startswith("-") or word == "-":
                if not among:
                    return found
                self.arguments.append(self.words.pop(0))
                continue
            if word == "--" and among:
                self.arguments += self.words[1:]
                self.words.clear()
                return found
            value: Any
            name, equals, value = word.partition("=")
            parameter = names.get(name)
            if parameter is None:
                return None
            settings = parameter.settings
            self.words.pop(0)
            destination = parameter.destination
            if "flag_value" in settings or settings.get("is_flag"):
                if equals or ("flag_value" in settings and destination in found):
                    return None
                found[destination] = settings.get("flag_value", True)
                continue
            if not equals:
                if not self.words or self.words[0].startswith("-"):
                    return None
                value = self.words.pop(0)
            elif not name.startswith("--"):
                return None
            if not _keeps(settings.get("type", str)):
                return None
            if settings.get("multiple"):
                value = (*found.get(destination, ()), value)
            found[destination] = value
        return found
