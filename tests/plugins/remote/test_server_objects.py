"""polyvisord serves what a host has beside domains: networks, storage, devices, secrets."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Any

import pytest
from wire_client import REMOTE, Refused, WireClient

from polyvisor_remote.wire import Hole, Kind, Status, error_codec, frame, hole

if TYPE_CHECKING:
    from conftest import Daemon

TEST = "test:///default"
NETWORK = "<network><name>{0}</name><bridge name='br7'/></network>"
POOL = "<pool type='dir'><name>{0}</name><target><path>/{0}</path></target></pool>"
VOLUME = "<volume><name>{0}</name><capacity unit='KiB'>{1}</capacity></volume>"
SECRET = """<secret ephemeral='no' private='{0}'><usage type='volume'><volume>{1}</volume></usage>
</secret>"""
FILTER = "<filter name='{0}'><rule action='drop' direction='in'/></filter>"
INTERFACE = """<interface type='ethernet' name='eth7'><mac address='52:54:00:00:00:07'/>
</interface>"""
NO_NETWORK, NO_POOL, NO_VOLUME, NO_SECRET, INVALID, SECRET_PRIVATE = 43, 49, 50, 66, 55, 73


def test_networks(daemon: Daemon) -> None:
    """Defined, started, listed, marked, stopped, forgotten; and transient ones."""
    with WireClient(daemon.path, TEST) as client:
        net = client.call("network_define_xml_flags", NETWORK.format("n"), 1).net
        assert client.call("network_lookup_by_name", "n").net == net
        assert client.call("network_lookup_by_uuid", net.uuid).net == net
        assert client.refused("network_lookup_by_name", "x").code == NO_NETWORK
        assert client.call("network_is_active", net).active == 0
        assert client.call("network_is_persistent", net).persistent == 1
        client.call("network_create", net)
        assert client.refused("network_create", net).code == INVALID
        assert client.call("network_get_bridge_name", net).name == "br7"
        client.call("network_set_autostart", net, 1)
        assert client.call("network_get_autostart", net).autostart == 1
        brief = client.call("network_create_xml", NETWORK.format("t").replace("br7", "br8")).net

        def names(flags: int) -> list[str]:
            found = client.call("connect_list_all_networks", 1, flags)
            assert found.ret == len(found.nets)
            return [one.name for one in found.nets]

        assert names(0) == ["default", "n", "t"]
        assert names(8) == ["t"]
        assert names(16) == ["n"]
        assert names(1) == []
        assert client.refused("connect_list_all_networks", 1, 64).code == 8
        assert client.call("connect_list_all_networks", 0, 0) == ([], 3)
        client.call("network_destroy", net)
        assert client.call("connect_num_of_networks").num == 2
        assert client.call("connect_num_of_defined_networks").num == 1
        assert client.call("connect_list_defined_networks", 9).names == ["n"]
        assert client.call("connect_list_networks", 1).names == ["default"]
        assert "<name>n</name>" in client.call("network_get_xml_desc", net, 1).xml
        client.call("network_undefine", net)
        client.call("network_destroy", brief)
        assert names(0) == ["default"]


def test_pools_and_volumes(daemon: Daemon) -> None:
    """A pool is made and started; volumes in it are made, found, resized, removed."""
    with WireClient(daemon.path, TEST) as client:
        pool = client.call("storage_pool_define_xml", POOL.format("p"), 0).pool
        assert client.call("storage_pool_lookup_by_name", "p").pool == pool
        assert client.call("storage_pool_lookup_by_uuid", pool.uuid).pool == pool
        assert client.refused("storage_pool_lookup_by_name", "x").code == NO_POOL
        client.call("storage_pool_build", pool, 0)
        assert client.call("storage_pool_get_info", pool).state == 0
        client.call("storage_pool_create", pool, 0)
        client.call("storage_pool_set_autostart", pool, 1)
        assert client.call("storage_pool_get_autostart", pool).autostart == 1
        assert client.call("storage_pool_get_info", pool).state == 2
        assert client.call("connect_list_all_storage_pools", 1, 64).ret == 2
        assert client.call("connect_list_all_storage_pools", 1, 128).ret == 0
        assert client.call("connect_num_of_storage_pools").num == 2
        vol = client.call("storage_vol_create_xml", pool, VOLUME.format("v", 64), 0).vol
        assert (vol.pool, vol.name) == ("p", "v")
        path = client.call("storage_vol_get_path", vol).name
        assert client.call("storage_vol_lookup_by_path", path).vol == vol
        assert client.call("storage_vol_lookup_by_key", vol.key).vol == vol
        assert client.call("storage_vol_lookup_by_name", pool, "v").vol == vol
        assert client.refused("storage_vol_lookup_by_name", pool, "x").code == NO_VOLUME
        assert client.call("storage_pool_lookup_by_volume", vol).pool == pool
        folder = path.rpartition("/")[0]
        assert client.call("storage_pool_lookup_by_target_path", f"{folder}//").pool == pool
        error = client.refused("storage_pool_lookup_by_target_path", "/nowhere")
        assert error.code == NO_POOL
        copy = client.call("storage_vol_create_xml_from", pool, VOLUME.format("c", 64), vol, 0).vol
        client.call("storage_vol_resize", vol, 65536, 2)
        info = client.call("storage_vol_get_info", vol)
        assert (info.type, info.capacity) == (0, 131072)
        assert client.call("storage_vol_get_info_flags", vol, 0).capacity == 131072
        client.call("storage_vol_wipe", vol, 0)
        assert "<name>v</name>" in client.call("storage_vol_get_xml_desc", vol, 0).xml
        assert client.call("storage_pool_num_of_volumes", pool).num == 2
        assert client.call("storage_pool_list_volumes", pool, 1).names == ["c"]
        assert client.call("storage_pool_list_all_volumes", pool, 1, 0).vols == [copy, vol]
        client.call("storage_vol_delete", vol, 0)
        client.call("storage_vol_delete", copy, 0)
        client.call("storage_pool_refresh", pool, 0)
        client.call("storage_pool_destroy", pool)
        assert client.call("connect_list_defined_storage_pools", 9).names == ["p"]
        client.call("storage_pool_undefine", pool)


def test_interfaces_and_devices(daemon: Daemon) -> None:
    """The host's own interfaces come up and go down; its devices are described."""
    with WireClient(daemon.path, TEST) as client:
        (eth1,) = client.call("connect_list_all_interfaces", 1, 0).ifaces
        assert client.call("interface_lookup_by_name", "eth1").iface == eth1
        assert client.call("interface_lookup_by_mac_string", eth1.mac).iface == eth1
        client.call("interface_destroy", eth1, 0)
        assert client.call("interface_is_active", eth1).active == 0
        assert client.call("connect_list_defined_interfaces", 9).names == ["eth1"]
        client.call("interface_create", eth1, 0)
        assert client.call("connect_num_of_interfaces").num == 1
        assert "eth1" in client.call("interface_get_xml_desc", eth1, 0).xml
        made = client.call("interface_define_xml", INTERFACE, 0).iface
        assert (made.name, made.mac) == ("eth7", "52:54:00:00:00:07")
        client.call("interface_undefine", made)
        devices = client.call("connect_list_all_node_devices", 1, 0).devices
        assert [one.name for one in devices] == ["computer"]
        assert client.call("connect_list_all_node_devices", 1, 1).ret == 1
        assert client.call("connect_list_all_node_devices", 1, 2).ret == 0
        assert client.call("node_num_of_devices", "system", 0).num == 1
        assert client.call("node_list_devices", None, 9, 0).names == ["computer"]
        assert client.call("node_device_lookup_by_name", "computer").dev.name == "computer"
        assert client.call("node_device_get_parent", "computer").parentName is None
        assert client.call("node_device_list_caps", "computer", 9).names == ["system"]
        assert client.call("node_device_is_active", "computer").active == 1
        assert "<name>computer</name>" in client.call("node_device_get_xml_desc", "computer", 0).xml


def test_secrets_and_filters(daemon: Daemon) -> None:
    """A secret is found by its use, and its value given to those it is for, unless private."""
    with WireClient(daemon.path, TEST) as client:
        secret = client.call("secret_define_xml", SECRET.format("no", "/v"), 0).secret
        assert (secret.usageType, secret.usageID) == (1, "/v")
        assert client.call("secret_lookup_by_usage", 1, "/v").secret == secret
        assert client.call("secret_lookup_by_uuid", secret.uuid).secret == secret
        assert client.refused("secret_lookup_by_usage", 1, "/x").code == NO_SECRET
        assert client.refused("secret_lookup_by_usage", 99, "/x").code == NO_SECRET
        client.call("secret_set_value", secret, b"\0open\xff", 0)
        assert client.call("secret_get_value", secret, 0).value == b"\0open\xff"
        hidden = client.call("secret_define_xml", SECRET.format("yes", "/w"), 0).secret
        client.call("secret_set_value", hidden, b"x", 0)
        assert client.refused("secret_get_value", hidden, 0).code == SECRET_PRIVATE
        assert client.call("connect_list_all_secrets", 1, 4).secrets == [hidden]
        assert client.call("connect_list_all_secrets", 1, 2).ret == 2
        assert client.call("connect_num_of_secrets").num == 2
        assert len(client.call("connect_list_secrets", 9).uuids) == 2
        assert "/v" in client.call("secret_get_xml_desc", secret, 0).xml
        client.call("secret_undefine", secret)
        client.call("secret_undefine", hidden)
        made = client.call("nwfilter_define_xml", FILTER.format("f")).nwfilter
        assert client.call("nwfilter_lookup_by_name", "f").nwfilter == made
        assert client.call("nwfilter_lookup_by_uuid", made.uuid).nwfilter == made
        assert client.call("connect_list_all_nwfilters", 1, 0).filters == [made]
        assert client.call("connect_list_nwfilters", 9).names == ["f"]
        assert "<rule" in client.call("nwfilter_get_xml_desc", made, 0).xml
        client.call("nwfilter_undefine", made)
        assert client.call("connect_num_of_nwfilters").num == 0
    with WireClient(daemon.readonly, TEST) as reader:
        assert reader.refused("secret_get_value", secret, 0).code == 29


def test_clients_hear_of_objects(daemon: Daemon) -> None:
    """Whoever asked for a network's, a pool's or a secret's events is told of them."""
    with WireClient(daemon.path, TEST) as client, WireClient(daemon.path, TEST) as other:
        nets = client.call("connect_network_event_register_any", 0, None)
        pools = client.call("connect_storage_pool_event_register_any", 0, None)
        fresh = client.call("connect_storage_pool_event_register_any", 1, None)
        secrets = client.call("connect_secret_event_register_any", 0, None)
        numbers = [one.callbackID for one in (nets, pools, fresh, secrets)]
        assert len(set(numbers)) == 4
        assert client.refused("connect_network_event_register_any", 1, None).code == 1

        def told() -> tuple[str, Any]:
            message = client.event()
            procedure = REMOTE[message.procedure]
            return procedure.name, procedure.arguments.codec.decode(message.payload)

        net = other.call("network_define_xml", NETWORK.format("e")).net
        name, event = told()
        assert name == "network_event_lifecycle"
        assert (event.callbackID, event.net, event.event) == (numbers[0], net, 0)
        other.call("network_create", net)
        assert told()[1].event == 2
        pool = other.call("storage_pool_lookup_by_name", "default-pool").pool
        other.call("storage_pool_refresh", pool, 0)
        assert told() == ("storage_pool_event_refresh", (numbers[2], pool))
        secret = other.call("secret_define_xml", SECRET.format("no", "/e"), 0).secret
        name, event = told()
        assert (name, event.secret, event.event) == ("secret_event_lifecycle", secret, 0)
        other.call("secret_undefine", secret)
        assert told()[1].event == 1
        client.call("connect_network_event_deregister_any", numbers[0])
        assert client.refused("connect_network_event_deregister_any", numbers[1]).code == 8
        other.call("network_destroy", net)
        other.call("storage_pool_destroy", pool)
        assert told()[0] == "storage_pool_event_lifecycle"


class Streaming:
    """The client's side of a stream."""

    def __init__(self, client: WireClient, procedure: str, *arguments: Any) -> None:
        self.client = client
        self._number = REMOTE[procedure].number
        self.serial = client.send(procedure, *arguments)
        client.answer(procedure, client.receive())

    def send(self, status: int, payload: bytes = b"", kind: int = Kind.STREAM) -> None:
        """Send a message of the stream."""
        numbers = (REMOTE.number, 1, self._number, kind, self.serial, status)
        self.client.socket.sendall(frame(*numbers, payload))

    def receive(self) -> tuple[int, int, bytes]:
        """Return kind, status and payload of the next message."""
        message = self.client.receive()
        assert (message.serial, message.procedure) == (self.serial, self._number)
        if message.status == Status.ERROR:
            raise Refused(error_codec().decode(message.payload))
        return message.kind, message.status, message.payload

    def rest(self) -> list[bytes | int]:
        """Receive to the end: bytes and lengths of holes."""
        found: list[bytes | int] = []
        while True:
            kind, status, payload = self.receive()
            assert status == Status.CONTINUE
            if kind == Kind.STREAM_HOLE:
                found.append(Hole.decode(payload).length)
            elif payload:
                found.append(payload)
            else:
                return found

    def finish(self) -> None:
        """End it, and see that confirmed."""
        self.send(Status.OK)
        assert self.receive() == (Kind.STREAM, Status.OK, b"")


@pytest.fixture
def volume(daemon: Daemon) -> Any:
    """Return a client and a volume of 4 MiB."""
    client = WireClient(daemon.path, TEST)
    pool = client.call("storage_pool_lookup_by_name", "default-pool").pool
    yield client, client.call("storage_vol_create_xml", pool, VOLUME.format("s", 4096), 0).vol
    client.socket.close()


def test_content_goes_up_and_comes_down(volume: Any) -> None:
    """In pieces of any size, from any place, of any length; and the connection goes on."""
    client, vol = volume
    content = os.urandom(1_000_003)
    stream = Streaming(client, "storage_vol_upload", vol, 5, 0, 0)
    for at in range(0, len(content), 70_000):
        stream.send(Status.CONTINUE, content[at : at + 70_000])
    stream.finish()
    stream = Streaming(client, "storage_vol_download", vol, 5, len(content), 0)
    assert b"".join(stream.rest()) == content  # type: ignore[arg-type]
    stream.finish()
    stream = Streaming(client, "storage_vol_download", vol, 0, 0, 0)
    assert b"".join(stream.rest()) == bytes(5) + content + bytes(  # type: ignore[arg-type]
        4194304 - 5 - len(content)
    )
    stream.finish()
    assert client.call("connect_get_hostname").hostname


def test_holes_are_told_not_sent(volume: Any) -> None:
    """A sparse stream has holes both ways; bytes that nobody wrote are zeros."""
    client, vol = volume
    stream = Streaming(client, "storage_vol_upload", vol, 1 << 20, 0, 1)
    stream.send(Status.CONTINUE, b"x" * 4096)
    stream.send(Status.CONTINUE, hole(8192), Kind.STREAM_HOLE)
    stream.send(Status.CONTINUE, b"y" * 4096)
    stream.finish()
    stream = Streaming(client, "storage_vol_download", vol, 0, 0, 1)
    found = stream.rest()
    stream.finish()
    assert found[0] == 1 << 20
    whole = b"".join(bytes(one) if isinstance(one, int) else one for one in found)
    assert whole[1 << 20 :].startswith(b"x" * 4096 + bytes(8192) + b"y" * 4096)
    assert len(whole) == 4194304
    assert sum(len(one) for one in found if isinstance(one, bytes)) < 100_000


def test_a_stream_that_is_given_up_is_answered(volume: Any) -> None:
    """Aborted, overlong, or of a wrong kind: an error, and the connection goes on."""
    client, vol = volume
    stream = Streaming(client, "storage_vol_upload", vol, 0, 0, 0)
    stream.send(Status.CONTINUE, b"abc")
    stream.send(Status.ERROR)
    with pytest.raises(Refused, match="aborted at client request"):
        stream.receive()
    stream = Streaming(client, "storage_vol_upload", vol, 0, 4, 0)
    stream.send(Status.CONTINUE, b"abcde")
    with pytest.raises(Refused, match="more came"):
        stream.receive()
    stream.send(Status.CONTINUE, b"late pieces are passed over")
    stream = Streaming(client, "storage_vol_upload", vol, 0, 0, 0)
    stream.send(Status.CONTINUE, struct.pack(">qI", -1, 0), Kind.STREAM_HOLE)
    with pytest.raises(Refused, match="-1 bytes"):
        stream.receive()
    stream = Streaming(client, "storage_vol_download", vol, 0, 10, 0)
    stream.rest()
    stream.send(Status.CONTINUE, b"downloads take none")
    with pytest.raises(Refused, match="takes no data"):
        stream.receive()
    assert client.refused("storage_vol_download", vol, 0, 0, 2).code == 8
    assert client.call("connect_get_hostname").hostname


def test_a_client_that_leaves_a_stream_open_is_forgotten(daemon: Daemon, volume: Any) -> None:
    """What it had open is closed; one that reads slowly makes nobody else wait."""
    _, vol = volume
    with WireClient(daemon.path, TEST) as lazy, WireClient(daemon.path, TEST) as other:
        Streaming(lazy, "storage_vol_download", vol, 0, 0, 0)
        Streaming(other, "storage_vol_upload", vol, 0, 0, 0).send(Status.CONTINUE, b"half")
        with WireClient(daemon.path, TEST) as third:
            for _ in range(50):
                assert third.call("connect_get_hostname").hostname
    with WireClient(daemon.path, TEST) as fourth:
        stream = Streaming(fourth, "storage_vol_download", vol, 0, 4, 0)
        assert stream.rest() in ([b"half"], [bytes(4)])
