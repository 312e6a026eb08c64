"""Interfaces that are plugged into a device of the host through macvtap."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.errors import HypervisorError
from polyvisor.model import DomainSpec
from polyvisor.states import DomainState

if TYPE_CHECKING:
    from collections.abc import Callable

    Hosts = Any
    Network = Any
    Make = Callable[..., DomainSpec]

pytestmark = pytest.mark.real

VIRTIO = "<model type='virtio'/>"
MAC = "52:54:00:00:00:{:02x}"


def _veth(network: Network, *numbers: int) -> None:
    """Make pairs of devices of which the first, ``v0`` and so on, are for guests."""
    for number in numbers:
        network.ip("link", "add", f"v{number}", "type", "veth", "peer", "name", f"w{number}")
        network.ip("link", "set", f"w{number}", "up")


def _direct(number: int, mode: str = "bridge", more: str = VIRTIO, *, mac: int = 0) -> str:
    return (
        f"<interface type='direct'><mac address='{MAC.format(mac or number + 1)}'/>"
        f"<source dev='v{number}' mode='{mode}'/>{more}</interface>"
    )


def _targets(domain: Any) -> list[str | None]:
    return [one.target for one in domain.spec().devices.interfaces]


def _queues(hosts: Hosts) -> list[int]:
    """Return the character devices of macvtap that the one QEMU there is has open."""
    (pid,) = hosts.processes()
    words = Path("/proc/devices").read_text().split()
    major = int(words[words.index("macvtap") - 1])
    held = [one.stat() for one in Path(f"/proc/{pid}/fd").iterdir()]
    found = [one.st_rdev for one in held if stat.S_ISCHR(one.st_mode)]
    return [one for one in found if os.major(one) == major]


def test_devices_on_top_of_others(network: Network, hosts: Hosts) -> None:
    """Each interface has a device of its own, of its mode, which goes with the guest.

    It runs while the guest's vCPUs do, and no longer; its character devices are QEMU's.
    """
    _veth(network, 0, 1)
    own = network.links()["v1"]["address"]
    more = (
        _direct(0, "bridge", f"{VIRTIO}<driver queues='2'/><mtu size='1300'/>")
        + _direct(0, "bridge", "<model type='e1000'/><target dev='mine'/>", mac=9)
        + _direct(1, "passthrough").replace("'direct'", "'direct' trustGuestRxFilters='yes'")
    )
    domain = hosts.open().domains.define(hosts.counting(more=more))
    domain.start()
    assert _targets(domain) == ["macvtap0", "mine", "macvtap1"]
    links = network.links()
    for name, lower, mode, mac in (
        ("macvtap0", "v0", "bridge", 1), ("mine", "v0", "bridge", 9),
        ("macvtap1", "v1", "passthru", 2),
    ):  # fmt: skip
        link = links[name]
        assert (link["link"], link["linkinfo"]["info_kind"]) == (lower, "macvtap")
        assert link["linkinfo"]["info_data"]["mode"] == mode
        assert link["address"] == MAC.format(mac)
        assert "UP" in link["flags"]
        assert "UP" in links[lower]["flags"]
    assert [links[name]["mtu"] for name in ("macvtap0", "mine")] == [1300, 1500]
    assert links["v1"]["address"] == MAC.format(2)
    groups = ["ALLMULTI" in links[name]["flags"] for name in ("macvtap0", "mine", "macvtap1")]
    assert groups == [False, False, True]
    assert len(_queues(hosts)) == 4
    assert domain.stats()["net.1.name"] == "mine"
    domain.suspend()
    assert all("UP" not in network.links()[one]["flags"] for one in ("macvtap0", "mine", "v1"))
    domain.resume()
    assert all("UP" in network.links()[one]["flags"] for one in ("macvtap0", "mine", "v1"))
    domain.destroy()
    assert set(network.links()) == {"v0", "v1", "w0", "w1"}
    assert network.links()["v1"]["address"] == own
    assert _targets(domain) == [None, "mine", None]


def test_a_device_of_another_namespace_is_not_taken(network: Network, hosts: Hosts) -> None:
    """The kernel's one node for a number may be that of a device elsewhere with that index."""
    _veth(network, 0)
    index = max(one["ifindex"] for one in network.links().values()) + 1
    elsewhere = (
        "ip link add v0 type veth peer name w0 && "
        f"ip link add link v0 name m0 index {index} type macvtap && echo made && read _"
    )
    line = ["unshare", "--net", "sh", "-c", elsewhere]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "made\n"
        domain = hosts.open().domains.define(hosts.counting(more=_direct(0)))
        domain.start()
        assert network.links()["macvtap0"]["ifindex"] == index
        (used,) = _queues(hosts)
        node = Path(f"/dev/tap{index}")
        assert not node.exists() or node.stat().st_rdev != used
        domain.destroy()
        other.communicate("\n", timeout=30)


@pytest.mark.parametrize("who", ["qemu", "launch:lived", "cmdline.macvtaps:open_queue"])
def test_no_device_is_left_after_a_crash(network: Network, hosts: Hosts, who: str) -> None:
    """A device goes with its guest, whoever was killed, even in the middle of a start."""
    _veth(network, 0)
    spec = hosts.counting(more=_direct(0) + _direct(0, mac=2))
    if who == "qemu":
        domain = hosts.open().domains.define(spec)
        domain.start()
        (pid,) = hosts.processes()
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while domain.state is not DomainState.SHUTOFF:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        network.wait_for("v0", "w0")
        domain.start()
        return
    hosts.start_cut_off(spec, who)
    assert "macvtap0" in network.links()
    (domain,) = hosts.open().domains.list()
    domain.start()
    assert set(network.links()) == {"v0", "w0", "macvtap0", "macvtap1"}
    domain.destroy()
    network.wait_for("v0", "w0")


def test_a_foreign_device_stays(network: Network, hosts: Hosts) -> None:
    """A device of the same name that was there before is not taken, and is there afterwards."""
    _veth(network, 0)
    for name in ("macvtap0", "mine"):
        network.ip("link", "add", "link", "v0", "name", name, "type", "macvtap", "mode", "bridge")
    host = hosts.open()
    domain = host.domains.define(hosts.counting(more=_direct(0)))
    domain.start()
    assert _targets(domain) == ["macvtap1"]
    domain.destroy()
    domain = host.domains.define(
        hosts.counting("other", more=_direct(0, more=f"<target dev='mine'/>{VIRTIO}"))
    )
    with pytest.raises(HypervisorError, match="macvtap device on v0: there is a device of that"):
        domain.start()
    assert set(network.links()) == {"v0", "w0", "macvtap0", "mine"}


@pytest.mark.parametrize(
    ("interface", "said"),
    [
        (_direct(7), "make a macvtap device on v7: there is no network device v7"),
        (_direct(0, more="<mtu size='9000'/>"), "set the MTU of macvtap0 to 9000: Invalid"),
        (
            _direct(0, more="<virtualport type='802.1Qbg'><parameters managerid='1' typeid='2' "
                    "typeidversion='3' instanceid='09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f'/>"
                    "</virtualport>"),
            "ports of 802.1Qbg are not made",
        ),
        (_direct(0, more="<vlan><tag id='3'/></vlan>"), "VLANs are those of a port of Open"),
        (_direct(0) + _direct(0, "passthrough", mac=2), "make a macvtap device on v0: "),
    ],
    ids=["no device", "frames", "port", "vlan", "passthrough"],
)  # fmt: skip
def test_what_cannot_be_put_on_top_is_told(
    network: Network, hosts: Hosts, interface: str, said: str
) -> None:
    """The error says which step failed, and nothing is left of the start."""
    _veth(network, 0)
    domain = hosts.open().domains.define(hosts.counting(more=interface))
    with pytest.raises(HypervisorError, match=said):
        domain.start()
    assert domain.state is DomainState.SHUTOFF
    assert set(network.links()) == {"v0", "w0"}


def test_a_device_on_top_comes_later(network: Network, hosts: Hosts, make_spec: Make) -> None:
    """An interface that is plugged into a guest has a device at once, or nothing is left."""
    _veth(network, 0, 1)
    domain = hosts.open().domains.define(make_spec(more="<features><acpi/></features>"))
    domain.start()
    driver = domain.connection._driver
    xml = _direct(0, "vepa", f"{VIRTIO}<driver queues='2'/>")
    driver.devices.attach(domain.uuid, xml, live=True, config=True)
    assert _targets(domain) == ["macvtap0"]
    assert "UP" in network.links()["macvtap0"]["flags"]
    driver.devices.update(
        domain.uuid, xml.replace("<model", "<link state='down'/><model"), live=True, config=False
    )
    assert domain.spec().devices.interfaces[0].link == "down"
    with pytest.raises(HypervisorError, match="no network device v7"):
        driver.devices.attach(domain.uuid, _direct(7), live=True, config=False)
    network.ip(
        "link", "add", "link", "v0", "name", "other", "address", MAC.format(3), "type", "macvtap"
    )
    network.ip("link", "set", "other", "up")
    with pytest.raises(HypervisorError, match="has the address 52:54:00:00:00:03"):
        driver.devices.attach(domain.uuid, _direct(0, mac=3), live=True, config=False)
    assert set(network.links()) == {"v0", "v1", "w0", "w1", "macvtap0", "other"}
    assert len(domain.spec().devices.interfaces) == 1
    domain.destroy()
    domain.start()
    assert _targets(domain) == ["macvtap0"]


@pytest.mark.parametrize("place", ["handing:Handing.handed", "wires:start"])
def test_an_attach_that_was_cut_off_leaves_no_device(
    network: Network, hosts: Hosts, make_spec: Make, place: str
) -> None:
    """A device whose maker was killed while it was plugged in goes when the domain is touched.

    If the guest has it already and does not let go of it, it goes with the guest.
    """
    _veth(network, 0)
    domain = hosts.open().domains.define(make_spec(more="<features><acpi/></features>"))
    domain.start()
    code = """
    with polyvisor.open(uri) as host:
        (domain,) = host.domains.list()
        host._driver.devices.attach(domain.uuid, sys.argv[1], live=True, config=False)
    """
    hosts.cut_off(place, code, _direct(0))
    assert "macvtap0" in network.links()
    domain.suspend()
    assert domain.spec().devices.interfaces == ()
    if place == "wires:start":
        domain.destroy()
    network.wait_for("v0", "w0")


def test_an_image_has_devices_anew(network: Network, hosts: Hosts) -> None:
    """A guest that is restored has a device as before, under another name if that is taken."""
    _veth(network, 0)
    host = hosts.open()
    domain = host.domains.define(hosts.counting(more=_direct(0)))
    domain.start()
    hosts.wait_for_count()
    domain.managed_save()
    network.wait_for("v0", "w0")
    network.ip("link", "add", "link", "v0", "name", "macvtap0", "type", "macvtap")
    domain.start()
    hosts.wait_for_count()
    assert _targets(domain) == ["macvtap1"]
    assert "UP" in network.links()["macvtap1"]["flags"]


@pytest.mark.parametrize("lower", ["v0", "v1"])
def test_a_guest_that_leaves_takes_its_device_along(
    network: Network, hosts: Hosts, lower: str
) -> None:
    """The destination has a device that runs with the guest there; the source's is gone.

    On the same device of one host it cannot run as long as the source's does.
    """
    _veth(network, 0, 1)
    here, there = hosts.open("here"), hosts.open("there")
    domain = here.domains.define(hosts.counting(more=_direct(0)))
    domain.start()
    hosts.wait_for_count()
    spec = DomainSpec.from_xml(domain.spec().to_xml().replace("'v0'", f"'{lower}'"))
    moved = domain.migrate(there, live=True, spec=spec)
    assert moved.state is DomainState.RUNNING
    hosts.wait_for_count()
    assert _targets(moved) == ["macvtap1"]
    link = network.links()["macvtap1"]
    assert (link["link"], "UP" in link["flags"]) == (lower, True)
    network.wait_for("v0", "v1", "w0", "w1", "macvtap1")
    moved.destroy()
    network.wait_for("v0", "v1", "w0", "w1")


def test_a_given_macvtap_stays(network: Network, hosts: Hosts) -> None:
    """A device of macvtap with managed='no' is used as it is, and is there afterwards."""
    _veth(network, 0)
    network.ip("link", "add", "link", "v0", "name", "given", "type", "macvtap", "mode", "bridge")
    before = network.links()["given"]
    more = f"<interface type='ethernet'><target dev='given' managed='no'/>{VIRTIO}</interface>"
    domain = hosts.open().domains.define(hosts.counting(more=more))
    domain.start()
    assert len(_queues(hosts)) == 1
    domain.destroy()
    after = network.links()["given"]
    assert (after["address"], after["flags"]) == (before["address"], before["flags"])
