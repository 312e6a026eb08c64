"""Disks whose images are settled at each start of real QEMU: volumes, and transient ones."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor.errors import OperationInvalid, SemanticError, StorageError, Unsupported
from polyvisor.model import DomainSpec
from polyvisor.states import DomainState
from polyvisor_qemu.qmp import Monitor

if TYPE_CHECKING:
    from pathlib import Path

    Hosts = Any

pytestmark = pytest.mark.real

SIZE = 4 << 20
ACPI = "<features><acpi/></features>"


def _spec(hosts: Hosts, disk: str) -> DomainSpec:
    """Return the definition of a guest that counts and has a second disk."""
    return hosts.counting(more=disk)  # type: ignore[no-any-return]


def _image(hosts: Hosts, folder: str = ".") -> Path:
    path: Path = hosts.root / folder / "data.img"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(SIZE))
    return path


def _transient(path: Path, more: str = "<transient/>") -> str:
    return (
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{path}'/>"
        f"<target dev='vdb' bus='virtio'/>{more}</disk>"
    )


def _write(hosts: Hosts, command: str = "write -P 0x77 1M 64k") -> str:
    """Do to the second disk what a guest would, and return what is said of it."""
    (path,) = hosts.root.glob("a/session/*/*/*/control")
    with Monitor(str(path), timeout=20) as monitor:
        device = next(
            one["qdev"] for one in monitor.execute("query-block") if "virtio" in one["qdev"]
        )
        line = f'qemu-io -d {device} "{command}"'
        return str(monitor.execute("human-monitor-command", command_line=line))


def _overlays(hosts: Hosts) -> list[str]:
    return sorted(one.name for one in hosts.root.rglob("*.TRANSIENT-*"))


def test_what_a_transient_disk_gets_is_thrown_away(hosts: Hosts) -> None:
    """The image stays as it was; each start begins with it anew, and no overlay is left."""
    image = _image(hosts)
    domain = hosts.open().domains.define(_spec(hosts, _transient(image)))
    for _ in range(2):
        domain.start()
        assert _overlays(hosts) == ["data.img.TRANSIENT-guest"]
        assert "Pattern verification failed" not in _write(hosts, "read -P 0 1M 64k")
        _write(hosts)
        assert "Pattern verification failed" not in _write(hosts, "read -P 0x77 1M 64k")
        disk = domain.spec().devices.disks[1]
        assert disk.source.file == f"{image}.TRANSIENT-guest"
        assert disk.backing_store.source.file == str(image)
        domain.destroy()
        assert _overlays(hosts) == []
    assert domain.spec(inactive=True).devices.disks[1].source.file == str(image)
    assert image.read_bytes() == bytes(SIZE)


def test_no_overlay_is_left_after_a_crash(hosts: Hosts) -> None:
    """One goes with its guest if QEMU is killed, and if its starter is before QEMU runs."""
    image = _image(hosts)
    domain = hosts.open().domains.define(_spec(hosts, _transient(image)))
    domain.start()
    (pid,) = hosts.processes()
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while domain.state is not DomainState.SHUTOFF or _overlays(hosts):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with hosts.start_process(
        """
        import polyvisor_qemu.launch as launch
        def spawn(*given, **more):
            os.kill(os.getpid(), 9)
        launch.spawn = spawn
        with polyvisor.open(uri) as host:
            host.domains["guest"].start()
        """
    ) as process:
        process.wait(30)
    assert _overlays(hosts) == ["data.img.TRANSIENT-guest"]
    assert domain.state is DomainState.SHUTOFF
    domain.start()
    assert _overlays(hosts) == ["data.img.TRANSIENT-guest"]
    domain.destroy()
    assert _overlays(hosts) == []


def test_an_overlay_that_was_left(hosts: Hosts) -> None:
    """One that a host left when it went down is replaced; one that is in use is not."""
    image = _image(hosts)
    left = hosts.root / "data.img.TRANSIENT-guest"
    left.write_bytes(b"old")
    domain = hosts.open().domains.define(_spec(hosts, _transient(image)))
    domain.start()
    other = hosts.open("b").domains.define(
        DomainSpec.from_xml(hosts.counting(more=_transient(image)).to_xml())
    )
    with pytest.raises(StorageError, match="take the place of the overlay"):
        other.start()
    assert domain.state is DomainState.RUNNING
    assert _overlays(hosts) == ["data.img.TRANSIENT-guest"]


def test_what_a_transient_disk_is_not_for(hosts: Hosts) -> None:
    """What needs the image to outlive the guest is refused, and the guest runs on."""
    image = _image(hosts)
    host = hosts.open()
    domain = host.domains.define(_spec(hosts, _transient(image)))
    domain.start()
    hosts.wait_for_count()
    for act in (
        lambda: domain.save(hosts.root / "saved"),
        domain.managed_save,
        lambda: domain.migrate(hosts.open("b")),
        lambda: domain.snapshots.create("one"),
        lambda: host._driver.block.pull(domain.uuid, "vdb", base=None, bandwidth=0),
    ):
        with pytest.raises(OperationInvalid, match="its disk vdb is transient"):
            act()
        assert domain.state is DomainState.RUNNING
    hosts.wait_for_count()
    with pytest.raises(Unsupported, match="transient"):
        domain.attach_device(_transient(image).replace("vdb", "vdc"))
    readonly = host.domains.define(
        hosts.counting("other", more=_transient(image, "<readonly/><transient/>"))
    )
    with pytest.raises(SemanticError, match="leave it out"):
        readonly.start()


VOLUME = (
    "<disk type='volume' device='{device}'><driver name='qemu' type='{form}'/>"
    "<source pool='images' volume='{name}'/><target dev='{target}' bus='{bus}'/>{more}</disk>"
)


def test_volumes(hosts: Hosts) -> None:
    """A disk that names a pool's volume has its file when the guest starts, wherever that is."""
    image = _image(hosts, "pool")
    host = hosts.open()
    disk = VOLUME.format(
        device="disk", form="raw", name="data.img", target="vdb", bus="virtio", more=""
    )
    domain = host.domains.define(_spec(hosts, disk))
    with pytest.raises(StorageError, match=r"'data\.img' of the storage pool 'images'"):
        domain.start()
    pool = host.storage_pools.define(
        f"<pool type='dir'><name>images</name><target><path>{image.parent}</path></target></pool>"
    )
    with pytest.raises(StorageError, match="not active"):
        domain.start()
    pool.start()
    domain.start()
    _write(hosts)
    assert domain.spec().devices.disks[1].source.file == str(image)
    assert domain.stats()["block.1.path"] == str(image)
    domain.destroy()
    assert image.read_bytes()[1 << 20 :][: 64 << 10] == b"\x77" * (64 << 10)
    source = domain.spec(inactive=True).devices.disks[1].source
    assert (source.pool, source.volume) == ("images", "data.img")


def test_a_volume_comes_later_and_is_transient(hosts: Hosts) -> None:
    """A volume is plugged in while the guest runs; what a transient one gets is thrown away."""
    image = _image(hosts, "pool")
    host = hosts.open()
    host.storage_pools.create(
        f"<pool type='dir'><name>images</name><target><path>{image.parent}</path></target></pool>"
    )
    given = {"device": "disk", "form": "raw", "name": "data.img", "target": "vdb"}
    more = "<transient/>"
    domain = host.domains.define(_spec(hosts, VOLUME.format(**given, bus="virtio", more=more)))
    domain.start()
    _write(hosts)
    domain.destroy()
    assert image.read_bytes() == bytes(SIZE)
    acpi = hosts.counting("plain").to_xml().replace("<devices>", f"{ACPI}<devices>")
    plain = host.domains.define(acpi)
    plain.start()
    plain.attach_device(VOLUME.format(**given, bus="virtio", more=""))
    assert plain.spec().devices.disks[1].source.file == str(image)
    with pytest.raises(StorageError, match=r"'gone\.img' of the storage pool"):
        plain.attach_device(
            VOLUME.format(**{**given, "name": "gone.img", "target": "vdc"}, bus="virtio", more="")
        )
