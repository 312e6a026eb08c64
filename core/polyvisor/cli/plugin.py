"""Beginning a plugin: a distribution that is complete and passes its tests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from polyvisor.cli._declare import argument, option, path
from polyvisor.cli._session import command, session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

__all__: list[str] = []

_NAME = re.compile(r"[a-z][a-z0-9]{0,29}")


@command("new-plugin")
@argument("name")
@option(
    "--into",
    metavar="FOLDER",
    default=".",
    type=path(exists=True, file_okay=False),
    help="Where to put it, instead of the current folder.",
)
def new_plugin_command(name: str, into: str) -> None:
    """Write polyvisor-NAME, a plugin for NAME:/// that passes its tests, to go on from."""
    import os

    from polyvisor._files import remove_tree
    from polyvisor.errors import AlreadyExists, OperationFailed

    _check(name)
    folder = os.path.join(into, f"polyvisor-{name}")
    try:
        os.mkdir(folder)
        try:
            for place, text in _files(name):
                target = os.path.join(folder, place)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with open(target, "x", encoding="utf-8") as file:
                    file.write(text)
        except BaseException:
            remove_tree(folder)  # nothing half-written is left
            raise
    except FileExistsError as error:
        raise AlreadyExists(f"new-plugin {name!r}: {folder} exists already") from error
    except OSError as error:
        raise OperationFailed(f"new-plugin {name!r}: {error}") from error
    session().done(
        f"Plugin {name!r} written to {folder}; its README.md says how to go on", path=folder
    )


def _check(name: str) -> None:
    from polyvisor.connection import registry
    from polyvisor.errors import AlreadyExists, InvalidArgument

    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"new-plugin: {name!r} cannot be the name of a plugin; it begins with a small letter "
            f"and has at most 30 small letters and digits, since it becomes a URI's scheme and a "
            f"Python package"
        )
    for status in registry().statuses.values():
        schemes = {scheme for info in status.drivers for scheme in info.schemes}
        if name == status.name or name in schemes:
            raise AlreadyExists(f"new-plugin: the plugin {status.name!r} has {name!r} already")


def _files(name: str) -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each file."""
    from importlib.resources import files

    def walk(folder: Traversable, place: str) -> Iterator[tuple[str, str]]:
        for entry in folder.iterdir():
            inner = place + entry.name.replace("NAME", name)
            if entry.is_dir():
                yield from walk(entry, inner + "/")
            elif inner.endswith(".tmpl"):
                text = entry.read_text(encoding="utf-8")
                text = text.replace("@NAME@", name).replace("@CLASS@", name.capitalize())
                yield inner.removesuffix(".tmpl"), text

    yield from walk(files("polyvisor.cli") / "template", "")
