"""What a running QEMU is handed with new devices: secrets, sockets, files, network devices."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.errors import HypervisorError, NotFound, PolyvisorError
from polyvisor_qemu.qmp import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable

    Hosts = Any
    Make = Callable[..., Any]

pytestmark = pytest.mark.real

ACPI = "<features><acpi/></features>"
SCSI = "<controller type='scsi' model='virtio-scsi'/>"
SERIAL = "<controller type='virtio-serial' index='0'/>"
WORD = b"correct horse"


def _ask(hosts: Hosts, command: str, **given: Any) -> Any:
    with Monitor(str(next(hosts.root.rglob("control")))) as monitor:
        return monitor.execute(command, **given)


def _objects(hosts: Hosts) -> set[str]:
    return {one["name"] for one in _ask(hosts, "qom-list", path="/objects")}


def _left(hosts: Hosts) -> tuple[Any, ...]:
    """Return all that stands behind devices."""
    return (
        _objects(hosts),
        {one["node-name"] for one in _ask(hosts, "query-named-block-nodes", flat=True)},
        {one["label"] for one in _ask(hosts, "query-chardev")},
        [fd for files in _ask(hosts, "query-fdsets") for fd in files["fds"]],
    )


def _secret(host: Any, usage: str, value: bytes = WORD) -> str:
    made = host.secrets.define(f"<secret private='yes'>{usage}</secret>")
    made.set_value(value)
    return str(made.uuid)


def _unsaid(hosts: Hosts, value: bytes = WORD) -> bool:
    """Say whether a value stands in no log and on no command line."""
    texts = [path.read_bytes() for path in hosts.root.rglob("*.log")]
    texts += [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in hosts.processes()]
    spelt = (value, base64.b64encode(value))
    return not any(one in text for text in texts for one in spelt)


@pytest.fixture
def start(hosts: Hosts, make_spec: Make) -> Callable[..., Any]:
    """Hold a function that starts a guest with devices, on a host with settings."""

    def started(devices: str = "", more: str = "", **settings: object) -> Any:
        host = hosts.open(**settings)
        return host.domains.create(make_spec(devices=devices, more=ACPI + more))

    return started


def make_encrypted(path: Path, key: Path) -> None:
    """Make an image that is encrypted with what is in a file.

    qemu-img measures how long that takes, and gives up where the machine's clock of processor
    time stands still for that long.
    """
    words = [
        "qemu-img", "create", "-q", "-f", "luks", "--object", f"secret,id=s,file={key}",
        "-o", "key-secret=s,iter-time=10", str(path), "1M",
    ]  # fmt: skip
    for _ in range(10):
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        if "accurate CPU usage" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr


def test_encrypted_disk(hosts: Hosts, start: Callable[..., Any]) -> None:
    """An encrypted disk comes with its key, which goes with it, and wrong keys are refused."""
    domain = start(SCSI)
    host = hosts.opened[0]
    path = hosts.root / "luks.img"
    key = hosts.root / "key"
    key.write_bytes(WORD)
    make_encrypted(path, key)
    key.unlink()
    usage = f"<usage type='volume'><volume>{path}</volume></usage>"
    disk = (
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{path}'>"
        "<encryption format='luks'><secret type='passphrase' uuid='{}'/></encryption></source>"
        "<target dev='sdb' bus='scsi'/></disk>"
    )
    before = _left(hosts)
    uuid = _secret(host, usage, b"wrong")
    with pytest.raises(HypervisorError, match="Invalid password"):
        domain.attach_device(disk.format(uuid), live=True)
    assert _left(hosts) == before
    host.secrets[uuid].set_value(WORD)
    domain.attach_device(disk.format(uuid), live=True)
    nodes = _ask(hosts, "query-named-block-nodes", flat=True)
    assert {one["drv"] for one in nodes} == {"luks", "file"}
    assert len(_objects(hosts)) == len(before[0]) + 1
    assert _unsaid(hosts)
    domain.detach_device(disk.format(uuid), live=True)
    assert _left(hosts) == before
    missing = disk.format("11111111-2222-3333-4444-555555555555")
    with pytest.raises(NotFound, match="secret"):
        domain.attach_device(missing, live=True)
    assert _left(hosts) == before


def test_encrypted_medium(hosts: Hosts, start: Callable[..., Any]) -> None:
    """A medium that is encrypted is put into a drive with its key."""
    drive = (
        "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/>{}"
        "<target dev='hdc' bus='ide'/></disk>"
    )
    domain = start(drive.format(""))
    path, key = hosts.root / "luks.img", hosts.root / "key"
    key.write_bytes(WORD)
    make_encrypted(path, key)
    uuid = _secret(hosts.opened[0], f"<usage type='volume'><volume>{path}</volume></usage>")
    source = (
        f"<source file='{path}'><encryption format='luks'>"
        f"<secret type='passphrase' uuid='{uuid}'/></encryption></source>"
    )
    domain.update_device(drive.format(source), live=True)
    (told,) = _ask(hosts, "query-block")
    assert told["inserted"]["encrypted"] is True or told["inserted"]["drv"] == "luks"
    domain.update_device(drive.format(""), live=True)
    assert _ask(hosts, "query-named-block-nodes") == []
    assert _unsaid(hosts)


def _locked(folder: Path, side: str) -> None:
    """Have a key need the password to be read."""
    plain = folder / "plain.pem"
    (folder / f"{side}-key.pem").rename(plain)
    subprocess.run(
        ["openssl", "pkcs8", "-topk8", "-in", plain, "-out", folder / f"{side}-key.pem",
         "-passout", f"pass:{WORD.decode()}"],
        check=True, timeout=60, capture_output=True,
    )  # fmt: skip
    plain.unlink()


def test_disk_behind_a_password(
    hosts: Hosts, start: Callable[..., Any], certificates: Callable[[str], Path]
) -> None:
    """A disk on a server that wants to know its clients comes with the password of our key."""
    folder = certificates("localhost")
    _locked(folder, "client")
    image, place = hosts.root / "a.img", hosts.root / "port"
    image.write_bytes(bytes(1 << 20))
    uuid = _secret(hosts.open(), "<usage type='tls'><name>key</name></usage>", b"wrong")
    domain = start(SCSI, nbd_tls_x509_cert_dir=str(folder), nbd_tls_x509_secret_uuid=uuid)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    line = [
        "qemu-nbd", "--object", f"tls-creds-x509,id=t,endpoint=server,dir={folder},verify-peer=on",
        "--tls-creds", "t", "-b", "127.0.0.1", "-p", str(port), "-x", "a", "-f", "raw", "-t",
        f"--pid-file={place}", str(image),
    ]  # fmt: skip
    server = subprocess.Popen(line)
    try:
        deadline = time.monotonic() + 30
        while not place.exists():
            assert time.monotonic() < deadline, "no server"
            time.sleep(0.05)
        disk = (
            f"<disk type='network' device='disk'><driver name='qemu' type='raw'/>"
            f"<source protocol='nbd' name='a' tls='yes' tlsHostname='localhost'>"
            f"<host name='127.0.0.1' port='{port}'/></source><target dev='sdb' bus='scsi'/></disk>"
        )
        before = _left(hosts)
        with pytest.raises(HypervisorError):
            domain.attach_device(disk, live=True)
        assert _left(hosts) == before
        hosts.opened[0].secrets[uuid].set_value(WORD)
        domain.attach_device(disk, live=True)
        assert "nbd" in {one["drv"] for one in _ask(hosts, "query-named-block-nodes", flat=True)}
        assert len(_objects(hosts)) == len(before[0]) + 2
        domain.detach_device(disk, live=True)
        assert _left(hosts) == before
        assert _unsaid(hosts)
    finally:
        server.kill()
        server.wait()


def test_encrypted_port(
    hosts: Hosts, start: Callable[..., Any], certificates: Callable[[str], Path]
) -> None:
    """A channel that is served with TLS comes with certificates, whose key has a password."""
    folder = certificates("localhost")
    _locked(folder, "server")
    host = hosts.open()
    uuid = _secret(host, "<usage type='tls'><name>key</name></usage>")
    domain = start(
        SERIAL,
        chardev_tls_x509_cert_dir=str(folder),
        chardev_tls_x509_secret_uuid=uuid,
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    channel = (
        f"<channel type='tcp'><source mode='bind' host='127.0.0.1' service='{port}' tls='yes'/>"
        f"<protocol type='raw'/><target type='virtio' name='a.b'/></channel>"
    )
    before = _left(hosts)
    domain.attach_device(channel, live=True)
    context = ssl.create_default_context(cafile=folder / "ca-cert.pem")
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as there,
        context.wrap_socket(there, server_hostname="localhost") as spoken,
    ):
        assert spoken.version() is not None
    domain.detach_device(channel, live=True)
    assert _left(hosts) == before
    assert _unsaid(hosts)


def test_files_and_sockets(hosts: Hosts, start: Callable[..., Any]) -> None:
    """Files that are written and sockets that are served at are opened by us, and go again."""
    domain = start(SERIAL)
    before = _left(hosts)
    written, log, place = (hosts.root / name for name in ("out", "log", "sock"))
    written.write_bytes(b"kept\n")
    to_file = (
        f"<channel type='file'><source path='{written}' append='on'/>"
        f"<log file='{log}' append='off'/><target type='virtio' name='a.file'/></channel>"
    )
    served = (
        f"<channel type='unix'><source mode='bind' path='{place}'/>"
        f"<target type='virtio' name='a.sock'/></channel>"
    )
    own = "<channel type='unix'><target type='virtio' name='a.own'/></channel>"
    for xml in (to_file, served, own):
        domain.attach_device(xml, live=True)
    assert written.read_bytes() == b"kept\n"
    assert log.stat().st_mode & 0o777 == 0o600
    (pid,) = hosts.processes()
    held = {os.readlink(one) for one in Path(f"/proc/{pid}/fd").iterdir()}
    assert {str(written), str(log)} <= held
    for path in (place, next(hosts.root.rglob("a.own"))):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(path))
    for xml in (to_file, served, own):
        domain.detach_device(xml, live=True)
    assert _left(hosts) == before
    with pytest.raises(PolyvisorError, match="No such file or directory"):
        domain.attach_device(to_file.replace(str(written), "/no/such/folder/x"), live=True)
    assert _left(hosts) == before


def test_shared_folder(hosts: Hosts, start: Callable[..., Any]) -> None:
    """A folder comes with the process that shares it, which ends with the guest."""
    if os.geteuid() != 0 or not Path("/usr/lib/qemu/virtiofsd").exists():
        pytest.skip("virtiofsd is not installed, or this is not root")
    shared = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
    domain = start(more=shared)
    xml = (
        f"<filesystem type='mount'><driver type='virtiofs'/><binary><sandbox mode='chroot'/>"
        f"</binary><source dir='{hosts.root}'/><target dir='b'/></filesystem>"
    )
    domain.attach_device(xml, live=True)
    kinds = [one["type"] for one in _ask(hosts, "qom-list", path="/machine/peripheral")]
    assert "child<vhost-user-fs-pci>" in kinds
    helpers = _helpers(hosts)
    assert helpers
    domain.destroy()
    deadline = time.monotonic() + 20
    while _helpers(hosts):
        assert time.monotonic() < deadline, "virtiofsd outlives its guest"
        time.sleep(0.05)


def _helpers(hosts: Hosts) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes()
                if b"virtiofsd" in words.split(b"\0")[0] and str(hosts.root).encode() in words:
                    found.append(int(entry.name))
    return found
