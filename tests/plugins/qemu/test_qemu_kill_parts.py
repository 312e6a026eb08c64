"""SIGKILL of the process that changes a guest's devices, checkpoints or definition, at each step.

As in ``test_qemu_kill.py``, whose frame this uses.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

Hosts = Any
pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Hold the room with the frame; tests are no package that could be imported from."""
    if shutil.which("qemu-img") is None:
        pytest.skip("qemu-img is missing: apt install qemu-utils")
    monkeypatch.syspath_prepend(Path(__file__).parent)
    import test_qemu_kill

    return test_qemu_kill


# A guest that cannot answer gives a SCSI disk back all the same.
PLUG = """
from polyvisor.local._hold import Hold

recorded = {"put": (Hold, "put")}
extra = f"{root}/extra"
xml = xml.replace(
    "</devices>", "<controller type='scsi' model='virtio-scsi'/></devices>"
)
device = (
    f"<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
    f"<source file='{extra}'/><target dev='sda' bus='scsi'/></disk>"
)

def has(domain):
    return any(disk.target.dev == "sda" for disk in domain.spec().devices.disks)

def nodes(host, domain):
    # What QEMU has of it: devices, and nodes whether a device uses them or not.
    with host._driver.hypervisor.monitor(host._driver.guest(domain.uuid)) as monitor:
        found = monitor.execute("query-named-block-nodes")
        devices = [one["qdev"] for one in monitor.execute("query-block") if "scsi" in one["qdev"]]
    return len(devices), len([one for one in found if one["file"] == extra])

def before():
    with open(extra, "wb") as file:
        file.truncate(1 << 20)
    with polyvisor.open(uri) as host:
        begun(started(host))

def after(number):
    with polyvisor.open(uri) as host:
        domain = host.domains["guest"]
        assert domain.state == "running", domain.status()
        assert len(guests()) == 1
        counts_on()
        if has(domain):
            domain.detach_device(device)
        assert not has(domain)
        domain.attach_device(device)
        assert has(domain)
        assert nodes(host, domain)[0] == 1
        assert domain.stats()["block.count"] == 2
        domain.detach_device(device)
        assert not has(domain)
        assert nodes(host, domain) == (0, 0), nodes(host, domain)
        counts_on()
"""


def test_attach(hosts: Hosts, kill: Any) -> None:
    """The disk is there, or can be attached and detached; QEMU has nothing that nobody knows."""
    kill.killed_everywhere(
        hosts,
        PLUG
        + """
def begun(domain):
    pass

def act():
    with polyvisor.open(uri) as host:
        host.domains["guest"].attach_device(device)
""",
        least=4,
    )


def test_detach(hosts: Hosts, kill: Any) -> None:
    """The disk is gone, or can be detached; then it can be attached anew."""
    kill.killed_everywhere(
        hosts,
        PLUG
        + """
def begun(domain):
    domain.attach_device(device)

def act():
    with polyvisor.open(uri) as host:
        host.domains["guest"].detach_device(device)
""",
        least=4,
    )


POINTS = """
point = "<domaincheckpoint><name>c</name></domaincheckpoint>"

def bitmaps():
    told = subprocess.run(
        ["qemu-img", "info", "--output=json", disk], check=True, capture_output=True, text=True
    ).stdout
    return "bitmaps" in told

def after(number):
    with polyvisor.open(uri) as host:
        domain = host.domains["guest"]
        is_well(domain)
        if "c" in domain.checkpoints.list():
            domain.checkpoints.xml("c", sizes=True)
        else:
            domain.checkpoints.create(point)
        domain.checkpoints.delete("c")
        assert list(domain.checkpoints.list()) == []
        domain.checkpoints.create(point)
        domain.checkpoints.delete("c")
        counts_on()
        nothing_is_left(domain)
        assert not bitmaps(), "an account is kept that nobody knows"
"""


def test_create_checkpoint(hosts: Hosts, kill: Any) -> None:
    """There is a whole checkpoint or none, and no account is kept that nobody knows of."""
    kill.killed_everywhere_on_disks(
        hosts,
        POINTS
        + """
def before():
    with polyvisor.open(uri) as host:
        fresh(host)

def act():
    with polyvisor.open(uri) as host:
        host.domains["guest"].checkpoints.create(point)
""",
        least=4,
    )


def test_delete_checkpoint(hosts: Hosts, kill: Any) -> None:
    """The checkpoint is gone, or whole and can be deleted; no account is kept of it then."""
    kill.killed_everywhere_on_disks(
        hosts,
        POINTS
        + """
def before():
    with polyvisor.open(uri) as host:
        fresh(host).checkpoints.create(point)

def act():
    with polyvisor.open(uri) as host:
        host.domains["guest"].checkpoints.delete("c")
""",
        least=3,
    )


@pytest.mark.parametrize(
    "way", ["live=True, memory_only=True", "memory_only=True", "live=True", ""]
)
def test_dump(hosts: Hosts, kill: Any, way: str) -> None:
    """The guest counts on; the core is whole, or what stood in its place still does."""
    kill.killed_everywhere(
        hosts,
        f"""
        import struct
        from polyvisor.local._hold import Hold

        recorded = {{"put": (Hold, "put")}}
        core = f"{{root}}/core"

        def is_whole():
            # elf(5), 64 bits: program headers, and what each has of the file.
            with open(core, "rb") as file:
                data = file.read()
            if not "{way}".endswith("memory_only=True"):
                # QEMU's stream ends with a description of itself.
                assert data[:4] == b"QEVM" and data[-1:] == b"}}", (data[:8], data[-8:])
                return
            assert data[:5] == b"\\x7fELF\\x02", data[:8]
            place, = struct.unpack_from("<Q", data, 32)
            size, count = struct.unpack_from("<HH", data, 54)
            heads = [struct.unpack_from("<IIQQQQ", data, place + n * size) for n in range(count)]
            assert sum(head[5] for head in heads) >= 16 << 20
            assert max(head[2] + head[5] for head in heads) <= len(data)

        def before():
            with open(core, "w") as file:
                file.write("earlier")
            with polyvisor.open(uri) as host:
                started(host)

        def act():
            with polyvisor.open(uri) as host:
                host.domains["guest"].dump(core, {way})

        def after(number):
            with polyvisor.open(uri) as host:
                domain = host.domains["guest"]
                assert domain.state == "running", domain.status()
                assert len(guests()) == 1
                counts_on()
                with open(core, "rb") as file:
                    earlier = file.read(16) == b"earlier"
                if not earlier:
                    is_whole()
                domain.dump(core, {way})
                is_whole()
                assert not [name for name in os.listdir(root) if "part" in name]
                counts_on()
                told = numbers()
                assert told == sorted(told), told
        """,
        least=4,
    )


def test_undefine(hosts: Hosts, kill: Any) -> None:
    """It is all there and starts, or all is gone: no image, no snapshot, no checkpoint of it."""
    kill.killed_everywhere_on_disks(
        hosts,
        """
        recorded |= {"remove": (Hold, "remove"), "unlink": (os, "unlink")}
        everything = dict(managed_save=True, snapshots=True, checkpoints=True)

        def before():
            with polyvisor.open(uri) as host:
                domain = fresh(host)
                domain.snapshots.create("one")
                domain.managed_save()

        def act():
            with polyvisor.open(uri) as host:
                host.domains["guest"].undefine(**everything)

        def images():
            return [
                f"{folder}/{name}"
                for folder, _, names in os.walk(root)
                for name in names
                if name.endswith(".save")
            ]

        def after(number):
            with polyvisor.open(uri) as host:
                if "guest" in host.domains:
                    domain = host.domains["guest"]
                    assert domain.state == "shut off", domain.status()
                    assert image_of(domain) == disk
                    domain.start()
                    counts_on()
                    domain.destroy()
                    domain.undefine(**everything)
                assert "guest" not in host.domains
                assert guests() == []
                assert images() == []
                domain = host.domains.define(xml)
                assert list(domain.snapshots.list()) == []
                assert list(domain.checkpoints.list()) == []
                domain.start()
                counts_on()
        """,
        least=4,
    )


@pytest.mark.parametrize(
    ("begin", "pivot"),
    [
        ('copy("hda", copied)', True),
        ('copy("hda", copied)', False),
        ('commit("hda", active=True)', True),
    ],
)
def test_going_over(hosts: Hosts, kill: Any, begin: str, pivot: bool) -> None:
    """The guest goes on with one of the images, the one its definition names, and has all of it."""
    kill.killed_everywhere_on_disks(
        hosts,
        f"""
        source = f"<source file='{{root}}/tick.img.2'/>"
        copied = f"<disk type='file'>{{source}}<driver type='qcow2'/></disk>"

        def before():
            with polyvisor.open(uri) as host:
                domain = fresh(host)
                if {begin!r}.startswith("commit"):
                    domain.snapshots.create("one", options=outside)

        def act():
            with polyvisor.open(uri) as host:
                disks = host.domains["guest"].disks
                disks.{begin}
                for _ in range(3000):
                    if disks.job("hda").ready:
                        break
                    time.sleep(0.01)
                disks.abort("hda", pivot={pivot})

        def after(number):
            with polyvisor.open(uri) as host:
                domain = host.domains["guest"]
                is_well(domain)
                if domain.disks.job("hda") is not None:
                    domain.disks.abort("hda", pivot=False)
                with host._driver.hypervisor.monitor(host._driver.guest(domain.uuid)) as monitor:
                    used = monitor.execute("query-block")[0]["inserted"]["file"]
                domain.destroy()
                assert image_of(domain) == used
                assert {pivot} or used == disk
                subprocess.run(["qemu-img", "check", "-q", image_of(domain)], check=True)
                domain.start()
                counts_on()
        """,
        least=6,
    )
