"""Definitions for QEMU, and hosts of real QEMU that are empty again after each test."""

from __future__ import annotations

import ctypes
import gzip
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import attrs
import pytest

import polyvisor
from polyvisor.errors import OperationFailed, PolyvisorError
from polyvisor.model import DomainSpec
from polyvisor.testing.counting import write_image

if TYPE_CHECKING:
    from polyvisor.jobs import JobProgress

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "relays"))

#: From linux/prctl.h.
PR_SET_CHILD_SUBREAPER = 36
#: From linux/sched.h.
CLONE_NEWNET = 0x40000000

LINUX_MODULES = (
    "drivers/virtio/virtio_ring", "drivers/virtio/virtio", "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci_modern_dev", "drivers/virtio/virtio_pci",
    "drivers/char/virtio_console", "drivers/block/virtio_blk",
)  # fmt: skip
LINUX_INIT = """\
#!/bin/busybox sh
b=/bin/busybox; export PATH=/bin:/sbin:/usr/sbin
$b mount -t proc p /proc; $b mount -t sysfs s /sys; $b mount -t devtmpfs d /dev
for m in $($b cat /mod/order); do $b insmod /mod/$m; done
if $b mount -t ext4 /dev/vda /data; then
    (n=0; while true; do n=$((n+1)); echo $n > /data/$((n%64)); $b sleep 0.05; done) &
fi
n=0
while [ $n -lt 100 ] && ! [ -e /dev/vport*p1 ]; do $b sleep 0.1; n=$((n+1)); done
while true; do
    for p in /dev/vport*p1; do /usr/sbin/qemu-ga -m virtio-serial -p $p -t /run; done
    $b sleep 0.1
done
"""

GUEST = """\
<domain type='{kind}'>
  <name>{name}</name>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>{vcpus}</vcpu>
  <os><type arch='x86_64' machine='{machine}'>hvm</type>{boot}</os>
  {more}
  <devices>{devices}</devices>
</domain>
"""


def _make_spec(
    name: str = "guest",
    *,
    kind: str = "qemu",
    memory: int = 16,
    vcpus: int = 1,
    machine: str = "pc",
    boot: str = "",
    more: str = "",
    devices: str = "",
) -> DomainSpec:
    return DomainSpec.from_xml(
        GUEST.format(
            kind=kind,
            name=escape(name),
            memory=memory,
            vcpus=vcpus,
            machine=machine,
            boot=boot,
            more=more,
            devices=devices,
        )
    )


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., DomainSpec]:
    """Hold a function that makes a definition.

    It takes the guest's ``name`` and ``kind``, its ``memory`` in MiB, ``vcpus`` and
    ``machine``, and as text what stands in ``<os>`` (``boot``), beside it (``more``) and in
    ``<devices>``.
    """
    return _make_spec


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + "}"
    return repr(value)


@attrs.frozen
class Hosts:
    """Hosts of real QEMU under one folder, and processes that do something on them."""

    root: Path
    opened: list[polyvisor.Connection] = attrs.field(factory=list)

    def uri(self, name: str = "a") -> str:
        """Return what opens the host of a name."""
        return f"qemu:///session?root={self.root / name}"

    def open(self, name: str = "a", **settings: object) -> polyvisor.Connection:
        """Open a host.

        Args:
            name: its name.
            settings: the plugin's settings.
        """
        lines = "".join(f"{key} = {_toml(value)}\n" for key, value in settings.items())
        config = self.root / "config.toml"
        config.write_text(f"[plugins.qemu]\n{lines}")
        self.opened.append(polyvisor.open(self.uri(name), config=config))
        return self.opened[-1]

    @staticmethod
    def once_sending(act: Callable[[], Any]) -> Callable[[JobProgress], None]:
        """Return a progress function that does something once the stream has begun to flow."""
        done = False

        def progress(told: JobProgress) -> None:
            nonlocal done
            if told.processed and not done:
                done = True
                act()

        return progress

    @property
    def serial(self) -> Path:
        """Where the counting guest counts."""
        return self.root / "serial"

    def counting(self, name: str = "guest", *, memory: int = 16, more: str = "") -> DomainSpec:
        """Return the definition of a guest that counts aloud on its serial port."""
        disk = self.root / "tick.img"
        if not disk.exists():
            write_image(disk)
        return _make_spec(
            name,
            memory=memory,
            devices=f"<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
            f"<source file='{disk}'/><target dev='hda' bus='ide'/></disk>"
            f"<serial type='file'><source path='{self.serial}' append='on'/>"
            f"<target port='0'/></serial>{more}",
        )

    def count(self) -> int:
        """Return how many lines were counted so far."""
        return self.serial.read_bytes().count(b"\n") if self.serial.exists() else 0

    def wait_for_count(self, more: int = 2) -> int:
        """Wait until some further lines were counted; return how many there are."""
        wanted = self.count() + more
        deadline = time.monotonic() + 30
        while (have := self.count()) < wanted:
            assert time.monotonic() < deadline, f"the guest counted {have}, not {wanted}"
            time.sleep(0.01)
        return have

    def processes(self) -> list[int]:
        """Return the QEMU processes that have something of these hosts open."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                line = (entry / "cmdline").read_bytes()
                if b"qemu-system" in line.split(b"\0")[0] and any(
                    os.readlink(fd).startswith(str(self.root)) for fd in (entry / "fd").iterdir()
                ):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    @staticmethod
    def kill(pid: int) -> None:
        """Kill a process and wait for its end, when all that it had open is closed."""
        fd = os.pidfd_open(pid)
        try:
            os.kill(pid, signal.SIGKILL)
            assert select.select([fd], [], [], 10)[0], f"process {pid} does not end"
        finally:
            os.close(fd)

    def start_process(
        self, code: str, *arguments: str, env: dict[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a Python process with ``polyvisor`` and ``uri`` at hand.

        Args:
            code: what it does.
            arguments: for it.
            env: further variables of its environment.
        """
        prelude = f"import os, sys, polyvisor\nuri = {self.uri()!r}\n"
        return subprocess.Popen(
            [sys.executable, "-c", prelude + textwrap.dedent(code), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )

    def run_process(self, code: str, *arguments: str, env: dict[str, str] | None = None) -> str:
        """Run such a process to its end and return what it printed."""
        with self.start_process(code, *arguments, env=env) as process:
            out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return out

    def cut_off(self, place: str, code: str, *arguments: str) -> None:
        """Run such a process, which is killed where it comes to a function of the plugin's.

        Args:
            place: the function: its module below ``polyvisor_qemu`` and its name, ``:`` between.
            code: what it does.
            arguments: for it.
        """
        module, _, name = place.partition(":")
        killing = f"""
        import importlib, operator
        def die(*given):
            print("there", flush=True)
            os.kill(os.getpid(), 9)
        owner, _, name = {name!r}.rpartition(".")
        module = importlib.import_module("polyvisor_qemu.{module}")
        setattr(operator.attrgetter(owner)(module) if owner else module, name, die)
        """
        code = textwrap.dedent(killing) + textwrap.dedent(code)
        with self.start_process(code, *arguments) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == "there\n", process.stderr.read()
            process.wait(20)

    def start_cut_off(self, spec: DomainSpec, place: str = "launch:lived") -> None:
        """Define and start a domain in a process that is killed at a function of the plugin's."""
        path = self.root / "spec.xml"
        path.write_text(spec.to_xml())
        code = "polyvisor.open(uri).domains.define(open(sys.argv[1]).read()).start()"
        self.cut_off(place, code, str(path))


@pytest.fixture
def adopting() -> Iterator[None]:
    """Be the parent of guests whose starters ended, and wait for them in the end.

    In a container whose first process waits for nobody they would stay in the table.
    """
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                name, _, facts = (entry / "stat").read_text().rpartition(")")
                if facts.split()[:2] == ["Z", str(os.getpid())] and "qemu-system" in name:
                    os.waitpid(int(entry.name), os.WNOHANG)


@pytest.fixture
def hosts(own_home: Path, adopting: None) -> Iterator[Hosts]:
    """Hold hosts of real QEMU; when the test ends, no guest may be left that nobody knows."""
    from polyvisor_qemu.probe import usable

    answer = usable()
    if not answer.usable:
        pytest.skip(f"{answer.reason}; {answer.remedy}")
    root = own_home / "h"
    root.mkdir()
    hosts = Hosts(root)
    yield hosts
    for connection in hosts.opened:
        if not connection.closed:
            connection.close()
    for folder in root.iterdir():
        if (folder / "session").is_dir():
            with polyvisor.open(hosts.uri(folder.name)) as connection:
                for domain in connection.domains.list(inactive=False):
                    domain.destroy()
    left = hosts.processes()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == [], "QEMU ran on that no host knew of"


@attrs.frozen
class Network:
    """A network namespace that the test's thread is in, with whatever it starts."""

    def ip(self, *words: str) -> Any:
        """Run ``ip`` and return what it says, read from JSON if it says something."""
        line = ["ip", "-json", "-details", *words]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout or "null")

    def bridge(self, name: str, address: str | None = None, *, mtu: int = 1500) -> None:
        """Make a bridge that runs."""
        self.ip("link", "add", name, "mtu", str(mtu), "type", "bridge")
        if address is not None:
            self.ip("address", "add", address, "dev", name)
        self.ip("link", "set", name, "up")

    def links(self) -> dict[str, Any]:
        """Return what there is to know of each device, but for the loopback's."""
        return {one["ifname"]: one for one in self.ip("link", "show") if one["ifname"] != "lo"}

    def wait_for(self, *names: str) -> None:
        """Wait until there are these devices alone."""
        deadline = time.monotonic() + 20
        while (there := set(self.links())) != set(names):
            assert time.monotonic() < deadline, f"there are {there}"
            time.sleep(0.02)


@pytest.fixture
def network() -> Iterator[Network]:
    """Hold a network namespace of its own; what is started from now on is in it."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and ip (Debian: iproute2)")
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("there is no /dev/net/tun for TAP devices")
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    if libc.unshare(CLONE_NEWNET) != 0:
        os.close(before)
        pytest.skip(f"no network namespaces: {os.strerror(ctypes.get_errno())}")
    try:
        yield Network()
    finally:
        assert libc.setns(before, CLONE_NEWNET) == 0
        os.close(before)


@pytest.fixture
def certificates(own_home: Path) -> Callable[[str], Path]:
    """Hold a function that makes an authority, and a certificate of it for either side.

    It takes the name that they are for, and returns the folder in which they have QEMU's names.
    """

    def make(name: str) -> Path:
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed")
        folder = own_home / "pki"
        folder.mkdir()

        def openssl(*words: str) -> None:
            line = ["openssl", *words]
            subprocess.run(line, cwd=folder, check=True, capture_output=True, timeout=60)

        new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
        openssl(
            "req", "-x509", *new, "-keyout", "ca-key.pem", "-out", "ca-cert.pem", "-subj", "/CN=ca",
            "-addext", "keyUsage=critical,keyCertSign",
        )  # fmt: skip
        for side, usage in (("server", "serverAuth"), ("client", "clientAuth")):
            (folder / "more").write_text(
                f"basicConstraints=critical,CA:false\nsubjectAltName=DNS:{name}\n"
                f"keyUsage=critical,digitalSignature,keyEncipherment\nextendedKeyUsage={usage}\n"
            )
            openssl(
                "req", *new, "-keyout", f"{side}-key.pem", "-out", "request", "-subj", f"/CN={name}"
            )
            openssl(
                "x509", "-req", "-in", "request", "-CA", "ca-cert.pem", "-CAkey", "ca-key.pem",
                "-CAcreateserial", "-days", "2", "-extfile", "more", "-out", f"{side}-cert.pem",
            )  # fmt: skip
        return folder

    return make


@pytest.fixture(scope="session")
def linux_files() -> Path:
    """Hold the folder with Debian's kernel for cloud machines, its modules, and busybox."""
    given = os.environ.get("POLYVISOR_LINUX")
    if given is None:
        pytest.skip("POLYVISOR_LINUX names no folder with a Linux kernel; .ci/run makes one")
    return Path(given)


@pytest.fixture
def initramfs(linux_files: Path, tmp_path: Path) -> Callable[..., Path]:
    """Hold a function that makes the archive that Linux starts from.

    It takes the shell script that is run first, the names of modules below ``kernel``, which
    stand in ``/mod`` with their order in ``/mod/order``, and further files: their text, which
    can be run, or the file to copy. Busybox is ``/bin/busybox``.
    """

    def make(
        init: str, modules: Iterable[str], files: Mapping[str, str | Path] | None = None
    ) -> Path:
        if shutil.which("cpio") is None:
            pytest.skip("cpio is missing: apt install cpio")
        root = tmp_path / "initramfs"
        for name in ("bin", "dev", "proc", "sys", "mod", "run", "data", "etc", "root"):
            (root / name).mkdir(parents=True)
        (kernel,) = linux_files.glob("lib/modules/*/kernel")
        names = [f"{module}.ko" for module in modules]
        given = {
            "/bin/busybox": next(linux_files.glob("**/bin/busybox")),
            **{f"/mod/{Path(name).name}": kernel / name for name in names},
            "/mod/order": "\n".join(Path(name).name for name in names),
            "/init": init,
            **(files or {}),
        }
        for place, what in given.items():
            path = root / place.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(what, Path):
                shutil.copy(what, path)
            else:
                path.write_text(what)
                path.chmod(0o755)
        listed = "".join(f"{path.relative_to(root)}\n" for path in sorted(root.rglob("*")))
        packed = subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet"],
            check=True, capture_output=True, input=listed.encode(), cwd=root,
        ).stdout  # fmt: skip
        archive = tmp_path / "initrd"
        archive.write_bytes(gzip.compress(packed, 1))
        return archive

    return make


@pytest.fixture
def boot_linux(
    hosts: Hosts, linux_files: Path, initramfs: Callable[..., Path]
) -> Callable[..., Any]:
    """Hold a function that starts Linux with the guest agent and waits until that answers.

    Its disk, ``image.qcow2``, has a file system into which it writes all the time. The function
    takes ``memory`` in MiB, further ``devices`` and what stands beside them (``more``) as text,
    ``modules`` to load by their places below ``kernel``, ``words`` for the kernel, and
    ``settings`` of the plugin.
    """

    def boot(
        *,
        memory: int = 256,
        devices: str = "",
        more: str = "",
        modules: tuple[str, ...] = (),
        words: str = "",
        settings: dict[str, object] | None = None,
    ) -> Any:
        agent = Path("/usr/sbin/qemu-ga")
        if not agent.exists() or shutil.which("mkfs.ext4") is None:
            pytest.skip("something is missing: apt install qemu-guest-agent e2fsprogs")
        told = subprocess.run(["ldd", agent], check=True, capture_output=True, text=True).stdout
        archive = initramfs(
            LINUX_INIT,
            (*LINUX_MODULES, *modules),
            {
                **{name: Path(name) for name in (str(agent), *re.findall(r"/\S+", told))},
                "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
                "/bin/chpasswd": "#!/bin/busybox sh\n/bin/busybox cat > /run/passwords\n",
                # The agent sets the time with it.
                "/sbin/hwclock": '#!/bin/busybox sh\nexec /bin/busybox hwclock "$@"\n',
            },
        )
        (kernel,) = linux_files.glob("boot/vmlinuz-*")
        raw = hosts.root / "image.raw"
        raw.write_bytes(b"")
        os.truncate(raw, 32 << 20)
        subprocess.run(["mkfs.ext4", "-q", raw], check=True)
        image = hosts.root / "image.qcow2"
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, image], check=True)
        host = hosts.open(**(settings or {}))
        spec = _make_spec(
            memory=memory,
            vcpus=3,
            boot=f"<kernel>{kernel}</kernel><initrd>{archive}</initrd>"
            f"<cmdline>console=ttyS0 quiet {words}</cmdline>",
            more=f"<features><acpi/></features>{more}",
            devices=f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
            f"<source file='{image}'/><target dev='vda' bus='virtio'/></disk>"
            f"<channel type='unix'>"
            f"<target type='virtio' name='org.qemu.guest_agent.0'/></channel>{devices}",
        )
        domain = host.domains.create(spec.to_xml().replace("<vcpu>3<", "<vcpu current='2'>3<"))
        deadline = time.monotonic() + 300  # as long as a busy machine takes to emulate the start
        while True:
            try:
                domain.agent.ping(timeout=1)
                return domain
            except PolyvisorError:
                assert time.monotonic() < deadline, "no agent answered"

    return boot


@pytest.fixture(scope="session")
def until_let_go() -> Callable[[Callable[[], None]], None]:
    """Hold a function that asks for something as often as it takes on a busy machine."""

    def ask_again(ask: Callable[[], None]) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                return ask()
            except OperationFailed:
                assert time.monotonic() < deadline

    return ask_again
