"""polyvisord does what its clients ask for."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from wire_client import REMOTE, WireClient

import polyvisor
from polyvisor.config import Config
from polyvisor_remote.server.listening import UnixListener
from polyvisor_remote.server.opening import opener
from polyvisor_remote.server.server import Server
from polyvisor_remote.wire import Message, mapping, params

if TYPE_CHECKING:
    from conftest import Daemon

TEST, SIM = "test:///default", "sim:///default"
GUEST = """<domain type='sim'><name>{0}</name><memory unit='MiB'>4</memory><vcpu>1</vcpu>
<os><type>hvm</type></os></domain>"""
RUNNING, PAUSED, SHUTOFF = 1, 3, 5
NO_DOMAIN, INVALID, NO_SNAPSHOT = 42, 55, 72
LIFECYCLE = 0


def decoded(message: Message) -> tuple[str, Any]:
    """Return an event's name and content."""
    procedure = REMOTE[message.procedure]
    return procedure.name, procedure.arguments.codec.decode(message.payload)


def test_a_host_says_what_it_is(daemon: Daemon) -> None:
    """Name, hypervisor, versions, processors and capabilities."""
    with WireClient(daemon.path, TEST) as client:
        assert client.call("connect_get_type").type
        assert client.call("connect_get_uri").uri == TEST
        assert client.call("connect_get_version").hv_ver == 2
        assert client.call("connect_get_lib_version").lib_ver == 11_003_000
        assert client.call("node_get_info").cpus == 16
        cpus = client.call("node_get_cpu_map", 1, 1, 0)
        assert (cpus.cpumap, cpus.online, cpus.ret) == (b"\xff\xff", 16, 16)
        assert "<capabilities>" in client.call("connect_get_capabilities").capabilities
        assert client.call("connect_is_secure").secure == 1
        error = client.refused("connect_get_domain_capabilities", None, None, None, None, 0)
        assert "virConnectGetDomainCapabilities" in error.message
    with WireClient(daemon.tcp, TEST) as client:
        assert client.call("connect_is_secure").secure == 0


def test_a_connection_is_chosen_by_its_uri(tmp_path: Path) -> None:
    """Scheme and path choose; a configured connection brings its settings; none is the default."""
    (tmp_path / "polyvisor.toml").write_text(
        f"default = 'mine'\n[connections.mine]\nuri = 'sim:///mine'\nroot = '{tmp_path}/root'\n"
    )
    from polyvisor.config import load

    open_ = opener(load(tmp_path / "polyvisor.toml"), ("sim",))
    for target in (None, "sim:///mine"):
        with open_(target, False) as host:
            assert host.uri.startswith("sim:///mine")
            assert host.name == "mine"
            assert (tmp_path / "root").is_dir()
    with pytest.raises(polyvisor.PolyvisorError, match="serves sim alone"):
        open_("test:///default", False)
    with pytest.raises(polyvisor.PolyvisorError, match="its own host alone"):
        open_("sim+ssh://elsewhere/default", False)


def test_opening_what_nobody_has_is_an_error_reply(daemon: Daemon) -> None:
    """And the client may name something else then."""
    with WireClient(daemon.path) as client:
        assert client.refused("connect_open", "nonsense:///x", 0).code == 5
        assert client.refused("connect_open", "no uri", 0).code
        assert client.refused("connect_open", TEST, 64).code == 8
        client.call("connect_open", TEST, 0)
        assert client.call("connect_num_of_domains").num == 1


def test_domains_are_found(daemon: Daemon) -> None:
    """By name, number and UUID; and what is not there is said to be missing."""
    with WireClient(daemon.path, TEST) as client:
        dom = client.call("domain_lookup_by_name", "test").dom
        assert client.call("domain_lookup_by_id", dom.id).dom == dom
        assert client.call("domain_lookup_by_uuid", dom.uuid).dom == dom
        error = client.refused("domain_lookup_by_name", "other")
        assert error.code == NO_DOMAIN
        assert error.message == "Domain not found: no domain with matching name 'other'"
        assert client.refused("domain_lookup_by_id", 77).code == NO_DOMAIN
        assert client.refused("domain_lookup_by_uuid", bytes(16)).code == NO_DOMAIN
        assert client.refused("domain_get_info", ("x", bytes(16), -1)).code == NO_DOMAIN


def test_guests_have_no_security_labels(daemon: Daemon) -> None:
    """Nobody labels them, which is an empty label and a list without any."""
    with WireClient(daemon.path, TEST) as client:
        dom = client.call("domain_lookup_by_name", "test").dom
        found = client.call("domain_get_security_label", dom)
        assert (found.label.rstrip(b"\0"), found.enforcing) == (b"", 0)
        assert client.call("domain_get_security_label_list", dom) == ([], 0)
        gone = ("x", bytes(16), -1)
        assert client.refused("domain_get_security_label", gone).code == NO_DOMAIN
        assert client.refused("domain_get_security_label_list", gone).code == NO_DOMAIN


def test_lists_are_filtered(daemon: Daemon) -> None:
    """Each flag of a list counts; without results there is the count alone."""
    with WireClient(daemon.path, SIM) as client:
        one = client.call("domain_define_xml_flags", GUEST.format("one"), 0).dom
        client.call("domain_define_xml", GUEST.format("two"))
        gone = client.call("domain_create_xml", GUEST.format("three"), 1).dom
        client.call("domain_create", one)

        def names(flags: int) -> list[str]:
            found = client.call("connect_list_all_domains", 1, flags)
            assert found.ret == len(found.domains)
            return [each.name for each in found.domains]

        assert names(0) == ["one", "three", "two"]
        assert names(1) == ["one", "three"]
        assert names(2) == ["two"]
        assert names(8) == ["three"]
        assert names(1 | 4) == ["one"]
        assert names(16) == ["one"]
        assert names(32) == ["three"]
        assert names(64) == ["two"]
        assert names(256) == []
        assert names(1024) == []
        client.call("domain_set_autostart", one, 1)
        assert client.call("domain_get_autostart", one).autostart == 1
        assert names(1024) == ["one"]
        assert names(4096) == []
        assert client.call("connect_list_all_domains", 0, 0) == ([], 3)
        assert client.call("connect_num_of_domains").num == 2
        assert client.call("connect_num_of_defined_domains").num == 1
        assert client.call("connect_list_defined_domains", 10).names == ["two"]
        assert len(client.call("connect_list_domains", 1).ids) == 1
        assert client.refused("connect_list_all_domains", 1, 1 << 20).code == 8
        assert client.call("domain_is_persistent", gone).persistent == 0
        client.call("domain_destroy", gone)
        client.call("domain_destroy", one)


def test_a_life_from_definition_to_the_end(daemon: Daemon) -> None:
    """Define, start, suspend, resume, reboot, reset, shut down, undefine."""
    with WireClient(daemon.path, SIM) as client:
        dom = client.call("domain_define_xml_flags", GUEST.format("a"), 1).dom
        assert dom.id == -1
        assert client.call("domain_get_state", dom, 0).state == SHUTOFF
        assert client.call("domain_is_active", dom).active == 0
        assert client.refused("domain_suspend", dom).code == INVALID
        dom = client.call("domain_create_with_flags", dom, 1).dom
        assert dom.id > 0
        assert client.call("domain_get_state", dom, 0).state == PAUSED
        client.call("domain_resume", dom)
        assert client.refused("domain_create", dom).code == INVALID
        client.call("domain_suspend", dom)
        state = client.call("domain_get_state", dom, 0)
        assert (state.state, state.reason) == (PAUSED, 1)
        client.call("domain_resume", dom)
        client.call("domain_reboot", dom, 0)
        client.call("domain_reset", dom, 0)
        info = client.call("domain_get_info", dom)
        assert (info.state, info.maxMem, info.nrVirtCpu) == (RUNNING, 4096, 1)
        assert client.call("domain_get_os_type", dom).type == "hvm"
        assert client.call("domain_get_max_memory", dom).memory == 4096
        assert (
            f"<domain type='sim' id='{dom.id}'>" in client.call("domain_get_xml_desc", dom, 0).xml
        )
        assert "id=" not in client.call("domain_get_xml_desc", dom, 2).xml.partition(">")[0]
        assert client.refused("domain_shutdown_flags", dom, 2).code == 3  # VIR_ERR_NO_SUPPORT
        assert client.refused("domain_shutdown_flags", dom, 32).code == 8  # VIR_ERR_INVALID_ARG
        client.call("domain_shutdown_flags", dom, 1)
        deadline = time.monotonic() + 10
        while client.call("domain_is_active", dom).active and time.monotonic() < deadline:
            time.sleep(0.02)
        assert client.call("domain_get_state", dom, 0).state == SHUTOFF
        client.call("domain_undefine_flags", dom, 0)
        assert client.refused("domain_get_state", dom, 0).code == NO_DOMAIN


def test_passwords_are_shown_only_when_asked_for(daemon: Daemon) -> None:
    """A definition comes without what is secret in it unless the secure flag is set."""
    xml = GUEST.format("p").replace(
        "</domain>",
        "<devices><graphics type='vnc' port='5901' passwd='geheim'/></devices></domain>",
    )
    with WireClient(daemon.path, SIM) as client:
        dom = client.call("domain_define_xml", xml).dom
        plain = client.call("domain_get_xml_desc", dom, 0).xml
        assert "geheim" not in plain
        assert "port='5901'" in plain
        assert "geheim" in client.call("domain_get_xml_desc", dom, 1).xml


def test_saving_and_restoring(daemon: Daemon, tmp_path: Path) -> None:
    """Into a file, with the state to come up in, and into the image of its own."""
    path = str(tmp_path / "image")
    with WireClient(daemon.path, SIM) as client:
        dom = client.call("domain_define_xml", GUEST.format("s")).dom
        client.call("domain_create", dom)
        client.call("domain_save", dom, path)
        assert client.call("domain_is_active", dom).active == 0
        assert "<name>s</name>" in client.call("domain_save_image_get_xml_desc", path, 0).xml
        client.call("domain_restore_flags", path, None, 4)
        assert client.call("domain_get_state", dom, 0).state == PAUSED
        client.call("domain_save_params", dom, params({"file": path}), 2)
        client.call("domain_restore_params", params({"file": path}), 0)
        assert client.call("domain_get_state", dom, 0).state == RUNNING
        assert client.refused("domain_save_flags", dom, path, None, 6).code == 8
        assert client.call("domain_has_managed_save_image", dom, 0).result == 0
        client.call("domain_managed_save", dom, 0)
        assert client.call("domain_has_managed_save_image", dom, 0).result == 1
        assert "<name>s</name>" in client.call("domain_managed_save_get_xml_desc", dom, 0).xml
        assert client.refused("domain_undefine", dom).code == INVALID
        client.call("domain_managed_save_remove", dom, 0)
        client.call("domain_create", dom)
        client.call("domain_destroy_flags", dom, 0)


def test_snapshots(daemon: Daemon) -> None:
    """A tree of them: taken, listed, gone back to, deleted."""
    with WireClient(daemon.path, SIM) as client:
        dom = client.call("domain_define_xml", GUEST.format("n")).dom
        assert client.call("domain_has_current_snapshot", dom, 0).result == 0
        assert client.refused("domain_snapshot_current", dom, 0).code == NO_SNAPSHOT
        for name in "abc":
            xml = f"<domainsnapshot><name>{name}</name></domainsnapshot>"
            assert client.call("domain_snapshot_create_xml", dom, xml, 0).snap.name == name
        a, b, c = ((name, dom) for name in "abc")
        assert client.call("domain_snapshot_num", dom, 0).num == 3
        assert client.call("domain_snapshot_num", dom, 1).num == 1
        assert client.call("domain_snapshot_list_names", dom, 10, 4).names == ["c"]
        assert client.call("domain_list_all_snapshots", dom, 1, 0).ret == 3
        assert client.call("domain_snapshot_num_children", a, 0).num == 1
        assert client.call("domain_snapshot_list_children_names", a, 9, 1).names == ["b", "c"]
        assert client.call("domain_snapshot_list_all_children", b, 1, 0).ret == 1
        assert client.call("domain_snapshot_get_parent", c, 0).snap.name == "b"
        assert client.refused("domain_snapshot_get_parent", a, 0).code == NO_SNAPSHOT
        assert client.call("domain_snapshot_current", dom, 0).snap.name == "c"
        assert client.call("domain_snapshot_is_current", b, 0).current == 0
        assert client.call("domain_snapshot_has_metadata", b, 0).metadata == 1
        assert "<name>b</name>" in client.call("domain_snapshot_get_xml_desc", b, 0).xml
        assert client.call("domain_snapshot_lookup_by_name", dom, "b", 0).snap.name == "b"
        assert client.refused("domain_snapshot_lookup_by_name", dom, "z", 0).code == NO_SNAPSHOT
        assert client.refused("domain_snapshot_create_xml", dom, "<x/>", 0).code
        client.call("domain_revert_to_snapshot", a, 0)
        assert client.call("domain_snapshot_current", dom, 0).snap.name == "a"
        client.call("domain_snapshot_delete", b, 4)
        assert client.call("domain_snapshot_list_names", dom, 9, 0).names == ["a", "b"]
        client.call("domain_snapshot_delete", a, 1)
        assert client.call("domain_snapshot_num", dom, 0).num == 0


def test_figures_of_many_domains(daemon: Daemon) -> None:
    """Of all, of some kinds, of those that are named; with the types that libvirt uses."""
    with WireClient(daemon.path, TEST) as client:
        dom = client.call("domain_lookup_by_name", "test").dom
        (record,) = client.call("connect_get_all_domain_stats", [], 0, 0).retStats
        assert record.dom == dom
        kinds = {one.field: one.kind for one in record.params}
        assert kinds["state.state"] == 1
        assert kinds["vcpu.current"] == 2
        assert kinds["balloon.current"] == 4
        (record,) = client.call("connect_get_all_domain_stats", [dom], 1, 0).retStats
        assert mapping(record.params) == {"state.state": 1, "state.reason": 1}
        assert client.call("connect_get_all_domain_stats", [], 1, 2).retStats == []
        assert client.call("domain_get_job_info", dom).type == 0
        assert client.call("domain_get_job_stats", dom, 0).type == 0
        assert client.refused("domain_abort_job", dom).code == INVALID


def test_events_in_all_three_ways(daemon: Daemon) -> None:
    """Whoever asked is told, once for each wish, whoever caused it; and no longer afterwards."""
    with WireClient(daemon.path, SIM) as client, WireClient(daemon.path, SIM) as other:
        assert client.call("connect_domain_event_register").cb_registered == 1
        assert client.refused("connect_domain_event_register").code == 8
        client.call("connect_domain_event_register_any", LIFECYCLE)
        first = client.call("connect_domain_event_callback_register_any", LIFECYCLE, None)
        dom = other.call("domain_define_xml", GUEST.format("e")).dom
        told = [decoded(client.event()) for _ in range(3)]
        assert sorted(name for name, _ in told) == [
            "domain_event_callback_lifecycle",
            "domain_event_lifecycle",
            "domain_event_lifecycle",
        ]
        for name, content in told:
            message = content.msg if "callback" in name else content
            assert (message.dom.name, message.event, message.detail) == ("e", 0, 0)
            assert "callback" not in name or content.callbackID == first.callbackID
        client.call("connect_domain_event_deregister")
        client.call("connect_domain_event_deregister_any", LIFECYCLE)
        stranger = ("x", bytes(16), -1)
        second = client.call("connect_domain_event_callback_register_any", LIFECYCLE, stranger)
        third = client.call("connect_domain_event_callback_register_any", LIFECYCLE, dom)
        client.call("connect_domain_event_callback_deregister_any", first.callbackID)
        other.call("domain_create_with_flags", dom, 0)
        told = [decoded(client.event())]
        assert told[0][1].callbackID == third.callbackID != second.callbackID
        assert (told[0][1].msg.event, told[0][1].msg.detail) == (2, 0)
        other.call("domain_destroy", dom)
        assert decoded(client.event())[1].msg.event == 5
        client.call("connect_domain_event_callback_deregister_any", third.callbackID)
        error = client.refused("connect_domain_event_callback_deregister_any", 99)
        assert error.code == 8
        assert client.refused("connect_domain_event_callback_register_any", 999, None).code == 1


def test_who_never_reads_its_events_is_disconnected(daemon: Daemon) -> None:
    """What waits for it is bounded, and nobody else waits."""
    with WireClient(daemon.path, SIM) as deaf, WireClient(daemon.path, SIM) as other:
        for _ in range(3000):
            deaf.send("connect_domain_event_callback_register_any", LIFECYCLE, None)
        for _ in range(3000):
            deaf.receive()
        uuid = "</name><uuid>6d6d6d6d-0000-4000-8000-000000000001</uuid>"
        xml = GUEST.format("f" * 60).replace("</name>", uuid)
        dom = other.call("domain_define_xml", xml).dom
        deadline = time.monotonic() + 60
        while len(daemon.server.clients) > 1 and time.monotonic() < deadline:
            other.call("domain_define_xml", xml)
        assert len(daemon.server.clients) == 1
        assert other.call("domain_get_state", dom, 0).state == SHUTOFF


def test_a_domain_may_end_with_its_client(daemon: Daemon) -> None:
    """One that was started to be destroyed automatically is, when its client leaves."""
    with WireClient(daemon.path, SIM) as other:
        with WireClient(daemon.path, SIM) as client:
            client.call("domain_create_xml", GUEST.format("d"), 2)
            assert other.call("connect_num_of_domains").num == 1
        deadline = time.monotonic() + 10
        while other.call("connect_num_of_domains").num and time.monotonic() < deadline:
            time.sleep(0.02)
        assert other.call("connect_num_of_domains").num == 0


class Blocked:
    """A driver's domains, one call of which takes until somebody lets it go."""

    def __init__(self, domains: Any, go: threading.Event) -> None:
        self._domains = domains
        self._go = go

    def __getattr__(self, name: str) -> Any:
        return getattr(self._domains, name)

    def xml(self, *_: Any, **__: Any) -> str:
        """Take long."""
        assert self._go.wait(30)
        return "<late/>"

    def by_name(self, name: str) -> Any:
        """Raise what no plugin should."""
        raise ZeroDivisionError(name)


def test_a_call_that_blocks_holds_nobody(tmp_path: Path) -> None:
    """Others are answered within milliseconds, the same client too; then comes the late answer."""
    go = threading.Event()

    def open_(target: str | None, readonly: bool) -> polyvisor.Connection:
        host = polyvisor.open(target, readonly=readonly, config=Config(root=str(tmp_path)))
        host.driver.domains = Blocked(host.driver.domains, go)  # type: ignore[assignment]
        return host

    server = Server(open_)
    server.start()
    try:
        server.listen(UnixListener.bind(str(tmp_path / "s")))
        with (
            WireClient(str(tmp_path / "s"), TEST) as client,
            WireClient(str(tmp_path / "s"), TEST) as other,
        ):
            dom = client.call("connect_list_all_domains", 1, 0).domains[0]
            late = [client.send("domain_get_xml_desc", dom, 0) for _ in range(3)]
            for _ in range(20):
                began = time.monotonic()
                assert other.call("domain_get_state", dom, 0).state == RUNNING
                assert time.monotonic() - began < 2
            assert client.call("domain_get_state", dom, 0).state == RUNNING
            go.set()
            assert {client.receive().serial for _ in late} == set(late)
            error = client.refused("domain_lookup_by_name", "test")
            assert error.code == 1
            assert "ZeroDivisionError" in error.message
    finally:
        go.set()
        server.stop(1)


def test_the_daemon_stops_in_order(tmp_path: Path) -> None:
    """It takes nobody in any more, disconnects, and removes its socket."""
    server = Server(opener(Config(root=str(tmp_path / "root"))))
    server.start()
    path = tmp_path / "s"
    server.listen(UnixListener.bind(str(path)))
    with WireClient(str(path), TEST) as client:
        server.stop(1)
        with pytest.raises(ConnectionResetError):
            client.receive()
    assert not path.exists()


def test_a_socket_belongs_to_one_daemon(tmp_path: Path) -> None:
    """One that a dead daemon left is replaced; one that is in use, or no socket, is not."""
    path = tmp_path / "s"
    first = UnixListener.bind(str(path), mode=0o660)
    assert path.stat().st_mode & 0o777 == 0o660
    with pytest.raises(polyvisor.PolyvisorError, match="another daemon"):
        UnixListener.bind(str(path))
    first.socket.close()
    UnixListener.bind(str(path)).end()
    assert not path.exists()
    path.write_text("precious")
    with pytest.raises(polyvisor.PolyvisorError, match="no socket"):
        UnixListener.bind(str(path))


def test_who_is_allowed_what_may_be_said_by_others(tmp_path: Path) -> None:
    """A function sees who calls what with which arguments, and may refuse."""
    seen = []

    def access(identity: Any, procedure: Any, arguments: Any) -> bool:
        seen.append((identity.name, procedure.name))
        return procedure.name != "domain_lookup_by_name" or arguments.name != "test"

    server = Server(opener(Config(root=str(tmp_path / "root"))), access=access)
    server.start()
    try:
        server.listen(UnixListener.bind(str(tmp_path / "s")))
        with WireClient(str(tmp_path / "s"), TEST) as client:
            assert client.refused("domain_lookup_by_name", "test").code == 88
            assert client.refused("domain_lookup_by_name", "other").code == NO_DOMAIN
    finally:
        server.stop(1)
    import os

    assert (f"uid:{os.getuid()}", "connect_open") in seen


def test_plugins_may_refuse_what_clients_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hook gets the client's name, the permissions that count, and the arguments."""
    from polyvisor.errors import Denied
    from polyvisor.plugins import API_VERSION, Registry
    from polyvisor_remote.server.opening import guard

    seen: list[tuple[Any, ...]] = []

    class Policy:
        polyvisor_api = API_VERSION

        @polyvisor.hookimpl
        def polyvisor_remote_call(
            self, user: str | None, procedure: str, permissions: tuple[str, ...], arguments: Any
        ) -> None:
            seen.append((user, procedure, permissions))
            if "domain:read_secure" in permissions:
                raise Denied(f"no secrets of {arguments.dom.name}")

    plugins = Registry()
    monkeypatch.setattr("polyvisor.connection.registry", lambda config=None: plugins)
    config = Config(root=str(tmp_path / "root"))
    assert guard(config) is None
    plugins.register(Policy(), "policy")
    server = Server(opener(config), access=guard(config))
    server.start()
    try:
        server.listen(UnixListener.bind(str(tmp_path / "s")))
        with WireClient(str(tmp_path / "s"), TEST) as client:
            dom = client.call("domain_lookup_by_name", "test").dom
            client.call("domain_get_xml_desc", dom, 0)
            error = client.refused("domain_get_xml_desc", dom, 1)
            assert (error.code, error.message) == (
                29,
                "operation forbidden: no secrets of test",
            )
    finally:
        server.stop(1)
    assert seen[-1][1:] == ("domain_get_xml_desc", ("domain:read", "domain:read_secure"))


class Recorded:
    """A driver's resources that only write down what is asked of them."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def set_vcpus(self, uuid: Any, count: int, *, live: bool, config: bool) -> None:
        """Write it down."""
        self.asked.append(("vcpus", count, live, config))

    def set_memory(self, uuid: Any, size: int, *, live: bool, config: bool) -> None:
        """Write it down."""
        self.asked.append(("memory", size, live, config))


def test_processors_and_memory_change_where_flags_say(daemon: Daemon) -> None:
    """Live, in the definition, or whichever is there; KiB become bytes."""
    with WireClient(daemon.path, TEST) as client:
        dom = client.call("domain_lookup_by_name", "test").dom
        (session,) = (one.session for one in daemon.server.clients)
        session.driver.resources = None
        assert client.refused("domain_set_vcpus", dom, 2).code == 3
        assert client.refused("domain_set_memory_flags", dom, 1024, 1).code == 3
        recorded = Recorded()
        session.driver.resources = recorded  # type: ignore[assignment]
        client.call("domain_set_vcpus", dom, 2)
        client.call("domain_set_vcpus_flags", dom, 3, 2)
        client.call("domain_set_vcpus_flags", dom, 4, 0)
        client.call("domain_set_memory", dom, 1024)
        client.call("domain_set_memory_flags", dom, 2048, 3)
        assert client.refused("domain_set_memory_flags", dom, 1, 8).code == 8
        client.call("domain_destroy", dom)
        client.call("domain_set_vcpus_flags", dom, 5, 0)
        assert recorded.asked == [
            ("vcpus", 2, True, False),
            ("vcpus", 3, False, True),
            ("vcpus", 4, True, False),
            ("memory", 1 << 20, True, False),
            ("memory", 2 << 20, True, True),
            ("vcpus", 5, False, True),
        ]
