"""Where the machines of a simulated host are kept.

A :class:`FileRack` keeps each in its guest's run folder, so that every process sees the
same machine; a :class:`ProcessRack` keeps them in this process alone. A rack plays the
part that a hypervisor's own process plays elsewhere: it, not polyvisor's record, is the
truth about whether a guest is there and runs.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

from polyvisor.errors import HypervisorError, StorageError
from polyvisor.state import boot_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polyvisor.local import Guest
    from polyvisor.state import Bells
    from polyvisor_sim.machine import Machine
    from polyvisor_sim.memory import Memory

__all__ = ["FileRack", "ProcessRack", "Rack"]

# Nanoseconds after which a file's time says that it is the same.
_SETTLED = 100_000_000
_REMEMBERED = 4096


class Rack(ABC):
    """Keeps machines and their memory.

    Args:
        bells: the host's; rung whenever a machine has changed.
    """

    def __init__(self, bells: Bells) -> None:
        self.bells = bells

    @abstractmethod
    def find(self, guest: Guest) -> Machine | None:
        """Return the guest's machine, ``None`` if there is none."""

    def find_all(self, guests: Sequence[Guest]) -> Sequence[Machine | None]:
        """Return the machines of many guests.

        The same object for the same list says that they are the same machines.
        """
        return list(map(self.find, guests))

    @abstractmethod
    def put(self, guest: Guest, machine: Machine) -> None:
        """Keep the machine as it is now; whoever looks sees the old one or the new."""

    @abstractmethod
    def remove(self, guest: Guest) -> None:
        """Throw the guest's machine away, if there is one, with its memory."""

    @abstractmethod
    def add_memory(self, guest: Guest, size: int) -> None:
        """Give the guest empty memory of ``size`` bytes."""

    @abstractmethod
    def memory(self, guest: Guest, size: int) -> Memory:
        """Open the guest's memory."""

    def get(self, guest: Guest) -> Machine:
        """Return the guest's machine.

        Raises:
            HypervisorError: there is none.
        """
        machine = self.find(guest)
        if machine is None:
            raise HypervisorError(
                f"the simulated machine of {guest.name!r} is gone", domain=guest.name
            )
        return machine


class FileRack(Rack):
    """Keeps each machine in its guest's run folder, for all processes."""

    def __init__(self, bells: Bells) -> None:
        super().__init__(bells)
        # What files held, with what tells that a file is still the same.
        self._read: dict[str, tuple[tuple[int, int], Machine]] = {}

    def find(self, guest: Guest) -> Machine | None:
        """Return the guest's machine; one from before the host was started is gone."""
        path = f"{guest.run_dir}/machine.json"
        try:
            known = self._read.get(path)
            if known is not None:
                there = os.stat(path)
                if (there.st_ino, there.st_mtime_ns) == known[0]:
                    return known[1]
            with open(path, encoding="utf-8") as file:
                there = os.fstat(file.fileno())
                text = file.read()
        except FileNotFoundError:
            self._read.pop(path, None)
            return None
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}", path=path) from error
        machine = self._machine(guest, path, text)
        # File times are as coarse as the kernel's clock ticks: only after a while does a
        # file that was replaced differ for sure.
        if machine is not None and time.time_ns() - there.st_mtime_ns > _SETTLED:
            if len(self._read) >= _REMEMBERED:
                self._read = {}
            self._read[path] = (there.st_ino, there.st_mtime_ns), machine
        return machine

    def _machine(self, guest: Guest, path: str, text: str) -> Machine | None:
        import json

        from polyvisor_sim.machine import Machine

        try:
            data = json.loads(text)
            if data.pop("host boot") != boot_id():
                return None
            return Machine.from_dict(data)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise HypervisorError(
                f"{path} does not describe a simulated machine ({error!r}); "
                f"destroy {guest.name!r} to clear it away",
                domain=guest.name,
            ) from error

    def put(self, guest: Guest, machine: Machine) -> None:
        """Replace the guest's ``machine.json`` in one step, then ring."""
        import json

        path = f"{guest.run_dir}/machine.json"
        data = {"host boot": boot_id(), **machine.to_dict()}
        try:
            with open(f"{path}.new", "w", encoding="utf-8") as file:
                json.dump(data, file)
            os.replace(f"{path}.new", path)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}", path=path) from error
        self.bells.ring()

    def remove(self, guest: Guest) -> None:
        """Remove the machine first, so that nobody finds one without memory."""
        for name in ("machine.json", "machine.json.new", "memory", "migration.sock"):
            with suppress(FileNotFoundError):
                os.unlink(f"{guest.run_dir}/{name}")
        self.bells.ring()

    def add_memory(self, guest: Guest, size: int) -> None:
        """Make the guest's sparse memory file."""
        path = f"{guest.run_dir}/memory"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.ftruncate(fd, size)
            finally:
                os.close(fd)
        except OSError as error:
            with suppress(OSError):
                os.unlink(path)
            raise StorageError(
                f"cannot make {size} bytes of guest memory in {path}: {error.strerror}", path=path
            ) from error

    def memory(self, guest: Guest, size: int) -> Memory:
        """Open the guest's memory file."""
        path = f"{guest.run_dir}/memory"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise StorageError(
                f"the memory of {guest.name!r} cannot be opened: {path}: {error.strerror}; "
                f"destroy the domain to clear it away",
                path=path,
                domain=guest.name,
            ) from error
        from polyvisor_sim.memory import Memory

        return Memory(fd, size, path)


class ProcessRack(Rack):
    """Keeps machines in this process; memory is made when it is first looked at."""

    def __init__(self, bells: Bells) -> None:
        super().__init__(bells)
        # By the numbers of UUIDs, which cost less to look up than these.
        self._machines: dict[int, Machine] = {}
        self._memories: dict[UUID, int] = {}
        self._lock = threading.Lock()
        # Another object with each change, and what was found since the last one.
        self._version = object()
        self._found: tuple[object, Sequence[Guest], Sequence[Machine | None]] = (None, (), ())

    def find(self, guest: Guest) -> Machine | None:
        """Return the guest's machine, ``None`` if there is none."""
        return self._machines.get(guest.uuid.int)

    def find_all(self, guests: Sequence[Guest]) -> Sequence[Machine | None]:
        """Return the machines of many guests."""
        version = self._version
        known = self._found
        if known[0] is not version or known[1] is not guests:
            known = self._found = (version, guests, list(map(self.find, guests)))
        return known[2]

    def put(self, guest: Guest, machine: Machine) -> None:
        """Keep the machine, then ring."""
        self._machines[guest.uuid.int] = machine
        self._version = object()
        self.bells.ring()

    def remove(self, guest: Guest) -> None:
        """Throw machine and memory away."""
        self._machines.pop(guest.uuid.int, None)
        self._version = object()
        self.add_memory(guest, 0)
        self.bells.ring()

    def add_memory(self, guest: Guest, size: int) -> None:
        """Drop what memory there was; an untouched guest needs no descriptor."""
        fd = self._memories.pop(guest.uuid, None)
        if fd is not None:
            os.close(fd)

    def memory(self, guest: Guest, size: int) -> Memory:
        """Open the guest's memory, a memfd."""
        from polyvisor_sim.memory import Memory

        name = f"memory of {guest.name}"
        try:
            with self._lock:
                if guest.uuid not in self._memories:
                    fd = os.memfd_create("polyvisor-sim", os.MFD_CLOEXEC)
                    self._memories[guest.uuid] = fd
                    os.ftruncate(fd, size)
            # Opened anew rather than duplicated, so that it can be locked by itself.
            path = f"/proc/self/fd/{self._memories[guest.uuid]}"
            return Memory(os.open(path, os.O_RDWR | os.O_CLOEXEC), size, name)
        except OSError as error:
            hint = "; raise the limit on open files" if error.errno == errno.EMFILE else ""
            raise StorageError(
                f"cannot make {size} bytes of guest memory: {error.strerror}{hint}", path=name
            ) from error

    def close(self) -> None:
        """Throw everything away."""
        self._machines.clear()
        self._version = object()
        while self._memories:
            os.close(self._memories.popitem()[1])
