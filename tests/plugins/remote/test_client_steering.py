"""A guest of QEMU on its way between two daemons is steered by others than who sends it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Served, need, run, served

import polyvisor

pytestmark = pytest.mark.real

#: Empty pages take bytes as well, so that many of them take seconds at a mebibyte each.
GUEST = """<domain type='qemu'><name>g</name><memory unit='MiB'>1024</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator></devices></domain>"""
MIB = 1 << 20


@pytest.fixture
def daemons(own_home: Path) -> Iterator[tuple[Served, Served]]:
    """Run two daemons, each with a host of its own."""
    need("qemu-system-x86_64", "qemu-system-x86")
    need("virsh", "libvirt-clients")
    with served(own_home / "a") as here, served(own_home / "b") as there:
        try:
            yield here, there
        finally:
            for one in (here, there):
                run("virsh", "-c", one.uri("qemu", "/system"), "destroy", "g")


def test_virsh_changes_what_another_client_sends(daemons: tuple[Served, Served]) -> None:
    """Its speed and its downtime, while it goes on; before, what it does not state itself."""
    here, there = (one.uri("qemu", "/system") for one in daemons)
    faster = ("virsh", "-c", here, "migrate-setspeed", "g", "1000")
    with polyvisor.open(here) as source, polyvisor.open(there) as destination:
        assert source.support.usable("migration.steering")
        domain = source.domains.create(GUEST)
        assert run(*faster).returncode == 0
        assert domain.migration_limits().bandwidth == 1000 * MIB
        moved: list[object] = []

        def move() -> None:
            moved.append(domain.migrate(destination, bandwidth=MIB, downtime=0.1))

        mover = threading.Thread(target=move)
        begun = time.monotonic()
        mover.start()
        accepted = {"migrate-setmaxdowntime": False, "migrate-setspeed": False}
        # Nobody tells when it has begun: what is said before is not for it, which states its own.
        while mover.is_alive():
            assert time.monotonic() < begun + 120
            for command, number in (
                ("migrate-setmaxdowntime", "900"),
                ("migrate-setspeed", "1000"),
            ):
                done = run("virsh", "-c", here, command, "g", number)
                accepted[command] |= done.returncode == 0
        mover.join(120)
        assert not mover.is_alive(), time.monotonic() - begun
        assert all(accepted.values()), accepted
        assert len(moved) == 1
        assert destination.domains["g"].active
        assert "g" not in source.domains
        destination.domains["g"].destroy()
