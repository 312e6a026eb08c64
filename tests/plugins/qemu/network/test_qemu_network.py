"""Linux in guests of real QEMU, that talk to one another over a bridge."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.errors import OperationFailed
from polyvisor.model.devices.interface import Bandwidth, BandwidthLimit
from polyvisor_qemu.shaping import commands

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyvisor.model import DomainSpec

    Hosts = Any
    Network = Any
    Talkers = Any
    Make = Callable[..., DomainSpec]

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture
def pair(network: Network, hosts: Hosts, talkers: Talkers) -> Any:
    """Hold two domains whose Linux has heard the other's, 192.0.2.1 and 192.0.2.2.

    The first has two queues; the bridge has the address 192.0.2.254.
    """
    network.bridge("br0", "192.0.2.254/24")
    network.ip("link", "set", "lo", "up")
    host = hosts.open()
    domains = []
    for own, other in ((1, 2), (2, 1)):
        queues = "<driver queues='2'/>" if own == 1 else ""
        spec = talkers.spec(
            f"guest{own}",
            [f"192.0.2.{own}"],
            [f"192.0.2.{other}"],
            f"<interface type='bridge'><source bridge='br0'/><model type='virtio'/>{queues}"
            f"</interface>",
            vcpus=2 if own == 1 else 1,
        )
        domains.append(host.domains.create(spec))
    for own, other in ((1, 2), (2, 1)):
        talkers.wait_until_heard(f"guest{own}", f"192.0.2.{other}")
    return domains


def test_guests_hear_one_another(network: Network, talkers: Talkers, pair: Any) -> None:
    """Two guests on a bridge, and the host, exchange packets over as many queues as there are.

    An interface that came while the guest ran goes again, and its device with it.
    """
    first, second = pair
    assert talkers.send("192.0.2.1", 1 << 20) > 0
    assert talkers.send("192.0.2.2", 1 << 20) > 0
    assert first.stats()["net.0.tx.pkts"] > 0
    assert first.stats()["net.0.rx.bytes"] > 1 << 20
    tap = network.links()["vnet0"]["linkinfo"]["info_data"]
    assert (tap["numqueues"], tap["numdisabled"]) == (2, 0)
    driver = second.connection._driver
    xml = (
        "<interface type='bridge'><mac address='52:54:00:00:00:99'/><source bridge='br0'/>"
        "<model type='virtio'/></interface>"
    )
    driver.devices.attach(second.uuid, xml, live=True, config=False)
    network.wait_for("br0", "vnet0", "vnet1", "vnet2")
    deadline = time.monotonic() + 120
    while len(second.spec().devices.interfaces) > 1:
        try:
            driver.devices.detach(second.uuid, xml, live=True, config=False)
        except OperationFailed:  # it takes as long as a busy machine takes to emulate it
            assert time.monotonic() < deadline
    network.wait_for("br0", "vnet0", "vnet1")
    assert talkers.send("192.0.2.2", 1 << 16) > 0


def test_what_a_guest_gets_is_limited(talkers: Talkers, pair: Any) -> None:
    """What is sent to a guest arrives at the rate that is set for it alone."""
    first, second = pair
    size = 300 * 1000
    first.tuning.set("domiftune", {"inbound.average": 50, "inbound.burst": 20}, "vnet0", live=True)
    # The window of TCP and the device's queue hold what is not sent yet: only the whole counts.
    limited = talkers.send("192.0.2.1", size)
    assert limited > 4
    assert second.tuning.get("domiftune", "vnet1") == {}
    first.tuning.set("domiftune", {"inbound.average": 0}, "vnet0", live=True)
    deadline = time.monotonic() + 120
    while talkers.send("192.0.2.1", size) >= limited:  # a busy machine may be as slow now and then
        assert time.monotonic() < deadline


TRIED = """\
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc p /proc; $b mount -t sysfs s /sys; $b mount -t devtmpfs d /dev
for m in $($b cat /mod/order); do $b insmod /mod/$m; done
$b ip link set lo up
/usr/sbin/tc -batch /needed && echo taken
/usr/sbin/tc -batch /spare && echo spare taken
/usr/sbin/tc class show dev lo; /usr/sbin/tc qdisc show dev lo
/usr/sbin/tc filter show dev lo parent ffff:; echo shown
while true; do $b sleep 1; done
"""


def test_a_kernel_that_has_all_takes_the_limits(
    hosts: Hosts, make_spec: Make, linux_files: Path, initramfs: Callable[..., Path]
) -> None:
    """Debian's kernel takes what is written for limits of both ways, and tells the same."""
    tc = shutil.which("tc")
    if tc is None:
        pytest.skip("tc is missing: apt install iproute2")
    told = subprocess.run(["ldd", tc], check=True, capture_output=True, text=True).stdout
    limits = Bandwidth(
        inbound=BandwidthLimit(average=100, peak=200, burst=50),
        outbound=BandwidthLimit(average=300),
    )
    needed, spare = commands("lo", limits)
    files: dict[str, Any] = {one: Path(one) for one in re.findall(r"/\S+", told)}
    files |= {"/usr/sbin/tc": Path(tc), "/needed": "\n".join(needed), "/spare": "\n".join(spare)}
    modules = ("sch_htb", "sch_ingress", "sch_sfq", "cls_u32", "cls_fw", "act_police")
    archive = initramfs(TRIED, [f"net/sched/{one}" for one in modules], files)
    (kernel,) = linux_files.glob("boot/vmlinuz-*")
    said = hosts.root / "said"
    spec = make_spec(
        memory=128,
        boot=f"<kernel>{kernel}</kernel><initrd>{archive}</initrd>"
        f"<cmdline>console=ttyS0 quiet</cmdline>",
        devices=f"<serial type='file'><source path='{said}'/><target port='0'/></serial>",
    )
    hosts.open().domains.create(spec)
    deadline = time.monotonic() + 300
    while not said.exists() or "shown" not in said.read_text():
        assert time.monotonic() < deadline, said.read_text()
        time.sleep(0.2)
    text = said.read_text()
    assert "\ntaken" in text, text
    assert "spare taken" in text, text
    assert re.search(r"class htb 1:1 root .*rate 800Kbit ceil 1600Kbit burst 50Kb", text), text
    assert "qdisc ingress ffff:" in text, text
    assert re.search(r"police 0x1 rate 2400Kbit burst 300Kb mtu 64Kb action drop", text), text


def test_a_guest_behind_passt(network: Network, hosts: Hosts, talkers: Talkers) -> None:
    """A port of the host leads into the guest; passt ends with its QEMU, even if that is killed."""
    if shutil.which("passt") is None:
        pytest.skip("passt is missing: apt install passt")
    network.bridge("net0", "198.51.100.2/24")  # what passt takes for the way out
    network.ip("link", "set", "lo", "up")
    network.ip("route", "add", "default", "via", "198.51.100.1")
    own = "198.51.100.2"
    spec = talkers.spec(
        "guest", [own], [own],
        "<interface type='user'><mac address='52:54:00:00:00:55'/><model type='virtio'/>"
        "<backend type='passt'/><portForward proto='tcp'><range start='8009' to='9'/>"
        "</portForward></interface>",
    )  # fmt: skip
    domain = hosts.open().domains.define(spec)
    domain.start()
    talkers.wait_until_heard("guest", own)
    deadline = time.monotonic() + 120
    while True:
        try:
            talkers.send("127.0.0.1", 1 << 18, 8009)
            break
        except (OSError, AssertionError):
            assert time.monotonic() < deadline
            time.sleep(0.5)
    assert _helpers() == ["passt"]
    (pid,) = hosts.processes()
    os.kill(pid, signal.SIGKILL)
    while _helpers():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _helpers() -> list[str]:
    """Return the passt processes in the network namespace that the test is in."""
    own = os.stat("/proc/thread-self/ns/net").st_ino
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and os.stat(entry / "ns/net").st_ino == own:
                name = (entry / "comm").read_text().strip()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                found += [name.partition(".")[0]] if "passt" in name and state not in "ZX" else []
    return found


def test_guests_on_top_of_devices_and_routed_to(
    network: Network,
    hosts: Hosts,
    talkers: Talkers,
    until_let_go: Callable[[Callable[[], None]], None],
) -> None:
    """What a guest sends through macvtap comes out at the other end, whatever its mode.

    What it gets and sends is told as the guest sees it. Through an interface with addresses
    and routes of the host's side, the host reaches it. An interface that came while the guest
    ran goes again, and its device with it.
    """
    modes = ("vepa", "bridge", "private", "passthrough")
    macs = [f"52:54:00:00:01:0{n}" for n in range(5)]
    devices = ""
    for number, mode in enumerate(modes):
        network.ip("link", "add", f"v{number}", "type", "veth", "peer", "name", f"w{number}")
        network.ip("address", "add", f"192.0.{number}.254/24", "dev", f"w{number}")
        network.ip("link", "set", f"w{number}", "up")
        queues = "<driver queues='2'/>" if number == 1 else ""
        devices += (
            f"<interface type='direct'><mac address='{macs[number]}'/><model type='virtio'/>"
            f"<source dev='v{number}' mode='{mode}'/>{queues}</interface>"
        )
    devices += (
        f"<interface type='ethernet'><mac address='{macs[4]}'/><model type='virtio'/>"
        f"<source><ip address='192.0.4.254' prefix='32' peer='192.0.4.1'/>"
        f"<route address='198.51.100.0' prefix='24' gateway='192.0.4.1' metric='7'/></source>"
        f"</interface>"
    )
    network.ip("link", "set", "lo", "up")
    own = [f"192.0.{number}.1" for number in range(5)]
    others = [f"192.0.{number}.254" for number in range(4)]
    domain = hosts.open().domains.define(talkers.spec("guest", own, others, devices, vcpus=2))
    domain.start()
    talkers.wait_until_heard("guest", *others)
    for number in range(4):
        (seen,) = network.ip("neighbour", "show", f"192.0.{number}.1", "dev", f"w{number}")
        assert seen["lladdr"] == macs[number]
    assert talkers.send("192.0.1.1", 1 << 20) > 0
    stats = domain.stats()
    assert stats["net.1.rx.bytes"] > 1 << 20 > stats["net.1.tx.bytes"] > 0
    (link,) = network.ip("address", "show", "dev", "vnet0")
    given = [(one["local"], one.get("address")) for one in link["addr_info"]]
    assert ("192.0.4.254", "192.0.4.1") in given
    assert talkers.send("192.0.4.1", 1 << 16) > 0
    (route,) = network.ip("route", "show", "198.51.100.0/24")
    assert (route["gateway"], route["dev"], route["metric"]) == ("192.0.4.1", "vnet0", 7)
    driver = domain.connection._driver
    xml = (
        "<interface type='direct'><mac address='52:54:00:00:01:09'/><model type='virtio'/>"
        "<source dev='v1' mode='bridge'/></interface>"
    )
    driver.devices.attach(domain.uuid, xml, live=True, config=False)
    assert "macvtap4" in network.links()
    until_let_go(lambda: driver.devices.detach(domain.uuid, xml, live=True, config=False))
    assert len(domain.spec().devices.interfaces) == 5
    assert {name for name in network.links() if name.startswith("macvtap")} == {
        f"macvtap{number}" for number in range(4)
    }
    domain.destroy()
    network.wait_for(*(f"{side}{number}" for side in "vw" for number in range(4)))
