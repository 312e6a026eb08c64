"""Migration between two daemons, phase by phase as libvirt's client drives it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wire_client import WireClient

from polyvisor.config import Config
from polyvisor_remote.server.listening import UnixListener
from polyvisor_remote.server.opening import opener
from polyvisor_remote.server.server import Server
from polyvisor_remote.wire import params

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
        unknown = params({"migrate_disks": "vda"})
        assert source.refused("domain_migrate_begin3_params", dom, unknown, 1).code == 84
        assert source.refused("domain_migrate_begin3_params", dom, [], 1 << 30).code == 8
