"""What a person at a machine of real QEMU would use, and what is told of it."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import subprocess
import time
import zlib
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.errors import (
    Busy,
    HypervisorError,
    InvalidArgument,
    NotFound,
    OperationInvalid,
    StorageError,
    Timeout,
    Unsupported,
)
from polyvisor.jobs import Job
from polyvisor.states import DomainState, StateReason
from polyvisor.testing.counting import BOOT_SECTOR
from polyvisor_qemu.keycodes import number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from polyvisor.model import DomainSpec

    Hosts = Any
    Make = Callable[..., DomainSpec]

real = pytest.mark.real

# Boot sectors, 16-bit. This one answers each byte on its serial port with the next one.
ECHO = bytes.fromhex("ba fd 03 ec a8 01 74 fb ba f8 03 ec fe c0 ee eb ef")
# This one waits for keys (int 0x16) and writes their characters to its serial port.
KEYS = bytes.fromhex("31 c0 8e d8 8e d0 bc 00 7c fb 31 c0 cd 16 ba f8 03 ee eb f6")
PTY = "<serial type='pty'><target port='0'/></serial>"
SOCKET = "<serial type='unix'><source mode='bind' path='{}'/><target port='0'/></serial>"


@pytest.fixture
def boot(hosts: Hosts, make_spec: Make) -> Callable[..., Any]:
    """Hold a function that starts a guest with a boot sector; it returns driver and domain."""

    def start(code: bytes, devices: str = "", name: str = "guest") -> tuple[Any, Any]:
        image = hosts.root / f"{name}.img"
        image.write_bytes((code.ljust(510, b"\0") + b"\x55\xaa").ljust(1 << 20, b"\0"))
        disk = (
            f"<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
            f"<source file='{image}'/><target dev='hda' bus='ide'/></disk>"
        )
        host = hosts.open()
        domain = host.domains.create(make_spec(name, devices=disk + devices))
        return _driver(host), domain

    return start


def _driver(host: Any) -> Any:
    return host._driver


def _read(fd: int, wanted: Callable[[bytes], bool]) -> bytes:
    """Read until it is what is wanted, for 30 s at most."""
    data = b""
    deadline = time.monotonic() + 30
    while not wanted(data):
        assert time.monotonic() < deadline, f"read {data!r}"
        if select.select([fd], [], [], 0.1)[0]:
            data += os.read(fd, 4096)
    return data


@contextmanager
def _closing(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


def _talk(fd: int) -> None:
    """Say a letter until the guest, once it has booted, answers with the next."""
    deadline = time.monotonic() + 30
    while True:
        os.write(fd, b"h")
        if select.select([fd], [], [], 0.1)[0] and b"i" in os.read(fd, 4096):
            return
        assert time.monotonic() < deadline


# Consoles


@real
@pytest.mark.parametrize("kind", ["pty", "unix"])
def test_console(hosts: Hosts, boot: Callable[..., Any], kind: str) -> None:
    """A console carries bytes both ways, ends with the guest, and is one client's at a time."""
    devices = PTY if kind == "pty" else SOCKET.format(hosts.root / "port")
    driver, domain = boot(ECHO, devices)
    with _closing(driver.consoles.open(domain.uuid, None, force=False)) as fd:
        _talk(fd)
        with pytest.raises(Busy, match="somebody else"):
            driver.consoles.open(domain.uuid, "serial0", force=False)
    # QEMU notices that a client has left in its own time.
    deadline = time.monotonic() + 10
    while True:
        try:
            fd = driver.consoles.open(domain.uuid, "serial0", force=False)
            break
        except Busy:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    with _closing(fd):
        _talk(fd)
        domain.destroy()
        with suppress(OSError):
            while select.select([fd], [], [], 5)[0]:
                if not os.read(fd, 4096):
                    break
            else:
                pytest.fail("the console does not show its end")


@real
def test_console_taken(boot: Callable[..., Any]) -> None:
    """Root takes a terminal from who has it open, who sees its end."""
    if os.geteuid() != 0:
        pytest.skip("only root can hang up a terminal of somebody else")
    driver, domain = boot(ECHO, PTY)
    with _closing(driver.consoles.open(domain.uuid, None, force=False)) as first:
        _talk(first)
        with _closing(driver.consoles.open(domain.uuid, None, force=True)) as second:
            _talk(second)
            with suppress(OSError):  # EIO
                assert os.read(first, 1) == b""


@real
def test_no_console(hosts: Hosts, boot: Callable[..., Any]) -> None:
    """A device that is not there, or leads to a file, is refused in words; so is a monitor."""
    file = hosts.root / "log"
    driver, domain = boot(ECHO, f"<serial type='file'><source path='{file}'/></serial>")
    for name in ("serial7", "control", "monitor"):
        with pytest.raises(NotFound, match="no console"):
            driver.consoles.open(domain.uuid, name, force=False)
    with pytest.raises(OperationInvalid, match="leads to"):
        driver.consoles.open(domain.uuid, None, force=False)
    domain.destroy()
    driver, domain = boot(ECHO, name="bare")
    with pytest.raises(NotFound, match="neither console nor serial"):
        driver.consoles.open(domain.uuid, None, force=False)


# Screen and keyboard


def _size_of_png(data: bytes) -> tuple[int, int]:
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    place, pixels = 8, b""
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        if kind == b"IDAT":
            pixels += data[place + 8 : place + 8 + length]
        place += 12 + length
    assert len(zlib.decompress(pixels)) >= height * width
    return width, height


@real
def test_screenshot(hosts: Hosts, boot: Callable[..., Any]) -> None:
    """A screen's picture is a whole PNG, into a file or a pipe."""
    driver, domain = boot(ECHO, "<video><model type='vga'/></video>")
    path = hosts.root / "picture"
    with path.open("wb") as file:
        assert driver.screens.screenshot(domain.uuid, 0, file.fileno()) == "image/png"
    assert _size_of_png(path.read_bytes()) in ((640, 480), (720, 400))
    with pytest.raises(NotFound, match="no screen 1"):
        driver.screens.screenshot(domain.uuid, 1, 1)


@real
def test_no_screen(boot: Callable[..., Any]) -> None:
    """A machine without a card has no screen."""
    driver, domain = boot(ECHO)
    with pytest.raises(NotFound, match="it has 0"):
        driver.screens.screenshot(domain.uuid, 0, 1)


@real
def test_send_keys(hosts: Hosts, boot: Callable[..., Any]) -> None:
    """Keys of every code set arrive as what they stand for, and together with Shift."""
    driver, domain = boot(KEYS, SOCKET.format(hosts.root / "port"))
    with _closing(driver.consoles.open(domain.uuid, None, force=False)) as fd:
        deadline = time.monotonic() + 30
        while not select.select([fd], [], [], 0.2)[0]:
            driver.screens.send_keys(domain.uuid, [30], codeset="linux", hold=0)
            assert time.monotonic() < deadline
        time.sleep(0.5)
        os.read(fd, 4096)
        for codeset, codes, wanted in (
            ("linux", [48], b"b"),
            ("usb", [6], b"c"),
            ("atset1", [0x20], b"d"),
            ("xt", [0x12], b"e"),
            ("qnum", [0x21], b"f"),
            ("linux", [42, 34], b"G"),
            ("usb", [0xE5, 0x0B], b"H"),
        ):
            driver.screens.send_keys(domain.uuid, codes, codeset=codeset, hold=0.05)
            assert _read(fd, lambda data: len(data) > 0) == wanted
    with pytest.raises(Unsupported, match="'win32' are not known"):
        driver.screens.send_keys(domain.uuid, [65], codeset="win32", hold=0)
    with pytest.raises(OperationInvalid, match="no code 999"):
        driver.screens.send_keys(domain.uuid, [999], codeset="linux", hold=0)
    with pytest.raises(InvalidArgument, match="not 17"):
        driver.screens.send_keys(domain.uuid, [30] * 17, codeset="linux", hold=0)


def test_keys_agree() -> None:
    """The same key has the same number whatever set its code is from."""
    # Right Control, Up, keypad Enter, left Super, Pause, F12.
    for linux, usb in ((97, 0xE4), (103, 0x52), (96, 0x58), (125, 0xE3), (119, 0x48), (88, 0x45)):
        assert number_of("linux", linux) == number_of("usb", usb) is not None
    assert number_of("linux", 97) == number_of("atset1", 0xE01D) == number_of("qnum", 0x9D)
    assert number_of("linux", 84) is None


@real
def test_looking_into_a_machine(boot: Callable[..., Any]) -> None:
    """Its boot sector is where the firmware puts it, on its disk too; the monitor answers."""
    _, domain = boot(ECHO)
    debug = domain.debug
    deadline = time.monotonic() + 60
    while debug.memory(0x7C00, len(ECHO)) != ECHO:
        assert time.monotonic() < deadline, "the firmware does not read the boot sector"
        time.sleep(0.1)
    # In real mode with flat segments an address means the same to the vCPU.
    assert debug.memory(0x7C00, len(ECHO), physical=False) == ECHO
    assert debug.disk("hda", 1, len(ECHO) - 1) == ECHO[1:]
    assert debug.disk("hda", (1 << 20) - 2, 512) == bytes(2)
    told = json.loads(debug.command('{"execute":"query-name","id":7}'))
    assert told == {"return": {"name": domain.name}, "id": 7}
    refused = json.loads(debug.command('{"execute":"nosuch"}'))["error"]
    assert refused["class"] == "CommandNotFound"
    assert "VM status: running" in debug.command("info status", human=True)
    for wrong in ("info status", "[]", '{"run":1}', '{"execute":"stop","arguments":3}'):
        with pytest.raises(InvalidArgument, match="monitor command"):
            debug.command(wrong)
    debug.nmi()
    assert domain.state is DomainState.RUNNING


# Core dumps


def _loads(core: bytes) -> dict[int, bytes]:
    """Return the memory in an ELF core by physical address (elf(5))."""
    assert core[:6] == b"\x7fELF\x02\x01"
    at, entry, count = struct.unpack_from("<Q", core, 32)[0], *struct.unpack_from("<HH", core, 54)
    found = {}
    for number in range(count):
        kind, _, offset, _, physical, size = struct.unpack_from(
            "<IIQQQQ", core, at + number * entry
        )
        if kind == 1:
            found[physical] = core[offset : offset + size]
    return found


@real
@pytest.mark.parametrize("live", [False, True])
def test_dump_memory(hosts: Hosts, live: bool) -> None:
    """The guest's memory is in the core where it was, and the guest runs on."""
    host = hosts.open()
    domain = host.domains.create(hosts.counting())
    hosts.wait_for_count()
    path = hosts.root / "core"
    _driver(host).dumps.dump(domain.uuid, str(path), Job("dump"), live=live, memory_only=True)
    assert BOOT_SECTOR[:91] == _loads(path.read_bytes())[0][0x7C00 : 0x7C00 + 91]
    assert domain.state is DomainState.RUNNING
    hosts.wait_for_count()


@real
def test_dump_kinds(hosts: Hosts) -> None:
    """Other formats are written or refused as QEMU says; without memory_only it is a stream."""
    host = hosts.open()
    domain = host.domains.create(hosts.counting())
    hosts.wait_for_count()
    dump = _driver(host).dumps.dump
    path = hosts.root / "core"
    dump(domain.uuid, str(path), Job("dump"), memory_only=True, core_format="kdump-zlib")
    assert b"makedumpfile" in path.read_bytes()[:64]
    dump(domain.uuid, str(path), Job("dump"))
    assert path.read_bytes()[:4] == b"QEVM"
    hosts.wait_for_count()
    with pytest.raises(HypervisorError, match="win-dump"):  # that guest is no Windows
        dump(domain.uuid, str(path), Job("dump"), memory_only=True, core_format="win-dmp")
    with pytest.raises(InvalidArgument, match="memory only"):
        dump(domain.uuid, str(path), Job("dump"), core_format="kdump-zlib")
    assert path.read_bytes()[:4] == b"QEVM"
    assert domain.state is DomainState.RUNNING


@real
def test_dump_then(hosts: Hosts) -> None:
    """After a dump a guest is reset, or is shut off as crashed, as was asked for."""
    host = hosts.open()
    domain = host.domains.define(hosts.counting())
    domain.start()
    hosts.wait_for_count(8)
    dump = _driver(host).dumps.dump
    path = str(hosts.root / "core")
    before = hosts.count()
    dump(domain.uuid, path, Job("dump"), reset=True, memory_only=True)
    hosts.wait_for_count()
    lines = hosts.serial.read_text().splitlines()[before:]
    assert any("0000" in line for line in lines)
    dump(domain.uuid, path, Job("dump"), crash=True, memory_only=True)
    status = domain.status()
    assert (status.state, status.reason) == (DomainState.SHUTOFF, StateReason.CRASHED)
    assert hosts.processes() == []


@real
def test_dump_without_room(hosts: Hosts) -> None:
    """A dump for which there is no room is an error of storage; the guest runs on."""
    host = hosts.open()
    domain = host.domains.create(hosts.counting())
    with pytest.raises(StorageError):
        _driver(host).dumps.dump(domain.uuid, "/dev/full/core", Job("dump"), memory_only=True)
    assert domain.state is DomainState.RUNNING


# Figures

# Of these two processes the one is younger, and libvirt reads them from the host's cgroups,
# if there are any, or not at all.
VARY = ("time", "user", "system", "delay", "rss", "last-update", "reqs", "bytes", "times",
        "wait", "allocation", "calc_start_time")  # fmt: skip
MORE = """
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{0}/b.img'/>
<target dev='vda' bus='virtio'/></disk>
<interface type='user'><mac address='52:54:00:11:22:33'/><model type='virtio'/></interface>
<memballoon model='virtio'/>
"""


@real
def test_stats_beside_virsh(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same guest, all that virsh domstats tells is told under the same name."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "bench")
    from harness import Missing
    from libvirt_host import libvirt_host

    (hosts.root / "b.img").write_bytes(bytes(1 << 20))
    spec = hosts.counting(more=MORE.format(hosts.root))
    host = hosts.open()
    domain = host.domains.create(spec)
    hosts.wait_for_count()
    ours = domain.stats()
    domain.destroy()
    (hosts.root / "x.xml").write_text(spec.to_xml())
    try:
        with libvirt_host(hosts.root / "lv", "host-lv") as uri:
            virsh = ["virsh", "-c", uri]
            subprocess.run([*virsh, "create", hosts.root / "x.xml"], check=True, timeout=60)
            told = subprocess.run(
                [*virsh, "domstats", "guest"],
                check=True,
                timeout=60,
                capture_output=True,
                text=True,
            ).stdout
            subprocess.run([*virsh, "destroy", "guest"], check=True, timeout=60)
    except Missing as missing:
        pytest.skip(str(missing))
    theirs = dict(line.strip().split("=", 1) for line in told.splitlines() if "=" in line)
    assert set(theirs) <= set(ours)
    for name, value in theirs.items():
        if not name.endswith(VARY):
            assert str(ours[name]) == value, name
    assert ours["block.0.rd.bytes"] >= 512
    assert ours["cpu.time"] > 0


# The agent


@pytest.fixture
def agent(hosts: Hosts, boot: Callable[..., Any]) -> Callable[[], Any]:
    """Hold a function that starts a guest with a channel; it returns driver and domain."""
    return lambda: boot(
        ECHO,
        "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>",
    )


@real
def test_no_agent(agent: Callable[[], Any], boot: Callable[..., Any]) -> None:
    """An agent that does not run is a timeout in time; no channel is said to be missing."""
    driver, domain = agent()
    begun = time.monotonic()
    with pytest.raises(Timeout, match="does not run"):
        driver.agent.command(domain.uuid, '{"execute": "guest-ping"}', timeout=0.3)
    assert time.monotonic() - begun < 5
    with pytest.raises(InvalidArgument, match="not JSON"):
        driver.agent.command(domain.uuid, "{", timeout=1)
    driver, domain = boot(ECHO, name="other")
    with pytest.raises(OperationInvalid, match="has no channel"):
        driver.agent.command(domain.uuid, '{"execute": "guest-ping"}', timeout=1)


# Where to look


@real
def test_what_qemu_chose_is_in_the_live_definition(hosts: Hosts, boot: Callable[..., Any]) -> None:
    """Terminals and ports that QEMU chose are told, of the running guest alone."""
    _, domain = boot(ECHO, PTY + "<graphics type='vnc' port='-1' autoport='yes'/>")
    path = domain.spec().devices.serials[0].source.path
    assert Path(path).is_char_device()
    (screen,) = domain.spec().devices.graphics
    assert screen.autoport
    with socket.create_connection(("127.0.0.1", screen.port), timeout=10) as viewer:
        assert viewer.recv(4) == b"RFB "
    host, image = domain.connection, hosts.root / "image"
    domain.save(image)
    with socket.create_server(("127.0.0.1", screen.port)):
        # It goes on at another port if its own was taken meanwhile.
        again = host.domains.restore(image)
        (other,) = again.spec().devices.graphics
        assert other.port != screen.port
        with socket.create_connection(("127.0.0.1", other.port), timeout=10) as viewer:
            assert viewer.recv(4) == b"RFB "
        assert Path(again.spec().devices.serials[0].source.path).is_char_device()
    defined = host.domains.define(again.xml(inactive=True))
    assert defined.uuid == again.uuid
    again.destroy()
    defined.start()
    (screen,) = defined.spec().devices.graphics
    assert screen.autoport
    assert screen.port >= 5900
