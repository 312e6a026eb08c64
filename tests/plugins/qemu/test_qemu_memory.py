"""Memory modules that are plugged into a running guest of real QEMU, and out of it."""

from __future__ import annotations

import re
import select
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

import polyvisor
from polyvisor.config import Config
from polyvisor.errors import (
    HypervisorError,
    InvalidArgument,
    OperationFailed,
    Timeout,
    Unsupported,
)
from polyvisor.events import EventKind
from polyvisor_qemu.qmp import Monitor
from polyvisor_remote.server.listening import UnixListener
from polyvisor_remote.server.opening import opener
from polyvisor_remote.server.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    Hosts = Any
    Make = Callable[..., Any]

pytestmark = pytest.mark.real

MIB = 1 << 20
CELL = (
    "<maxMemory slots='4' unit='MiB'>2048</maxMemory>"
    "<cpu><numa><cell id='0' cpus='0-{last}' memory='{size}' unit='MiB'/></numa></cpu>"
)
DIMM = "<memory model='dimm'><target><size unit='MiB'>{}</size><node>0</node></target></memory>"
VIRTIO = (
    "<memory model='virtio-mem'><target><size unit='MiB'>256</size><node>0</node>"
    "<block unit='MiB'>2</block><requested unit='MiB'>{}</requested></target></memory>"
)


def _ask(hosts: Hosts, command: str, **given: Any) -> Any:
    with Monitor(str(next(hosts.root.rglob("control")))) as monitor:
        return monitor.execute(command, **given)


def _modules(hosts: Hosts) -> dict[str, Any]:
    return {one["data"]["id"]: one["data"] for one in _ask(hosts, "query-memory-devices")}


def _behind(hosts: Hosts) -> set[str]:
    return {one["name"] for one in _ask(hosts, "qom-list", path="/objects")}


@pytest.fixture
def start(hosts: Hosts, make_spec: Make) -> Callable[..., Any]:
    """Hold a function that defines and starts a guest with room for modules."""

    def started(devices: str = "", more: str = "") -> Any:
        text = CELL.format(last=0, size=32)
        spec = make_spec(
            memory=32, devices=devices, more=f"<features><acpi/></features>{text}{more}"
        )
        domain = hosts.open().domains.define(spec)
        domain.start()
        return domain

    return started


def test_modules_come(hosts: Hosts, start: Callable[..., Any]) -> None:
    """Modules of each kind get a slot or a place, count as memory, and are there at restarts."""
    domain = start()
    behind = _behind(hosts)
    assert domain.spec().memory == 32 * MIB
    for size in (64, 64, 128):
        domain.attach_device(DIMM.format(size), live=True, config=True)
    pmem = hosts.root / "pmem"
    pmem.write_bytes(bytes(16 * MIB))
    persistent = (
        f"<memory model='virtio-pmem' access='shared'><source><path>{pmem}</path></source>"
        f"<target><size unit='MiB'>16</size></target></memory>"
    )
    domain.attach_device(persistent, live=True, config=True)
    domain.attach_device(VIRTIO.format(0), live=True, config=True)
    told = _modules(hosts)
    assert {name: (one.get("slot"), one["size"] // MIB) for name, one in told.items()} == {
        "dimm0": (0, 64),
        "dimm1": (1, 64),
        "dimm2": (2, 128),
        "virtiopmem0": (None, 16),
        "virtiomem0": (None, 0),
    }
    for spec in (domain.spec(), domain.spec(inactive=True)):
        assert spec.memory == (32 + 64 + 64 + 128 + 16 + 256) * MIB
        assert [one.model for one in spec.devices.memories] == [
            "dimm", "dimm", "dimm", "virtio-pmem", "virtio-mem",
        ]  # fmt: skip
    held = domain.spec().devices.memories
    assert [one.address.base for one in held[:3]] == [told[f"dimm{n}"]["addr"] for n in range(3)]
    assert held[4].target.current == 0
    with pytest.raises(HypervisorError, match="not enough space"):
        domain.attach_device(DIMM.format(2048), live=True)
    assert _behind(hosts) == behind | {f"mem{name}" for name in told}
    before = domain.spec().memory
    domain.destroy()
    domain.start()
    assert len(_modules(hosts)) == 5
    assert domain.spec().memory == before


def test_no_room(hosts: Hosts, make_spec: Make) -> None:
    """A guest that was started without slots is told so in QEMU's words."""
    domain = hosts.open().domains.create(make_spec())
    with pytest.raises(HypervisorError, match="memory hotplug is not enabled"):
        domain.attach_device(
            "<memory model='dimm'><target><size unit='MiB'>64</size></target></memory>", live=True
        )
    assert domain.spec().memory == 16 * MIB
    assert domain.spec().devices.memories == ()


def test_nvdimm(hosts: Hosts, start: Callable[..., Any]) -> None:
    """An NVDIMM comes to a machine that has had one from the start; QEMU lets none go."""
    paths = [hosts.root / name for name in ("one", "two")]
    for path in paths:
        path.write_bytes(bytes(16 * MIB))
    first, second = (
        f"<memory model='nvdimm'><source><path>{path}</path></source>"
        f"<target><size unit='MiB'>16</size><node>0</node></target></memory>"
        for path in paths
    )
    domain = start(devices=first)
    domain.attach_device(second, live=True)
    assert list(_modules(hosts)) == ["nvdimm0", "nvdimm1"]
    with pytest.raises(HypervisorError, match="nvdimm device hot unplug is not supported"):
        domain.detach_device(second, live=True)
    assert len(domain.spec().devices.memories) == 2


def test_requested(hosts: Hosts, start: Callable[..., Any]) -> None:
    """What is requested of virtio-mem is QEMU's from then on; nothing else of it changes."""
    domain = start(devices=VIRTIO.format(0))
    domain.update_device(VIRTIO.format(128), live=True, config=True)
    assert _modules(hosts)["virtiomem0"]["requested-size"] == 128 * MIB
    for spec in (domain.spec(), domain.spec(inactive=True)):
        assert spec.devices.memories[0].target.requested == 128 * MIB
    assert domain.spec().devices.memories[0].target.current == 0
    with pytest.raises(InvalidArgument, match="not a multiple of its blocks"):
        domain.update_device(VIRTIO.format(512), live=True)
    domain.attach_device(DIMM.format(64), live=True)
    with pytest.raises(Unsupported, match="only what is requested of virtio-mem"):
        domain.update_device(DIMM.format(64), live=True)
    with pytest.raises(HypervisorError, match="cannot be unplugged"):
        domain.detach_device(VIRTIO.format(128), live=True)


def test_definition(hosts: Hosts, make_spec: Make) -> None:
    """In a definition a module counts as memory as long as it is there, and no longer."""
    spec = make_spec(memory=32, more=CELL.format(last=0, size=32))
    domain = hosts.open().domains.define(spec)
    domain.attach_device(DIMM.format(64), config=True)
    domain.attach_device(DIMM.format(64), config=True)
    assert domain.spec().memory == 160 * MIB
    domain.detach_device(DIMM.format(64), config=True)
    assert domain.spec().memory == 96 * MIB
    assert len(domain.spec().devices.memories) == 1


@pytest.mark.slow
def test_linux_gains_and_loses_memory(
    hosts: Hosts, boot_linux: Callable[..., Any], until_let_go: Callable[[Callable[[], None]], None]
) -> None:
    """Linux uses a module, lets go of it again or says that it does not, and resizes another."""
    domain = boot_linux(
        more=CELL.format(last=2, size=256),
        modules=("drivers/virtio/virtio_mem",),
        words="memhp_default_state=online_movable",
    )

    def total() -> int:
        try:
            said = domain.agent.execute("/bin/busybox", ["cat", "/proc/meminfo"]).output.decode()
        except Timeout:
            return 0  # a busy machine's guest has not answered in time
        return int(re.search(r"MemTotal: +(\d+)", said)[1]) >> 10  # type: ignore[index]

    def until(size: int) -> None:
        deadline = time.monotonic() + 60
        while abs(total() - size) > 8:
            assert time.monotonic() < deadline, (total(), size)
            time.sleep(0.2)

    events = hosts.opened[0]._driver.events.stream(timeout=30)
    before = max(total(), total())
    assert before
    domain.attach_device(DIMM.format(128), live=True)
    until(before + 128)
    assert domain.spec().memory == 384 * MIB
    until_let_go(lambda: domain.detach_device(DIMM.format(128), live=True))
    until(before)
    assert domain.spec().memory == 256 * MIB
    assert domain.spec().devices.memories == ()
    assert _modules(hosts) == {}
    assert "memdimm0" not in _behind(hosts)
    domain.attach_device(VIRTIO.format(128), live=True)
    until(before + 128)
    domain.update_device(VIRTIO.format(64), live=True)
    until(before + 64)
    wanted = (EventKind.GUEST, "memory-device-size-change")
    assert any((event.kind, event.detail) == wanted for event in events)
    deadline = time.monotonic() + 30
    while domain.spec().devices.memories[0].target.current != 64 * MIB:
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.slow
def test_told_over_the_wire(hosts: Hosts, boot_linux: Callable[..., Any]) -> None:
    """A client of polyvisord hears what a module's size has become, as virsh does."""
    if shutil.which("virsh") is None:
        pytest.skip("virsh is missing: apt install libvirt-clients")
    domain = boot_linux(
        more=CELL.format(last=2, size=256),
        devices=VIRTIO.format(0),
        modules=("drivers/virtio/virtio_mem",),
        words="memhp_default_state=online_movable",
    )
    server = Server(opener(Config(root=str(hosts.root / "a"))))
    server.start()
    try:
        server.listen(UnixListener.bind(str(hosts.root / "socket")))
        uri = f"qemu+unix:///session?socket={hosts.root}/socket"
        with (
            polyvisor.open(uri) as client,
            subprocess.Popen(
                ["virsh", "-c", uri, "event", "--domain", "guest", "--timeout", "90",
                 "--event", "memory-device-size-change"],
                stdout=subprocess.PIPE, text=True,
            ) as virsh,
        ):  # fmt: skip
            heard = client.events(timeout=30)
            deadline = time.monotonic() + 60
            size, said = 64, ""
            # Until somebody listens nothing is heard: it is resized until something is.
            while not said:
                assert time.monotonic() < deadline
                domain.update_device(VIRTIO.format(size), live=True)
                size = 192 - size
                assert virsh.stdout is not None
                if select.select([virsh.stdout], [], [], 3)[0]:
                    said = virsh.communicate(timeout=60)[0]
            assert "event 'memory-device-size-change' for domain 'guest'" in said
            assert "alias: virtiomem0" in said
            for event in heard:
                if event.detail == "memory-device-size-change":
                    assert event.data["id"] == "virtiomem0"
                    assert event.data["size"] % (2 * MIB) == 0
                    break
            else:
                pytest.fail("our own client heard nothing")
    finally:
        server.stop(1.0)


@pytest.mark.slow
def test_linux_keeps_memory(hosts: Hosts, boot_linux: Callable[..., Any]) -> None:
    """That Linux cannot let go of a module is an error at once, and an event says so."""
    domain = boot_linux(
        more=CELL.format(last=2, size=256), words="memhp_default_state=online_kernel"
    )
    domain.attach_device(DIMM.format(128), live=True)
    # The kernel's own pages come to lie in it first: above 4 GiB it has no other memory.
    line = "n=0; while [ $n -lt 50 ]; do /bin/busybox sleep 600 & n=$((n+1)); done"
    domain.agent.execute("/bin/busybox", ["sh", "-c", f"({line}) > /dev/null 2>&1"])
    events = hosts.opened[0]._driver.events.stream(timeout=30)
    begun = time.monotonic()
    with pytest.raises(OperationFailed, match=r"(refuses to|has not) let go of dimm0") as caught:
        domain.detach_device(DIMM.format(128), live=True)
    if time.monotonic() - begun < 4:  # a busy machine may take longer than is waited
        assert "refuses" in str(caught.value)
    assert len(domain.spec().devices.memories) == 1
    assert domain.spec().memory == 384 * MIB
    told = next(event for event in events if event.detail == "device-removal-failed")
    assert told.data["device"] == "dimm0"
