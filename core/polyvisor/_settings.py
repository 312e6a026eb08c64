"""Holds what the configuration says to a driver against what the driver declares."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, get_args

from polyvisor._loading import load_object
from polyvisor.errors import ConfigError, PluginError

if TYPE_CHECKING:
    from polyvisor.config import Config, ConnectionConfig
    from polyvisor.driver import DriverInfo, Setting

__all__ = ["check", "declared", "words"]

# Each type of TOML: what passes for it, and what it is called.
_TYPES: dict[type, tuple[tuple[type, ...], str]] = {
    str: ((str, os.PathLike), "text"),
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    list: ((Sequence,), "a list"),
    dict: ((Mapping,), "a table"),
}


def declared(info: DriverInfo, plugin: str) -> tuple[Setting, ...] | None:
    """Return the settings that a driver declares, ``None`` if it declares none.

    Raises:
        PluginError: they cannot be imported, or are no settings.
    """
    from polyvisor.driver import Setting

    if info.settings is None:
        return None
    found = load_object(info.settings, plugin)
    if not isinstance(found, tuple) or not all(isinstance(one, Setting) for one in found):
        raise PluginError(
            f"plugin {plugin!r}: {info.settings} is not a tuple of polyvisor.driver.Setting",
            plugin=plugin,
        )
    return found


def words(setting: Setting) -> str:
    """Return what the value of a setting is, in words."""
    return " or ".join(_TYPES[one][1] for one in _types(setting))


def check(config: Config, chosen: ConnectionConfig, info: DriverInfo, plugin: str) -> None:
    """Check the settings for a driver that is being opened, the plugin's and the connection's.

    Raises:
        ConfigError: the driver declares its settings, and a key is none of them or its value
            is of another type; names file, line, key and the nearest known key.
        PluginError: see :func:`declared`.
    """
    settings = declared(info, plugin)
    if settings is None:
        return
    known = {one.name: one for one in settings}
    own = f"connections.{chosen.name}.settings" if chosen.name is not None else "settings"
    for table, values in (
        (f"plugins.{info.name}", config.plugins.settings.get(info.name, {})),
        (own, chosen.settings),
    ):
        for name, value in values.items():
            key = f"{table}.{name}"
            setting = known.get(name)
            if setting is None:
                _fail(config, key, f"there is no such key{_known(name, known, info.name)}")
            if not any(_fits(value, one) for one in _types(setting)):
                _fail(config, key, f"{value!r} is not {words(setting)}")


def _types(setting: Setting) -> tuple[Any, ...]:
    return get_args(setting.type) or (setting.type,)


def _fits(value: Any, wanted: type) -> bool:
    if isinstance(value, bool):
        return wanted is bool
    if isinstance(value, str):
        return wanted is str
    return isinstance(value, _TYPES[wanted][0])


def _known(name: str, known: Mapping[str, Any], driver: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{hint} ('polyvisor plugins --settings {driver}' lists those there are)"


def _fail(config: Config, key: str, fault: str) -> NoReturn:
    place = config.origins.get(key) or config.file or "configuration"
    line = place.rpartition(":")[2]
    raise ConfigError(
        f"{place}: {key}: {fault}",
        file=config.file,
        line=int(line) if line.isdecimal() else None,
        key=key,
    )
