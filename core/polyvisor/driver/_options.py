"""How domains are started, saved and restored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec, SnapshotSpec

__all__ = [
    "ASKING_MODES",
    "DIRTY_RATE_MODES",
    "DomainOptions",
    "SaveOptions",
    "SnapshotOptions",
    "UndefineOptions",
]

#: How a guest can be asked to shut down or to reboot, in the order of libvirt's
#: ``virDomainShutdownFlagValues``: by the power button, by the agent in it, through init's
#: socket, by a signal to init, by a message between it and the hypervisor.
ASKING_MODES = ("acpi", "agent", "initctl", "signal", "paravirt")
#: How to measure how fast a guest writes to its memory, as QEMU has it (``DirtyRateMeasureMode``).
DIRTY_RATE_MODES = ("page-sampling", "dirty-bitmap", "dirty-ring")


@attrs.frozen
class DomainOptions:
    """How to start a domain.

    Attributes:
        paused: leave its vCPUs stopped.
        autodestroy: destroy it when the connection closes.
        force_boot: boot afresh even if there is a managed save image, and drop that.
        bypass_cache: read a managed save image past the host's cache.
    """

    paused: bool = False
    autodestroy: bool = False
    force_boot: bool = False
    bypass_cache: bool = False


@attrs.frozen
class SaveOptions:
    """How to save or restore.

    Attributes:
        paused: whether the guest is to be paused after restoring, or running;
            ``None``: as it was when it was saved.
        spec: a changed definition to store or to restore with, or ``None``.
        compression: ``"none"``, ``"gzip"``, ``"zstd"`` …; ``None``: as configured.
        bypass_cache: write and read the image past the host's cache.
    """

    paused: bool | None = None
    spec: DomainSpec | None = None
    compression: str | None = None
    bypass_cache: bool = False


@attrs.frozen
class SnapshotOptions:
    """How to take a snapshot, beyond its name and description.

    Attributes:
        spec: a ``<domainsnapshot>`` that says what is done with each disk and where the memory
            goes; ``None``: what the driver does of itself.
        disk_only: keep the disks alone, not the guest's memory.
        live: let the guest run while its memory is written into a file.
        reuse: the new images are there already.
        halt: stop the domain afterwards.
        redefine: put back what :meth:`Snapshots.xml` gave, touching no disk.
        current: when redefining: the domain's present state grew from it.
    """

    spec: SnapshotSpec | None = None
    disk_only: bool = False
    live: bool = False
    reuse: bool = False
    halt: bool = False
    redefine: bool = False
    current: bool = False


@attrs.frozen
class UndefineOptions:
    """What is to become of what belongs to a domain whose definition is forgotten.

    Attributes:
        managed_save: remove its managed save image.
        snapshots: remove its snapshots.
        checkpoints: remove its checkpoints.
        nvram: remove the file in which its firmware keeps variables, or keep it; ``None``:
            refuse if there is one.
        tpm: remove what its emulated TPM keeps, or keep it; ``None``: as its definition says,
            which is to remove it unless the TPM has ``persistent_state='yes'``.
    """

    managed_save: bool = False
    snapshots: bool = False
    checkpoints: bool = False
    nvram: bool | None = None
    tpm: bool | None = None
