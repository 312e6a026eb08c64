"""The kernel's control groups of guests: shares and limits of CPU time, memory and disks.

A group is made when a guest first needs one: ``machine/qemu-PID.polyvisor`` in the hierarchy
of each controller. Threads with limits of their own are in groups below it, named as libvirt's
(``vcpu0``, ``emulator``, ``iothread1``). The files are those of the kernel's
Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress

import attrs

from polyvisor.errors import HypervisorError, Unsupported

__all__ = ["CgroupTree", "remove"]

_MACHINES = "machine"
#: Microseconds of a period unless said otherwise, in both versions.
_PERIOD = 100_000
#: Seconds that the threads of a QEMU that was killed have to be gone.
_LEAVING = 2.0


@attrs.frozen
class CgroupTree:
    """The hierarchies of this host.

    Attributes:
        places: folder of each controller's hierarchy, as far as there is one.
        unified: the controllers that are in the one hierarchy of version 2.
    """

    places: dict[str, str]
    unified: frozenset[str]

    @classmethod
    def of_host(cls, mounts: str = "/proc/self/mounts") -> CgroupTree:
        """Find out what is mounted."""
        places: dict[str, str] = {}
        unified: set[str] = set()
        with open(mounts, encoding="utf-8", errors="replace") as file:
            for line in file:
                _, folder, kind, options = line.split()[:4]
                if kind == "cgroup2":
                    with suppress(OSError), open(f"{folder}/cgroup.controllers") as told:
                        unified.update(told.read().split())
                    places.update(dict.fromkeys(unified, folder))
                elif kind == "cgroup":
                    places.update(dict.fromkeys(options.split(","), folder))
        return cls(places, frozenset(unified))

    def controller(self, name: str, what: str) -> str:
        """Return a controller's name in its hierarchy.

        Args:
            name: its name in version 1.
            what: what it is wanted for, for the error.

        Raises:
            Unsupported: the host does not have it.
        """
        for one in (name, "io") if name == "blkio" else (name,):
            if one in self.places:
                return one
        raise Unsupported(
            f"{what}: this host has no control groups for it (controller {name}); mount them",
            feature="domains.tuning",
        )

    def group(self, controller: str, pid: int, inner: str | None = None) -> str:
        """Return the folder of a guest's group; it is made, and QEMU put into it, if need be.

        Args:
            controller: as :meth:`controller` told.
            pid: the QEMU.
            inner: a group below it, for some of its threads.

        Raises:
            HypervisorError: this process may not make it.
        """
        top = f"{self.places[controller]}/{_MACHINES}"
        group = f"{top}/{_name(pid)}"
        try:
            self._made(top, controller)
            if self._made(group, controller):
                _write(f"{group}/cgroup.procs", str(pid))
            if inner is None:
                return group
            inside = f"{group}/{inner}"
            if not os.path.isdir(inside):
                if controller in self.unified:
                    os.makedirs(inside)
                    _write(f"{inside}/cgroup.type", "threaded")
                    _write(f"{group}/cgroup.subtree_control", f"+{controller}")
                else:
                    self._made(inside, controller)
            return inside
        except OSError as error:
            raise _refused(group, error) from error

    def threads(self, controller: str) -> str:
        """Return the name of the file that takes threads."""
        return "cgroup.threads" if controller in self.unified else "tasks"

    def _made(self, folder: str, controller: str) -> bool:
        """Make a group that is not there; return whether it was."""
        above = os.path.dirname(folder)
        if controller in self.unified:
            with open(f"{above}/cgroup.subtree_control", encoding="ascii") as file:
                on = controller in file.read().split()
            if not on:
                _write(f"{above}/cgroup.subtree_control", f"+{controller}")
        try:
            os.mkdir(folder, 0o755)
        except FileExistsError:
            made = False
        else:
            made = True
        if controller == "cpuset" and controller not in self.unified:
            # A new group of version 1 has neither, and takes no process until it does.
            for name in ("cpuset.cpus", "cpuset.mems"):
                with open(f"{folder}/{name}", encoding="ascii") as file:
                    empty = not file.read().strip()
                if empty:
                    with open(f"{above}/{name}", encoding="ascii") as file:
                        _write(f"{folder}/{name}", file.read())
        return made

    def put(self, folder: str, name: str, value: int | str) -> None:
        """Write a value of a group.

        Raises:
            Unsupported: the kernel does not have it.
            HypervisorError: it refuses the value.
        """
        try:
            _write(f"{folder}/{name}", str(value))
        except FileNotFoundError as error:
            raise Unsupported(
                f"this kernel's control groups have no {name}", feature="domains.tuning"
            ) from error
        except OSError as error:
            raise _refused(f"{folder}/{name}: {value}", error) from error

    def get(self, folder: str, name: str) -> str:
        """Return what a file of a group holds; nothing if it is not there."""
        with suppress(OSError), open(f"{folder}/{name}", encoding="ascii") as file:
            return file.read().strip()
        return ""

    def period_and_quota(
        self, folder: str, controller: str, period: int | None, quota: int | None
    ) -> None:
        """Limit CPU time to ``quota`` of each ``period`` microseconds.

        ``None`` leaves what is set, and 0 takes it away.
        """
        if controller in self.unified:
            old_quota, old_period = (self.get(folder, "cpu.max") or f"max {_PERIOD}").split()
            most = old_quota if quota is None else str(quota) if quota > 0 else "max"
            each = int(old_period) if period is None else period or _PERIOD
            self.put(folder, "cpu.max", f"{most} {each}")
            return
        if period is not None:
            self.put(folder, "cpu.cfs_period_us", period or _PERIOD)
        if quota is not None:
            self.put(folder, "cpu.cfs_quota_us", quota if quota > 0 else -1)


def remove(pid: int) -> None:
    """Remove the groups of a QEMU that is gone."""
    with suppress(OSError):
        tree = CgroupTree.of_host()
        for place in set(tree.places.values()):
            group = f"{place}/{_MACHINES}/{_name(pid)}"
            with suppress(OSError):
                with os.scandir(group) as inside:
                    folders = [one.path for one in inside if one.is_dir(follow_symlinks=False)]
                for folder in (*folders, group):
                    _remove(folder)


def _remove(folder: str) -> None:
    """Remove a group as soon as its last thread is gone, which may be after the first one."""
    deadline = time.monotonic() + _LEAVING
    while True:
        try:
            os.rmdir(folder)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.002)
        else:
            return


def _name(pid: int) -> str:
    return f"qemu-{pid}.polyvisor"


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _refused(what: str, error: OSError) -> HypervisorError:
    return HypervisorError(f"control group {what}: {error.strerror}", native_message=error.strerror)
