"""Commands about polyvisor itself: plugins, configuration, completion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.cli._declare import argument, choice, echo, option
from polyvisor.cli._session import command, session

if TYPE_CHECKING:
    from polyvisor.config import Config
    from polyvisor.plugins import PluginStatus, Registry

__all__: list[str] = []


@command("plugins")
@argument("action", required=False)
@argument("name", required=False)
@option(
    "--check",
    metavar="NAME",
    help="Import the plugin, ask its probe and run the quick part of the conformance suite.",
)
@option(
    "--settings", metavar="NAME", help="Print what [plugins.NAME] of the configuration can say."
)
def plugins_command(
    action: str | None, name: str | None, check: str | None, settings: str | None
) -> None:
    """List plugins: version, schemes, whether each works here, and what to install if not.

    With "build NAME", compile for this host what a plugin would compile on first use.
    """
    match (action, name, check, settings):
        case (None, None, None, None):
            _list_plugins()
        case ("build", str(wanted), None, None):
            _build(wanted)
        case (None, None, str(wanted), None):
            _check(wanted)
        case (None, None, None, str(wanted)):
            _settings(wanted)
        case _:
            from click import UsageError

            raise UsageError(
                "say 'polyvisor plugins build NAME', 'polyvisor plugins --check NAME' or "
                "'polyvisor plugins --settings NAME'"
            )


def _check(name: str) -> None:
    from polyvisor.cli._check import check
    from polyvisor.connection import registry

    stages = []
    words = {True: "ok", False: "FAILED", None: "not done"}
    for stage in check(registry(), name):
        stages.append(stage)
        if not session().json:
            echo(f"{stage.name:8}{words[stage.ok]:10}{stage.seconds:6.2f} s  {stage.text}")
    if any(stage.ok is False for stage in stages):
        session().exit_code = 1
    data = [
        {"stage": one.name, "ok": one.ok, "text": one.text, "seconds": round(one.seconds, 3)}
        for one in stages
    ]
    if session().json:
        session().facts(data, lambda: None)


def _settings(name: str) -> None:
    from difflib import get_close_matches

    from polyvisor._settings import declared, words
    from polyvisor.connection import registry
    from polyvisor.errors import NotFound

    known = {
        info.name: (info, status.name)
        for status in registry().statuses.values()
        for info in status.drivers
    }
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise NotFound(
            f"no driver is called {name!r}{hint} (known: {', '.join(sorted(known))})", key=name
        )
    found = declared(*known[name])
    data = [
        {"name": one.name, "type": words(one), "default": one.default, "help": one.help}
        for one in found or ()
    ]

    def plain() -> None:
        if found is None:
            echo(f"The driver {name!r} does not declare its settings; any key is handed to it.")
            return
        rows = [[one["name"], one["type"], _toml(one["default"]), one["help"]] for one in data]
        session().table(["Setting", "Is", "Default", "What it does"], rows)

    session().facts(data, plain)


def _toml(value: Any) -> str:
    """Return a value as TOML has it; nothing for ``None``."""
    import json

    return "" if value is None else json.dumps(value)


def _build(name: str) -> None:
    from polyvisor.connection import registry
    from polyvisor.errors import NotFound
    from polyvisor.plugins import load_object

    for status in registry().statuses.values():
        for info in status.drivers:
            if name in (status.name, info.name) and info.build is not None:
                path = load_object(info.build, status.name)()
                session().done(f"built {path}", path=path)
                return
    raise NotFound(f"no plugin called {name!r} has anything to build", key=name)


def _list_plugins() -> None:
    from polyvisor.connection import registry

    found = registry()
    entries = [_plugin(found, status) for status in found.statuses.values()]
    if any(entry["state"] == "broken" for entry in entries):
        session().exit_code = 1

    def plain() -> None:
        rows = []
        for one in entries:
            usable = {True: "yes", False: "no", None: one["state"]}[one["usable"]]
            notes = "; ".join(filter(None, [*one["faults"], *one["notes"]]))
            rows.append([one["name"], one["version"], " ".join(one["schemes"]), usable, notes])
        session().table(["Name", "Version", "Schemes", "Usable", "Notes"], rows)

    session().facts(entries, plain)


def _plugin(found: Registry, status: PluginStatus) -> dict[str, Any]:
    notes: list[str] = []
    usable: bool | None = None
    for info in status.drivers:
        answer = found.probe(info, status.name)
        usable = answer.usable if usable is None else usable or answer.usable
        for text in (answer.reason, answer.remedy):
            if text and text not in notes:
                notes.append(text)
    unmet = [] if status.state == "disabled" else status.unmet("" if usable else "; ".join(notes))
    return {
        "name": status.name,
        "version": status.version,
        "distribution": status.distribution,
        "state": str(status.state),
        "schemes": [
            *(scheme for info in status.drivers for scheme in info.schemes),
            *(f"+{transport}" for info in status.drivers for transport in info.transports),
        ],
        "summary": "; ".join(info.summary for info in status.drivers),
        "formats": [info.name for info in status.formats],
        "native_formats": [info.name for info in status.native_formats],
        "usable": usable,
        "notes": notes,
        "faults": [*status.faults, *unmet],
    }


@command("config")
def config_command() -> None:
    """Print the configuration in force and where each value comes from."""
    from polyvisor.config import load, search_path

    config = load()
    values = _values(config)
    data = {
        "file": config.file,
        "searched": search_path(),
        "values": {
            key: {"value": value, "from": config.origins.get(key, "built in")}
            for key, value in values.items()
        },
    }

    def plain() -> None:
        echo(f"file: {config.file or 'none of ' + ', '.join(search_path())}")
        session().table(
            ["Key", "Value", "From"],
            [[key, value, config.origins.get(key, "built in")] for key, value in values.items()],
        )

    session().facts(data, plain)


def _values(config: Config) -> dict[str, Any]:
    values: dict[str, Any] = {"default": config.default}
    if config.root is not None:
        values["root"] = config.root
    for name, connection in config.connections.items():
        values[f"connections.{name}.uri"] = connection.uri
        if connection.root is not None and connection.root != config.root:
            values[f"connections.{name}.root"] = connection.root
        for key, value in connection.settings.items():
            values[f"connections.{name}.settings.{key}"] = value
    if config.plugins.enable is not None:
        values["plugins.enable"] = list(config.plugins.enable)
    if config.plugins.disable:
        values["plugins.disable"] = list(config.plugins.disable)
    for name, settings in config.plugins.settings.items():
        for key, value in settings.items():
            values[f"plugins.{name}.{key}"] = value
    return values


@command("completion")
@argument("shell", type=choice("bash", "zsh", "fish"))
def completion_command(shell: str) -> None:
    """Print a completion script for SHELL, to be sourced or put where the shell looks."""
    from click.shell_completion import get_completion_class

    from polyvisor.cli._click import polyvisor

    cls = get_completion_class(shell)
    assert cls is not None
    echo(cls(polyvisor, {}, "polyvisor", "_POLYVISOR_COMPLETE").source())
