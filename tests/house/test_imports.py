"""Who may import whom, as docs/design.md says: read from the sources, lazy imports included."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "core" / "polyvisor"
PLUGINS = sorted(
    folder for folder in (ROOT / "plugins").iterdir() if (folder / "__init__.py").exists()
)

# The core's rooms, lowest first. A room imports its own layer and the layers below it.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset(
        {
            "errors",
            "_deprecate",
            "_entrypoints",
            "_requirements",
            "_files",
            "_lazy",
            "_values",
            "_version",
        }
    ),
    frozenset({"model"}),
    frozenset(
        {
            "states",
            "_figures",
            "uri",
            "support",
            "host",
            "events",
            "_event",
            "jobs",
            "jobstats",
            "objects",
        }
    ),
    frozenset({"_loading", "_settings", "config", "driver", "hookspecs", "plugins"}),
    frozenset(
        {
            "_sources",
            "connection",
            "domain",
            "families",
            "handles",
            "migration",
            "networks",
            "node_devices",
            "secrets",
            "storage",
            "native",
            "saveimage",
            "polyvisor",
        }
    ),
    frozenset({"local", "state"}),
    frozenset({"cli", "aio", "demo", "fleet", "testing"}),
    frozenset({"__main__"}),
)

# Arrows that point upwards for type checkers alone, each with its reason.
TYPES_ONLY = {
    ("hookspecs", "saveimage"): "the hook polyvisor_save_formats returns its FormatInfo",
    ("hookspecs", "native"): "the hook polyvisor_native_formats returns its NativeInfo",
    ("plugins", "native"): "the registry lists what that hook returned",
    ("plugins", "saveimage"): "the registry lists what that hook returned",
}

# Names under which dependencies are imported, where they are not the distribution's own.
MODULES_OF = {"pillow": "PIL", "pytest-xdist": "xdist"}


@attrs.frozen
class Import:
    """One import: who, whom, which names, where, and whether it is for type checkers alone."""

    importer: str
    module: str
    names: tuple[str, ...]
    where: str
    types_only: bool


@cache
def imports_of(path: Path, importer: str) -> tuple[Import, ...]:
    """Return every import in a source file, inside functions too."""
    return tuple(_imports_of(path, importer))


def _imports_of(path: Path, importer: str) -> Iterator[Import]:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If)
        if any(getattr(node, "id", None) == "TYPE_CHECKING" for node in ast.walk(block.test))
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(importer, alias.name, (), where, id(node) in for_types)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{where}: imports are written in full, not relative"
            names = tuple(alias.name for alias in node.names)
            yield Import(importer, node.module or "", names, where, id(node) in for_types)


def sources(package: Path) -> Iterator[tuple[Path, str]]:
    """Yield each source file of a package with its dotted module name."""
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        yield path, ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def all_imports(package: Path) -> Iterator[Import]:
    """Yield every import in a package."""
    for path, module in sources(package):
        yield from imports_of(path, module)


def public_names(module: str) -> frozenset[str]:
    """Return ``__all__`` of a core module, or an empty set if there is no such module."""
    base = CORE.parent.joinpath(*module.split("."))
    path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    if not path.exists():
        return frozenset()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and "__all__" in ast.unparse(node):
            return frozenset(
                element.value
                for element in ast.walk(node)
                if isinstance(element, ast.Constant) and isinstance(element.value, str)
            )
    return frozenset()


def is_module(module: str) -> bool:
    """Say whether the core has a module of this dotted name."""
    base = CORE.parent.joinpath(*module.split("."))
    return base.with_suffix(".py").exists() or (base / "__init__.py").exists()


def room(module: str) -> str:
    """Return the room of the core that a dotted module name lies in."""
    return module.split(".")[1] if "." in module else "polyvisor"


def layer(name: str) -> int:
    """Return the number of a room's layer."""
    for number, rooms in enumerate(LAYERS):
        if name in rooms:
            return number
    pytest.fail(f"core/polyvisor has a room {name!r} that no layer in {__file__} names")


def test_every_room_of_the_core_has_a_layer() -> None:
    """Whoever adds a room decides whom it may import."""
    rooms = {room(module) for _, module in sources(CORE)}
    unplaced = rooms - frozenset().union(*LAYERS)
    assert not unplaced, f"name a layer for {sorted(unplaced)} in tests/house/test_imports.py"


def test_arrows_inside_the_core_run_one_way() -> None:
    """No room imports one of a higher layer, not even inside a function."""
    wrong = []
    for found in all_imports(CORE):
        if found.module.partition(".")[0] != "polyvisor":
            continue
        importer = room(found.importer)
        for target in targets(found):
            if layer(target) <= layer(importer):
                continue
            if found.types_only and (importer, target) in TYPES_ONLY:
                continue
            wrong.append(f"{found.where}: {importer} imports {target}, which lies above it")
    assert not wrong, "\n".join(wrong)


def targets(found: Import) -> set[str]:
    """Return the rooms that an import of the core's reaches."""
    if found.module != "polyvisor" or not found.names:
        return {room(found.module)}
    return {name if is_module(f"polyvisor.{name}") else "polyvisor" for name in found.names}


def test_the_core_knows_no_plugin() -> None:
    """The core finds plugins through entry points: it neither imports nor names a package."""
    packages = {plugin.name for plugin in PLUGINS}
    wrong = [
        f"{found.where}: imports {found.module}"
        for found in all_imports(CORE)
        if found.module.startswith("polyvisor_")
    ]
    for path, _ in sources(CORE):
        wrong += [
            f"{path.relative_to(ROOT)}:{node.lineno}: names {node.value!r}"
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value.partition(":")[0].partition(".")[0] in packages
        ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda folder: folder.name)
def test_a_plugin_imports_only_public_names_and_itself(plugin: Path) -> None:
    """First-party plugins use nothing that a third party could not use."""
    wrong = []
    for found in all_imports(plugin):
        top = found.module.partition(".")[0]
        if top.startswith("polyvisor_") and top != plugin.name:
            wrong.append(f"{found.where}: imports another plugin, {found.module}")
        if top != "polyvisor":
            continue
        if any(part.startswith("_") for part in found.module.split(".")):
            wrong.append(f"{found.where}: {found.module} is private")
        # What a DriverInfo names as its target is for the suite alone.
        kit = room(found.module) == "testing" and found.importer.endswith(".conformance")
        if room(found.module) in ("cli", "testing") and not kit:
            wrong.append(f"{found.where}: {found.module} is no part of a running driver")
        public = public_names(found.module)
        wrong += [
            f"{found.where}: {name} is not in {found.module}.__all__"
            for name in found.names
            if name not in public and not is_module(f"{found.module}.{name}")
        ]
    assert not wrong, "\n".join(wrong)


def test_only_declared_dependencies_are_imported() -> None:
    """What is neither Python's nor ours stands in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        declared += extra
    names = {requirement.partition(">")[0].partition("=")[0] for requirement in declared}
    allowed = {MODULES_OF.get(name, name.replace("-", "_")) for name in names}
    allowed |= {"polyvisor", *(plugin.name for plugin in PLUGINS), *sys.stdlib_module_names}
    wrong = [
        f"{found.where}: {found.module}"
        for package in (CORE, *PLUGINS)
        for found in all_imports(package)
        if found.module.partition(".")[0] not in allowed
    ]
    assert not wrong, "\n".join(wrong)
