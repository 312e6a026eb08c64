"""Files that are a domain's own and no disks: what its firmware and its TPM keep."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polyvisor.local._hypervisor import LocalHypervisor
    from polyvisor.model import DomainSpec

__all__ = ["doomed_tpm", "remove_all"]


def doomed_tpm(
    hypervisor: LocalHypervisor, spec: DomainSpec, wanted: bool | None = None
) -> list[str]:
    """Return the folder of a domain's emulated TPM if it goes with the domain.

    Args:
        hypervisor: the domain's.
        spec: its definition.
        wanted: whether it goes; ``None``: as the definition says.
    """
    if wanted is None:
        backends = [one.backend for one in spec.devices.tpms if one.backend is not None]
        wanted = not any(one.persistent_state for one in backends)
    folder = hypervisor.tpm_state(spec) if wanted else None
    return [] if folder is None else [folder]


def remove_all(paths: Iterable[str]) -> None:
    """Remove files and whole folders, as far as they are there."""
    from polyvisor._files import remove_tree
    from polyvisor.state._files import remove_file

    for path in paths:
        if os.path.isdir(path) and not os.path.islink(path):
            remove_tree(path)
        else:
            remove_file(path)
