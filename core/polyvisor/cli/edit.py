"""Changing a definition in an editor."""

from __future__ import annotations

import os
import re
import shlex
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from polyvisor.cli._declare import choice, echo, option
from polyvisor.cli._documents import FORMS, written
from polyvisor.cli._session import command, domain_argument, session
from polyvisor.errors import OperationFailed, OperationInvalid, PolyvisorError

if TYPE_CHECKING:
    from polyvisor.domain import Domain

__all__: list[str] = []


def _editor() -> list[str]:
    """Return the editor's command: ``$VISUAL``, ``$EDITOR``, or what is there."""
    named = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if named:
        return shlex.split(named)
    from shutil import which

    for name in ("sensible-editor", "nano", "vi"):
        if which(name):
            return [name]
    raise OperationFailed("edit: there is no editor; name one in $VISUAL or $EDITOR")


class _Text:
    """The text that is edited, in a file that stays as long as it is needed."""

    def __init__(self, name: str, text: str, form: str) -> None:
        import tempfile

        safe = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:40]
        # Only its owner may read it: a definition can hold passwords.
        number, self.path = tempfile.mkstemp(prefix=f"polyvisor-{safe}-", suffix=f".{form}")
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)

    def read(self) -> bytes:
        with open(self.path, "rb") as file:
            return file.read()

    def remove(self) -> None:
        with suppress(OSError):
            os.unlink(self.path)


@command("edit")
@domain_argument
@option("--as", "form", type=choice(*FORMS), default="xml", help="The form to edit it in.")
@option("--validate", is_flag=True, help="Hold it against libvirt's RELAX NG schema too.")
def edit_command(domain: str, form: str, validate: bool) -> None:
    """Change DOMAIN's definition in an editor ($VISUAL, $EDITOR).

    A text that is refused is opened again; if it is given up, it stays in a file that is named.
    """
    import subprocess

    found = session().domain(domain)
    name, before = found.name, found.xml(inactive=True)
    text = _Text(name, written(found.spec(inactive=True), form), form)
    first = seen = text.read()
    try:
        while True:
            done = subprocess.run([*_editor(), text.path], check=False)
            if done.returncode != 0:
                raise OperationFailed(f"the editor ended with {done.returncode}")
            now = text.read()
            if now == first:
                text.remove()
                session().done(f"Domain '{name}' not changed", uuid=found.uuid)
                return
            try:
                _define(found, before, now, form, validate)
                break
            except PolyvisorError as error:
                # An editor that is a program, and changes nothing more, would go on for ever.
                if now == seen or not _again(error.message):
                    raise
                seen = now
    except (PolyvisorError, OSError) as error:
        told = error.message if isinstance(error, PolyvisorError) else str(error)
        raise OperationFailed(
            f"edit {name!r}: {told}; the definition is as before, your text is in {text.path}",
            domain=name,
            operation="edit",
        ) from error
    text.remove()
    session().done(f"Domain '{name}' edited", uuid=found.uuid)


def _define(found: Domain, before: str, now: bytes, form: str, validate: bool) -> None:
    from polyvisor.model import DomainSpec

    source: DomainSpec | bytes = now
    if form != "xml":
        source = DomainSpec.from_toml(now) if form == "toml" else DomainSpec.from_json(now)
    spec = source if isinstance(source, DomainSpec) else DomainSpec.from_xml(source)
    if spec.uuid != found.uuid:
        raise OperationInvalid("the UUID is another now; a domain keeps its own")
    if found.xml(inactive=True) != before:
        raise OperationInvalid("somebody else has changed the definition meanwhile")
    session().connection.domains.define(source, validate=validate)


def _again(fault: str) -> bool:
    echo(f"polyvisor: {' '.join(fault.split())}", err=True)
    if not sys.stdin.isatty():
        return True
    import click

    return click.confirm("Edit it again?", default=True, err=True)
