"""Having a person change a text in an editor, until it is taken or given up."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress

from polyvisor.cli._declare import echo
from polyvisor.errors import OperationFailed, PolyvisorError

__all__ = ["edited"]


def edited(name: str, text: str, form: str, keep: Callable[[bytes], None]) -> bool:
    """Have a text changed in an editor and kept; return whether it was changed.

    A text that is refused is opened again; if it is given up, it stays in a file that is named.

    Args:
        name: whose it is, for the file's name and for errors.
        text: the text.
        form: what its file's name ends in.
        keep: takes the changed text; raises if that cannot be.

    Raises:
        OperationFailed: it was given up, or there is no editor; says where the text is.
    """
    import subprocess

    held = _Text(name, text, form)
    first = seen = held.read()
    try:
        while True:
            done = subprocess.run([*_editor(), held.path], check=False)
            if done.returncode != 0:
                raise OperationFailed(f"the editor ended with {done.returncode}")
            now = held.read()
            if now == first:
                break
            try:
                keep(now)
                break
            except PolyvisorError as error:
                # An editor that is a program, and changes nothing more, would go on for ever.
                if now == seen or not _again(error.message):
                    raise
                seen = now
    except (PolyvisorError, OSError) as error:
        told = error.message if isinstance(error, PolyvisorError) else str(error)
        raise OperationFailed(
            f"edit {name!r}: {told}; the definition is as before, your text is in {held.path}",
            domain=name,
            operation="edit",
        ) from error
    held.remove()
    return now != first


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


def _again(fault: str) -> bool:
    echo(f"polyvisor: {' '.join(fault.split())}", err=True)
    if not sys.stdin.isatty():
        return True
    import click

    return click.confirm("Edit it again?", default=True, err=True)
