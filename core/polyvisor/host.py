"""Facts about the host behind a connection."""

from __future__ import annotations

import attrs

__all__ = ["HostInfo"]


@attrs.frozen
class HostInfo:
    """What ``hostname``, ``nodeinfo`` and ``version`` print.

    Attributes:
        hostname: the host's name.
        hypervisor: the hypervisor's name, such as ``"QEMU"``.
        hypervisor_version: its version as text, ``""`` if not known.
        architecture: the host's machine type, such as ``"x86_64"``.
        memory: bytes of memory.
        cpus: CPUs that are online.
        cpu_model: CPU model, ``""`` if not known.
        cpu_mhz: clock frequency, 0 if not known.
        numa_nodes: number of NUMA nodes.
        sockets: sockets per node.
        cores: cores per socket.
        threads: threads per core.
        accelerators: what runs guest code: ``("kvm", "tcg")``, ``("xen",)`` …, best first.
    """

    hostname: str
    hypervisor: str
    hypervisor_version: str = ""
    architecture: str = ""
    memory: int = 0
    cpus: int = 1
    cpu_model: str = ""
    cpu_mhz: int = 0
    numa_nodes: int = 1
    sockets: int = 1
    cores: int = 1
    threads: int = 1
    accelerators: tuple[str, ...] = ()
