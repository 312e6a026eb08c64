"""Networks, pools, interfaces, devices, secrets and filters, on both kinds of simulated host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

import polyvisor
from polyvisor.errors import (
    AlreadyExists,
    Denied,
    InvalidArgument,
    NotFound,
    OperationInvalid,
    SchemaError,
    SpecError,
    StorageError,
)
from polyvisor.events import Event, ObjectEvent
from polyvisor.model import NetworkSpec
from polyvisor.objects import PoolState

NETWORK = "<network><name>{name}</name>{more}</network>"
POOL = "<pool type='dir'><name>{name}</name><target><path>/pools/{name}</path></target></pool>"
VOLUME = "<volume><name>{name}</name><capacity unit='MiB'>{size}</capacity>{more}</volume>"
SECRET = "<secret{more}><usage type='{kind}'><{tag}>{use}</{tag}></usage></secret>"


@pytest.fixture(params=["test:///default", "sim:///families"])
def host(request: pytest.FixtureRequest) -> Iterator[polyvisor.Connection]:
    """Hold a connection to a simulated host, in memory or on disk."""
    with polyvisor.open(request.param) as connection:
        yield connection


def network(name: str, more: str = "") -> str:
    """Return a network's document."""
    return NETWORK.format(name=name, more=more)


def secret(use: str, kind: str = "ceph", tag: str = "name", more: str = "") -> str:
    """Return a secret's document."""
    return SECRET.format(use=use, kind=kind, tag=tag, more=more)


def test_a_network_lives(host: polyvisor.Connection) -> None:
    """A network is defined, started, marked, stopped and forgotten."""
    made = host.networks.define(network("lab"))
    assert (made.name, made.active, made.autostart) == ("lab", False, False)
    made.start()
    made.autostart = True
    assert (made.active, made.autostart) == (True, True)
    assert host.networks["lab"] == made == host.networks[str(made.uuid).upper()]
    made.destroy()
    assert not made.active
    made.undefine()
    assert "lab" not in host.networks


@pytest.mark.parametrize("verb", ["start", "destroy", "undefine"])
def test_a_network_s_state_says_what_it_can(host: polyvisor.Connection, verb: str) -> None:
    """What is active cannot start; what is not cannot stop; what is transient has no definition."""
    transient = host.networks.create(network("passing"))
    stopped = host.networks.define(network("stopped"))
    wrong = stopped if verb == "destroy" else transient
    with pytest.raises(OperationInvalid, match=wrong.name):
        getattr(wrong, verb)()


def test_a_transient_network_goes_when_it_stops(host: polyvisor.Connection) -> None:
    """A network that was created is not there once it is destroyed."""
    made = host.networks.create(network("passing"))
    assert not made.summary().persistent
    with pytest.raises(OperationInvalid, match="transient"):
        made.autostart = True
    made.destroy()
    with pytest.raises(NotFound):
        made.summary()


def test_an_active_network_outlives_its_definition(host: polyvisor.Connection) -> None:
    """Undefining an active network leaves it running until it is destroyed."""
    made = host.networks.define(network("lab"))
    made.start()
    made.undefine()
    assert made.active
    assert not made.summary().persistent
    made.destroy()
    assert host.networks.get("lab") is None


def test_a_new_definition_counts_from_the_next_start(host: polyvisor.Connection) -> None:
    """Redefining an active network changes what it will be, not what it is."""
    made = host.networks.define(network("lab"))
    made.start()
    again = host.networks.define(network("lab", "<domain name='lab.example'/>"))
    assert again == made
    assert made.spec().domain is None
    assert made.spec(inactive=True).domain is not None
    made.destroy()
    made.start()
    assert made.spec().domain is not None


def test_every_network_gets_a_bridge_of_its_own(host: polyvisor.Connection) -> None:
    """Bridges without a name get one that is free, and a name that is taken is refused."""
    names = {host.networks.define(network(name)).bridge() for name in ("one", "two", "three")}
    assert len(names) == 3
    assert "virbr0" not in names or "default" not in host.networks
    with pytest.raises(SpecError, match="belongs to the network"):
        host.networks.define(network("four", f"<bridge name='{names.pop()}'/>"))


def test_a_name_or_uuid_belongs_to_one(host: polyvisor.Connection) -> None:
    """Two networks cannot share a name, nor can an active one be created again."""
    made = host.networks.define(network("lab"))
    other = UUID(int=7)
    with pytest.raises(AlreadyExists, match="lab"):
        host.networks.define(NetworkSpec(name="lab", uuid=other))
    made.start()
    with pytest.raises(AlreadyExists, match="active already"):
        host.networks.create(network("lab"))


def test_wrong_documents_are_refused(host: polyvisor.Connection) -> None:
    """What is not a network's document is refused with what was expected."""
    with pytest.raises(SchemaError, match="network"):
        host.networks.define(POOL.format(name="p"))
    with pytest.raises(InvalidArgument, match="not XML"):
        host.networks.define("lab.xml")
    with pytest.raises(StorageError, match=r"nowhere\.xml"):
        host.networks.define(Path("nowhere.xml"))


def test_a_read_only_connection_changes_nothing() -> None:
    """Everything that changes a host object is refused on a read-only connection."""
    with polyvisor.open("test:///default", readonly=True) as host:
        default = host.networks["default"]
        pool = host.storage_pools["default-pool"]
        refused = [
            default.destroy,
            default.undefine,
            pool.refresh,
            pool.delete,
            lambda: setattr(default, "autostart", True),
            lambda: host.networks.define(network("lab")),
            lambda: host.secrets.define(secret("admin")),
            lambda: pool.create_volume(VOLUME.format(name="v", size=1, more="")),
        ]
        for change in refused:
            with pytest.raises(Denied, match="read-only"):
                change()
        assert default.active


def test_a_pool_s_volumes_take_its_room(host: polyvisor.Connection) -> None:
    """Volumes are made, found by name, key and path, counted, resized and removed."""
    pool = host.storage_pools.define(POOL.format(name="images"))
    assert pool.info().state is PoolState.INACTIVE
    with pytest.raises(OperationInvalid, match="not active"):
        pool.volumes()
    pool.build()
    pool.start()
    before = pool.info().available
    one = pool.create_volume(VOLUME.format(name="one", size=64, more=""))
    assert (one.path, one.info().capacity) == ("/pools/images/one", 64 << 20)
    assert pool.info().available == before - (64 << 20) == pool.spec().available
    assert host.storage_pools.volume(path=one.path) == one == pool.volume("one")
    assert host.storage_pools.volume(key=one.ref.key) == one
    one.resize(128 << 20)
    assert one.info().capacity == 128 << 20
    with pytest.raises(InvalidArgument, match="shrink"):
        one.resize(1 << 20)
    with pytest.raises(AlreadyExists, match="one"):
        pool.create_volume(VOLUME.format(name="one", size=1, more=""))
    one.delete()
    with pytest.raises(NotFound, match="one"):
        pool.volume("one")
    assert pool.volumes() == []
    assert pool.info().available == before


def test_no_volume_is_larger_than_its_pool(host: polyvisor.Connection) -> None:
    """A volume that does not fit is refused, and none is there afterwards."""
    pool = host.storage_pools.create(POOL.format(name="small"))
    with pytest.raises(OperationInvalid, match="bytes free"):
        pool.create_volume(VOLUME.format(name="v", size=1 << 20, more=""))
    assert pool.volumes() == []


@pytest.mark.parametrize("name", ["a/b", "..", "x" * 256])
def test_a_volume_s_name_is_a_file_s(host: polyvisor.Connection, name: str) -> None:
    """Names that could leave the pool's folder are refused."""
    pool = host.storage_pools.create(POOL.format(name="images"))
    with pytest.raises(InvalidArgument, match="volume"):
        pool.create_volume(VOLUME.format(name=name, size=1, more=""))


def test_what_is_written_into_a_volume_stays(host: polyvisor.Connection) -> None:
    """A volume's content can be written, read, cloned and wiped."""
    pool = host.storage_pools.create(POOL.format(name="images"))
    one = pool.create_volume(VOLUME.format(name="one", size=1, more=""))
    with one.open(write=True) as file:
        file.seek(4096)
        file.write(b"content")
    two = pool.create_volume(VOLUME.format(name="two", size=1, more=""), clone=one)
    for volume in (one, two):
        with volume.open() as file:
            content = file.read()
        assert (len(content), content[4096:4103]) == (1 << 20, b"content")
    one.wipe()
    with one.open() as file:
        assert not any(file.read())


def test_a_pool_in_use_keeps_its_definition(host: polyvisor.Connection) -> None:
    """An active pool is neither undefined nor removed from below."""
    pool = host.storage_pools.define(POOL.format(name="images"))
    pool.start()
    with pytest.raises(OperationInvalid, match="still active"):
        pool.undefine()
    with pytest.raises(OperationInvalid, match="destroy it first"):
        pool.delete()


def test_secrets_keep_their_values(host: polyvisor.Connection) -> None:
    """A secret is found by its use, and its value by those who may have it."""
    made = host.secrets.define(secret("admin"))
    with pytest.raises(NotFound, match="no value yet"):
        made.value()
    made.set_value(b"\0\xff key")
    assert made.value() == b"\0\xff key"
    assert host.secrets.for_use("ceph", "admin") == made
    private = host.secrets.define(secret("other", more=" private='yes'"))
    private.set_value(b"key")
    with pytest.raises(Denied, match="private"):
        private.value()
    with pytest.raises(AlreadyExists, match="admin"):
        host.secrets.define(
            secret("admin").replace("<usage", f"<uuid>{UUID(int=9)}</uuid><usage", 1)
        )
    made.undefine()
    with pytest.raises(NotFound):
        host.secrets.for_use("ceph", "admin")


def test_an_ephemeral_secret_stays_in_this_process(own_home: Path) -> None:
    """The value of an ephemeral secret is in no file."""
    with polyvisor.open("sim:///families") as host:
        made = host.secrets.define(secret("/v", "volume", "volume", " ephemeral='yes'"))
        made.set_value(b"never-on-disk")
        assert made.value() == b"never-on-disk"
        for path in own_home.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert b"never-on-disk" not in content
                assert b"bmV2ZXItb24tZGlzaw" not in content


def test_a_filter_that_others_refer_to_stays(host: polyvisor.Connection) -> None:
    """A network filter is undefined only once no other refers to it."""
    base = host.nwfilters.define("<filter name='base'/>")
    top = host.nwfilters.define("<filter name='top'><filterref filter='base'/></filter>")
    with pytest.raises(OperationInvalid, match="'top' refers"):
        base.undefine()
    top.undefine()
    base.undefine()
    assert list(host.nwfilters) == []


def test_interfaces_are_known_by_name(host: polyvisor.Connection) -> None:
    """An interface has its name for a key, and a MAC address."""
    made = host.interfaces.define(
        "<interface type='ethernet' name='eth7'><mac address='02:00:00:00:00:07'/></interface>"
    )
    assert (made.key, made.uuid, made.mac) == ("eth7", None, "02:00:00:00:00:07")
    made.start()
    assert made.active
    made.destroy()
    made.undefine()
    assert "eth7" not in host.interfaces


def test_events_of_objects_come_in_order_beside_those_of_domains() -> None:
    """Whoever asks for them gets the events of objects, numbered with those of domains."""
    with polyvisor.open("test:///default") as host:
        every = host.events(objects=True, timeout=5)
        domains = host.events(timeout=5)
        made = host.networks.define(network("lab"))
        made.start()
        host.domains["test"].suspend()
        host.storage_pools["default-pool"].refresh()
        made.destroy()
        made.undefine()
        host.domains["test"].resume()
        seen = [next(every) for _ in range(7)]
        told = [
            (one.family, one.name, str(one.kind))
            if isinstance(one, ObjectEvent)
            else (one.domain.name, str(one.kind))
            for one in seen
        ]
        assert told == [
            ("network", "lab", "defined"),
            ("network", "lab", "started"),
            ("test", "suspended"),
            ("pool", "default-pool", "refreshed"),
            ("network", "lab", "stopped"),
            ("network", "lab", "undefined"),
            ("test", "resumed"),
        ]
        numbers = [one.sequence for one in seen]
        assert numbers == list(range(numbers[0], numbers[0] + 7))
        assert [str(next(domains).kind) for _ in range(2)] == ["suspended", "resumed"]
        assert isinstance(seen[2], Event)


def test_many_processes_share_them() -> None:
    """What one process defines and starts, another finds and stops."""
    script = (
        "import polyvisor\n"
        "with polyvisor.open('sim:///families') as host:\n"
        "    lab = host.networks['lab']\n"
        "    print(lab.active, lab.key)\n"
        "    lab.destroy()\n"
    )
    with polyvisor.open("sim:///families") as host:
        made = host.networks.define(network("lab"))
        made.start()
        events = host.events(objects=True, timeout=10)
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stdout.split() == ["True", made.key]
        assert next(events).kind == "stopped"
        assert not made.active


def test_a_reboot_takes_what_was_active() -> None:
    """What was started in an earlier boot of the host is not active now."""
    import attrs

    with polyvisor.open("sim:///families") as host:
        made = host.networks.define(network("lab"))
        made.start()
        store = host.driver.home.store  # type: ignore[attr-defined]
        record = store.object("network", made.key)
        store.put_object(attrs.evolve(record, boot_id="another"))
        assert not made.active
        made.start()
        assert made.active


def test_threads_define_at_once(host: polyvisor.Connection) -> None:
    """Of many that define the same name at once, all come to one object."""
    keys: list[str] = []
    threads = [
        threading.Thread(target=lambda: keys.append(host.networks.define(network("lab")).key))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert keys == [host.networks["lab"].key] * 8


def test_what_is_gone_has_no_lock_left(own_home: Path) -> None:
    """An object's lock goes with it, and waits where it stays; a refused call leaves none."""
    with polyvisor.open("sim:///families") as host:
        networks, pool = host.networks, host.storage_pools.define(POOL.format(name="p"))
        kept, gone = networks.define(network("kept")), networks.define(network("gone"))
        passing = networks.create(network("passing"))
        held = host.secrets.define(secret("s"))
        gone.undefine()
        passing.destroy()
        pool.undefine()
        held.undefine()
        with pytest.raises(NotFound):
            gone.start()
        locks = {one.name for one in own_home.rglob("locks/*")}
        assert locks - {"watch"} == {f"network-{kept.key}"}
        kept.undefine()
        assert {one.name for one in own_home.rglob("locks/*")} <= {"watch"}


def test_locks_that_go_still_lock() -> None:
    """Many that define and undefine one name at once see it whole or not at all."""
    script = (
        "import polyvisor\n"
        "from polyvisor.errors import NotFound\n"
        "with polyvisor.open('sim:///families') as host:\n"
        "    for _ in range(20):\n"
        "        made = host.networks.define('<network><name>lab</name></network>')\n"
        "        try:\n"
        "            made.undefine()\n"
        "        except NotFound:\n"
        "            pass\n"
    )
    crowd = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(3)]
    assert [one.wait(60) for one in crowd] == [0, 0, 0]
    with polyvisor.open("sim:///families") as host:
        assert list(host.networks) == []


def test_a_node_file_may_hold_all_kinds(tmp_path: Path) -> None:
    """Networks, interfaces, pools with volumes and devices of a node file are there."""
    (tmp_path / "net.xml").write_text(network("elsewhere"))
    node = tmp_path / "node.xml"
    node.write_text(
        "<node><network file='net.xml'/>"
        + network("here")
        + "<interface type='ethernet' name='eth0'/>"
        + POOL.format(name="images").replace(
            "</pool>", VOLUME.format(name="v", size=8, more="") + "</pool>"
        )
        + "<device><name>computer</name><capability type='system'/></device></node>"
    )
    with polyvisor.open(f"test://{node}") as host:
        assert sorted(one.name for one in host.networks) == ["elsewhere", "here"]
        assert all(one.active for one in host.networks)
        assert host.interfaces["eth0"].active
        assert host.storage_pools["images"].volume("v").info().capacity == 8 << 20
        (device,) = host.node_devices
        assert (device.name, list(device.capabilities)) == ("computer", ["system"])
    (tmp_path / "net.xml").unlink()
    with pytest.raises(StorageError, match=r"net\.xml"):
        polyvisor.open(f"test://{node}")


@pytest.mark.real
@pytest.mark.parametrize(
    "command",
    ["net-dumpxml default", "pool-dumpxml default-pool", "iface-dumpxml eth1",
     "nodedev-dumpxml computer"],
)  # fmt: skip
def test_the_default_host_is_libvirt_s(command: str) -> None:
    """``test:///default`` has the same objects as libvirt's, to the byte."""
    words = ["-c", "test:///default", *command.split()]
    theirs = subprocess.run(["virsh", *words], capture_output=True, text=True, timeout=60)
    ours = subprocess.run(
        [sys.executable, "-m", "polyvisor", *words], capture_output=True, text=True, timeout=60
    )
    assert theirs.returncode == 0, theirs.stderr
    assert ours.stdout == theirs.stdout


def test_commands_do_the_same(tmp_path: Path) -> None:
    """The commands of virsh's names drive them, with facts as JSON."""

    def run(*words: str, given: bytes = b"") -> str:
        done = subprocess.run(
            [sys.executable, "-m", "polyvisor", "-c", "sim:///families", *words],
            input=given,
            capture_output=True,
            timeout=60,
            env={**os.environ},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    (tmp_path / "net.xml").write_text(network("lab"))
    (tmp_path / "pool.xml").write_text(POOL.format(name="images"))
    (tmp_path / "secret.xml").write_text(secret("admin"))
    run("net-define", str(tmp_path / "net.xml"))
    run("net-start", "lab")
    assert json.loads(run("net-info", "lab", "--json"))["active"] == "yes"
    assert json.loads(run("net-list", "--json"))[0]["name"] == "lab"
    run("pool-create", str(tmp_path / "pool.xml"))
    run("vol-create-as", "images", "v", "1G", "--format", "qcow2")
    assert "Capacity:       1.00 GiB" in run("vol-info", "v", "--pool", "images")
    run("secret-define", str(tmp_path / "secret.xml"))
    key = json.loads(run("secret-list", "--json"))[0]["key"]
    run("secret-set-value", key, "--file", "-", "--plain", given=b"value")
    assert run("secret-get-value", key, "--plain") == "value"
    run("net-destroy", "lab")
    run("net-undefine", "lab")
    assert json.loads(run("net-list", "--all", "--json")) == []
