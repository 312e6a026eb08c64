"""What the tests of the wire protocol and of polyvisord share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from polyvisor.config import Config
from polyvisor_remote.server.listening import TcpListener, UnixListener
from polyvisor_remote.server.opening import opener
from polyvisor_remote.server.server import Server

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "relays"))


@attrs.frozen
class Daemon:
    """A server in this process.

    Attributes:
        server: the server.
        path: its local socket.
        readonly: its read-only one.
        locked: one where clients must authenticate.
        tcp: its TCP address.
    """

    server: Server
    path: str
    readonly: str
    locked: str
    tcp: tuple[str, int]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """Serve every plugin on sockets in a temporary folder."""
    config = Config(root=str(tmp_path / "root"))
    server = Server(opener(config), keepalive=0.2, keepalive_count=3, login_time=1.0)
    server.start()
    paths = [str(tmp_path / name) for name in ("rw", "ro", "locked")]
    server.listen(UnixListener.bind(paths[0]))
    server.listen(UnixListener.bind(paths[1], mode=0o777, readonly=True))
    server.listen(UnixListener.bind(paths[2], authenticate=True))
    tcp = TcpListener.bind("127.0.0.1", 0)
    server.listen(tcp)
    yield Daemon(server, *paths, ("127.0.0.1", tcp.port))
    server.stop(1.0)
