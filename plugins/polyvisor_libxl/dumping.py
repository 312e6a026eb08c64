"""Core dumps of running guests; libxl writes them."""

from __future__ import annotations

import errno
import os
from contextlib import nullcontext
from typing import TYPE_CHECKING

from polyvisor.driver import Dumps
from polyvisor.errors import HypervisorError, InvalidArgument, Unsupported
from polyvisor.events import EventKind
from polyvisor.states import StateReason

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.jobs import Job
    from polyvisor.local import Guest
    from polyvisor.state import AtomicFile
    from polyvisor_libxl.driver import LibxlDriver

__all__ = ["LibxlDumps"]


class LibxlDumps(Dumps):
    """Writes Xen's ELF cores: notes with registers, and sections with the guest's pages.

    Their form is in docs/misc/dump-core-format.txt of Xen. ``crash`` and ``gdbsx`` read it.
    """

    def __init__(self, driver: LibxlDriver) -> None:
        self._driver = driver

    def dump(
        self,
        uuid: UUID,
        path: str,
        job: Job,
        *,
        live: bool = False,
        crash: bool = False,
        reset: bool = False,
        memory_only: bool = False,
        core_format: str = "raw",
    ) -> None:
        """See :meth:`polyvisor.driver.Dumps.dump`.

        There is one form of core, with memory and registers, whatever ``memory_only`` says;
        and once begun, libxl cannot be stopped.
        """
        from polyvisor.state import AtomicFile
        from polyvisor_libxl.completion import kind_of

        if core_format != "raw":
            raise Unsupported(
                f"dump: Xen writes its own form of ELF cores, which is raw, and no {core_format}",
                feature="domains.dump",
            )
        if crash and reset:
            raise InvalidArgument("dump: a guest cannot both be stopped and reset afterwards")
        with self._driver.hold(uuid, "dump") as hold:
            hold.need_active()
            if reset and kind_of(hold.guest.spec) != "hvm":
                raise Unsupported(
                    f"dump {hold.guest.name!r} and reset it: only fully virtualised guests have "
                    f"a reset button",
                    feature="domains.reset",
                    domain=hold.guest.name,
                )
            with (
                AtomicFile(path) as file,
                self._driver.home.jobs.shown(str(uuid), job),
                nullcontext() if live else hold.standing(path),
            ):
                self._write(hold.guest, file, job)
                job.report("dumped", done=True)
                hold.finished(job)
                if crash:
                    self._driver.hypervisor.destroy(hold.guest)
                    hold.end(StateReason.CRASHED, (EventKind.STOPPED, "crashed"))
                elif reset:
                    self._driver.hypervisor.reset(hold.guest)

    def _write(self, guest: Guest, file: AtomicFile, job: Job) -> None:
        hypervisor = self._driver.hypervisor
        job.report("memory")
        job.check()
        try:
            hypervisor.context.core_dump(hypervisor.domid(guest, "dump"), guest.name, file.part)
        except HypervisorError as error:
            room = os.fstatvfs(file.fd)
            if room.f_bavail == 0:
                raise file.failed(OSError(errno.ENOSPC, error.message)) from error
            raise
        job.check()
        file.commit()
