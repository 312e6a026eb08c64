"""What a driver declares of its settings, the configuration is held against."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

import polyvisor
from polyvisor._entrypoints import EntryPoint
from polyvisor.errors import ConfigError, PluginError
from polyvisor.plugins import Registry


@pytest.fixture
def configured(tmp_path: Path):
    """Return a function that opens the simulator with the text of a configuration."""

    def opened(text: str, uri: str | None = None) -> polyvisor.Connection:
        file = tmp_path / "polyvisor.toml"
        file.write_text(f'root = "root"\n{text}')
        return polyvisor.open(uri, config=file)

    return opened


THIRD = """
    from polyvisor import hookimpl
    from polyvisor.driver import Driver, DriverInfo

    polyvisor_api = 1

    @hookimpl
    def polyvisor_drivers():
        return [DriverInfo("third", ("third",), "A test", "thirdvisor:Third",
                           settings={settings!r})]

    class Third(Driver):
        domains = None

        @classmethod
        def open(cls, uri, context):
            driver = cls()
            driver.uri, driver.settings = str(uri), dict(context.settings)
            return driver

        def close(self): ...
        def host(self): ...
        def support(self): ...
"""


@pytest.fixture
def third(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that makes a plugin the only one; it says where its settings are."""

    def made(settings: str | None) -> None:
        (tmp_path / "thirdvisor.py").write_text(textwrap.dedent(THIRD.format(settings=settings)))
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "thirdvisor", raising=False)
        registry = Registry(points=[EntryPoint("third", "thirdvisor", "", "")])
        monkeypatch.setattr("polyvisor.connection.registry", lambda config=None: registry)

    yield made
    sys.modules.pop("thirdvisor", None)


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        (
            "[plugins.sim]\nlock_timeuot = 5\n",
            3,
            "plugins.sim.lock_timeuot",
            "there is no such key; did you mean 'lock_timeout'? "
            "('polyvisor plugins --settings sim' lists those there are)",
        ),
        (
            "[plugins.sim]\nlock_timeout = true\n",
            3,
            "plugins.sim.lock_timeout",
            "True is not a number",
        ),
        (
            'default = "a"\n[connections.a]\nuri = "sim:///a"\n[connections.a.settings]\nzzz = 1\n',
            6,
            "connections.a.settings.zzz",
            "there is no such key ('polyvisor plugins --settings sim' lists those there are)",
        ),
    ],
)
def test_errors_name_file_line_key_and_the_nearest(
    configured, tmp_path, text: str, line: int, key: str, words: str
) -> None:
    """Wherever the wrong key or value stands."""
    with pytest.raises(ConfigError) as caught:
        configured(text)
    file = str(tmp_path / "polyvisor.toml")
    assert caught.value.message == f"{file}:{line}: {key}: {words}"
    assert (caught.value.file, caught.value.line, caught.value.key) == (file, line, key)


def test_what_is_right_reaches_the_driver(configured) -> None:
    """Whole numbers pass where numbers do; other plugins' tables are not looked at."""
    with configured("[plugins.sim]\nlock_timeout = 5\n[plugins.qemu]\nfoo = 1\n") as connection:
        assert connection.uri.startswith("sim:")


def test_a_driver_that_declares_none_takes_any(configured, third) -> None:
    """Nothing is held against it; it is opened."""
    third(None)
    with configured("[plugins.third]\nanything = 1\n", "third:///") as connection:
        assert connection.driver.settings == {"anything": 1}


def test_a_declaration_that_is_broken_is_told_of_its_plugin(configured, third) -> None:
    """Only once something is set, since it is not imported before."""
    third("os:sep")
    with configured("", "third:///") as connection:
        assert connection.driver.settings == {}
    with pytest.raises(PluginError, match=r"'third': os:sep is not a tuple of .*Setting"):
        configured("[plugins.third]\nanything = 1\n", "third:///")
