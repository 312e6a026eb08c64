"""Writes the asynchronous handles of polyvisor.aio from the sources of the blocking ones.

Run by ``tox -e api``, which holds it against what is there; ``--update`` writes anew. So the
faces cannot drift apart. The sources are read, not imported. What no rule gives is in tables.

The rules:

- a method becomes a coroutine; one that takes ``progress`` runs as a job, which can be
  cancelled;
- a property that has to ask becomes one to be awaited, a property with a setter gets a method
  ``set_`` beside it;
- what gives a handle gives an asynchronous one, what takes a handle takes an asynchronous one;
- what a mapping does beside (``in``, ``len``, an index) is ``polyvisor.aio._base.Items``.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from aio_functions import written as functions

ROOT = Path(__file__).parents[2]
CORE = ROOT / "core" / "polyvisor"
AIO = CORE / "aio"

# Room of polyvisor.aio → the modules whose classes it has, and what it is about.
ROOMS: dict[str, tuple[str, tuple[tuple[str, tuple[str, ...]], ...]]] = {
    "_connection": (
        "Connections and their domains",
        (("handles._host", ("OnHost",)), ("connection", ("Connection", "DomainCollection"))),
    ),
    "_changing": (
        "What changes a domain, and who sits at its machine",
        (("handles._changing", ("Changing",)), ("handles._seat", ("Seat",))),
    ),
    "_domain": (
        "Domains and their snapshots",
        (
            ("handles._moving", ("Moving",)),
            ("domain", ("Domain", "DomainSnapshots")),
        ),
    ),
    "_handles": (
        "What hangs on a domain",
        (
            ("handles._agent", ("DomainAgent",)),
            ("handles._debug", ("DomainDebug",)),
            ("handles._disks", ("DomainBackup", "DomainCheckpoints", "DomainDisks")),
            ("handles._tuning", ("DomainTuning",)),
        ),
    ),
    "_families": (
        "What all families of host objects have in common",
        (("families", ("Handle", "Defined", "Started", "Collection")),),
    ),
    "_storage": (
        "Storage pools and their volumes",
        (("storage", ("StoragePool", "StorageVolume", "StoragePoolCollection")),),
    ),
    "_networks": (
        "Networks, the host's interfaces, and network filters",
        (
            (
                "networks",
                (
                    "Network",
                    "NetworkCollection",
                    "HostInterface",
                    "InterfaceCollection",
                    "NwFilter",
                    "NwFilterCollection",
                ),
            ),
        ),
    ),
    "_node_devices": ("Devices", (("node_devices", ("NodeDevice", "NodeDeviceCollection")),)),
    "_secrets": ("Secrets", (("secrets", ("Secret", "SecretCollection")),)),
}

# Attributes that a handle has from the start; a class that has others must be entered here.
ATTRIBUTES: dict[str, dict[str, str]] = {
    "Connection": {"name": "str | None", "plugin": "str", "readonly": "bool", "uri": "str"},
    "Domain": {"uuid": "UUID"},
    "Handle": {"key": "str"},
    "StorageVolume": {"ref": "VolumeRef"},
}
# Properties and attributes that are handles, made with the connection.
OWN = {("Connection", "domains"): "DomainCollection"}

# Properties that are known without asking anybody.
PLAIN = frozenset(
    {
        ("Collection", "part"),
        ("Connection", "closed"),
        ("Connection", "driver"),
        ("StorageVolume", "name"),
        ("StorageVolume", "path"),
    }
)

_STREAM = """stream: EventStream[{}] = EventStream(lambda: {})
self._crew.add_stream(stream)
return stream"""
# What no rule gives: the body of the method, which is a coroutine unless it stands in STREAMS.
SPECIAL = {
    ("Connection", "close"): "await self._own_crew.close(self.sync.close)",
    ("Connection", "events"): _STREAM.format(
        "Any",
        "iter(self.sync.events(timeout=timeout, objects=True)) if objects "
        "else iter(self.sync.events(timeout=timeout))",
    ),
    ("DomainDebug", "events"): _STREAM.format("MonitorEvent", "self.sync.events(timeout=timeout)"),
    ("Domain", "connection"): "return self._host",
    ("Domain", "wait"): (
        "return await self._crew.wait(lambda left: self.sync.wait(timeout=left), timeout)"
    ),
}
STREAMS = frozenset({("Connection", "events"), ("DomainDebug", "events")})
ITEMS = frozenset({"get"})  # given by Items

# What is done with a result when the task that waited for it is gone.
DISCARD = {
    ("Seat", "open_console"): "os.close",
    ("StorageVolume", "open"): "lambda file: file.close()",
    ("Moving", "migrate"): (
        "lambda made: made.connection.close() if isinstance(destination, str) else None"
    ),
}

# How a result becomes a handle where its connection may be another one.
WRAPPED = {
    ("Moving", "migrate"): "Domain(_where(destination, made), made)",
}

EXTRA = {
    "_domain": '''
def _where(destination: Connection | str, made: SyncDomain) -> Connection:
    """Return the connection of a domain that has arrived."""
    from polyvisor.aio._connection import Connection

    return Connection(made.connection) if isinstance(destination, str) else destination
''',
    "Connection": """
def __init__(self, sync: SyncConnection, crew: Crew | None = None) -> None:
    super().__init__(self, sync)
    self._own_crew = Crew() if crew is None else crew
    self.domains: DomainCollection = DomainCollection(self, sync.domains)

async def __aenter__(self) -> Self:
    return self

async def __aexit__(self, *exc_info: object) -> None:
    await self.close()
""",
}

HEAD = '''"""{subject}, awaitable.

Written by ``tests/house/aio_faces.py`` from the blocking handles; change those.
"""

from __future__ import annotations
'''

FACES = {
    name: room for room, (_, modules) in ROOMS.items() for _, names in modules for name in names
}
KNOWN = {
    "Crew": ("polyvisor.aio._crew", True),
    "EventStream": ("polyvisor.aio._stream", True),
    "Face": ("polyvisor.aio._base", True),
    "Items": ("polyvisor.aio._base", True),
    "inner": ("polyvisor.aio._base", True),
    "Any": ("typing", True),
    "Awaitable": ("collections.abc", False),
    "Generic": ("typing", True),
    "Self": ("typing", False),
    "TypeVar": ("typing", True),
    "Literal": ("typing", False),
    "overload": ("typing", True),
}
COLLECTIONS = ("Items", "Collection")


class Source:
    """A module of blocking handles: its classes, and where the names in it come from."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.module = "polyvisor." + name
        path = CORE.joinpath(*name.split(".")).with_suffix(".py")
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        self.classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        self.names: dict[str, str] = {}
        self.spelled: dict[str, str] = {}
        statements = list(tree.body)
        for node in tree.body:
            if isinstance(node, ast.If):
                statements += node.body
        for node in statements:
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    self.names[alias.asname or alias.name] = node.module or ""
                    if alias.asname:
                        self.spelled[alias.asname] = f"{alias.name} as {alias.asname}"
            elif isinstance(node, ast.Import):
                self.names |= {alias.name: "" for alias in node.names}
            elif isinstance(node, ast.ClassDef):
                self.names[node.name] = self.public
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                self.names[node.target.id] = self.public

    @property
    def public(self) -> str:
        """The public module that gives the same names."""
        return self.module.rpartition("._")[0] or self.module


class Room:
    """One module to be written."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.subject, modules = ROOMS[name]
        self.sources = [(Source(module), classes) for module, classes in modules]
        self.here = {one for _, classes in self.sources for one in classes}
        self.runtime: set[tuple[str, str]] = set()
        self.types: set[tuple[str, str]] = set()

    # Names

    def need(self, name: str, source: Source, *, runtime: bool = False) -> None:
        """Note where a name is to be imported from."""
        if name in self.here or hasattr(builtins, name) or name.startswith("_"):
            return
        if name in FACES:
            module = f"polyvisor.aio.{FACES[name]}"
        elif name in KNOWN:
            module, always = KNOWN[name]
            runtime = runtime or always
        elif name in source.names:
            module = source.names[name]
            name = source.spelled.get(name, name)
        else:
            raise KeyError(f"{source.module}: where is {name} from?")
        (self.runtime if runtime else self.types).add((module, name))

    def annotation(self, node: ast.expr | None, source: Source) -> str:
        """Return an annotation's text, and note what it needs."""
        if node is None:
            return ""
        for one in ast.walk(node):
            if isinstance(one, ast.Name):
                self.need(one.id, source)
        return ast.unparse(node)

    # Text

    def text(self) -> str:
        """Return the module."""
        bodies = [
            self.class_text(source, source.classes[name])
            for source, classes in self.sources
            for name in classes
        ]
        head = HEAD.format(subject=self.subject)
        exported = sorted(self.here)
        variable = ""
        if "Collection" in self.here:
            variable = '_H = TypeVar("_H", bound="Handle")\n\n'
            self.need("TypeVar", self.sources[0][0])
        types = self.types_text()
        return (
            head
            + "\n"
            + imports(self.runtime)
            + types
            + f"\n__all__ = {exported}\n\n".replace("'", '"')
            + variable
            + "\n\n".join(bodies)
            + EXTRA.get(self.name, "")
        )

    def types_text(self) -> str:
        """Return the imports that are for type checkers alone."""
        left = self.types - self.runtime
        if not left:
            return ""
        self.runtime.add(("typing", "TYPE_CHECKING"))
        inside = indented(imports(left))
        return f"\nif TYPE_CHECKING:\n{inside}"

    def class_text(self, source: Source, node: ast.ClassDef) -> str:
        """Return a class."""
        name = node.name
        lines = [f"class {name}({self.bases(source, node)}):"]
        doc = (ast.get_docstring(node) or "").partition("\n")[0]
        lines.append(f'    """{doc}"""\n')
        slots = ("_own_crew", "domains") if name == "Connection" else ()
        lines.append(f"    __slots__ = {slots}\n".replace("'", '"'))
        generic = "[Any]" if name == "Collection" else ""
        if generic:
            self.need("Any", source)
        alias = f"Sync{name}"
        self.types.add(
            (
                source.public
                if source.public != "polyvisor.handles" or name.startswith("Domain")
                else source.module,
                f"{name} as {alias}",
            )
        )
        lines.append(f"    sync: {alias}{generic}\n")
        if name in EXTRA:
            lines.append(indented(EXTRA[name]))
            for needed in ("Crew", "Self"):
                self.need(needed, source)
        lines += [indented(text) for text in self.members(source, node)]
        return "\n".join(lines)

    def bases(self, source: Source, node: ast.ClassDef) -> str:
        """Return a class's bases."""
        found = []
        for base in node.bases:
            text = ast.unparse(base)
            if text.startswith("Mapping["):
                key = "str" if node.name == "Collection" else "str | int | UUID"
                item = "_H" if node.name == "Collection" else "Domain"
                text = f"Items[{key}, {item}]"
                self.need("Items", source)
                if "UUID" in key:
                    self.need("UUID", source, runtime=True)
            for one in ast.walk(base):
                if isinstance(one, ast.Name) and one.id != "Mapping":
                    self.need(one.id, source, runtime=one.id in FACES)
            if "Items[" in text and item in FACES:
                self.need(item, source, runtime=True)
            found.append(text)
        if not found:
            self.need("Face", source)
        return ", ".join(found) or "Face"

    def members(self, source: Source, node: ast.ClassDef) -> Iterator[str]:
        """Yield the text of each member."""
        name = node.name
        yield from self.attributes(source, node)
        item = self.item(node)
        if item is not None:
            self.need(item, source, runtime=True)
            self.need("Any", source)
            yield (f"def _wrap(self, sync: Any) -> {item}:\n    return {item}(self._host, sync)\n")
        for member in node.body:
            if not isinstance(member, ast.FunctionDef) or member.name.startswith("_"):
                continue
            if item_of(node) and member.name in ITEMS:
                continue
            decorators = [ast.unparse(one) for one in member.decorator_list]
            if "property" in decorators:
                yield self.property_text(source, name, member)
            elif any(one.endswith(".setter") for one in decorators):
                yield self.setter_text(source, member)
            else:
                yield self.method_text(source, name, member, "overload" in decorators)

    def item(self, node: ast.ClassDef) -> str | None:
        """Return the class of a collection's handles, if it is one."""
        if node.name == "DomainCollection":
            return "Domain"
        for base in node.bases:
            if isinstance(base, ast.Subscript) and ast.unparse(base.value) == "Collection":
                return ast.unparse(base.slice)
        return None

    def attributes(self, source: Source, node: ast.ClassDef) -> Iterator[str]:
        """Yield properties for what the blocking handle sets when it is made."""
        stated = ATTRIBUTES.get(node.name, {})
        found = {
            target.attr
            for member in node.body
            if isinstance(member, ast.FunctionDef) and member.name == "__init__"
            for statement in ast.walk(member)
            for target in targets(statement)
            if isinstance(target, ast.Attribute) and not target.attr.startswith("_")
        }
        unstated = {one for one in found - set(stated) if (node.name, one) not in OWN}
        if unstated:
            raise KeyError(f"enter {sorted(unstated)} of {node.name} in ATTRIBUTES")
        for name, kind in stated.items():
            self.annotation(ast.parse(kind, mode="eval").body, source)
            words = described(node, name)
            yield (
                f'@property\ndef {name}(self) -> {kind}:\n    """{words}"""\n'
                f"    return self.sync.{name}\n"
            )

    def property_text(self, source: Source, owner: str, member: ast.FunctionDef) -> str:
        """Return a property."""
        name, doc = member.name, summary(member)
        kind = self.annotation(member.returns, source)
        if (owner, name) in SPECIAL:
            body = SPECIAL[owner, name]
        elif kind in FACES:
            self.need(kind, source, runtime=True)
            body = f"return {kind}(self._host, self.sync.{name})"
        elif (owner, name) in PLAIN:
            body = f"return self.sync.{name}"
        else:
            self.need("Awaitable", source)
            kind = f"Awaitable[{kind}]"
            doc = doc.removesuffix(".").removesuffix("; can be set") + "; to be awaited."
            body = f'return self._get("{name}")'
        return f'@property\ndef {name}(self) -> {kind}:\n    """{doc}"""\n    {body}\n'

    def setter_text(self, source: Source, member: ast.FunctionDef) -> str:
        """Return the method that stands for a setter."""
        name = member.name
        kind = self.annotation(member.args.args[1].annotation, source)
        return (
            f"async def set_{name}(self, value: {kind}) -> None:\n"
            f'    """Set :attr:`{name}`."""\n'
            f'    await self._run(setattr, self.sync, "{name}", value)\n'
        )

    def method_text(
        self, source: Source, owner: str, member: ast.FunctionDef, overload: bool
    ) -> str:
        """Return a method."""
        name = member.name
        stream = (owner, name) in STREAMS
        returns = self.annotation(member.returns, source)
        if stream:
            self.types.discard(("collections.abc", "Iterator"))
            self.need("EventStream", source)
            returns = returns.replace("Iterator[", "EventStream[")
        head = f"{'' if stream else 'async '}def {name}({self.parameters(source, member)})"
        head += f" -> {returns}:"
        if overload:
            self.need("overload", source)
            return f"@overload\n{head} ..."
        doc = f'"""{summary(member)}"""'
        body = SPECIAL.get((owner, name)) or self.call(source, owner, member, returns)
        return f"{head}\n    {doc}\n{indented(body)}\n"

    def parameters(self, source: Source, member: ast.FunctionDef) -> str:
        """Return a method's parameters as they are written."""
        for one in ast.walk(member.args):
            if isinstance(one, ast.arg) and one.annotation is not None:
                self.annotation(one.annotation, source)
        return ast.unparse(member.args)

    def call(self, source: Source, owner: str, member: ast.FunctionDef, returns: str) -> str:
        """Return the body that calls the blocking method in a thread."""
        arguments = [
            self.argument(source, one, "") for one in member.args.args if one.arg != "self"
        ]
        words = [one for one in member.args.kwonlyargs if one.arg != "progress"]
        arguments += [self.argument(source, one, f"{one.arg}=") for one in words]
        if member.args.kwarg is not None:
            arguments.append(f"**{member.args.kwarg.arg}")
        method = f"self.sync.{member.name}"
        discard = DISCARD.get((owner, member.name))
        if discard is not None and discard.startswith("os."):
            self.runtime.add(("", "os"))
        late = f", discard={discard}" if discard else ""
        if any(one.arg == "progress" for one in member.args.kwonlyargs):
            arguments.append("progress=control")
            called = (
                f"self._crew.job(lambda control: {method}({', '.join(arguments)}), progress{late})"
            )
        elif discard:
            called = f"self._crew.run(lambda: {method}({', '.join(arguments)}){late})"
        else:
            called = f"self._run({', '.join([method, *arguments])})"
        if returns == "None":
            return f"await {called}"
        special = WRAPPED.get((owner, member.name))
        if special is not None:
            return f"made = await {called}\nreturn {special}"
        assert member.returns is not None
        return self.wrapped(source, member.returns, f"await {called}")

    def argument(self, source: Source, one: ast.arg, before: str) -> str:
        """Return an argument of the call; a handle becomes the blocking one in it."""
        names = {
            node.id
            for node in ast.walk(one.annotation or ast.Constant(None))
            if isinstance(node, ast.Name)
        }
        if names & set(FACES):
            self.need("inner", source)
            return f"{before}inner({one.arg})"
        return f"{before}{one.arg}"

    def wrapped(self, source: Source, returns: ast.expr, made: str) -> str:
        """Return the statements that make a result's handles asynchronous ones."""
        if isinstance(returns, ast.Name) and returns.id in FACES:
            self.need(returns.id, source, runtime=True)
            return f"return {returns.id}(self._host, {made})"
        if isinstance(returns, ast.Name) and returns.id == "_H":
            return f"return self._wrap({made})"
        if isinstance(returns, ast.Subscript):
            item = ast.unparse(returns.slice)
            if item in FACES:
                self.need(item, source, runtime=True)
                return f"return [{item}(self._host, one) for one in {made}]"
        return f"return {made}"


def targets(statement: ast.AST) -> list[ast.expr]:
    """Return what a statement assigns to."""
    if isinstance(statement, ast.Assign):
        return statement.targets
    return [statement.target] if isinstance(statement, ast.AnnAssign) else []


def item_of(node: ast.ClassDef) -> bool:
    """Say whether a class is a collection of handles."""
    return any("Mapping[" in ast.unparse(base) for base in node.bases)


def summary(member: ast.FunctionDef) -> str:
    """Return the first line of a docstring."""
    return (ast.get_docstring(member) or "").partition("\n")[0]


def described(node: ast.ClassDef, attribute: str) -> str:
    """Return what a class's docstring says of an attribute, as a sentence."""
    lines = (ast.get_docstring(node) or "").splitlines()
    for line in lines:
        name, _, words = line.strip().partition(": ")
        if name == attribute and words:
            return words[0].upper() + words[1:].rstrip(".") + "."
    raise KeyError(f"the docstring of {node.name} does not say what {attribute} is")


def indented(text: str) -> str:
    """Return text one level deeper."""
    return (
        "\n".join(f"    {line}" if line else line for line in text.strip("\n").splitlines()) + "\n"
    )


def imports(names: set[tuple[str, str]]) -> str:
    """Return import statements, in the order in which ruff wants them."""
    by_module: dict[str, list[str]] = {}
    for module, name in names:
        by_module.setdefault(module, []).append(name)
    plain = [f"import {name}\n" for name in sorted(by_module.pop("", []))]
    groups: dict[bool, list[str]] = {False: [], True: []}
    for module in sorted(by_module):
        ours = module.startswith("polyvisor")
        listed = sorted(by_module[module], key=lambda name: (not name.isupper(), name))
        together = [name for name in listed if " as " not in name]
        lines = [name for name in listed if " as " in name]
        lines += [", ".join(together)] if together else []
        groups[ours] += [f"from {module} import {names}\n" for names in sorted(lines)]
    return "\n".join("".join(group) for group in (plain + groups[False], groups[True]) if group)


def written() -> dict[Path, str]:
    """Return what each module has to be."""
    return {AIO / f"{name}.py": Room(name).text() for name in ROOMS} | functions(AIO)


def stale() -> list[str]:
    """Return the names of the modules that are not what they have to be."""
    found = []
    for path, text in written().items():
        there = path.read_text(encoding="utf-8") if path.exists() else ""
        # How lines are broken is the formatter's.
        if ast.dump(ast.parse(there)) != ast.dump(ast.parse(text)):
            found.append(path.name)
    return found


def main() -> int:
    """Compare or update; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--update", action="store_true", help="write the modules anew")
    if parser.parse_args().update:
        for path, text in written().items():
            path.write_text(text, encoding="utf-8")
        subprocess.run([sys.executable, "-m", "ruff", "format", "-q", AIO], check=True)
        return 0
    if wrong := stale():
        words = f"{', '.join(wrong)} differ from the blocking ones; run 'tox -e api -- --update'"
        sys.stdout.write(f"polyvisor.aio: {words} and commit what it writes.\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
