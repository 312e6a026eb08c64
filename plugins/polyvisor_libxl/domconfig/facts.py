"""What has to be known of a host to describe a guest to libxl."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

__all__ = ["HostFacts"]


@attrs.frozen
class HostFacts:
    """Facts of a host.

    Attributes:
        cpus: how many CPUs it has; who is not pinned may run on all.
        nodes: how many NUMA nodes it has; with fewer than the guest's, all are put on the first.
        virtualisation: what its CPUs call their own virtualisation, ``"vmx"`` or ``"svm"``.
        nested: whether guests may have that.
        bridges: the bridge of each virtual network.
        screen_ports: free TCP ports for screens whose port is not given, in order.
        shadow: memory in KiB for shadow page tables; ``None``: as libxl computes it.
        secrets: the keys of Ceph's users, in base64.
        channel_folder: where the sockets of channels are whose path is not given.
    """

    cpus: int = 1
    nodes: int = 1
    virtualisation: str | None = None
    nested: bool = False
    bridges: Mapping[str, str] = attrs.field(factory=dict)
    screen_ports: tuple[int, ...] = tuple(range(5900, 5964))
    shadow: int | None = None
    secrets: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    channel_folder: str = "/var/lib/xen/channel"

    def shadow_memory(self, memory: int, vcpus: int) -> int:
        """Return the KiB of shadow page tables (libxl_get_required_shadow_memory).

        A MiB for each virtual CPU, and two pages for each MiB of memory.

        Args:
            memory: the guest's memory in KiB.
            vcpus: how many virtual CPUs it can have.
        """
        if self.shadow is not None:
            return self.shadow
        return 4 * (256 * vcpus + 2 * (memory // 1024))
