"""Guests that leave this process inside the connection, to a host behind polyvisord."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

import polyvisor
from polyvisor.config import Config
from polyvisor.errors import MigrationError, Unsupported
from polyvisor.states import DomainState
from polyvisor_remote.server.listening import UnixListener
from polyvisor_remote.server.opening import opener
from polyvisor_remote.server.server import Server

if TYPE_CHECKING:
    from polyvisor.domain import Domain

GUEST = """<domain type='xen'><name>t</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='xenpv'>xen</type><kernel>/bin/sh</kernel></os></domain>"""


@pytest.fixture
def daemon(standin, tmp_path: Path) -> Iterator[str]:
    """Run polyvisord in this process; hold its socket."""
    server = Server(opener(Config(root=str(tmp_path / "served"))))
    server.start()
    path = str(tmp_path / "sock")
    server.listen(UnixListener.bind(path))
    yield path
    server.stop(1)


@pytest.fixture
def there(daemon: str, tmp_path: Path) -> Iterator[polyvisor.Connection]:
    """Hold a host of the stand-in for libxl behind it."""
    where = f"root={quote(str(tmp_path / 'there'))}&socket={quote(daemon)}"
    with polyvisor.open(f"standin+unix:///system?{where}") as connection:
        yield connection


@pytest.fixture
def domain(daemon: str, tmp_path: Path) -> Iterator[Domain]:
    """Hold a guest that runs on a host of this process."""
    with polyvisor.open(f"standin:///system?root={tmp_path}/here") as connection:
        yield connection.domains.create(GUEST)


def test_a_guest_leaves_inside_the_connection(domain, there) -> None:
    """It runs over there and nowhere else."""
    moved = domain.migrate(there, tunnelled=True)
    assert moved.connection is there
    assert moved.state is DomainState.RUNNING
    assert not list(domain.connection.domains)
    back = moved.connection.domains["t"]
    back.destroy()


def test_the_source_drives(domain, there) -> None:
    """So it does if the source opens the destination itself."""
    moved = domain.migrate(there.uri, tunnelled=True, peer_to_peer=True)
    assert moved.state is DomainState.RUNNING
    moved.destroy()
    moved.connection.close()


@pytest.mark.parametrize(
    ("host", "fault"),
    [
        ("here", "libxl_domain_suspend -8"),
        ("here", "stream -3"),
        ("there", "libxl_domain_create_restore -3"),
    ],
)
def test_what_breaks_off_is_undone(domain, there, tmp_path: Path, host: str, fault: str) -> None:
    """Whichever side fails, it runs on here, alone, and can be moved later."""
    faults = tmp_path / f"{host}.xen" / "faults"
    faults.write_text(f"{fault}\n")
    with pytest.raises(polyvisor.PolyvisorError):
        domain.migrate(there, tunnelled=True)
    assert domain.state is DomainState.RUNNING
    assert not list(there.domains)
    faults.write_text("")
    assert domain.migrate(there, tunnelled=True).state is DomainState.RUNNING


def test_a_source_that_nobody_connects(domain, there, tmp_path: Path) -> None:
    """A tunnel through which nothing comes is given up with the migration."""

    def never(*words: object, **options: object) -> None:
        raise MigrationError(
            "no", phase="perform", side="source", owner="source", domain="t", operation="migrate"
        )

    part = domain.connection.driver.migration
    part.perform = never
    try:
        with pytest.raises(MigrationError, match="no"):
            domain.migrate(there, tunnelled=True)
    finally:
        del part.perform
    assert domain.state is DomainState.RUNNING
    assert not list(there.domains)


def test_between_servers_it_is_theirs(there, daemon: str, tmp_path: Path) -> None:
    """A guest behind a server leaves through a tunnel only if the server drives."""
    domain = there.domains.create(GUEST)
    where = f"root={quote(str(tmp_path / 'third'))}&socket={quote(daemon)}"
    with polyvisor.open(f"standin+unix:///system?{where}") as third:
        with pytest.raises(Unsupported, match="peer to peer"):
            domain.migrate(third, tunnelled=True)
        assert domain.state is DomainState.RUNNING
        moved = domain.migrate(third, tunnelled=True, peer_to_peer=True)
        assert moved.state is DomainState.RUNNING
        moved.destroy()
