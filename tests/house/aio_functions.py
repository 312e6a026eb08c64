"""Writes the asynchronous functions on files of polyvisor.aio, for ``aio_faces.py``.

A function of ``polyvisor.saveimage`` or ``polyvisor.native`` that reads or writes a file is a
coroutine of the same name; each other public function stands in STAYS, with the reason.
"""

from __future__ import annotations

import ast
from pathlib import Path

__all__ = ["written"]

CORE = Path(__file__).parents[2] / "core" / "polyvisor"

# Module → what it is about, and the rooms whose functions become coroutines.
MODULES = {
    "saveimage": (
        "What can be done with save images",
        {
            "saveimage/_registry.py": ("inspect",),
            "saveimage/_tools.py": ("change_definition", "convert", "examine", "verify"),
            "saveimage/_picture.py": ("picture",),
        },
    ),
    "native": (
        "Reading configurations in a hypervisor's own language",
        {"native.py": ("load",)},
    ),
}
STAYS = {
    "saveimage": {
        "decoded": "bytes that are there already",
        "identify": "an open file, for those who write a format",
        "open_format": "no file",
        "read_exactly": "an open file, for those who write a format",
    },
    "native": {
        "formats": "no file",
        "identify": "bytes that are there already",
        "open_format": "no file",
    },
}
# Aliases of a room's own, written out.
ALIASES = {"Source": "str | os.PathLike[str] | int"}
TYPES = {
    "os": "import os",
    "DomainSpec": "from polyvisor.model import DomainSpec",
    "Registry": "from polyvisor.plugins import Registry",
}

TEXT = '''"""{subject}, awaitable.

The functions of :mod:`polyvisor.{module}` that read or write files, under their names.
Written by ``tests/house/aio_functions.py`` from those; change those. A task that is cancelled
ends when the function has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor import {module} as blocking
from polyvisor.aio._crew import alone

if TYPE_CHECKING:
{types}

__all__ = {names}


{functions}'''


def written(aio: Path) -> dict[Path, str]:
    """Return what each module has to be."""
    return {aio / f"{module}.py": _module(module) for module in MODULES}


def _module(module: str) -> str:
    subject, rooms = MODULES[module]
    nodes = {
        name: node
        for room, names in rooms.items()
        for name, node in _functions(CORE / room).items()
        if name in names
    }
    _complete(module, set(nodes))
    used: set[str] = set()
    functions = [_function(nodes[name], used) for name in sorted(nodes)]
    ours = sorted(used - set(TYPES))
    types = [TYPES[name] for name in TYPES if name in used]
    if ours:
        types.append(f"from polyvisor.{module} import {', '.join(ours)}")
    plain = [line for line in types if line.startswith("import ")]
    rest = sorted(line for line in types if not line.startswith("import "))
    lines = [*plain, *([""] if plain and rest else []), *rest]
    return TEXT.format(
        subject=subject,
        module=module,
        types="\n".join(f"    {line}" if line else "" for line in lines),
        names=str(sorted(nodes)).replace("'", '"'),
        functions="\n\n".join(functions),
    )


def _functions(path: Path) -> dict[str, ast.FunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def _complete(module: str, here: set[str]) -> None:
    """Refuse a public function that nobody has decided on."""
    base = CORE / module
    face = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    tree = ast.parse(face.read_text(encoding="utf-8"))
    public = next(
        set(ast.literal_eval(node.value))
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    rooms = [face, *base.glob("_*.py")] if base.is_dir() else [face]
    functions = {name for room in rooms for name in _functions(room)} & public
    undecided = functions - here - set(STAYS[module])
    gone = (here | set(STAYS[module])) - functions
    if undecided or gone:
        raise KeyError(f"polyvisor.{module}: enter {sorted(undecided)}, remove {sorted(gone)}")


class _Spelled(ast.NodeTransformer):
    """Writes aliases out, and notes the names that are used."""

    def __init__(self, used: set[str]) -> None:
        self.used = used

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in ALIASES:
            return self.visit(ast.parse(ALIASES[node.id], mode="eval").body)
        if node.id not in {"str", "int", "bool", "bytes", "None", "float"}:
            self.used.add(node.id)
        return node


def _function(node: ast.FunctionDef, used: set[str]) -> str:
    spelled = _Spelled(used)
    for one in ast.walk(node.args):
        if isinstance(one, ast.arg) and one.annotation is not None:
            one.annotation = spelled.visit(one.annotation)
    assert node.returns is not None
    returns = ast.unparse(spelled.visit(node.returns))
    given = [one.arg for one in node.args.args]
    given += [f"{one.arg}={one.arg}" for one in node.args.kwonlyargs]
    doc = (ast.get_docstring(node) or "").partition("\n")[0]
    call = f"await alone(lambda: blocking.{node.name}({', '.join(given)}))"
    return (
        f"async def {node.name}({ast.unparse(node.args)}) -> {returns}:\n"
        f'    """{doc}"""\n'
        f"    {call if returns == 'None' else f'return {call}'}\n"
    )
