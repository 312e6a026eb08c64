"""Limits of interfaces of real QEMU, in network namespaces of their own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.config import Config
from polyvisor.errors import HypervisorError, InvalidArgument, OperationInvalid, Unsupported
from polyvisor_remote.server.listening import UnixListener
from polyvisor_remote.server.opening import opener
from polyvisor_remote.server.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyvisor.model import DomainSpec

    Hosts = Any
    Network = Any
    Make = Callable[..., DomainSpec]

pytestmark = pytest.mark.real

LIMITED = (
    "<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/>"
    "<model type='virtio'/>{}</interface>"
)


def _classes(device: str) -> list[tuple[str, str, str]]:
    """Return rate, the most, and burst of a device's classes, as tc writes them."""
    line = ["tc", "class", "show", "dev", device]
    told = subprocess.run(line, check=True, capture_output=True, text=True, timeout=30).stdout
    return re.findall(r"htb 1:1 root .*rate (\w+) ceil (\w+) burst (\w+)", told)


@pytest.fixture
def bridged(network: Network) -> Network:
    """Hold a network namespace with the bridge br0, and tc."""
    if shutil.which("tc") is None:
        pytest.skip("tc is missing: apt install iproute2")
    network.bridge("br0")
    return network


@pytest.fixture
def policed(bridged: Network) -> Network:
    """Hold the same where the kernel can drop what is too much."""
    bridged.ip("tuntap", "add", "dev", "probe", "mode", "tap")
    try:
        for words in (
            "qdisc add dev probe ingress",
            "filter add dev probe parent ffff: protocol all u32 match u32 0 0 police rate 9kbps "
            "burst 9kb mtu 64kb drop flowid :1",
        ):
            done = subprocess.run(
                ["tc", *words.split()], capture_output=True, text=True, timeout=30
            )
            if done.returncode:
                pytest.skip(f"this kernel cannot drop what is too much: {done.stderr}")
    finally:
        bridged.ip("tuntap", "del", "dev", "probe", "mode", "tap")
    return bridged


def test_limits_hold_from_the_start(bridged: Network, hosts: Hosts, make_spec: Make) -> None:
    """What a definition says is set at each start, and changes live and for later apart."""
    limit = "<bandwidth><inbound average='100' peak='200' burst='64'/></bandwidth>"
    domain = hosts.open().domains.define(make_spec(devices=LIMITED.format(limit)))
    domain.start()
    assert _classes("vnet0") == [("800Kbit", "1600Kbit", "64Kb")]
    tuning = domain.tuning
    assert tuning.get("domiftune", "vnet0")["inbound.peak"] == 200
    tuning.set("domiftune", {"inbound.average": 300}, "vnet0", live=True)
    assert [one[:2] for one in _classes("vnet0")] == [("2400Kbit", "2400Kbit")]
    # A way that is named is set as a whole, as with libvirt.
    assert tuning.get("domiftune", "vnet0") == {"inbound.average": 300}
    mac = "52:54:00:00:00:01"
    assert tuning.get("domiftune", mac, live=False)["inbound.burst"] == 64
    tuning.set("domiftune", {"inbound.average": 500}, mac, config=True)
    tuning.set("domiftune", {"inbound.average": 0}, "vnet0", live=True)
    assert _classes("vnet0") == []
    domain.destroy()
    domain.start()
    assert [one[0] for one in _classes("vnet0")] == ["4Mbit"]


def test_limits_that_cannot_be_set(bridged: Network, hosts: Hosts, make_spec: Make) -> None:
    """A floor, a peak alone, an interface without a device; the limits that were there stay."""
    user = "<interface type='user'><mac address='52:54:00:00:00:02'/></interface>"
    limit = "<bandwidth><inbound average='100'/></bandwidth>"
    domain = hosts.open().domains.create(make_spec(devices=LIMITED.format(limit) + user))
    tuning = domain.tuning
    with pytest.raises(Unsupported, match="floor"):
        tuning.set("domiftune", {"inbound.floor": 10}, "vnet0")
    with pytest.raises(InvalidArgument, match=r"need inbound\.average"):
        tuning.set("domiftune", {"inbound.peak": 10}, "vnet0")
    with pytest.raises(OperationInvalid, match="type 'user'"):
        tuning.set("domiftune", {"inbound.average": 10}, "52:54:00:00:00:02")
    with pytest.raises(HypervisorError, match="tc: "):
        tuning.set("domiftune", {"inbound.average": 1 << 60}, "vnet0")
    assert [one[0] for one in _classes("vnet0")] == ["800Kbit"]
    assert tuning.get("domiftune", "vnet0") == {"inbound.average": 100}


def test_what_a_guest_sends_is_limited(policed: Network, hosts: Hosts, make_spec: Make) -> None:
    """It is dropped beyond its rate, as it comes in."""
    limit = "<bandwidth><outbound average='100' burst='64'/></bandwidth>"
    domain = hosts.open().domains.create(make_spec(devices=LIMITED.format(limit)))

    def filters() -> str:
        line = ["tc", "filter", "show", "dev", "vnet0", "parent", "ffff:"]
        return subprocess.run(line, check=True, capture_output=True, text=True, timeout=30).stdout

    assert "rate 800Kbit burst 64Kb mtu 64Kb action drop" in filters()
    domain.tuning.set("domiftune", {"outbound.average": 0, "inbound.average": 7}, "vnet0")
    assert "police" not in filters()
    assert [one[0] for one in _classes("vnet0")] == ["56Kbit"]


def test_virsh_and_polyvisor_say_the_same(bridged: Network, hosts: Hosts, make_spec: Make) -> None:
    """Limits set by virsh through polyvisord are the kernel's; polyvisor prints what virsh does."""
    if shutil.which("virsh") is None:
        pytest.skip("virsh is missing: apt install libvirt-clients")
    domain = hosts.open().domains.create(make_spec(devices=LIMITED.format("")))
    server = Server(opener(Config(root=str(hosts.root / "a"))))
    server.start()
    server.listen(UnixListener.bind(str(hosts.root / "socket")))

    def run(*words: str) -> str:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    virsh = ("virsh", "-c", f"qemu+unix:///session?socket={hosts.root}/socket")
    try:
        run(*virsh, "domiftune", "guest", "vnet0", "--inbound", "100,200,64", "--live")
        assert _classes("vnet0") == [("800Kbit", "1600Kbit", "64Kb")]
        told = run(*virsh, "domiftune", "guest", "vnet0").strip()
    finally:
        server.stop()
    ours = run(sys.executable, "-m", "polyvisor", "-c", hosts.uri(), "domiftune", "guest", "vnet0")
    assert ours.strip() == told
    assert told.startswith("inbound.average: 100\ninbound.peak   : 200\n")
    assert domain.tuning.get("domiftune", "vnet0")["inbound.burst"] == 64
