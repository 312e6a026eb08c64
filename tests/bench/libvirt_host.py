"""A libvirt host of its own: its daemons in a mount and UTS namespace, all state in a folder.

Root only; the machine's own libvirt, if it has one, is neither used nor touched. How it is
laid out: the daemons' usual folders are bound to folders below the one given.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from uuid import uuid4

from harness import Missing

__all__ = ["libvirt_host"]

PATIENCE = 30.0
_FOLDERS = {
    "etc": "/etc/libvirt",
    "lib": "/var/lib/libvirt",
    "run": "/run/libvirt",
    "log": "/var/log/libvirt",
    "cache": "/var/cache/libvirt",
}
_QEMU_CONF = """\
user = "root"
group = "root"
security_driver = "none"
dynamic_ownership = 0
remember_owner = 0
namespaces = []
stdio_handler = "logd"
"""
#: libvirt's LXC driver fails where control groups of both versions are mounted.
_ONE_CGROUP = "umount /sys/fs/cgroup/unified 2>/dev/null || true"
_SCRIPT = """\
set -e
mount --make-rprivate /
{mounts}
hostname {name}
mount --bind {folder}/hosts /etc/hosts
virtlogd -p {folder}/virtlogd.pid -f /etc/libvirt/virtlogd.conf &
libvirtd -p {folder}/libvirtd.pid -f /etc/libvirt/libvirtd.conf &
wait
"""


def _listens(path: Path) -> bool:
    """Say whether somebody takes connections at a path, where a socket is bound before that."""
    with socket.socket(socket.AF_UNIX) as asked:
        try:
            asked.connect(str(path))
        except OSError:
            return False
    return True


@contextmanager
def libvirt_host(
    folder: Path, name: str, *, settings: str = "", containers: bool = False
) -> Iterator[str]:
    """Run a host; yield the URI of its QEMU driver.

    Args:
        folder: an empty folder for all that it writes; with a short path, for its sockets.
        name: the host's name.
        settings: further lines of its ``qemu.conf``.
        containers: whether it is to run containers as well.

    Raises:
        Missing: not root, or libvirt's daemons are not installed.
    """
    if os.geteuid() != 0:
        raise Missing("only root can give libvirtd a mount namespace of its own")
    for program in ("libvirtd", "virtlogd", "unshare"):
        if shutil.which(program) is None:
            raise Missing(f"{program} is missing: apt install libvirt-daemon-system")
    for part, place in _FOLDERS.items():
        (folder / part).mkdir(parents=True)
        Path(place).mkdir(parents=True, exist_ok=True)
    (folder / "etc/qemu").mkdir()
    (folder / "etc/virtlogd.conf").touch()
    (folder / "etc/qemu.conf").write_text(_QEMU_CONF + settings)
    (folder / "etc/libvirtd.conf").write_text(
        f'auth_unix_rw = "none"\nhost_uuid = "{uuid4()}"\nlog_level = 3\n'
        f'log_outputs = "3:file:/var/log/libvirt/libvirtd.log"\n'
    )
    (folder / "hosts").write_text(f"127.0.0.1 localhost {name}\n")
    mounts = "\n".join(f"mount --bind {folder}/{part} {place}" for part, place in _FOLDERS.items())
    if containers:
        if not any(Path("/usr/lib").glob("*/libvirt/connection-driver/libvirt_driver_lxc.so")):
            raise Missing("libvirt's LXC driver is missing: apt install libvirt-daemon-driver-lxc")
        mounts += f"\n{_ONE_CGROUP}"
    script = _SCRIPT.format(mounts=mounts, name=name, folder=folder)
    with (folder / "out").open("wb") as out:
        host = subprocess.Popen(
            [
                *(sys.executable, str(Path(__file__).with_name("reaper.py"))),
                *("unshare", "--mount", "--uts", "bash", "-c", script),
            ],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        end = monotonic() + PATIENCE
        while not _listens(folder / "run/libvirt-sock"):
            if host.poll() is not None or monotonic() > end:
                raise RuntimeError(f"libvirtd did not start: {(folder / 'out').read_text()}")
            sleep(0.05)
        yield f"qemu+unix:///system?socket={folder}/run/libvirt-sock"
    finally:
        for daemon in ("libvirtd", "virtlogd"):
            with suppress(OSError, ValueError):
                os.kill(int((folder / f"{daemon}.pid").read_text()), signal.SIGTERM)
        try:
            host.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            host.kill()
            host.wait()
