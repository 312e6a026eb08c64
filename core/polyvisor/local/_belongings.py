"""Files that are a domain's own and no disks: what its firmware and its TPM keep."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polyvisor.local._hypervisor import LocalHypervisor
    from polyvisor.state import Document

__all__ = ["doomed_tpm", "kept_variables", "remove_all"]

# Without one of these there are no variables and no emulated TPM, and nothing need be parsed.
_FIRMWARE = ("<nvram", "<loader", "firmware")
_TPM = ("<tpm",)


def kept_variables(hypervisor: LocalHypervisor, document: Document) -> str | None:
    """Return the file in which a domain's firmware keeps its variables, if there is one."""
    return hypervisor.nvram(document.spec()) if document.mentions(*_FIRMWARE) else None


def doomed_tpm(
    hypervisor: LocalHypervisor, document: Document, wanted: bool | None = None
) -> list[str]:
    """Return the folder of a domain's emulated TPM if it goes with the domain.

    Args:
        hypervisor: the domain's.
        document: its definition.
        wanted: whether it goes; ``None``: as the definition says.
    """
    if not document.mentions(*_TPM):
        return []
    spec = document.spec()
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
