"""The configuration: where it is looked for, what counts more, and what its errors say."""

from __future__ import annotations

import json

import pytest

from polyvisor import config
from polyvisor.cli import main
from polyvisor.errors import ConfigError

WHOLE = """\
default = "lab"
root = "state"

[connections.lab]
uri = "sim:///lab"
root = "lab"

[connections.lab.settings]
lock_timeout = 5

[plugins]
disable = ["qemu"]

[plugins.sim]
lock_timeout = 2
"""


def test_what_a_file_says(tmp_path) -> None:
    """Connections, default, settings and roots, relative to the file."""
    file = tmp_path / "polyvisor.toml"
    file.write_text(WHOLE)
    found = config.load(file, environ={})
    assert found.default == "lab"
    lab = found.resolve(None)
    assert (lab.name, lab.uri, lab.root) == ("lab", "sim:///lab", str(tmp_path / "lab"))
    assert lab.settings == {"lock_timeout": 5}
    assert found.plugins.disable == ("qemu",)
    assert found.plugins.settings == {"sim": {"lock_timeout": 2}}
    assert found.resolve("sim:///bare").name is None


def test_without_any_file() -> None:
    """The embedded simulator."""
    assert config.load(environ={}).resolve(None).uri == config.EMBEDDED


def test_the_first_file_is_the_configuration(tmp_path, monkeypatch) -> None:
    """Named by the environment, then in the working directory, then the user's."""
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "config"
    (home / "polyvisor").mkdir(parents=True)
    environ = {"XDG_CONFIG_HOME": str(home)}
    for place, environment in (
        (home / "polyvisor/polyvisor.toml", environ),
        (tmp_path / "polyvisor.toml", environ),
        (tmp_path / "named.toml", {**environ, "POLYVISOR_CONFIG": str(tmp_path / "named.toml")}),
    ):
        place.write_text(f'default = "sim:///{place.stem}-{place.parent.name[:6]}"\n')
        found = config.load(environ=environment)
        assert found.file is not None
        assert place.samefile(found.file)


def test_the_environment_counts_more(tmp_path) -> None:
    """Default, plugins and root."""
    file = tmp_path / "polyvisor.toml"
    file.write_text(WHOLE)
    found = config.load(
        file,
        environ={
            "POLYVISOR_DEFAULT": "sim:///x",
            "POLYVISOR_PLUGINS": "sim,-qemu",
            "POLYVISOR_ROOT": "/tmp/r",
        },
    )
    assert found.default == "sim:///x"
    assert found.plugins.enable == ("sim",)
    assert found.plugins.disable == ("qemu",)
    assert found.root == "/tmp/r"
    assert "POLYVISOR_DEFAULT" in found.origins["default"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('defualt = "a"', 1, ["defualt", "default"]),
        ('\n[connections.a]\nurl = "sim:///a"', 3, ["url", "uri"]),
        ("[connections.a]\nuri = 5", 2, ["uri"]),
        ("[connections.a]\n", 1, ["connections.a", "uri"]),
        ('[plugins]\ndisable = "qemu"', 2, ["disable"]),
        ("default = ", 1, []),
        ('[conections.a]\nuri = "sim:///a"', 1, ["conections", "connections"]),
    ],
)
def test_errors_name_file_line_key_and_the_nearest(tmp_path, text, line, words) -> None:
    """A wrong key or value, where it stands, and what would be right."""
    file = tmp_path / "polyvisor.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load(file, environ={})
    message = caught.value.message
    assert str(file) in message
    assert f":{line}" in message or f"line {line}" in message, message
    for word in words:
        assert word in message, message


def test_a_named_file_that_is_missing(tmp_path) -> None:
    """It is an error, not a reason to go on without."""
    with pytest.raises(ConfigError, match="missing"):
        config.load(environ={"POLYVISOR_CONFIG": str(tmp_path / "missing.toml")})


def test_the_command_says_what_is_in_force(tmp_path, monkeypatch, capsys) -> None:
    """``polyvisor config`` gives each value with its origin."""
    file = tmp_path / "polyvisor.toml"
    file.write_text(WHOLE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POLYVISOR_DEFAULT", "sim:///y")
    assert main(["config"]) == 0
    text = capsys.readouterr().out
    assert "sim:///y" in text
    assert "POLYVISOR_DEFAULT" in text
    assert "polyvisor.toml" in text
    assert main(["config", "--json"]) == 0
    assert "sim:///y" in json.dumps(json.loads(capsys.readouterr().out))
