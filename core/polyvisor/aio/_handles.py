"""What hangs on a domain, awaitable.

Written by ``tests/house/aio_faces.py`` from the blocking handles; change those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.aio._base import Face
from polyvisor.aio._stream import EventStream

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from polyvisor.driver import BlockJobInfo, DiskInfo
    from polyvisor.events import MonitorEvent
    from polyvisor.handles import AgentResult
    from polyvisor.handles import DomainAgent as SyncDomainAgent
    from polyvisor.handles import DomainBackup as SyncDomainBackup
    from polyvisor.handles import DomainCheckpoints as SyncDomainCheckpoints
    from polyvisor.handles import DomainDebug as SyncDomainDebug
    from polyvisor.handles import DomainDisks as SyncDomainDisks
    from polyvisor.handles import DomainTuning as SyncDomainTuning

__all__ = [
    "DomainAgent",
    "DomainBackup",
    "DomainCheckpoints",
    "DomainDebug",
    "DomainDisks",
    "DomainTuning",
]


class DomainAgent(Face):
    """The agent of a running domain."""

    __slots__ = ()

    sync: SyncDomainAgent

    async def command(self, command: str, *, timeout: float | None = 5.0) -> str:
        """Send a command and return the answer, both as JSON text."""
        return await self._run(self.sync.command, command, timeout=timeout)

    async def set_timeout(self, seconds: float | None) -> None:
        """Say how long its answers are waited for from now on, as long as the domain runs."""
        await self._run(self.sync.set_timeout, seconds)

    async def ask(
        self, name: str, arguments: Mapping[str, Any] | None = None, *, timeout: float | None = 5.0
    ) -> Any:
        """Send a command by name and return what the agent returned, as plain values."""
        return await self._run(self.sync.ask, name, arguments, timeout=timeout)

    async def suspend(self, target: str = "ram", *, timeout: float = 5.0) -> None:
        """Have the guest put itself to sleep; :meth:`DomainDebug.wakeup` ends that."""
        await self._run(self.sync.suspend, target, timeout=timeout)

    async def ping(self, *, timeout: float | None = 5.0) -> None:
        """Return if it answers."""
        await self._run(self.sync.ping, timeout=timeout)

    async def info(self) -> dict[str, Any]:
        """Return its version and the commands that it knows."""
        return await self._run(self.sync.info)

    async def os_info(self) -> dict[str, Any]:
        """Return what operating system the guest says it runs."""
        return await self._run(self.sync.os_info)

    async def hostname(self) -> str:
        """Return the guest's name for itself."""
        return await self._run(self.sync.hostname)

    async def users(self) -> list[dict[str, Any]]:
        """Return who is logged in: ``user``, ``domain`` on Windows, ``login-time`` in seconds."""
        return await self._run(self.sync.users)

    async def filesystems(self) -> list[dict[str, Any]]:
        """Return what is mounted: ``mountpoint``, ``name``, ``type``, ``disk`` and more."""
        return await self._run(self.sync.filesystems)

    async def interfaces(self) -> list[dict[str, Any]]:
        """Return its network interfaces: ``name``, ``hardware-address``, ``ip-addresses``."""
        return await self._run(self.sync.interfaces)

    async def guest_info(self, *kinds: str) -> dict[str, Any]:
        """Return what the agent knows of its guest, under the names of ``virsh guestinfo``."""
        return await self._run(self.sync.guest_info)

    async def disks_of_filesystems(self) -> list[tuple[dict[str, Any], list[str]]]:
        """Return what is mounted (see :meth:`filesystems`), each with its disks' targets."""
        return await self._run(self.sync.disks_of_filesystems)

    async def time(self) -> datetime:
        """Return the guest's time, aware, in UTC."""
        return await self._run(self.sync.time)

    async def set_time(self, when: datetime | None = None) -> None:
        """Set the guest's clock to ``when``; ``None``: to that of its hardware."""
        await self._run(self.sync.set_time, when)

    async def freeze(self, mountpoints: Sequence[str] | None = None) -> int:
        """Stop all writing to file systems, so that disks can be copied; return of how many."""
        return await self._run(self.sync.freeze, mountpoints)

    async def thaw(self) -> int:
        """Let all file systems be written again; return how many were frozen."""
        return await self._run(self.sync.thaw)

    async def frozen(self) -> bool:
        """Say whether file systems are frozen."""
        return await self._run(self.sync.frozen)

    async def trim(self, *, minimum: int = 0) -> list[dict[str, Any]]:
        """Tell the disks which of their blocks are free; return what came of it, by path."""
        return await self._run(self.sync.trim, minimum=minimum)

    async def vcpus(self) -> dict[str, list[int]]:
        """Return the guest's vCPUs as it sees them, by its own numbers."""
        return await self._run(self.sync.vcpus)

    async def set_vcpus(self, numbers: Iterable[int], *, online: bool) -> None:
        """Have the guest use vCPUs, or cease to."""
        await self._run(self.sync.set_vcpus, numbers, online=online)

    async def set_password(self, user: str, password: str, *, encrypted: bool = False) -> None:
        """Set somebody's password in the guest."""
        await self._run(self.sync.set_password, user, password, encrypted=encrypted)

    async def ssh_keys(self, user: str) -> list[str]:
        """Return the keys with which somebody may log in, as lines of ``authorized_keys``."""
        return await self._run(self.sync.ssh_keys, user)

    async def add_ssh_keys(self, user: str, keys: Sequence[str], *, reset: bool = False) -> None:
        """Let somebody log in with these keys too; ``reset``: with no others."""
        await self._run(self.sync.add_ssh_keys, user, keys, reset=reset)

    async def remove_ssh_keys(self, user: str, keys: Sequence[str]) -> None:
        """Let somebody log in with these keys no longer."""
        await self._run(self.sync.remove_ssh_keys, user, keys)

    async def execute(
        self,
        program: str,
        arguments: Sequence[str] = (),
        *,
        input: bytes | None = None,
        environment: Sequence[str] = (),
        timeout: float = 60.0,
    ) -> AgentResult:
        """Run a program in the guest and wait for its end."""
        return await self._run(
            self.sync.execute,
            program,
            arguments,
            input=input,
            environment=environment,
            timeout=timeout,
        )


class DomainDebug(Face):
    """A domain's monitor, memory and disks, past all that keeps account of it."""

    __slots__ = ()

    sync: SyncDomainDebug

    async def command(self, command: str, *, human: bool = False, fds: Sequence[int] = ()) -> str:
        """Send a command to the hypervisor's own monitor and return what it answers."""
        return await self._run(self.sync.command, command, human=human, fds=fds)

    async def memory(self, address: int, size: int, *, physical: bool = True) -> bytes:
        """Return what is in the guest's memory."""
        return await self._run(self.sync.memory, address, size, physical=physical)

    async def disk(self, disk: str, offset: int, size: int) -> bytes:
        """Return what is in the file or device behind a disk, whatever its format."""
        return await self._run(self.sync.disk, disk, offset, size)

    def events(self, *, timeout: float | None = None) -> EventStream[MonitorEvent]:
        """Yield all that its hypervisor's own monitor tells of it from now on."""
        stream: EventStream[MonitorEvent] = EventStream(lambda: self.sync.events(timeout=timeout))
        self._crew.add_stream(stream)
        return stream

    async def wakeup(self) -> None:
        """Wake the machine, which its guest has put to sleep."""
        await self._run(self.sync.wakeup)

    async def nmi(self) -> None:
        """Interrupt the machine in the way that cannot be masked."""
        await self._run(self.sync.nmi)


class DomainBackup(Face):
    """The backup of a domain's disks that goes on, or is to; a job of the domain."""

    __slots__ = ()

    sync: SyncDomainBackup

    async def begin(
        self, xml: str = "<domainbackup/>", *, checkpoint: str | None = None, reuse: bool = False
    ) -> None:
        """Begin one; ``Domain.job`` tells how far it is, ``Domain.abort_job`` ends it."""
        await self._run(self.sync.begin, xml, checkpoint=checkpoint, reuse=reuse)

    async def xml(self) -> str:
        """Return the one that goes on as ``<domainbackup>``."""
        return await self._run(self.sync.xml)


class DomainCheckpoints(Face):
    """The checkpoints of a domain: instants since which changes of its disks are known."""

    __slots__ = ()

    sync: SyncDomainCheckpoints

    async def list(self) -> Sequence[str]:
        """Return their names, parents before children."""
        return await self._run(self.sync.list)

    async def xml(self, name: str, *, sizes: bool = False) -> str:
        """Return one as ``<domaincheckpoint>``, with the changed sizes if asked for."""
        return await self._run(self.sync.xml, name, sizes=sizes)

    async def create(
        self, xml: str = "<domaincheckpoint/>", *, redefine: bool = False, quiesce: bool = False
    ) -> str:
        """Make one from a ``<domaincheckpoint>`` and return its name."""
        return await self._run(self.sync.create, xml, redefine=redefine, quiesce=quiesce)

    async def delete(
        self, name: str, *, children: bool = False, metadata_only: bool = False
    ) -> None:
        """Remove one; what it kept account of goes to its parent."""
        await self._run(self.sync.delete, name, children=children, metadata_only=metadata_only)


class DomainDisks(Face):
    """The disks of a domain, each named by its target (``vda``) or the path of its source."""

    __slots__ = ()

    sync: SyncDomainDisks

    async def info(self, disk: str) -> DiskInfo:
        """Return a disk's sizes."""
        return await self._run(self.sync.info, disk)

    async def job(self, disk: str) -> BlockJobInfo | None:
        """Return the job on a disk, or ``None``."""
        return await self._run(self.sync.job, disk)

    async def resize(self, disk: str, size: int) -> None:
        """Change what the guest sees of the disk to ``size`` bytes."""
        await self._run(self.sync.resize, disk, size)

    async def set_threshold(self, disk: str, threshold: int) -> None:
        """Have one event tell when something is written beyond an offset of the disk's file."""
        await self._run(self.sync.set_threshold, disk, threshold)

    async def pull(
        self, disk: str, *, base: str | None = None, bandwidth: int = 0, relative: bool = False
    ) -> None:
        """Begin to bring the backing chain above ``base`` into the disk's own file."""
        await self._run(self.sync.pull, disk, base=base, bandwidth=bandwidth, relative=relative)

    async def commit(
        self,
        disk: str,
        *,
        base: str | None = None,
        top: str | None = None,
        bandwidth: int = 0,
        active: bool = False,
        delete: bool = False,
        shallow: bool = False,
        relative: bool = False,
    ) -> None:
        """Begin to bring the data from ``top`` down into ``base``."""
        await self._run(
            self.sync.commit,
            disk,
            base=base,
            top=top,
            bandwidth=bandwidth,
            active=active,
            delete=delete,
            shallow=shallow,
            relative=relative,
        )

    async def copy(
        self,
        disk: str,
        xml: str,
        *,
        bandwidth: int = 0,
        shallow: bool = False,
        reuse: bool = False,
        granularity: int = 0,
        buffer: int = 0,
    ) -> None:
        """Begin to copy the disk to where ``xml``, a ``<disk>``, says; :meth:`abort` ends it."""
        await self._run(
            self.sync.copy,
            disk,
            xml,
            bandwidth=bandwidth,
            shallow=shallow,
            reuse=reuse,
            granularity=granularity,
            buffer=buffer,
        )

    async def set_bandwidth(self, disk: str, bandwidth: int) -> None:
        """Change the limit of the job on a disk, in bytes per second; 0: none."""
        await self._run(self.sync.set_bandwidth, disk, bandwidth)

    async def abort(self, disk: str, *, pivot: bool = False, wait: bool = True) -> None:
        """End the job on a disk."""
        await self._run(self.sync.abort, disk, pivot=pivot, wait=wait)


class DomainTuning(Face):
    """Groups of values, named as virsh's commands; see :class:`polyvisor.driver.Tuning`."""

    __slots__ = ()

    sync: SyncDomainTuning

    async def groups(self) -> Sequence[str]:
        """Return the groups that there are: ``schedinfo``, ``memtune`` and others."""
        return await self._run(self.sync.groups)

    async def get(
        self, group: str, device: str | None = None, *, live: bool | None = None
    ) -> Mapping[str, int | str]:
        """Return a group's values, as far as they are set."""
        return await self._run(self.sync.get, group, device, live=live)

    async def set(
        self,
        group: str,
        values: Mapping[str, int | str],
        device: str | None = None,
        *,
        live: bool | None = None,
        config: bool | None = None,
    ) -> None:
        """Set some of a group's values."""
        await self._run(self.sync.set, group, values, device, live=live, config=config)

    async def pins(self, *, live: bool | None = None) -> Mapping[int | str, AbstractSet[int]]:
        """Return on which of the host's CPUs each vCPU, ``"iothread1"``, ``"emulator"`` may run."""
        return await self._run(self.sync.pins, live=live)

    async def pin(
        self,
        which: int | str,
        cpus: Iterable[int],
        *,
        live: bool | None = None,
        config: bool | None = None,
    ) -> None:
        """Let a vCPU, ``"iothread1"`` or ``"emulator"`` run on these CPUs of the host only."""
        await self._run(self.sync.pin, which, cpus, live=live, config=config)
