"""Migration between two daemons, phase by phase as libvirt's client drives it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wire_client import WireClient

import polyvisor
from polyvisor.config import Config
from polyvisor.jobs import Job
from polyvisor_remote.server.listening import UnixListener
from polyvisor_remote.server.opening import opener
from polyvisor_remote.server.server import Server
from polyvisor_remote.wire import Kind, Status, frame, params

GUEST = """<domain type='sim'><name>m</name><memory unit='MiB'>4</memory><vcpu>1</vcpu>
<os><type>hvm</type></os></domain>"""
SIM = "sim:///default"
LIVE, PERSIST, UNDEFINE = 1, 8, 16
RUNNING, NO_DOMAIN, INVALID = 1, 42, 55


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[str]]:
    """Return the sockets of two daemons, each with a host of its own."""
    servers = []
    paths = []
    for name in ("a", "b"):
        server = Server(opener(Config(root=str(tmp_path / name))))
        server.start()
        paths.append(str(tmp_path / f"{name}.sock"))
        server.listen(UnixListener.bind(paths[-1]))
        servers.append(server)
    yield paths
    for server in servers:
        server.stop(1)


def begun(source: WireClient) -> tuple[Any, Any]:
    """Start the guest on the source and begin."""
    dom = source.call("domain_define_xml", GUEST).dom
    dom = source.call("domain_create_with_flags", dom, 0).dom
    return dom, source.call("domain_migrate_begin3_params", dom, [], LIVE | PERSIST | UNDEFINE)


def test_a_guest_moves_in_five_phases(hosts: list[str]) -> None:
    """It runs on the destination, defined there, and is gone from the source."""
    flags = LIVE | PERSIST | UNDEFINE
    with WireClient(hosts[0], SIM) as source, WireClient(hosts[1], SIM) as destination:
        assert source.call("connect_supports_feature", 13).supported == 1
        dom, first = begun(source)
        prepared = destination.call(
            "domain_migrate_prepare3_params",
            params({"destination_xml": first.xml, "destination_name": "m"}),
            first.cookie_out,
            flags,
        )
        sent = source.call(
            "domain_migrate_perform3_params",
            dom,
            None,
            params({"migrate_uri": prepared.uri_out}),
            prepared.cookie_out,
            flags,
        )
        finished = destination.call(
            "domain_migrate_finish3_params",
            params({"destination_name": "m"}),
            sent.cookie_out,
            flags,
            0,
        )
        source.call("domain_migrate_confirm3_params", dom, [], finished.cookie_out, flags, 0)
        assert finished.dom.uuid == dom.uuid
        assert destination.call("domain_get_state", finished.dom, 0).state == RUNNING
        assert destination.call("domain_is_persistent", finished.dom).persistent == 1
        assert source.refused("domain_get_state", dom, 0).code == NO_DOMAIN
        destination.call("domain_destroy", finished.dom)


def test_a_guest_does_not_move_to_where_it_is(hosts: list[str]) -> None:
    """The host that it comes from refuses it at once, and it runs on."""
    with WireClient(hosts[0], SIM) as source, WireClient(hosts[0], SIM) as destination:
        dom, first = begun(source)
        asked = time.monotonic()
        refused = destination.refused(
            "domain_migrate_prepare3_params",
            params({"destination_xml": first.xml, "destination_name": "m"}),
            first.cookie_out,
            LIVE | PERSIST | UNDEFINE,
        )
        # Not after the time that it waits for a domain which something else has.
        assert time.monotonic() - asked < 15
        assert "attempt to migrate guest to the same host" in (refused.message or "")
        source.call("domain_migrate_confirm3_params", dom, [], b"", LIVE, 1)
        assert source.call("domain_get_state", dom, 0).state == RUNNING
        source.call("domain_destroy", dom)


def test_a_guest_moves_without_parameters(hosts: list[str]) -> None:
    """As older clients drive it: it runs on the destination under another name."""
    flags = LIVE | PERSIST | UNDEFINE
    with WireClient(hosts[0], SIM) as source, WireClient(hosts[1], SIM) as destination:
        dom = source.call("domain_define_xml", GUEST).dom
        dom = source.call("domain_create_with_flags", dom, 0).dom
        first = source.call("domain_migrate_begin3", dom, None, flags, "n", 0)
        prepared = destination.call(
            "domain_migrate_prepare3", first.cookie_out, None, flags, "n", 0, first.xml
        )
        sent = source.call(
            "domain_migrate_perform3",
            *(dom, None, prepared.cookie_out, None, prepared.uri_out, flags, "n", 0),
        )
        finished = destination.call(
            "domain_migrate_finish3", "n", sent.cookie_out, None, prepared.uri_out, flags, 0
        )
        source.call("domain_migrate_confirm3", dom, finished.cookie_out, flags, 0)
        assert (finished.dom.name, finished.dom.uuid) == ("n", dom.uuid)
        assert destination.call("domain_get_state", finished.dom, 0).state == RUNNING
        assert source.refused("domain_get_state", dom, 0).code == NO_DOMAIN
        destination.call("domain_destroy", finished.dom)


def test_one_that_is_given_up_runs_on_at_home(hosts: list[str]) -> None:
    """Cancelled on both sides, or abandoned by its client: the source has it, running."""
    flags = LIVE | PERSIST | UNDEFINE
    with WireClient(hosts[0], SIM) as watch:
        with WireClient(hosts[0], SIM) as source, WireClient(hosts[1], SIM) as destination:
            dom, first = begun(source)
            destination.call(
                "domain_migrate_prepare3_params",
                params({"destination_xml": first.xml, "destination_name": "m"}),
                first.cookie_out,
                flags,
            )
            error = destination.refused(
                "domain_migrate_finish3_params", params({"destination_name": "m"}), b"", flags, 1
            )
            assert error.code == 9
            source.call("domain_migrate_confirm3_params", dom, [], b"", flags, 1)
            assert watch.call("domain_get_state", dom, 0).state == RUNNING
            again = source.call("domain_migrate_begin3_params", dom, [], flags)
            destination.call(
                "domain_migrate_prepare3_params",
                params({"destination_xml": again.xml, "destination_name": "m"}),
                again.cookie_out,
                flags,
            )
        deadline = time.monotonic() + 10
        with WireClient(hosts[1], SIM) as other:
            while other.call("connect_list_all_domains", 0, 0).ret:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert watch.call("domain_get_state", dom, 0).state == RUNNING
        watch.call("domain_destroy", dom)
        watch.call("domain_undefine", dom)


def test_phases_out_of_order_are_refused(hosts: list[str]) -> None:
    """Perform, confirm and finish need what comes before them, of the same client."""
    with WireClient(hosts[0], SIM) as source:
        dom = source.call("domain_define_xml", GUEST).dom
        perform = ("domain_migrate_perform3_params", dom, None, [], b"", LIVE)
        assert source.refused(*perform).code == INVALID
        assert source.refused("domain_migrate_confirm3_params", dom, [], b"", 1, 0).code == INVALID
        named = params({"destination_name": "m"})
        assert source.refused("domain_migrate_finish3_params", named, b"", 1, 0).code == INVALID
        assert source.refused("domain_migrate_prepare3_params", [], b"", 1).code == 8
        unknown = params({"persistent_xml": "<domain/>"})
        assert source.refused("domain_migrate_begin3_params", dom, unknown, 1).code == 84
        alone = params({"migrate_disks": "vda"})
        assert source.refused("domain_migrate_begin3_params", dom, alone, 1).code == 8
        assert source.refused("domain_migrate_begin3_params", dom, [], 1 << 30).code == 8


@pytest.mark.parametrize(
    ("flag", "option"),
    [
        (64, "copy_storage"),
        (2048, "compression"),
        (4096, "abort_on_error"),
        (8192, "auto_converge"),
        (32768, "post_copy"),
        (65536, "tls"),
        (131072, "parallel"),
    ],
)
def test_a_means_that_the_driver_lacks_is_refused(hosts: list[str], flag: int, option: str) -> None:
    """By its name, before anything is touched, on either side."""
    with WireClient(hosts[0], SIM) as source:
        dom = source.call("domain_define_xml", GUEST).dom
        dom = source.call("domain_create_with_flags", dom, 0).dom
        error = source.refused("domain_migrate_begin3_params", dom, [], LIVE | flag)
        assert f"migrate with {option}: " in error.message
        assert error.code == 3
        given = params({"destination_xml": GUEST})
        error = source.refused("domain_migrate_prepare3_params", given, b"", LIVE | flag)
        if option != "abort_on_error":
            assert f"migrate with {option}: " in error.message
        source.call("domain_destroy", dom)


XEN = """<domain type='xen'><name>t</name><uuid>6f0e1c1a-7d0c-4a6b-9f57-000000000077</uuid>
<memory unit='MiB'>16</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='xenpv'>xen</type><kernel>/bin/sh</kernel></os></domain>"""
PROGRAM, TUNNEL, TUNNELLED = 0x20008086, 304, 4


@pytest.mark.usefixtures("standin")
def test_a_tunnelled_guest_arrives_in_a_stream(tmp_path: Path) -> None:
    """Whatever a source writes may come inside the connection; cut short, nothing is left.

    The source is a driver over the stand-in for libxl, in this process; the destination one
    behind a daemon.
    """
    from polyvisor.driver import MigrationOptions

    server = Server(opener(Config(root=str(tmp_path / "there"))))
    server.start()
    path = str(tmp_path / "there.sock")
    server.listen(UnixListener.bind(path))
    flags = LIVE | TUNNELLED
    here = f"standin:///system?root={tmp_path}/here"
    try:
        with polyvisor.open(here) as home, WireClient(path, "standin:///system") as there:
            domain = home.domains.create(XEN)
            part = home.driver.migration
            for whole in (False, True):
                with Job("migration") as job:
                    begun = part.begin(domain.uuid, MigrationOptions(), job)
                    known = params({"destination_xml": begun.spec.to_xml()})
                    arguments = (known, begun.cookie, flags)
                    procedure = "domain_migrate_prepare_tunnel3_params"
                    serial = there.send(procedure, *arguments)
                    answer = there.answer(procedure, there.receive())
                    source = _Relay(tmp_path / f"relay-{whole}")
                    part.perform(
                        domain.uuid,
                        f"unix:{source.path}",
                        answer.cookie_out,
                        MigrationOptions(),
                        job,
                    )
                    sent = source.received()
                    assert len(sent) > 16 << 20
                    if not whole:
                        sent = sent[:-100_000]
                    pieces = [sent[at : at + 200_000] for at in range(0, len(sent), 200_000)]
                    for status, data in [(Status.CONTINUE, one) for one in pieces] + [
                        (Status.OK, b"")
                    ]:
                        there.socket.sendall(
                            frame(PROGRAM, 1, TUNNEL, Kind.STREAM, serial, status, data)
                        )
                    ended = there.receive()
                    assert (ended.serial, ended.status) == (serial, Status.OK)
                    named = params({"destination_name": "t"})
                    finish = ("domain_migrate_finish3_params", named, b"", flags, 0)
                    if whole:
                        assert there.call(*finish).dom.uuid == domain.uuid.bytes
                    else:
                        assert "ends early" in there.refused(*finish).message
                        assert there.call("connect_list_all_domains", 0, 0).ret == 0
                    part.confirm(domain.uuid, None, MigrationOptions(), cancelled=not whole)
            assert home.domains.get("t") is None
            found = there.call("domain_lookup_by_name", "t").dom
            assert there.call("domain_get_state", found, 0).state == RUNNING
            there.call("domain_destroy", found)
    finally:
        server.stop(1)


class _Relay:
    """Takes in what a source sends to a socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._listener.settimeout(20)
        self._data = bytearray()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._listener, self._listener.accept()[0] as connection:
            connection.settimeout(20)
            while piece := connection.recv(1 << 20):
                self._data += piece

    def received(self) -> bytes:
        """Return all of it, once there is no more."""
        self._thread.join(30)
        assert not self._thread.is_alive()
        return bytes(self._data)
