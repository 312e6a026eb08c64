"""Network interfaces on TAP devices of real QEMU, in network namespaces of their own."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.errors import HypervisorError
from polyvisor.states import DomainState

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyvisor.model import DomainSpec

    Hosts = Any
    Network = Any
    Make = Callable[..., DomainSpec]

pytestmark = pytest.mark.real

BRIDGED = "<interface type='bridge'><source bridge='br0'/>{}</interface>"
VIRTIO = "<model type='virtio'/>"


def _targets(domain: Any) -> list[str | None]:
    return [one.target for one in domain.spec().devices.interfaces]


def test_ports_of_a_bridge(network: Network, hosts: Hosts) -> None:
    """Each interface has a running TAP device of its own on the bridge, which goes with the guest.

    Its address is the guest's but for the first byte; its largest frame is the bridge's, or the
    interface's own.
    """
    network.bridge("br0", mtu=1400)
    named = (
        "<mac address='52:54:00:00:00:07'/><target dev='mine'/><mtu size='1300'/>"
        f"<port isolated='yes'/>{VIRTIO}"
    )
    more = BRIDGED.format(VIRTIO) + BRIDGED.format("<model type='e1000'/>") + BRIDGED.format(named)
    domain = hosts.open().domains.create(hosts.counting(more=more))
    hosts.wait_for_count()
    assert _targets(domain) == ["vnet0", "vnet1", "mine"]
    interfaces = domain.spec().devices.interfaces
    links = network.links()
    assert set(links) == {"br0", "vnet0", "vnet1", "mine"}
    for name, interface in zip(("vnet0", "vnet1", "mine"), interfaces, strict=True):
        assert links[name]["master"] == "br0"
        assert "UP" in links[name]["flags"]
        assert links[name]["address"] == f"fe{interface.mac.address[2:]}"
        assert interface.mac.address.startswith("52:54:00:")
    assert len({one.mac.address for one in interfaces}) == 3
    assert [links[name]["mtu"] for name in ("vnet0", "mine")] == [1400, 1300]
    isolated = [links[n]["linkinfo"]["info_slave_data"]["isolated"] for n in ("vnet0", "mine")]
    assert isolated == [False, True]
    stats = domain.stats()
    assert stats["net.0.name"] == "vnet0"
    assert stats["net.2.name"] == "mine"
    assert stats["net.2.rx.pkts"] >= 0
    domain.destroy()
    network.wait_for("br0")


def test_queues(network: Network, hosts: Hosts) -> None:
    """An interface with many queues has one device with as many."""
    network.bridge("br0")
    more = BRIDGED.format(f"{VIRTIO}<driver queues='4'/>")
    hosts.open().domains.create(hosts.counting(more=more))
    hosts.wait_for_count()
    tap = network.links()["vnet0"]["linkinfo"]["info_data"]
    assert tap["multi_queue"]
    # The guest's system has not turned on more than the first.
    assert tap["numqueues"] + tap["numdisabled"] == 4


def test_guests_of_one_bridge(network: Network, hosts: Hosts, make_spec: Make) -> None:
    """Two guests have different devices, and a name is free again when its guest is gone."""
    network.bridge("br0")
    host = hosts.open(network_bridges={"default": "br0"})
    named = f"<interface type='network'><source network='default'/>{VIRTIO}</interface>"
    first = host.domains.define(hosts.counting("first", more=named))
    first.start()
    second = host.domains.create(make_spec("second", devices=named))
    assert (_targets(first), _targets(second)) == (["vnet0"], ["vnet1"])
    first.destroy()
    network.wait_for("br0", "vnet1")
    assert _targets(first) == [None]
    first.start()
    assert _targets(first) == ["vnet0"]
    addresses = {one.spec().devices.interfaces[0].mac.address for one in (first, second)}
    assert len(addresses) == 2


@pytest.mark.parametrize("who", ["qemu", "starter"])
def test_nothing_is_left_after_a_crash(network: Network, hosts: Hosts, who: str) -> None:
    """A device goes with its QEMU, whoever killed it, even in the middle of a start."""
    network.bridge("br0")
    spec = hosts.counting(more=BRIDGED.format(VIRTIO))
    if who == "qemu":
        domain = hosts.open().domains.define(spec)
        domain.start()
        assert set(network.links()) == {"br0", "vnet0"}
        (pid,) = hosts.processes()
        os.kill(pid, signal.SIGKILL)
        network.wait_for("br0")
        assert domain.state is DomainState.SHUTOFF
        domain.start()
        return
    hosts.start_cut_off(spec)
    assert set(network.links()) == {"br0", "vnet0"}
    (domain,) = hosts.open().domains.list()
    domain.start()
    network.wait_for("br0", "vnet0")


def test_a_device_of_ones_own(network: Network, hosts: Hosts) -> None:
    """An interface of type ethernet is no port of a bridge; its scripts get the device's name."""
    for name in ("up", "down"):
        script = hosts.root / name
        script.write_text(f"#!/bin/sh\necho $1 > {hosts.root}/{name}.said\n")
        script.chmod(0o755)
    more = (
        f"<interface type='ethernet'><target dev='tap7'/><script path='{hosts.root}/up'/>"
        f"<downscript path='{hosts.root}/down'/>{VIRTIO}</interface>"
    )
    domain = hosts.open().domains.define(hosts.counting(more=more))
    domain.start()
    link = network.links()["tap7"]
    assert "UP" in link["flags"]
    assert "master" not in link
    assert (hosts.root / "up.said").read_text() == "tap7\n"
    assert not (hosts.root / "down.said").exists()
    domain.destroy()
    network.wait_for()
    assert (hosts.root / "down.said").read_text() == "tap7\n"


def test_a_device_that_is_there_stays(network: Network, hosts: Hosts) -> None:
    """One with managed='no' is used as it is, and is there afterwards."""
    network.ip("tuntap", "add", "dev", "given", "mode", "tap", "vnet_hdr")
    before = network.links()["given"]
    more = f"<interface type='ethernet'><target dev='given' managed='no'/>{VIRTIO}</interface>"
    domain = hosts.open().domains.define(hosts.counting(more=more))
    domain.start()
    link = network.links()["given"]
    assert (link["address"], "UP" in link["flags"]) == (before["address"], False)
    domain.destroy()
    assert set(network.links()) == {"given"}
    network.ip("tuntap", "del", "dev", "given", "mode", "tap")
    with pytest.raises(HypervisorError, match="use the network device given"):
        domain.start()


@pytest.mark.parametrize(
    ("interface", "said"),
    [
        (BRIDGED.format(VIRTIO), "plug vnet0 into the bridge br0: No such device"),
        (
            BRIDGED.format("<virtualport type='midonet'/>" + VIRTIO),
            "ports of MidoNet are not made",
        ),
        (
            "<interface type='ethernet'><script path='/nowhere/script'/></interface>",
            "script /nowhere/script for vnet0",
        ),
        (
            "<interface type='ethernet'><source><ip address='nonsense'/></source></interface>",
            "give the network device vnet0 its addresses: 'nonsense' does not appear",
        ),
        (
            "<interface type='direct'><source dev='lo'/></interface>",
            "make a macvtap device on lo: Invalid argument",
        ),
    ],
    ids=["no bridge", "switch", "script", "address", "direct"],
)
def test_what_cannot_be_made_is_told(
    network: Network, hosts: Hosts, interface: str, said: str
) -> None:
    """The error says which step failed, and nothing is left of the start."""
    domain = hosts.open().domains.define(hosts.counting(more=interface))
    with pytest.raises(HypervisorError, match=said):
        domain.start()
    assert domain.state is DomainState.SHUTOFF
    network.wait_for()


def test_an_interface_comes_later(network: Network, hosts: Hosts, make_spec: Make) -> None:
    """An interface plugged into a guest that runs has a device too, with as many queues."""
    network.bridge("br0")
    spec = make_spec(more="<features><acpi/></features>")
    domain = hosts.open().domains.define(spec)
    domain.start()
    driver = domain.connection._driver
    xml = BRIDGED.format(f"{VIRTIO}<driver queues='2'/>")
    driver.devices.attach(domain.uuid, xml, live=True, config=True)
    assert _targets(domain) == ["vnet0"]
    (kept,) = domain.spec(inactive=True).devices.interfaces
    assert kept.target is None
    assert network.links()["vnet0"]["address"] == f"fe{kept.mac.address[2:]}"
    assert network.links()["vnet0"]["linkinfo"]["info_data"]["multi_queue"]
    with pytest.raises(HypervisorError, match="bridge nowhere"):
        driver.devices.attach(domain.uuid, xml.replace("br0", "nowhere"), live=True, config=False)
    network.wait_for("br0", "vnet0")
    (pid,) = hosts.processes()
    held = [os.readlink(one) for one in Path(f"/proc/{pid}/fd").iterdir()]
    assert sum(one == "/dev/net/tun" for one in held) == 2
    domain.destroy()
    domain.start()
    network.wait_for("br0", "vnet0")


def test_an_image_and_a_restart_have_devices_anew(
    network: Network, hosts: Hosts, make_spec: Make
) -> None:
    """A guest that is restored, or started again, is plugged in as before."""
    network.bridge("br0")
    host = hosts.open()
    domain = host.domains.define(hosts.counting(more=BRIDGED.format(VIRTIO)))
    domain.start()
    hosts.wait_for_count()
    other = host.domains.create(make_spec("other", devices=BRIDGED.format(VIRTIO)))
    assert _targets(other) == ["vnet1"]
    domain.managed_save()
    network.wait_for("br0", "vnet1")
    domain.start()
    hosts.wait_for_count()
    assert _targets(domain) == ["vnet0"]
    assert network.links()["vnet0"]["master"] == "br0"
