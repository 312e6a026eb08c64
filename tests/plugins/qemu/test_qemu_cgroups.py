"""Guests of real QEMU in control groups of version 2, as far as this host has controllers there."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polyvisor_qemu.cgroups import CgroupTree, remove

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyvisor.model import DomainSpec

    Hosts = Any
    Make = Callable[..., DomainSpec]

pytestmark = pytest.mark.real


def _threads(pid: int) -> set[str]:
    return set(os.listdir(f"/proc/{pid}/task"))


def test_a_guest_is_put_into_its_group(hosts: Hosts, make_spec: Make) -> None:
    """The group is made with its controller on, has the whole QEMU, and goes with it."""
    tree = CgroupTree.of_host()
    # Which one does not matter: what is done to get into a group is the same for all.
    controller = next(iter(sorted(tree.unified)), None)
    if controller is None or not os.access(tree.places[controller], os.W_OK):
        pytest.skip("this kernel has no writable control groups of version 2 free")
    domain = hosts.open().domains.create(make_spec(vcpus=2))
    (pid,) = hosts.processes()
    group = Path(tree.group(controller, pid))
    try:
        assert controller in (group / "cgroup.controllers").read_text().split()
        assert (group / "cgroup.procs").read_text().split() == [str(pid)]
        deadline = time.monotonic() + 20
        while set((group / "cgroup.threads").read_text().split()) != _threads(pid):
            # QEMU's workers come and go.
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert f"0::/machine/{group.name}\n" in Path(f"/proc/{pid}/cgroup").read_text()
        # A second time it is there already.
        assert tree.group(controller, pid) == str(group)
    finally:
        domain.destroy()
        remove(pid)
    assert not group.exists()
