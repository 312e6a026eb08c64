"""The configuration: which connections there are, which plugins load, and with what settings.

The first of these files that exists is the configuration; they are not merged, so that
what is in force stands in one place:

1. the file that ``$POLYVISOR_CONFIG`` names,
2. ``polyvisor.toml`` in the working directory,
3. ``polyvisor/polyvisor.toml`` in ``$XDG_CONFIG_HOME`` (``~/.config``),
4. ``/etc/polyvisor/polyvisor.toml``.

Environment variables count more than the file:

``POLYVISOR_DEFAULT``
    the default target: a connection's name or a URI.
``POLYVISOR_PLUGINS``
    comma-separated names; ``-name`` switches a plugin off, and if any name stands without
    the minus, only those load.
``POLYVISOR_ROOT``
    a folder under which the drivers keep all their files.
``POLYVISOR_SCHEMAS``
    the folder of libvirt's RELAX NG schemas.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor._values import frozen_mapping
from polyvisor.errors import ConfigError

if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["EMBEDDED", "Config", "ConnectionConfig", "PluginsConfig", "load", "search_path"]

#: What is opened when nothing is configured.
EMBEDDED = "sim:///default"

_FILE = "polyvisor.toml"


@attrs.frozen
class ConnectionConfig:
    """A connection of the configuration, or one made of a bare URI.

    Attributes:
        name: its name, ``None`` for a bare URI.
        uri: its URI.
        root: folder under which its driver keeps all files, or ``None``.
        settings: settings for its driver that count more than the plugin's own.
    """

    name: str | None
    uri: str
    root: str | None = None
    settings: Mapping[str, Any] = attrs.field(factory=dict, converter=frozen_mapping)


@attrs.frozen
class PluginsConfig:
    """Which plugins load, and their settings.

    Attributes:
        enable: the only names to load, or ``None`` for all.
        disable: names that do not load.
        settings: settings by plugin name.
    """

    enable: tuple[str, ...] | None = None
    disable: tuple[str, ...] = ()
    settings: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict, converter=frozen_mapping)


@attrs.frozen
class Config:
    """What is configured.

    Attributes:
        default: the default target (name or URI).
        connections: connections by name.
        plugins: see :class:`PluginsConfig`.
        root: folder under which all drivers keep all files, or ``None``.
        schemas: folder of libvirt's RELAX NG schemas, or ``None`` for where libvirt has them.
        file: the file that was read, or ``None``.
        origins: where each value comes from, by dotted key: ``"FILE:LINE"``,
            ``"$VARIABLE"`` or ``"built in"``.
    """

    default: str = EMBEDDED
    connections: Mapping[str, ConnectionConfig] = attrs.field(
        factory=dict, converter=frozen_mapping
    )
    plugins: PluginsConfig = PluginsConfig()
    root: str | None = None
    schemas: str | None = None
    file: str | None = None
    origins: Mapping[str, str] = attrs.field(factory=dict, converter=frozen_mapping)

    def resolve(self, target: str | None) -> ConnectionConfig:
        """Return the connection that a target names.

        Args:
            target: a connection's name, a URI, or ``None`` for the default.

        Raises:
            ConfigError: it is neither; names the nearest connection.
        """
        wanted = self.default if target is None else target
        found = self.connections.get(wanted)
        if found is None:
            if ":" not in wanted:
                raise ConfigError(
                    f"no connection is called {wanted!r}{_hint(wanted, self.connections)}; "
                    f"give a URI such as qemu:///session, or add [connections.{wanted}] to "
                    f"{self.file or _FILE}",
                    file=self.file,
                    key=f"connections.{wanted}",
                )
            found = ConnectionConfig(None, wanted)
        if found.root is None and self.root is not None:
            found = attrs.evolve(found, root=self.root)
        return found


def search_path(environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the paths that are looked at in turn when no file is given."""
    environment = os.environ if environ is None else environ
    home = environment.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return [_FILE, f"{home}/polyvisor/{_FILE}", f"/etc/polyvisor/{_FILE}"]


def load(
    path: str | os.PathLike[str] | None = None, environ: Mapping[str, str] | None = None
) -> Config:
    """Read the configuration in force.

    Args:
        path: a file to read instead of the first one found.
        environ: environment variables instead of the process's own.

    Raises:
        ConfigError: it cannot be read or is wrong; names file, line, key and the nearest
            valid key.
    """
    environment = os.environ if environ is None else environ
    named = os.fspath(path) if path is not None else environment.get("POLYVISOR_CONFIG")
    if named:
        config = _read(named)
    else:
        found = next((one for one in search_path(environment) if os.path.isfile(one)), None)
        config = Config(origins={"default": "built in"}) if found is None else _read(found)
    return _apply_environment(config, environment)


def _apply_environment(config: Config, environ: Mapping[str, str]) -> Config:
    origins = dict(config.origins)
    if default := environ.get("POLYVISOR_DEFAULT"):
        config = attrs.evolve(config, default=default)
        origins["default"] = "$POLYVISOR_DEFAULT"
    if root := environ.get("POLYVISOR_ROOT"):
        config = attrs.evolve(config, root=os.path.abspath(root))
        origins["root"] = "$POLYVISOR_ROOT"
    if schemas := environ.get("POLYVISOR_SCHEMAS"):
        config = attrs.evolve(config, schemas=os.path.abspath(schemas))
        origins["schemas"] = "$POLYVISOR_SCHEMAS"
    if words := environ.get("POLYVISOR_PLUGINS"):
        names = [word.strip() for word in words.split(",") if word.strip()]
        off = tuple(name[1:] for name in names if name.startswith("-"))
        only = tuple(name for name in names if not name.startswith("-")) or None
        plugins = attrs.evolve(config.plugins, enable=only, disable=off)
        config = attrs.evolve(config, plugins=plugins)
        origins["plugins.enable"] = origins["plugins.disable"] = "$POLYVISOR_PLUGINS"
    return attrs.evolve(config, origins=origins)


# --- reading a file ---------------------------------------------------------------------------


def _read(path: str) -> Config:
    import tomllib

    shown = os.path.abspath(path)
    try:
        with open(path, "rb") as file:
            text = file.read().decode()
        return _File(shown, text).config(tomllib.loads(text))
    except OSError as error:
        raise ConfigError(
            f"cannot read the configuration {shown}: {error.strerror}", file=shown
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{shown}: not UTF-8 text: {error}", file=shown) from error
    except tomllib.TOMLDecodeError as error:
        import re

        place = re.search(r"at line (\d+)", str(error))
        line = int(place[1]) if place else text.count("\n") + 1
        raise ConfigError(
            f"{shown}:{line}: not valid TOML: {error}", file=shown, line=line
        ) from error


class _File:
    """Turns one parsed file into a :class:`Config`, knowing where each key stands."""

    def __init__(self, path: str, text: str) -> None:
        self._path = path
        self._lines: dict[str, int] = {}
        for key, line in _key_lines(text):
            self._lines[key] = line
            # A table that no header names begins with the first that is below it.
            while key := key.rpartition(".")[0]:
                self._lines.setdefault(key, line)
        self._origins: dict[str, str] = {}

    def config(self, data: dict[str, Any]) -> Config:
        self._check_keys(data, ("default", "root", "schemas", "connections", "plugins"), "")
        connections = {
            name: self._connection(name, table)
            for name, table in self._table(data, "connections", "connections").items()
        }
        default = EMBEDDED
        self._origins["default"] = "built in"
        if "default" in data:
            default = self._text(data, "default", "default")
            if ":" not in default and default not in connections:
                self._fail(
                    "default",
                    f"no connection is called {default!r}{_hint(default, connections)}; add "
                    f"[connections.{default}] or name a URI",
                )
        return Config(
            default=default,
            connections=connections,
            plugins=self._plugins(self._table(data, "plugins", "plugins")),
            root=self._path_of(data, "root", "root"),
            schemas=self._path_of(data, "schemas", "schemas"),
            file=self._path,
            origins=self._origins,
        )

    def _connection(self, name: str, table: Any) -> ConnectionConfig:
        key = f"connections.{name}"
        if not isinstance(table, dict):
            self._fail(key, f"is {_kind(table)}, not a table; write [{key}] and uri = …")
        if ":" in name:
            self._fail(key, "a connection's name cannot hold a colon: it would look like a URI")
        self._check_keys(table, ("uri", "root", "settings"), key)
        if "uri" not in table:
            self._fail(key, 'has no uri; add one such as uri = "qemu:///session"')
        uri = self._text(table, "uri", f"{key}.uri")
        if ":" not in uri:
            self._fail(f"{key}.uri", f"{uri!r} is not a URI; write it like qemu:///session")
        return ConnectionConfig(
            name,
            uri,
            self._path_of(table, "root", f"{key}.root"),
            self._table(table, "settings", f"{key}.settings"),
        )

    def _plugins(self, table: dict[str, Any]) -> PluginsConfig:
        settings = {}
        for name in table:
            if name in ("enable", "disable"):
                continue
            key = f"plugins.{name}"
            settings[name] = self._table(table, name, key, hint=("enable", "disable"))
        return PluginsConfig(
            self._names(table, "enable"), self._names(table, "disable") or (), settings
        )

    def _names(self, table: dict[str, Any], name: str) -> tuple[str, ...] | None:
        key = f"plugins.{name}"
        if name not in table:
            return None
        value = table[name]
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            self._fail(key, f"is {_kind(value)}, not a list of plugin names")
        self._note(key)
        return tuple(value)

    def _text(self, table: dict[str, Any], name: str, key: str) -> str:
        value = table[name]
        if not isinstance(value, str) or not value:
            self._fail(key, f"is {_kind(value)}, not a non-empty text")
        self._note(key)
        return str(value)

    def _path_of(self, table: dict[str, Any], name: str, key: str) -> str | None:
        if name not in table:
            return None
        value = os.path.expanduser(self._text(table, name, key))
        return os.path.normpath(os.path.join(os.path.dirname(self._path), value))

    def _table(
        self, table: dict[str, Any], name: str, key: str, hint: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        value = table.get(name, {})
        if not isinstance(value, dict):
            self._fail(key, f"is {_kind(value)}, not a table{_hint(name, hint)}")
        for inner in value:
            self._note(f"{key}.{inner}")
        return value

    def _check_keys(self, table: dict[str, Any], known: tuple[str, ...], key: str) -> None:
        for name in table:
            if name not in known:
                full = f"{key}.{name}" if key else name
                self._fail(
                    full,
                    f"there is no such key{_hint(name, known)} (known: {', '.join(known)})",
                )

    def _note(self, key: str) -> None:
        line = self._lines.get(key)
        self._origins[key] = f"{self._path}:{line}" if line else self._path

    def _fail(self, key: str, fault: str) -> NoReturn:
        line = self._lines.get(key)
        place = f"{self._path}:{line}" if line else self._path
        raise ConfigError(f"{place}: {key}: {fault}", file=self._path, line=line, key=key)


def _kind(value: object) -> str:
    names = {str: "text", bool: "true or false", int: "a number", list: "a list", dict: "a table"}
    return "empty text" if value == "" else names.get(type(value), type(value).__name__)


def _hint(word: str, known: Any) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _key_lines(text: str) -> Iterator[tuple[str, int]]:
    """Yield each dotted key with its 1-based line.

    The standard library's parser does not tell where a key stands. The text has passed it
    already, so that headers and keys can be told by their form; a line inside a multi-line
    string that looks like a key at worst gives a message the wrong line.
    """
    import re

    part = r"(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')"
    dotted = rf"{part}(?:\s*\.\s*{part})*"
    header = re.compile(rf"\s*\[\[?\s*({dotted})\s*\]")
    assignment = re.compile(rf"\s*({dotted})\s*=")
    prefix = ""
    for number, line in enumerate(text.splitlines(), 1):
        if found := header.match(line):
            prefix = _plain_key(found[1], part)
            yield prefix, number
        elif found := assignment.match(line):
            key = _plain_key(found[1], part)
            yield (f"{prefix}.{key}" if prefix else key), number


def _plain_key(text: str, part: str) -> str:
    import re

    return ".".join(word.strip("\"'") for word in re.findall(part, text))
