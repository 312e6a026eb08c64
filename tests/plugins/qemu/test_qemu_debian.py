"""A whole Debian on real QEMU: systemd, udev, a network, users, and the agent as it is packed."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.driver import SnapshotOptions
from polyvisor.errors import HypervisorError, PolyvisorError, Unsupported
from polyvisor.events import EventKind
from polyvisor.states import DomainState, StateReason

if TYPE_CHECKING:
    from polyvisor.domain import Domain

    Hosts = Any

pytestmark = [pytest.mark.real, pytest.mark.slow]

#: Seconds that an emulated guest may take for what it does.
PATIENCE = 240
#: What the disk, the agent, the network and the power button need.
MODULES = (
    "drivers/virtio/virtio_ring", "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_legacy_dev", "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci", "drivers/block/virtio_blk", "drivers/char/virtio_console",
    "net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net",
    "drivers/input/evdev", "drivers/acpi/button",
)  # fmt: skip
INIT = """\
#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs d /dev
for m in $($b cat /mod/order); do $b insmod /mod/$m; done
$b mount -t ext4 /dev/vda /data && exec $b switch_root /data /lib/systemd/systemd
"""
FILES = {
    "etc/hostname": "debian-guest\n",
    "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
    "etc/timezone": "Europe/Paris\n",
    "etc/systemd/network/wire.network": "[Match]\nType=ether\n[Network]\nDHCP=ipv4\n",
    # Somebody logs in at the serial console as soon as it is there.
    "etc/systemd/system/serial-getty@ttyS0.service.d/login.conf": "[Service]\nExecStart=\n"
    "ExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200 - linux\n",
}
LINKS = {
    "etc/systemd/system/multi-user.target.wants/systemd-networkd.service": (
        "/lib/systemd/system/systemd-networkd.service"
    ),
    # The emulated CPU is slow; nobody waits for these.
    **{
        f"etc/systemd/system/{unit}": "/dev/null"
        for unit in (
            "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer",
            "e2scrub_reap.service", "e2scrub_all.timer", "fstrim.timer", "getty@tty1.service",
            "systemd-update-utmp-runlevel.service", "systemd-journal-flush.service",
        )
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a disk with Debian on it, without a boot loader."""
    given = os.environ.get("POLYVISOR_DEBIAN")
    if given is None:
        pytest.skip("POLYVISOR_DEBIAN names no archive with a Debian; .ci/run makes one")
    if shutil.which("mke2fs") is None:
        pytest.skip("mke2fs is missing: apt install e2fsprogs")
    folder = tmp_path_factory.mktemp("debian")
    root = folder / "root"
    root.mkdir()
    subprocess.run(["tar", "-xf", given, "-C", root, "--exclude=./dev/*"], check=True)
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for name, target in LINKS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).unlink(missing_ok=True)
        (root / name).symlink_to(target)
    (root / "etc/localtime").unlink(missing_ok=True)
    (root / "etc/localtime").symlink_to("/usr/share/zoneinfo/Europe/Paris")
    raw, image = folder / "debian.raw", folder / "debian.qcow2"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", root, raw, "600M"], check=True)
    shutil.rmtree(root)
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, image], check=True)
    raw.unlink()
    return image


def _until(what: Callable[[], object]) -> Any:
    """Wait until something is there; a refusal counts as not yet."""
    deadline = time.monotonic() + PATIENCE
    while True:
        told: object
        try:
            told = what()
        except PolyvisorError as error:
            told, found = error, None
        else:
            found = told
        if found:
            return found
        assert time.monotonic() < deadline, told
        time.sleep(0.2)


def _boots(domain: Domain) -> str:
    """Wait until Debian is up, and return what tells this boot of it from any other."""
    _until(lambda: domain.agent.users())
    return _read(domain, "/proc/sys/kernel/random/boot_id")


def _read(domain: Domain, path: str) -> str:
    return _run(domain, "/bin/cat", path)


def _run(domain: Domain, program: str, *arguments: str) -> str:
    text: bytes = _until(lambda: domain.agent.execute(program, list(arguments)).output)
    return text.decode()


@pytest.fixture
def debian(
    hosts: Hosts,
    image: Path,
    make_spec: Callable[..., Any],
    initramfs: Callable[..., Path],
    linux_files: Path,
) -> Domain:
    """Hold a domain with Debian on a disk of its own, which boots."""
    disk = hosts.root / "debian.qcow2"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image, disk], check=True
    )
    (kernel,) = linux_files.glob("boot/vmlinuz-*")
    domain: Domain = hosts.open().domains.define(
        make_spec(
            memory=384,
            boot=f"<kernel>{kernel}</kernel><initrd>{initramfs(INIT, MODULES)}</initrd>"
            f"<cmdline>console=ttyS0 quiet systemd.show_status=0</cmdline>",
            more="<features><acpi/></features>",
            devices=f"<disk type='file' device='disk'>"
            f"<driver name='qemu' type='qcow2' cache='unsafe'/>"
            f"<source file='{disk}'/><target dev='vda' bus='virtio'/></disk>"
            f"<interface type='user'><model type='virtio'/></interface>"
            f"<serial type='file'><source path='{hosts.root}/serial'/></serial>"
            f"<channel type='unix'>"
            f"<target type='virtio' name='org.qemu.guest_agent.0'/></channel>",
        )
    )
    domain.start()
    return domain


def test_a_whole_system(debian: Domain) -> None:
    """The packed agent of a Debian with systemd tells and does what a user asks of it."""
    _boots(debian)
    agent = debian.agent
    assert agent.hostname() == "debian-guest"
    assert agent.os_info()["id"] == "debian"
    assert [one["user"] for one in agent.users()] == ["root"]
    assert agent.ask("guest-get-timezone")["zone"] in ("CET", "CEST")
    (root,) = (one for one in agent.filesystems() if one["mountpoint"] == "/")
    assert root["type"] == "ext4"

    def addresses() -> list[str]:
        told = {one["name"]: one.get("ip-addresses", []) for one in agent.interfaces()}
        return [one["ip-address"] for name, all_ in told.items() if name != "lo" for one in all_]

    _until(lambda: any(one.startswith("10.0.2.") for one in addresses()))

    assert "\nroot:*:" in _read(debian, "/etc/shadow")
    agent.set_password("root", "secret")
    assert "\nroot:$" in _read(debian, "/etc/shadow")
    with pytest.raises(HypervisorError):
        agent.set_password("nobody-of-that-name", "secret")

    assert agent.freeze() >= 1
    assert agent.frozen()
    assert agent.thaw() >= 1
    assert agent.trim()
    debian.snapshots.create("clean", options=SnapshotOptions(disk_only=True), quiesce=True)
    assert not agent.frozen()

    debian.shutdown(mode=["agent"])
    assert debian.wait(timeout=PATIENCE).reason is StateReason.SHUTDOWN


def test_reboots_and_shutdowns(hosts: Hosts, debian: Domain) -> None:
    """It reboots and ends by its agent and by the power button, in good order each time."""
    events = debian.connection.events(timeout=PATIENCE)
    heard = []

    def until(kind: EventKind) -> None:
        for event in events:
            heard.append(event)
            if event.kind is kind:
                return
        raise AssertionError(f"no {kind} within {PATIENCE} s")

    def last_words() -> str:
        return (hosts.root / "serial").read_text(errors="replace")[-2000:]

    first = _boots(debian)
    process = hosts.processes()
    debian.reboot(mode="acpi")
    assert debian.reboot_pending
    until(EventKind.REBOOT)
    second = _boots(debian)
    assert second != first
    assert not debian.reboot_pending
    assert hosts.processes() == process
    # The journal of the file system was closed: it shut down, and nobody pulled a plug.
    assert "recover" not in _run(debian, "/bin/dmesg")

    debian.reboot()  # by the agent, which listens
    assert not debian.reboot_pending
    until(EventKind.REBOOT)
    assert _boots(debian) not in (first, second), heard
    assert "recover" not in _run(debian, "/bin/dmesg")

    with pytest.raises(Unsupported, match="acpi and agent"):
        debian.shutdown(mode="initctl")
    # A reboot that was asked for and not done yet is forgotten when it is to end.
    debian.suspend()
    debian.reboot(mode="acpi")
    debian.shutdown(mode="acpi")
    assert not debian.reboot_pending
    debian.resume()
    status = debian.wait(timeout=PATIENCE)
    assert (status.state, status.reason) == (DomainState.SHUTOFF, StateReason.SHUTDOWN), (
        last_words()
    )
