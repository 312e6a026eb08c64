"""Interfaces that are ports of Open vSwitch, which runs in the test's network namespace."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from polyvisor.errors import HypervisorError, Unsupported
from polyvisor.states import DomainState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from polyvisor.model import DomainSpec

    Hosts = Any
    Network = Any
    Talkers = Any
    Make = Callable[..., DomainSpec]

pytestmark = pytest.mark.real

PORT = (
    "<interface type='bridge'><mac address='52:54:00:00:00:{:02x}'/><source bridge='ovs0'/>"
    "<virtualport type='openvswitch'>{}</virtualport>{}<model type='virtio'/></interface>"
)
UUID = "09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f"


@attrs.frozen
class Switch:
    """Open vSwitch with the bridge ``ovs0``; that is in user space, so no kernel need have it."""

    folder: Path

    def vsctl(self, *words: str) -> Any:
        """Run ``ovs-vsctl`` and return what it says, read from JSON if it is."""
        line = ["ovs-vsctl", "--timeout=30", "--format=json", *words]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout.split()

    def row(self, table: str, name: str) -> dict[str, Any]:
        """Return a row of the switch's database, its maps as such."""
        told = self.vsctl("list", table, name)
        row = dict(zip(told["headings"], told["data"][0], strict=True))
        return {
            key: dict(one[1]) if isinstance(one, list) and one[0] == "map" else one
            for key, one in row.items()
        }

    def ports(self) -> list[str]:
        """Return the ports of the bridge."""
        return sorted(self.vsctl("list-ports", "ovs0"))


@pytest.fixture
def switch(network: Network, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Switch]:
    """Hold an Open vSwitch of the test's own, with a bridge."""
    if shutil.which("ovs-vsctl") is None or shutil.which("ovs-vswitchd") is None:
        pytest.skip("Open vSwitch is missing: apt install openvswitch-switch")
    folder = own_home / "ovs"
    folder.mkdir()
    for name in ("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR"):
        monkeypatch.setenv(name, str(folder))
    schema = "/usr/share/openvswitch/vswitch.ovsschema"
    subprocess.run(["ovsdb-tool", "create", folder / "conf.db", schema], check=True, timeout=60)
    started = []
    for program, *words in (
        ("ovsdb-server", str(folder / "conf.db"), f"--remote=punix:{folder}/db.sock"),
        ("ovs-vswitchd", f"unix:{folder}/db.sock"),
    ):
        line = [program, *words, "--log-file", "--verbose=off"]
        started.append(subprocess.Popen(line, stderr=subprocess.DEVNULL))
        deadline = time.monotonic() + 60
        while not (folder / "db.sock").exists():
            assert time.monotonic() < deadline, "ovsdb-server does not listen"
            time.sleep(0.02)
        if program == "ovsdb-server":
            subprocess.run(["ovs-vsctl", "--no-wait", "init"], check=True, timeout=60)
    held = Switch(folder)
    held.vsctl("add-br", "ovs0", "--", "set", "bridge", "ovs0", "datapath_type=netdev")
    yield held
    for process in reversed(started):
        process.terminate()
        process.wait(30)


def test_ports_of_a_switch(switch: Switch, hosts: Hosts) -> None:
    """Each interface is a port with what controllers look for, until its guest is gone."""
    more = (
        PORT.format(1, f"<parameters interfaceid='{UUID}' profileid='a \"b\"'/>", "")
        + PORT.format(2, "", "<vlan><tag id='7'/></vlan>")
        + PORT.format(3, "", "<vlan trunk='yes'><tag id='7'/><tag id='8'/></vlan>")
        + PORT.format(4, "", "<vlan><tag id='9' nativeMode='untagged'/><tag id='8'/></vlan>")
    )
    domain = hosts.open().domains.define(hosts.counting(more=more))
    kept = [one.virtualport.parameters.interfaceid for one in domain.spec().devices.interfaces]
    assert kept[0] == UUID
    assert len({*kept}) == 4
    domain.start()
    targets = [one.target for one in domain.spec().devices.interfaces]
    assert targets == ["vnet0", "vnet1", "vnet2", "vnet3"]
    assert switch.ports() == targets
    for number, name in enumerate(targets):
        told = switch.row("Interface", name)["external_ids"]
        assert told == {
            "attached-mac": f"52:54:00:00:00:0{number + 1}",
            "iface-id": kept[number],
            "vm-id": str(domain.uuid),
            "iface-status": "active",
            **({"port-profile": 'a "b"', "ifname": "vnet0"} if number == 0 else {}),
        }
    shown = [
        [switch.row("Port", name)[key] for key in ("tag", "trunks", "vlan_mode")]
        for name in targets
    ]
    nothing = ["set", []]
    assert shown == [
        [nothing, nothing, nothing],
        [7, nothing, nothing],
        [nothing, ["set", [7, 8]], nothing],
        [9, ["set", [8, 9]], "native-untagged"],
    ]
    domain.destroy()
    assert switch.ports() == []


def test_limits_of_a_port(switch: Switch, hosts: Hosts) -> None:
    """The switch keeps limits, which can be changed, as libvirt has it; they go with the port."""
    limits = (
        "<bandwidth><inbound average='100' peak='200' burst='50'/><outbound average='300' "
        "burst='40'/></bandwidth>"
    )
    domain = hosts.open().domains.define(hosts.counting(more=PORT.format(1, "", limits)))
    domain.start()

    def told() -> tuple[Any, ...]:
        port, interface = switch.row("Port", "vnet0"), switch.row("Interface", "vnet0")
        policing = [interface[f"ingress_policing_{one}"] for one in ("rate", "burst")]
        if port["qos"] == ["set", []]:
            return None, policing
        qos = switch.row("qos", port["qos"][1])
        assert qos["type"] == "linux-htb"
        ((_, queue),) = qos["queues"].items()
        assert switch.row("queue", queue[1])["other_config"] == qos["other_config"]
        return qos["other_config"], policing

    rates = {"min-rate": "800000", "max-rate": "1600000", "burst": "409600"}
    assert told() == (rates, [2400, 320])
    domain.tuning.set("domiftune", {"inbound.average": 10}, "vnet0", live=True)
    assert told() == ({"min-rate": "80000"}, [2400, 320])
    domain.tuning.set("domiftune", {"inbound.average": 0}, "vnet0", live=True)
    assert told() == (None, [2400, 320])
    domain.tuning.set("domiftune", {"outbound.average": 0}, "vnet0", live=True)
    assert told() == (None, [0, 0])
    with pytest.raises(Unsupported, match=r"inbound\.floor"):
        domain.tuning.set(
            "domiftune", {"inbound.average": 1, "inbound.floor": 1}, "vnet0", live=True
        )
    domain.tuning.set("domiftune", {"inbound.average": 5}, "vnet0", live=True)
    domain.destroy()
    assert [switch.vsctl("list", table)["data"] for table in ("qos", "queue")] == [[], []]


def test_a_port_changes_while_the_guest_runs(switch: Switch, hosts: Hosts) -> None:
    """VLANs and limits of a port are updated with its interface, in the switch too."""
    domain = hosts.open().domains.define(hosts.counting(more=PORT.format(1, "", "")))
    domain.start()
    driver = domain.connection._driver
    told = domain.spec().devices.interfaces[0].virtualport.parameters.interfaceid

    def update(more: str) -> dict[str, Any]:
        xml = PORT.format(1, f"<parameters interfaceid='{told}'/>", more)
        driver.devices.update(domain.uuid, xml, live=True, config=False)
        return switch.row("Port", "vnet0")

    nothing = ["set", []]
    port = update("<vlan><tag id='7' nativeMode='tagged'/><tag id='8'/></vlan>")
    shown = (port["tag"], port["trunks"], port["vlan_mode"])
    assert shown == (7, ["set", [7, 8]], "native-tagged")
    limits = "<bandwidth><inbound average='100'/></bandwidth>"
    port = update(f"<vlan><tag id='9'/></vlan>{limits}")
    assert (port["tag"], port["trunks"], port["vlan_mode"]) == (9, nothing, nothing)
    assert switch.row("qos", port["qos"][1])["other_config"] == {"min-rate": "800000"}
    assert domain.spec().devices.interfaces[0].vlan.tags[0].id == 9
    port = update("")
    assert (port["tag"], port["qos"]) == (nothing, nothing)
    assert switch.vsctl("list", "qos")["data"] == []


@pytest.mark.parametrize("data", ["plain", 'a "b", c=d', None])
def test_what_a_controller_keeps_goes_along(switch: Switch, hosts: Hosts, data: str | None) -> None:
    """It is kept at the port of the guest that has migrated, before the guest runs."""
    more = "<interface type='user'/>" + PORT.format(1, "", "")
    domain = hosts.open("a").domains.create(hosts.counting(more=more))
    hosts.wait_for_count()
    (here,) = switch.ports()
    if data is not None:
        switch.vsctl("set", "Interface", here, f"external_ids:PortData={json.dumps(data)}")
    moved = domain.migrate(hosts.open("b"))
    hosts.wait_for_count()
    (there,) = switch.ports()
    assert there == moved.spec().devices.interfaces[1].target
    assert switch.row("Interface", there)["external_ids"].get("PortData") == data
    moved.destroy()


@pytest.mark.parametrize("who", ["qemu", "starter"])
def test_no_port_is_left_after_a_crash(
    switch: Switch, network: Network, hosts: Hosts, who: str
) -> None:
    """A port goes with its guest, whoever was killed; another guest's of its name stays."""
    limits = "<bandwidth><inbound average='100'/></bandwidth>"
    spec = hosts.counting(more=PORT.format(1, "", limits))
    host = hosts.open()
    if who == "qemu":
        domain = host.domains.define(spec)
        domain.start()
        (pid,) = hosts.processes()
        os.kill(pid, signal.SIGKILL)
        other = host.domains.define(hosts.counting("other", more=PORT.format(2, "", limits)))
        deadline = time.monotonic() + 30
        while "vnet0" in network.links():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        other.start()
        assert domain.state is DomainState.SHUTOFF
        assert switch.ports() == ["vnet0"]
        (qos,) = switch.vsctl("list", "qos")["data"]
        assert switch.row("Port", "vnet0")["qos"] == qos[0]
        whose = switch.row("Interface", "vnet0")["external_ids"]["vm-id"]
        assert whose == str(other.uuid)
        return
    hosts.start_cut_off(spec)
    assert switch.ports() == ["vnet0"]
    (domain,) = host.domains.list()
    assert domain.state is DomainState.SHUTOFF
    assert switch.ports() == []


def test_a_port_comes_later(switch: Switch, hosts: Hosts, make_spec: Make) -> None:
    """An interface that is plugged into a guest is a port at once, or nothing is left of it."""
    domain = hosts.open().domains.define(make_spec(more="<features><acpi/></features>"))
    domain.start()
    driver = domain.connection._driver
    driver.devices.attach(domain.uuid, PORT.format(1, "", ""), live=True, config=False)
    assert switch.ports() == ["vnet0"]
    wrong = PORT.format(2, "", "").replace("ovs0", "nowhere")
    with pytest.raises(HypervisorError, match="nowhere"):
        driver.devices.attach(domain.uuid, wrong, live=True, config=False)
    assert switch.ports() == ["vnet0"]
    domain.destroy()
    assert switch.ports() == []


def test_a_switch_that_does_not_answer_is_told(
    switch: Switch, network: Network, hosts: Hosts
) -> None:
    """The switch's words, or that it says nothing in time, are the start's error."""
    host = hosts.open(ovs_timeout=1)
    network.bridge("br0")
    domain = host.domains.define(hosts.counting(more=PORT.format(1, "", "").replace("ovs0", "br0")))
    with pytest.raises(HypervisorError, match=r"bridge br0 of Open vSwitch: .*no bridge named br0"):
        domain.start()
    os.unlink(switch.folder / "db.sock")
    domain = host.domains.define(hosts.counting("other", more=PORT.format(1, "", "")))
    with pytest.raises(HypervisorError, match="ovs0 of Open vSwitch: "):
        domain.start()
    assert {"vnet0", "vnet1"} & set(network.links()) == set()


@pytest.mark.slow
def test_guests_in_a_vlan_hear_one_another(
    switch: Switch, network: Network, hosts: Hosts, talkers: Talkers
) -> None:
    """What guests send through ports of one VLAN arrives there, and not in another one.

    In a trunk it has its tag.
    """
    for name, address, words in (
        ("in7", "192.0.7.254/24", ["tag=7"]),
        ("in8", "192.0.7.253/24", ["tag=8"]),
    ):
        words = [*words, "--", "set", "interface", name, "type=internal"]
        switch.vsctl("add-port", "ovs0", name, *words)
        network.ip("address", "add", address, "dev", name)
        network.ip("link", "set", name, "up")
    network.ip("link", "set", "lo", "up")
    host = hosts.open()
    tagged = PORT.format(1, "", "<vlan><tag id='7'/></vlan>")
    other = PORT.format(2, "", "<vlan><tag id='7' nativeMode='untagged'/><tag id='8'/></vlan>")
    for name, own, devices, others in (
        ("first", "192.0.7.1", tagged, ["192.0.7.2", "192.0.7.254"]),
        ("second", "192.0.7.2", other, ["192.0.7.1", "192.0.7.254"]),
    ):
        host.domains.create(talkers.spec(name, [own], others, devices))
    talkers.wait_until_heard("first", "192.0.7.2", "192.0.7.254")
    talkers.wait_until_heard("second", "192.0.7.1", "192.0.7.254")
    seen = network.ip("neighbour", "show", "dev", "in7")
    assert {one["dst"] for one in seen if "lladdr" in one} == {"192.0.7.1", "192.0.7.2"}
    seen = network.ip("neighbour", "show", "dev", "in8")
    assert {one["dst"] for one in seen if "lladdr" in one} == set()
