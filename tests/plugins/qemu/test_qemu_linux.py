"""A guest with Linux on real QEMU, which answers as an operating system does."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.errors import HypervisorError, PolyvisorError, Timeout

if TYPE_CHECKING:
    from collections.abc import Callable

    Hosts = Any

pytestmark = [pytest.mark.real, pytest.mark.slow]

MODULES = (
    "virtio/virtio_ring", "virtio/virtio", "virtio/virtio_pci_legacy_dev",
    "virtio/virtio_pci_modern_dev", "virtio/virtio_pci", "char/virtio_console",
)  # fmt: skip
INIT = """\
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc p /proc; $b mount -t sysfs s /sys; $b mount -t devtmpfs d /dev
for m in $($b cat /mod/order); do $b insmod /mod/$m; done
n=0
while [ $n -lt 100 ] && ! [ -e /dev/vport0p1 ]; do $b sleep 0.1; n=$((n+1)); done
while true; do /usr/sbin/qemu-ga -m virtio-serial -p /dev/vport0p1 -t /run; $b sleep 0.1; done
"""


def _initramfs(linux: Path, folder: Path) -> Path:
    """Make the archive that Linux starts from: busybox, virtio's modules, the guest agent."""
    root = folder / "initramfs"
    for name in ("bin", "dev", "proc", "sys", "mod", "run", "usr/sbin"):
        (root / name).mkdir(parents=True)
    shutil.copy(next(linux.glob("**/bin/busybox")), root / "bin")
    (drivers,) = linux.glob("lib/modules/*/kernel/drivers")
    for module in MODULES:
        shutil.copy(drivers / f"{module}.ko", root / "mod")
    order = "\n".join(f"{module.rpartition('/')[2]}.ko" for module in MODULES)
    (root / "mod/order").write_text(order)
    agent = Path("/usr/sbin/qemu-ga")
    shutil.copy(agent, root / "usr/sbin")
    told = subprocess.run(["ldd", agent], check=True, capture_output=True, text=True).stdout
    for library in re.findall(r"/\S+", told):
        place = root / library.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, place)
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    names = "".join(f"{path.relative_to(root)}\n" for path in sorted(root.rglob("*")))
    packed = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"],
        check=True, capture_output=True, input=names.encode(), cwd=root,
    ).stdout  # fmt: skip
    archive = folder / "initrd"
    archive.write_bytes(gzip.compress(packed, 1))
    return archive


@pytest.fixture
def linux(hosts: Hosts, make_spec: Callable[..., Any]) -> tuple[Any, Any]:
    """Hold driver and domain of a guest in which Linux and the guest agent run."""
    given = os.environ.get("POLYVISOR_LINUX")
    if given is None:
        pytest.skip("POLYVISOR_LINUX names no folder with a Linux kernel; .ci/run makes one")
    for program in ("/usr/sbin/qemu-ga", "cpio"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing: apt install qemu-guest-agent cpio")
    archive = _initramfs(Path(given), hosts.root)
    (kernel,) = Path(given).glob("boot/vmlinuz-*")
    host = hosts.open()
    domain = host.domains.create(
        make_spec(
            memory=256,
            vcpus=1,
            boot=f"<kernel>{kernel}</kernel><initrd>{archive}</initrd>"
            f"<cmdline>console=ttyS0 quiet</cmdline>",
            more="<features><acpi/></features>",
            devices="<channel type='unix'>"
            "<target type='virtio' name='org.qemu.guest_agent.0'/></channel>",
        )
    )
    driver = host._driver
    deadline = time.monotonic() + 90
    while True:
        try:
            driver.agent.command(domain.uuid, '{"execute": "guest-ping"}', timeout=1)
            return driver, domain
        except PolyvisorError:
            assert time.monotonic() < deadline, "no agent answered"


def test_agent(linux: tuple[Any, Any]) -> None:
    """The real agent answers, refuses in its own words, and is asked anew after a timeout."""
    driver, domain = linux

    def ask(name: str, timeout: float = 10, **given: Any) -> Any:
        text = json.dumps({"execute": name, **({"arguments": given} if given else {})})
        return json.loads(driver.agent.command(domain.uuid, text, timeout=timeout))["return"]

    assert ask("guest-info")["version"]
    assert ask("guest-get-vcpus")[0]["online"]
    assert ask("guest-sync", id=7) == 7
    with pytest.raises(HypervisorError, match="nonsense has not been found") as caught:
        ask("nonsense")
    assert caught.value.native_code == "CommandNotFound"
    domain.suspend()
    with pytest.raises(Timeout):
        ask("guest-ping", timeout=0.5)
    domain.resume()
    # What was asked in vain is answered too, to nobody.
    assert ask("guest-sync", id=8) == 8


def test_linux_lets_go(hosts: Hosts, linux: tuple[Any, Any]) -> None:
    """Linux lets go of a PCI disk and of an interface, which are then gone for QEMU as well."""
    driver, domain = linux
    image = hosts.root / "vda"
    image.write_bytes(bytes(1 << 20))
    for xml in (
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
        f"<source file='{image}'/><target dev='vda' bus='virtio'/></disk>",
        "<interface type='user'><mac address='52:54:00:11:22:33'/><model type='virtio'/>"
        "</interface>",
    ):
        for _ in range(2):
            driver.devices.attach(domain.uuid, xml, live=True, config=False)
            time.sleep(1)  # Linux finds it, and asks for it to stay until then.
            driver.devices.detach(domain.uuid, xml, live=True, config=False)
    held = domain.spec().devices
    assert (held.disks, held.interfaces) == ((), ())
