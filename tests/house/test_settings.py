"""What drivers declare of their settings is what they read, and what the reference shows."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import attrs
import pytest

from polyvisor.local._keeper import LOCK_TIMEOUT
from polyvisor_libxl.migration import PORTS as LIBXL_PORTS
from polyvisor_qemu.hypervisor import ANSWER
from polyvisor_qemu.listening import PORTS as QEMU_PORTS
from polyvisor_remote.server.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "settings.md"
# Keys as the drivers ask for them: of a mapping called settings, or through the host.
READ = re.compile(r'(?:settings(?: or \{\})?\)?\.get\(|settings\[|\.setting\()\s*f?"([\w{}]+)"')


def setting_facts() -> ModuleType:
    """Import the module that writes the tables."""
    path = Path(__file__).with_name("setting_facts.py")
    spec = importlib.util.spec_from_file_location("setting_facts", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FACTS = setting_facts()
DECLARED = FACTS.settings()


def defaults(driver: str) -> dict[str, object]:
    """Return the default of each setting of a driver."""
    return {one.name: one.default for one in DECLARED[driver]}


def test_the_reference_shows_what_is_declared() -> None:
    """docs/reference/settings.md has a table for each of our drivers, as it is declared."""
    page = PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"<!-- settings: (\w+) -->", page)) == set(DECLARED)
    assert page == FACTS.filled_in(page), "run python tests/house/setting_facts.py --update"


@pytest.mark.parametrize(
    ("driver", "folder"), [("qemu", "qemu"), ("libxl", "libxl"), ("test", "sim")]
)
def test_a_driver_declares_what_it_reads_and_no_more(driver: str, folder: str) -> None:
    """Each key that the plugin's source asks for is declared, and the other way round."""
    read: set[str] = set()
    for path in (ROOT / "plugins" / f"polyvisor_{folder}").rglob("*.py"):
        read |= set(READ.findall(path.read_text(encoding="utf-8")))
    if driver == "qemu":
        read.remove("{kind}_tls_x509_secret_uuid")
        read |= {f"{kind}_tls_x509_secret_uuid" for kind in ("vnc", "chardev", "nbd")}
    if driver == "test":
        read |= {"user", "password"}
    assert defaults(driver).keys() == read | {"lock_timeout"}


def test_remote_declares_what_the_client_and_the_daemon_read() -> None:
    """The client's four, and each of the daemon's with the default that it has there."""
    own = Settings().plain()
    daemon = {field.name: own.get(field.name) for field in attrs.fields(Settings)}
    client = {"user": None, "password": None, "open_timeout": None}
    assert defaults("remote") == client | daemon


def test_defaults_are_those_in_force() -> None:
    """What the tables say of defaults that the drivers have as constants."""
    assert defaults("sim") == {"lock_timeout": LOCK_TIMEOUT}
    assert defaults("qemu")["answer_timeout"] == ANSWER
    assert defaults("qemu")["migration_ports"] == list(QEMU_PORTS)
    assert defaults("libxl")["migration_ports"] == [LIBXL_PORTS[0], LIBXL_PORTS[1] - 1]
