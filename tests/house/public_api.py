"""Holds public names, signatures, commands and settings against the snapshot public_api.txt.

Run by ``tox -e api``. With ``--update`` the snapshot is written anew: a change of it in a
commit is a decision, and its reader sees in the difference what plugin authors will see.

The sources are read, not imported. Public is what ``__all__`` of a module lists whose
dotted name has no part with a leading underscore, and of a class everything without one.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import griffe

ROOT = Path(__file__).parents[2]
# Used as commands; their modules are nobody's API.
COMMANDS = ("polyvisor.cli", "polyvisor.demo")
SNAPSHOT = Path(__file__).with_name("public_api.txt")


def modules(module: griffe.Module) -> Iterator[griffe.Module]:
    """Yield a module and those below it that are public."""
    yield module
    for name, member in sorted(module.members.items()):
        if (
            isinstance(member, griffe.Module)
            and not name.startswith("_")
            and member.path not in COMMANDS
        ):
            yield from modules(member)


def parameters(function: griffe.Function) -> str:
    """Return a function's parameters as they are written."""
    parts = []
    star = False
    for parameter in function.parameters:
        text = parameter.name
        kind = parameter.kind
        if kind is griffe.ParameterKind.var_positional:
            text, star = f"*{text}", True
        elif kind is griffe.ParameterKind.var_keyword:
            text = f"**{text}"
        elif kind is griffe.ParameterKind.keyword_only and not star:
            parts.append("*")
            star = True
        if parameter.annotation is not None:
            text += f": {parameter.annotation}"
        if parameter.default is not None and not text.startswith("*"):
            text += f" = {parameter.default}"
        parts.append(text)
        if kind is griffe.ParameterKind.positional_only:
            parts.append("/")
    # Only the last of several slashes is written.
    while parts.count("/") > 1:
        parts.remove("/")
    return ", ".join(parts)


def lines(path: str, member: griffe.Object | griffe.Alias) -> Iterator[str]:
    """Yield the lines that stand for a public name and what is public in it."""
    if isinstance(member, griffe.Alias):
        try:
            member = member.final_target
        except (griffe.AliasResolutionError, griffe.CyclicAliasError):
            yield f"{path}  (from {member.target_path})"
            return
        home = member.canonical_path
        public = not any(part.startswith("_") for part in home.split(".")[:-1])
        if public:
            yield f"{path}  (from {home})"
            return
    if isinstance(member, griffe.Function):
        returns = f" -> {member.returns}" if member.returns is not None else ""
        label = "".join(f"@{name} " for name in sorted(member.labels) if name in LABELS)
        yield f"{label}{path}({parameters(member)}){returns}"
    elif isinstance(member, griffe.Class):
        bases = ", ".join(str(base) for base in member.bases)
        decorators = "".join(f"@{decorator.value} " for decorator in member.decorators)
        yield f"{decorators}class {path}({bases})"
        for name, inner in sorted(member.members.items()):
            if not name.startswith("_") or name in ("__init__", "__call__"):
                yield from lines(f"{path}.{name}", inner)
    elif isinstance(member, griffe.Attribute):
        kind = "property " if "property" in member.labels else ""
        annotation = f": {member.annotation}" if member.annotation is not None else ""
        # What a method assigns says nothing to the reader, and the version is no interface.
        stated = "class-attribute" in member.labels or "module-attribute" in member.labels
        shown = stated and member.value is not None and not path.endswith("__version__")
        value = f" = {member.value}" if shown and len(str(member.value)) <= 100 else ""
        yield f"{kind}{path}{annotation}{value}"


LABELS = frozenset({"abstractmethod", "classmethod", "staticmethod"})


def commands() -> Iterator[str]:
    """Yield the commands of the command line with their options and arguments."""
    folder = ROOT / "core" / "polyvisor" / "cli"
    for path in sorted(folder.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        groups: list[str] = []
        for function in tree.body:
            if not isinstance(function, ast.FunctionDef):
                continue
            calls = [one for one in function.decorator_list if isinstance(one, ast.Call)]
            named = {ast.unparse(one.func): words(one) for one in calls}
            if "group" in named:
                groups = named["group"]
            elif "command" not in named:
                continue
            takes = [
                f"[{'|'.join(found)}]" if ast.unparse(one.func) == "option" else found[0].upper()
                for one in calls
                if ast.unparse(one.func) in ("option", "argument")
                for found in [words(one)]
            ]
            below = [] if "group" in named else groups
            name = named.get("group") or named["command"]
            yield " ".join(["polyvisor", *below, *name, *takes])


def words(call: ast.Call) -> list[str]:
    """Return the arguments of a call that are text."""
    return [
        one.value for one in call.args if isinstance(one, ast.Constant) and type(one.value) is str
    ]


def settings() -> Iterator[str]:
    """Yield the keys of the configuration, and the variables of the environment."""
    config = (ROOT / "core" / "polyvisor" / "config.py").read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(config)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("._check_keys"):
            known = ast.literal_eval(node.args[1])
            below = ast.unparse(node.args[2]).strip("'")
            yield f"key {below}: {', '.join(known)}".replace(" :", ":")
    variables = {
        word
        for folder in ("core", "plugins")
        for path in (ROOT / folder).rglob("*.py")
        for word in re.findall(r"\bPOLYVISOR_[A-Z]+\b", path.read_text(encoding="utf-8"))
    }
    yield from (f"variable {name}" for name in sorted(variables))


def snapshot() -> str:
    """Return the public interface as text, one line for each name."""
    package = griffe.load("polyvisor", search_paths=[ROOT / "core"])
    assert isinstance(package, griffe.Module)
    out = []
    for module in modules(package):
        if module.exports is None:
            continue
        out.append(f"\nmodule {module.path}")
        for name in sorted(str(export) for export in module.exports):
            path = f"{module.path}.{name}"
            if name in module.members:
                out += lines(path, module.members[name])
            else:
                out.append(path)
    out += ["\ncommands", *sorted(commands()), "\nconfiguration", *settings()]
    return "\n".join(out).lstrip() + "\n"


def main() -> int:
    """Compare or update; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true", help="write the snapshot anew")
    now = snapshot()
    if parser.parse_args().update:
        SNAPSHOT.write_text(now, encoding="utf-8")
        return 0
    kept = SNAPSHOT.read_text(encoding="utf-8") if SNAPSHOT.exists() else ""
    if now == kept:
        return 0
    sys.stdout.writelines(
        difflib.unified_diff(
            kept.splitlines(keepends=True),
            now.splitlines(keepends=True),
            "the snapshot",
            "the sources",
            n=0,
        )
    )
    sys.stdout.write(
        "\nThe public interface changed. If that is meant, run 'tox -e api -- --update', commit "
        "tests/house/public_api.txt with the change, and say in changelog.d what it means for "
        "those who use it.\n"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
