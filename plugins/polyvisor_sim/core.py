"""Cores of simulated guests: their memory as it is, or as an ELF core file.

A simulated guest has no registers, so the ELF core has one program header and no notes.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from polyvisor.driver import Dumps
from polyvisor.errors import Unsupported
from polyvisor.events import EventKind
from polyvisor.state import AtomicFile
from polyvisor.states import StateReason
from polyvisor_sim.memory import CHUNK
from polyvisor_sim.pages import PAGE_SIZE

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.jobs import Job
    from polyvisor.local import Guest
    from polyvisor_sim.driver import SimulatorDriver

__all__ = ["SimDumps"]

#: ``e_machine`` of elf.h; of others there is none.
_MACHINES = {"x86_64": 62, "i686": 3, "aarch64": 183, "riscv64": 243, "s390x": 22}
_ET_CORE, _PT_LOAD = 4, 1
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")


class SimDumps(Dumps):
    """Writes memory out while nobody changes it; the guest runs on all the while."""

    def __init__(self, driver: SimulatorDriver) -> None:
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
        """Write the bytes of memory as they are at one tick."""
        if core_format != "raw":
            raise Unsupported(
                f"dump: simulated guests are dumped as raw, not as {core_format}",
                feature="domains.dump",
            )
        hypervisor = self._driver.hypervisor
        with self._driver.hold(uuid, "dump") as hold, AtomicFile(path) as file:
            hold.need_active()
            guest = hold.guest
            with self._driver.home.jobs.shown(str(uuid), job):
                try:
                    self._write(guest, file.fd, memory_only, job)
                except OSError as error:
                    raise file.failed(error) from error
                file.commit()
            hold.finished(job)
            if crash:
                hypervisor.destroy(guest)
                hold.end(StateReason.CRASHED, (EventKind.STOPPED, "crashed"))
            elif reset:
                hypervisor.reset(guest)

    def _write(self, guest: Guest, fd: int, as_elf: bool, job: Job) -> None:
        hypervisor = self._driver.hypervisor
        size = hypervisor.rack.get(guest).memory
        begin = 0
        if as_elf:
            os_type = guest.spec.os.type
            begin = PAGE_SIZE
            head = _elf(size, begin, (None if os_type is None else os_type.arch) or "")
            os.pwrite(fd, head, 0)
        with hypervisor.rack.memory(guest, size) as memory, memory.locked():
            hypervisor.bring_up(memory, guest)
            os.ftruncate(fd, begin + size)
            done = 0
            buffer = bytearray(CHUNK)
            for page, count in memory.extents(0, size // PAGE_SIZE):
                at, left = page * PAGE_SIZE, count * PAGE_SIZE
                while left:
                    job.check()
                    piece = memoryview(buffer)[: min(left, CHUNK)]
                    memory.read_into(at // PAGE_SIZE, piece)
                    written = os.pwrite(fd, piece, begin + at) // PAGE_SIZE * PAGE_SIZE
                    at, left, done = at + written, left - written, done + written
                    job.report("memory", total=size, processed=done)
        job.report("done", total=size, processed=size, done=True)


def _elf(size: int, offset: int, arch: str) -> bytes:
    """Return the head of an ELF core with one segment (elf.h, 64 bits, little-endian)."""
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    machine = _MACHINES.get(arch, 0)
    header = _HEADER.pack(
        ident, _ET_CORE, machine, 1, 0, _HEADER.size, 0, 0, _HEADER.size, _SEGMENT.size, 1, 0, 0, 0
    )
    return header + _SEGMENT.pack(_PT_LOAD, 7, offset, 0, 0, size, size, PAGE_SIZE)
