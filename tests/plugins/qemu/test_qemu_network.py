"""Linux in guests of real QEMU, that talk to one another over a bridge."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
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
    Make = Callable[..., DomainSpec]

pytestmark = [pytest.mark.real, pytest.mark.slow]

MODULES = (
    "drivers/virtio/virtio_ring", "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_legacy_dev", "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci", "net/core/failover", "drivers/net/net_failover",
    "drivers/net/virtio_net",
)  # fmt: skip
#: Its address and another's stand on the kernel's command line; it tells each time that it
#: hears the other, and swallows what is sent to port 9.
INIT = """\
#!/bin/busybox sh
b=/bin/busybox; export PATH=/bin
$b mount -t proc p /proc; $b mount -t sysfs s /sys; $b mount -t devtmpfs d /dev
for m in $($b cat /mod/order); do $b insmod /mod/$m; done
for word in $($b cat /proc/cmdline); do
    case $word in own=*) own=${word#own=};; other=*) other=${word#other=};; esac
done
$b ip link set lo up; $b ip addr add $own/24 dev eth0; $b ip link set eth0 up
$b nc -ll -p 9 -e /sink &
while true; do $b ping -c 1 -W 1 $other > /dev/null && echo "heard $other"; $b sleep 0.2; done
"""
SINK = """\
#!/bin/busybox sh
/bin/busybox cat > /dev/null; echo done
"""


@pytest.fixture
def pair(
    network: Network,
    hosts: Hosts,
    make_spec: Make,
    linux_files: Path,
    initramfs: Callable[..., Path],
) -> Any:
    """Hold two domains whose Linux has heard the other's, 192.0.2.1 and 192.0.2.2.

    The first has two queues; the bridge has the address 192.0.2.254.
    """
    archive = initramfs(INIT, MODULES, {"/sink": SINK})
    (kernel,) = linux_files.glob("boot/vmlinuz-*")
    network.bridge("br0", "192.0.2.254/24")
    network.ip("link", "set", "lo", "up")
    host = hosts.open()
    domains = []
    for own, other in ((1, 2), (2, 1)):
        queues = "<driver queues='2'/>" if own == 1 else ""
        spec = make_spec(
            f"guest{own}",
            memory=128,
            vcpus=2 if own == 1 else 1,
            boot=f"<kernel>{kernel}</kernel><initrd>{archive}</initrd>"
            f"<cmdline>console=ttyS0 quiet own=192.0.2.{own} other=192.0.2.{other}</cmdline>",
            more="<features><acpi/></features>",
            devices=f"<interface type='bridge'><source bridge='br0'/><model type='virtio'/>"
            f"{queues}</interface><serial type='file'><source path='{hosts.root}/said{own}'/>"
            f"<target port='0'/></serial>",
        )
        domains.append(host.domains.create(spec))
    deadline = time.monotonic() + 400  # as long as a busy machine takes to emulate both starts
    for own, other in ((1, 2), (2, 1)):
        said = hosts.root / f"said{own}"
        while not said.exists() or f"heard 192.0.2.{other}" not in said.read_text():
            assert time.monotonic() < deadline, f"guest {own} said {said.read_text()!r}"
            time.sleep(0.2)
    return domains


def _send(address: str, size: int, port: int = 9) -> float:
    """Send so many bytes to a guest; return how many seconds it took until it had all."""
    begun = time.monotonic()
    with socket.create_connection((address, port), timeout=120) as stream:
        stream.sendall(bytes(size))
        stream.shutdown(socket.SHUT_WR)
        assert stream.recv(16) == b"done\n"
    return time.monotonic() - begun


def test_guests_hear_one_another(network: Network, hosts: Hosts, pair: Any) -> None:
    """Two guests on a bridge, and the host, exchange packets over as many queues as there are.

    An interface that came while the guest ran goes again, and its device with it.
    """
    first, second = pair
    assert _send("192.0.2.1", 1 << 20) > 0
    assert _send("192.0.2.2", 1 << 20) > 0
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
    assert _send("192.0.2.2", 1 << 16) > 0


def test_what_a_guest_gets_is_limited(pair: Any) -> None:
    """What is sent to a guest arrives at the rate that is set for it alone."""
    first, second = pair
    size = 300 * 1000
    first.tuning.set("domiftune", {"inbound.average": 50, "inbound.burst": 20}, "vnet0", live=True)
    # The window of TCP and the device's queue hold what is not sent yet: only the whole counts.
    limited = _send("192.0.2.1", size)
    assert limited > 4
    assert second.tuning.get("domiftune", "vnet1") == {}
    first.tuning.set("domiftune", {"inbound.average": 0}, "vnet0", live=True)
    deadline = time.monotonic() + 120
    while _send("192.0.2.1", size) >= limited:  # a busy machine may be as slow now and then
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


def test_a_guest_behind_passt(
    network: Network,
    hosts: Hosts,
    make_spec: Make,
    linux_files: Path,
    initramfs: Callable[..., Path],
) -> None:
    """A port of the host leads into the guest; passt ends with its QEMU, even if that is killed."""
    if shutil.which("passt") is None:
        pytest.skip("passt is missing: apt install passt")
    network.bridge("net0", "198.51.100.2/24")  # what passt takes for the way out
    network.ip("link", "set", "lo", "up")
    network.ip("route", "add", "default", "via", "198.51.100.1")
    archive = initramfs(INIT, MODULES, {"/sink": SINK})
    (kernel,) = linux_files.glob("boot/vmlinuz-*")
    said = hosts.root / "said"
    spec = make_spec(
        memory=128,
        boot=f"<kernel>{kernel}</kernel><initrd>{archive}</initrd>"
        f"<cmdline>console=ttyS0 quiet own=198.51.100.2 other=198.51.100.2</cmdline>",
        devices=f"<serial type='file'><source path='{said}'/><target port='0'/></serial>"
        "<interface type='user'><mac address='52:54:00:00:00:55'/><model type='virtio'/>"
        "<backend type='passt'/><portForward proto='tcp'><range start='8009' to='9'/>"
        "</portForward></interface>",
    )
    domain = hosts.open().domains.define(spec)
    domain.start()
    deadline = time.monotonic() + 300
    while not said.exists() or "heard" not in said.read_text():
        assert time.monotonic() < deadline, said.read_text()
        time.sleep(0.2)
    while True:
        try:
            _send("127.0.0.1", 1 << 18, 8009)
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
