"""The commands that all families of host objects have, made for one family at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from polyvisor.cli._declare import Command, argument, echo, option, path
from polyvisor.cli._session import command, session

if TYPE_CHECKING:
    from polyvisor.connection import Connection
    from polyvisor.families import DocumentSource
    from polyvisor.objects import ObjectSummary

    Find: TypeAlias = Callable[[Connection], Any]

__all__ = ["Family", "read_document", "yes_no"]


def yes_no(value: bool) -> str:
    """Return a truth as virsh prints it."""
    return "yes" if value else "no"


def read_document(file: str) -> DocumentSource:
    """Return what a file argument gives, ``-`` for standard input."""
    from pathlib import Path

    return sys.stdin.buffer.read() if file == "-" else Path(file)


@attrs.frozen
class Family:
    """Makes a family's commands.

    Attributes:
        prefix: what its commands begin with, such as ``"net"``.
        title: what an object is called, such as ``"network"``.
        find: gives the family's collection.
    """

    prefix: str
    title: str
    find: Find

    @property
    def _title(self) -> str:
        return self.title[0].upper() + self.title[1:]

    def object(self, name: str) -> Any:
        """Return the handle that a name or UUID means."""
        return self.find(session().connection)[name]

    def list(self) -> Command:
        """Make ``PREFIX-list`` of a family whose objects are started."""

        @command(f"{self.prefix}-list")
        @option("--all", "everything", is_flag=True, help="Active and inactive ones.")
        @option("--inactive", is_flag=True, help="Only inactive ones.")
        @option("--name", "names", is_flag=True, help="Print names alone.")
        def listing(everything: bool, inactive: bool, names: bool) -> None:
            found: list[ObjectSummary] = [
                one
                for one in self.find(session().connection).summaries()
                if everything or one.active is not inactive
            ]

            def plain() -> None:
                if names:
                    for one in found:
                        echo(one.name)
                    return
                rows = [
                    [
                        one.name,
                        "active" if one.active else "inactive",
                        yes_no(one.autostart),
                        yes_no(one.persistent),
                    ]
                    for one in found
                ]
                session().table(["Name", "State", "Autostart", "Persistent"], rows)

            session().facts([attrs.asdict(one) for one in found], plain)

        return _named(listing, f"List {self.title}s: the active ones, unless told otherwise.")

    def plain_list(self, *headers: str, row: Callable[[ObjectSummary], Any]) -> Command:
        """Make ``PREFIX-list`` of a family whose objects are just there.

        Args:
            headers: of the columns.
            row: gives the cells for an object.
        """

        @command(f"{self.prefix}-list")
        def listing() -> None:
            found = list(self.find(session().connection).summaries())
            session().facts(
                [attrs.asdict(one) for one in found],
                lambda: session().table(headers, [row(one) for one in found]),
            )

        return _named(listing, f"List {self.title}s.")

    def define(self) -> Command:
        """Make ``PREFIX-define FILE``."""

        @command(f"{self.prefix}-define")
        @argument("file", type=path())
        def define(file: str) -> None:
            made = self.find(session().connection).define(read_document(file))
            session().done(f"{self._title} {made.name} defined from {file}", key=made.key)

        return _named(define, f"Define a {self.title} from FILE without starting it.")

    def create(self) -> Command:
        """Make ``PREFIX-create FILE``."""

        @command(f"{self.prefix}-create")
        @argument("file", type=path())
        def create(file: str) -> None:
            made = self.find(session().connection).create(read_document(file))
            session().done(f"{self._title} {made.name} created from {file}", key=made.key)

        return _named(create, f"Start a transient {self.title} from FILE.")

    def verb(self, verb: str, done: str, help_text: str) -> Command:
        """Make ``PREFIX-VERB NAME`` for a method that takes nothing.

        Args:
            verb: the method.
            done: what it did, such as ``"started"``.
            help_text: the help.
        """

        @command(f"{self.prefix}-{verb}")
        @argument("name")
        def act(name: str) -> None:
            found = self.object(name)
            getattr(found, verb)()
            session().done(f"{self._title} {name} {done}", key=found.key)

        return _named(act, help_text)

    def edit(self) -> Command:
        """Make ``PREFIX-edit NAME``."""

        @command(f"{self.prefix}-edit")
        @argument("name")
        def edit(name: str) -> None:
            from polyvisor.cli._editing import edited
            from polyvisor.errors import OperationInvalid

            found = self.object(name)
            before = found.xml(inactive=True)

            def keep(now: bytes) -> None:
                if found.xml(inactive=True) != before:
                    raise OperationInvalid("somebody else has changed the definition meanwhile")
                document = type(found.spec()).from_xml(now)
                if document.uuid != found.uuid:
                    raise OperationInvalid(f"the UUID is another now; a {self.title} keeps its own")
                self.find(session().connection).define(now)

            how = "edited" if edited(found.name, before, "xml", keep) else "not changed"
            session().done(f"{self._title} {name} {how}", key=found.key)

        return _named(edit, f"Change a {self.title}'s definition in an editor ($VISUAL, $EDITOR).")

    def name(self) -> Command:
        """Make ``PREFIX-name UUID``."""

        @command(f"{self.prefix}-name")
        @argument("uuid")
        def name(uuid: str) -> None:
            text = self.object(uuid).summary().name
            session().facts({"name": text}, lambda: echo(text))

        return _named(name, f"Print the name of the {self.title} with a UUID.")

    def uuid(self) -> Command:
        """Make ``PREFIX-uuid NAME``."""

        @command(f"{self.prefix}-uuid")
        @argument("name")
        def uuid(name: str) -> None:
            text = str(self.object(name).summary().uuid)
            session().facts({"uuid": text}, lambda: echo(text))

        return _named(uuid, f"Print the UUID of a {self.title}.")

    def autostart(self) -> Command:
        """Make ``PREFIX-autostart NAME``."""

        @command(f"{self.prefix}-autostart")
        @argument("name")
        @option("--disable", is_flag=True, help="Do not start it with the host.")
        def autostart(name: str, disable: bool) -> None:
            found = self.object(name)
            found.autostart = not disable
            what = "unmarked as" if disable else "marked as"
            session().done(f"{self._title} {name} {what} autostarted", key=found.key)

        return _named(autostart, f"Start a {self.title} together with the host, or not.")

    def dumpxml(self) -> Command:
        """Make ``PREFIX-dumpxml NAME``."""

        @command(f"{self.prefix}-dumpxml")
        @argument("name")
        @option("--inactive", is_flag=True, help="What it will be when next started.")
        def dumpxml(name: str, inactive: bool) -> None:
            text = self.object(name).xml(inactive=inactive)
            session().facts({"xml": text}, lambda: echo(text))

        return _named(dumpxml, f"Print a {self.title}'s document.")


def _named(made: Command, help_text: str) -> Command:
    made.function.__doc__ = help_text
    return made
