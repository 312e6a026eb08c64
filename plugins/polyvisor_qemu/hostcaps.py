"""What guests QEMU runs on this host, as libvirt's ``<capabilities>`` says it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from polyvisor.local import machine_topology, machine_uuid
from polyvisor.model.capabilities import (
    Capabilities,
    Guest,
    GuestArch,
    GuestDomain,
    GuestFeatures,
    GuestMachine,
    HostCapabilities,
    MigrationFeatures,
    Toggle,
    UriTransports,
)
from polyvisor.model.cpu import CpuTopology
from polyvisor.model.host_cpu import HostCpu, PageSize

if TYPE_CHECKING:
    from polyvisor.host import HostInfo
    from polyvisor.model.capabilities_topology import Topology
    from polyvisor_qemu.emulator import Emulator

__all__ = ["ARCHITECTURES", "host_capabilities"]

#: Architectures that libvirt's QEMU driver looks for emulators of, with the width of a word.
ARCHITECTURES = {"i686": 32, "x86_64": 64, "aarch64": 64, "armv7l": 32, "ppc64": 64,
                 "riscv64": 64, "s390x": 64}  # fmt: skip


def host_capabilities(
    host: HostInfo, known: dict[str, tuple[Emulator, bool]], cpu: HostCpu | None = None
) -> Capabilities:
    """Return capabilities with every machine type of every emulator.

    Args:
        host: facts about the host.
        known: emulators by architecture, and whether KVM can be used with each.
        cpu: what is known of the host's CPU.
    """
    topology = machine_topology()
    shape = CpuTopology(sockets=host.sockets, dies=1, cores=host.cores, threads=host.threads)
    return Capabilities(
        host=HostCapabilities(
            uuid=machine_uuid(),
            cpu=attrs.evolve(
                cpu or HostCpu(arch=host.architecture), topology=shape, pages=_pages(topology)
            ),
            migration_features=MigrationFeatures(
                live=True, uri_transports=UriTransports(transports=("tcp",))
            ),
            topology=topology,
        ),
        guests=tuple(_guest(arch, one, kvm=kvm) for arch, (one, kvm) in known.items()),
    )


def _pages(topology: Topology) -> tuple[PageSize, ...]:
    cells = topology.cells.cells if topology.cells is not None else ()
    sizes = {(page.unit, page.size): None for cell in cells for page in cell.pages}
    return tuple(PageSize(unit=unit, size=size) for unit, size in sizes)


def _guest(arch: str, known: Emulator, *, kvm: bool) -> Guest:
    machines: list[GuestMachine] = []
    # Clients that name no machine take the first, so libvirt has its default there.
    default = known.machine(None)
    for one in sorted(known.machines.values(), key=lambda one: (one != default, one.name)):
        if one.name == "none":
            continue
        limit, old = one.max_cpus, True if one.deprecated else None
        machines.append(GuestMachine(name=one.name, max_cpus=limit, deprecated=old))
        if one.alias:
            machines.append(GuestMachine(name=one.alias, canonical=one.name, max_cpus=limit))
    domains = [GuestDomain(type="qemu"), *([GuestDomain(type="kvm")] if kvm else [])]
    x86 = arch in {"i686", "x86_64"}
    return Guest(
        os_type="hvm",
        arch=GuestArch(
            name=arch,
            wordsize=ARCHITECTURES.get(arch, 64),
            emulator=known.path,
            machines=tuple(machines),
            domains=tuple(domains),
        ),
        features=GuestFeatures(
            pae=arch == "i686",
            nonpae=arch == "i686",
            acpi=Toggle(default=True, toggle=True) if x86 or arch == "aarch64" else None,
            apic=Toggle(default=True, toggle=False) if x86 else None,
            cpuselection=True,
            deviceboot=True,
            disksnapshot=Toggle(default=True, toggle=False),
        ),
    )
