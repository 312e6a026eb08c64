"""Writing guests into files and reading them back; QEMU does it, without a copy through us."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.errors import SaveImageError
from polyvisor_qemu import stream
from polyvisor_qemu.flushing import Flushing
from polyvisor_qemu.launch import last_words, log_size
from polyvisor_qemu.qmp import Gone, QmpError
from polyvisor_qemu.settling import refuse_transient

if TYPE_CHECKING:
    from polyvisor.jobs import Job
    from polyvisor.local import Guest
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.hypervisor import QemuHypervisor

__all__ = ["abandon", "restore", "save"]


def save(hypervisor: QemuHypervisor, guest: Guest, fd: int, job: Job) -> None:
    """Let QEMU write straight into the file."""
    refuse_transient(guest.spec, "save")
    with hypervisor.monitor(guest) as monitor, Flushing(fd) as flushing:
        job.check()
        stream.begin_out(monitor, guest, fd, "save")
        stream.wait_out(monitor, guest, job, "memory", beat=flushing.beat)


def abandon(hypervisor: QemuHypervisor, guest: Guest) -> None:
    """Stop QEMU's writing, if it still goes on; the guest stays stopped."""
    with hypervisor.monitor(guest) as monitor:
        stream.abandon(monitor, guest, "save")
        from polyvisor_qemu.dumping import abandon as abandon_dump

        abandon_dump(monitor)


def restore(
    hypervisor: QemuHypervisor, guest: Guest, spec: DomainSpec, fd: int, job: Job
) -> dict[str, Any]:
    """Start a QEMU that reads the stream straight from the file."""
    log_from = log_size(guest)
    runtime = hypervisor.spawn(guest, spec, "-incoming", "defer")
    try:
        job.report("memory")
        with hypervisor.monitor(guest) as monitor:
            stream.begin_in(monitor, guest, "fd:restore", fd)
            stream.wait_in(monitor, job)
    except (Gone, QmpError) as error:
        hypervisor.destroy(guest)
        told = last_words(guest, f"restore {guest.name!r}", log_from)
        raise SaveImageError(
            f"{told.message}; the image is damaged or was made by a machine that this one is not",
            domain=guest.name,
            native_message=told.native_message,
        ) from error
    except BaseException:
        hypervisor.destroy(guest)
        raise
    return runtime
