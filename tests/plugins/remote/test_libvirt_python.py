"""libvirt's Python binding drives polyvisord: a life, events, and a connection that ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Served, need, run, served

pytestmark = pytest.mark.real

PYTHON = "/usr/bin/python3"
LIFE = """
import libvirt, os, sys, threading
libvirt.virEventRegisterDefaultImpl()
def loop():
    while True:
        libvirt.virEventRunDefaultImpl()
threading.Thread(target=loop, daemon=True).start()
host = libvirt.open(sys.argv[1])
host.setKeepAlive(1, 3)
seen, done = [], threading.Event()
def heard(conn, dom, event, detail, _):
    seen.append((event, detail))
    if event == libvirt.VIR_DOMAIN_EVENT_UNDEFINED:
        done.set()
number = host.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, heard, None)
dom = host.defineXML(sys.stdin.read())
assert not dom.isActive() and dom.isPersistent()
dom.create()
assert dom.ID() > 0 and dom.state()[0] == libvirt.VIR_DOMAIN_RUNNING
assert dom.info()[1] == 16384 and dom.maxMemory() == 16384 and dom.maxVcpus() == 1
assert [one.name() for one in host.listAllDomains()] == ["p"]
assert host.lookupByUUIDString(dom.UUIDString()).name() == "p"
(found, figures), = host.getAllDomainStats()
assert figures["state.state"] == 1 and figures["vcpu.current"] == 1
assert host.domainListGetStats([dom], libvirt.VIR_DOMAIN_STATS_BALLOON)[0][1]["balloon.current"]
dom.setAutostart(True)
assert dom.autostart()
dom.snapshotCreateXML("<domainsnapshot><name>one</name></domainsnapshot>")
assert dom.snapshotListNames() == ["one"] and dom.snapshotCurrent().getName() == "one"
dom.snapshotLookupByName("one").delete()
dom.suspend()
dom.resume()
dom.coreDump(sys.argv[2])
assert os.path.getsize(sys.argv[2]) >= 16 << 20
try:
    host.lookupByName("nosuch")
except libvirt.libvirtError as error:
    assert error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN, error
dom.destroy()
dom.undefine()
assert done.wait(20), seen
host.domainEventDeregisterAny(number)
assert host.isAlive() and host.isSecure() and not host.isEncrypted()
host.close()
print(seen)
"""
CLOSED = """
import libvirt, os, signal, sys, threading
libvirt.virEventRegisterDefaultImpl()
closed = threading.Event()
host = libvirt.open(sys.argv[1])
host.registerCloseCallback(lambda conn, reason, _: closed.set(), None)
host.setKeepAlive(1, 3)
os.kill(int(sys.argv[2]), signal.SIGKILL)
for _ in range(100):
    libvirt.virEventRunDefaultImpl()
    if closed.is_set():
        break
assert closed.is_set() and not host.isAlive()
"""
GUEST = """<domain type='sim'><name>p</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
<os><type>hvm</type></os></domain>"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Return a daemon, where the binding is installed."""
    need(PYTHON, "python3")
    if run(PYTHON, "-c", "import libvirt").returncode:
        need("python3-libvirt", "python3-libvirt")
    with served(tmp_path_factory.mktemp("python") / "h") as found:
        yield found


def test_a_life_and_what_is_heard_of_it(host: Served) -> None:
    """Every call of a guest's life, and each change of its state as an event, in order."""
    done = run(PYTHON, "-c", LIFE, host.uri("sim"), str(host.folder / "core"), text=GUEST)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == str([(0, 0), (2, 0), (3, 0), (4, 0), (5, 1), (1, 0)])


def test_a_client_notices_that_the_daemon_is_gone(tmp_path: Path) -> None:
    """Killed at once, its clients' close callbacks are called."""
    need(PYTHON, "python3")
    with served(tmp_path / "h", ends=-signal.SIGKILL) as found:
        done = run(PYTHON, "-c", CLOSED, found.uri("sim"), str(found.pid))
        assert done.returncode == 0, done.stdout + done.stderr
    # Whoever comes next takes the socket that the dead one left.
    with served(tmp_path / "h") as again:
        assert run("virsh", "-c", again.uri("sim"), "list").returncode == 0


SCREEN = """
import libvirt, os, socket, sys
host = libvirt.open(sys.argv[1])
dom = host.createXML(sys.stdin.read())
def greeting(fd):
    with socket.socket(fileno=fd) as viewer:
        viewer.settimeout(60)
        return viewer.recv(4, socket.MSG_WAITALL)
try:
    print(greeting(dom.openGraphicsFD(0)))
    ours, theirs = socket.socketpair()
    with theirs:
        dom.openGraphics(0, theirs.fileno(), libvirt.VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH)
    print(greeting(ours.detach()))
    for index in (1, 77):
        try:
            dom.openGraphicsFD(index)
        except libvirt.libvirtError as error:
            print(error)
finally:
    dom.destroy()
"""


def test_displays_are_connected_by_descriptors(tmp_path: Path) -> None:
    """A viewer's socket goes to QEMU, or one comes from it."""
    need("qemu-system-x86_64", "qemu-system-x86")
    xml = """<domain type='qemu'><name>s</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
    <os><type arch='x86_64' machine='pc'>hvm</type></os>
    <devices><graphics type='vnc' autoport='yes'/></devices></domain>"""
    with served(tmp_path / "h") as host:
        done = run(PYTHON, "-c", SCREEN, host.uri("qemu", "/system"), text=xml)
    told = done.stdout + done.stderr
    assert told.count("b'RFB '") == 2, told
    assert "has no display 77: it has 1" in told


MODELS = """
import libvirt, sys
host = libvirt.open(sys.argv[1])
print(*host.getCPUModelNames("x86_64"))
try:
    host.getCPUModelNames("nosuch")
except libvirt.libvirtError as error:
    print(error)
"""


def test_models_of_processors_are_named(tmp_path: Path) -> None:
    """Those that QEMU has for an architecture; of one without an emulator there are none."""
    need("qemu-system-x86_64", "qemu-system-x86")
    with served(tmp_path / "h") as host:
        done = run(PYTHON, "-c", MODELS, host.uri("qemu", "/system"))
    names, refused = done.stdout.splitlines()
    assert {"qemu64", "Skylake-Client", "EPYC"} <= set(names.split()), done.stderr
    assert "nosuch" in refused
