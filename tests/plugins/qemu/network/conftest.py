"""Linux in guests that talk to others over their interfaces."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from polyvisor.model import DomainSpec

    Hosts = Any
    Make = Callable[..., DomainSpec]

#: Its addresses and others' stand on the kernel's command line; it tells each time that it
#: hears another, and swallows what is sent to port 9.
TALKING_INIT = """\
#!/bin/busybox sh
b=/bin/busybox; export PATH=/bin
$b mount -t proc p /proc; $b mount -t sysfs s /sys; $b mount -t devtmpfs d /dev
for m in $($b cat /mod/order); do $b insmod /mod/$m; done
for word in $($b cat /proc/cmdline); do
    case $word in own=*) own=${word#own=};; others=*) others=${word#others=};; esac
done
n=0; $b ip link set lo up
for one in $(echo $own | $b tr , ' '); do
    $b ip addr add $one/24 dev eth$n; $b ip link set eth$n up; n=$((n+1))
done
$b nc -ll -p 9 -e /sink &
while true; do
    for other in $(echo $others | $b tr , ' '); do
        $b ping -c 1 -W 1 $other > /dev/null && echo "heard $other"
    done
    $b sleep 0.2
done
"""
NETWORK_MODULES = (
    "drivers/virtio/virtio_ring", "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_legacy_dev", "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci", "net/core/failover", "drivers/net/net_failover",
    "drivers/net/virtio_net",
)  # fmt: skip


@attrs.frozen
class Talkers:
    """Linux in guests that talk to others over their interfaces."""

    hosts: Hosts
    make_spec: Make
    kernel: Path
    archive: Path

    def spec(
        self, name: str, own: Iterable[str], others: Iterable[str], devices: str, *, vcpus: int = 1
    ) -> DomainSpec:
        """Return the definition of one that has addresses, one on each of its interfaces."""
        words = f"own={','.join(own)} others={','.join(others)}"
        return self.make_spec(
            name,
            memory=128,
            vcpus=vcpus,
            boot=f"<kernel>{self.kernel}</kernel><initrd>{self.archive}</initrd>"
            f"<cmdline>console=ttyS0 quiet {words}</cmdline>",
            more="<features><acpi/></features>",
            devices=f"{devices}<serial type='file'><source path='{self.hosts.root}/said-{name}'/>"
            f"<target port='0'/></serial>",
        )

    def wait_until_heard(self, name: str, *others: str) -> None:
        """Wait until a guest has heard others, which takes a busy machine long to emulate."""
        said = self.hosts.root / f"said-{name}"
        deadline = time.monotonic() + 400
        text = ""
        while not all(f"heard {one}\n" in text for one in others):
            assert time.monotonic() < deadline, f"guest {name} said {text!r}"
            time.sleep(0.2)
            text = said.read_text().replace("\r", "") if said.exists() else ""

    def send(self, address: str, size: int, port: int = 9) -> float:
        """Send so many bytes to a guest; return how many seconds it took until it had all."""
        begun = time.monotonic()
        with socket.create_connection((address, port), timeout=120) as stream:
            stream.sendall(bytes(size))
            stream.shutdown(socket.SHUT_WR)
            assert stream.recv(16) == b"done\n"
        return time.monotonic() - begun


@pytest.fixture
def talkers(
    hosts: Hosts, make_spec: Make, linux_files: Path, initramfs: Callable[..., Path]
) -> Talkers:
    """Hold what it takes to start Linux in guests that talk over their interfaces."""
    sink = "#!/bin/busybox sh\n/bin/busybox cat > /dev/null; echo done\n"
    archive = initramfs(TALKING_INIT, NETWORK_MODULES, {"/sink": sink})
    (kernel,) = linux_files.glob("boot/vmlinuz-*")
    return Talkers(hosts, make_spec, kernel, archive)
