"""What changes in devices of a guest of real QEMU while it runs."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import tempfile
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.errors import Timeout, Unsupported
from polyvisor_qemu.probe import has_spice
from polyvisor_qemu.qmp import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable

    Hosts = Any
    Make = Callable[..., Any]

pytestmark = pytest.mark.real

NET = "<interface type='user'><mac address='52:54:00:11:22:33'/><model type='{}'/>{}</interface>"
SCREEN = "<graphics type='{}' autoport='yes' passwd='{}'{}><listen type='address'/></graphics>"


def _ask(hosts: Hosts, command: str, **given: Any) -> Any:
    with Monitor(str(next(hosts.root.rglob("control")))) as monitor:
        return monitor.execute(command, **given)


def _openssl(*words: str, given: bytes) -> bytes:
    line = ["openssl", *words]
    return subprocess.run(line, check=True, input=given, capture_output=True).stdout


def _vnc_lets_in(port: int, password: str) -> bool:
    """Say whether a VNC server lets somebody in (RFC 6143, 7.2.2)."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as server:
        server.settimeout(20)
        file = server.makefile("rwb")
        version = file.read(12)
        file.write(version)
        file.flush()
        assert 2 in file.read(file.read(1)[0])
        file.write(b"\x02")
        file.flush()
        challenge = file.read(16)
        # The bits of each of the key's bytes stand the other way round.
        key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in password.encode().ljust(8, b"\0")[:8])
        words = ("-des-ecb", "-provider", "legacy", "-provider", "default", "-nopad")
        file.write(_openssl("enc", *words, "-K", key.hex(), given=challenge))
        file.flush()
        return bool(file.read(4) == bytes(4))


def _spice_lets_in(port: int, password: str) -> bool:
    """Say whether a SPICE server does (``SpiceLinkMess`` and so on of spice/protocol.h)."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as server,
        tempfile.NamedTemporaryFile() as key,
    ):
        file = server.makefile("rwb")
        link = struct.pack("<IBBIII", 0, 1, 0, 0, 0, 18)  # its main channel, with no capabilities
        file.write(struct.pack("<4sIII", b"REDQ", 2, 2, len(link)) + link)
        file.flush()
        size = struct.unpack("<4sIII", file.read(16))[3]
        answer = file.read(size)
        assert answer[:4] == bytes(4)
        key.write(answer[4 : 4 + 162])
        key.flush()
        words = ("-encrypt", "-pubin", "-keyform", "DER", "-inkey", key.name)
        oaep = ("-pkeyopt", "rsa_padding_mode:oaep")
        file.write(_openssl("pkeyutl", *words, *oaep, given=password.encode() + b"\0"))
        file.flush()
        return bool(file.read(4) == bytes(4))


LET_IN = {"vnc": _vnc_lets_in, "spice": _spice_lets_in}


@pytest.mark.parametrize("kind", LET_IN)
def test_password(hosts: Hosts, make_spec: Make, kind: str) -> None:
    """A display's password changes, and from the moment on that is said it lets nobody in."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing: apt install openssl")
    if kind == "spice" and not has_spice():
        pytest.skip("QEMU has no SPICE: apt install qemu-system-modules-spice")
    let_in = LET_IN[kind]
    domain = hosts.open().domains.create(make_spec(devices=SCREEN.format(kind, "first", "")))
    port = domain.spec().devices.graphics[0].port
    assert let_in(port, "first")
    assert not let_in(port, "second")
    domain.update_device(SCREEN.format(kind, "second", ""), live=True)
    assert let_in(port, "second")
    assert not let_in(port, "first")
    domain.update_device(
        SCREEN.format(kind, "second", " passwdValidTo='2001-01-01T00:00:00'"), live=True
    )
    assert not let_in(port, "second")
    domain.update_device(SCREEN.format(kind, "third", ""), live=True)
    assert let_in(port, "third")
    assert domain.spec().devices.graphics[0].passwd == "third"
    assert domain.spec().devices.graphics[0].port == port
    log = next(hosts.root.rglob("*.log")).read_text()
    assert "third" not in log
    with pytest.raises(Unsupported, match="keymap of its graphics does not change"):
        domain.update_device(SCREEN.format(kind, "third", " keymap='de'"), live=True)


def test_figures_of_the_balloon(hosts: Hosts, make_spec: Make) -> None:
    """How often the balloon tells of itself changes; its model does not."""
    balloon = "<memballoon model='virtio'><stats period='{}'/></memballoon>"
    spec = make_spec(devices=balloon.format(5))
    domain = hosts.open().domains.define(spec)
    domain.start()
    place = {"path": "/machine/peripheral/balloon0", "property": "guest-stats-polling-interval"}
    assert _ask(hosts, "qom-get", **place) == 5
    domain.update_device(balloon.format(7), live=True, config=True)
    assert _ask(hosts, "qom-get", **place) == 7
    assert domain.spec().devices.memballoon.stats_period == 7
    assert domain.spec(inactive=True).devices.memballoon.stats_period == 7
    with pytest.raises(Unsupported, match="model"):
        domain.update_device("<memballoon model='none'/>", live=True)
    with pytest.raises(Unsupported, match="not plugged in while"):
        hosts.open("b").domains.create(make_spec("other")).attach_device(
            balloon.format(1), live=True
        )


def test_what_stays(hosts: Hosts, make_spec: Make) -> None:
    """What cannot change is named, in words, and the guest is as before."""
    devices = NET.format("e1000", "") + "<watchdog model='i6300esb' action='reset'/>"
    domain = hosts.open().domains.define(make_spec(devices=devices))
    domain.start()
    before = domain.xml()
    with pytest.raises(Unsupported, match="the model of its interface does not change"):
        domain.update_device(NET.format("virtio", ""), live=True)
    assert domain.xml() == before
    domain.update_device("<watchdog model='i6300esb' action='pause'/>", live=True, config=True)
    for spec in (domain.spec(), domain.spec(inactive=True)):
        assert spec.devices.watchdogs[0].action == "pause"
    domain.update_device(NET.format("virtio", ""), live=False, config=True)
    assert domain.spec(inactive=True).devices.interfaces[0].model == "virtio"
    assert domain.spec().devices.interfaces[0].model == "e1000"


@pytest.mark.slow
def test_link(hosts: Hosts, boot_linux: Callable[..., Any]) -> None:
    """A link that is down is seen by the guest, on interfaces that were there and that came."""
    domain = boot_linux(
        devices=NET.format("virtio", "<link state='down'/>"),
        modules=("net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net"),
    )
    busybox = "/bin/busybox"

    def until(name: str, state: bytes) -> None:
        deadline = time.monotonic() + 60
        seen = b""
        while True:
            with suppress(Timeout):  # a busy machine's guest does not answer in time
                domain.agent.execute(busybox, ["ip", "link", "set", name, "up"])
                place = f"/sys/class/net/{name}/carrier"
                seen = domain.agent.execute(busybox, ["cat", place]).output.strip()
            if seen == state:
                return
            assert time.monotonic() < deadline, seen
            time.sleep(0.2)

    until("eth0", b"0")
    domain.update_device(NET.format("virtio", "<link state='up'/>"), live=True)
    until("eth0", b"1")
    domain.update_device(NET.format("virtio", "<link state='down'/>"), live=True)
    until("eth0", b"0")
    second = NET.format("virtio", "<link state='down'/>").replace("11:22:33", "11:22:44")
    domain.attach_device(second, live=True)
    until("eth1", b"0")
    domain.update_device(second.replace("down", "up"), live=True)
    until("eth1", b"1")
    assert domain.spec().devices.interfaces[1].link == "up"
    assert domain.spec().devices.interfaces[0].link == "down"
