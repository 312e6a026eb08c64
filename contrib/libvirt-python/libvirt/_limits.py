"""What a domain may use, and on which CPUs of the host it runs."""

from __future__ import annotations

from typing import Any

from libvirt._wire import Handle, uses
from polyvisor_remote.wire import params

__all__ = ["Limited", "bits_of", "cpus_of"]

#: CPUs whose figures the protocol tells at once; ``REMOTE_DOMAIN_GET_CPU_STATS_NCPUS_MAX``.
_CPUS_AT_ONCE = 128


def bits_of(cpus: tuple[bool, ...] | list[bool]) -> bytes:
    """Return CPUs as the protocol has them: a bit for each, the lowest first."""
    bits = sum(1 << number for number, wanted in enumerate(cpus) if wanted)
    return bits.to_bytes(-(-len(cpus) // 8), "little")


def cpus_of(data: bytes, count: int) -> list[bool]:
    """Return the first CPUs of what the protocol says, each whether it is meant."""
    bits = int.from_bytes(data, "little")
    return [bool(bits >> number & 1) for number in range(count)]


def _each(data: bytes, several: int, count: int) -> list[tuple[bool, ...]]:
    """Return several such maps that stand one behind the other."""
    length = -(-count // 8)
    return [
        tuple(cpus_of(data[at : at + length], count)) for at in range(0, several * length, length)
    ]


def _sets(what: str, *, of: str | None = None, most: int = 16) -> Any:
    """Return a method that sets parameters, each of the type of the one that is there.

    Args:
        what: what the procedures have after ``get`` and ``set``.
        of: the argument before the parameters, if there is one.
        most: how many there may be at most (``REMOTE_DOMAIN_*_PARAMETERS_MAX``).
    """

    def method(self: Any, *given: Any, **named: Any) -> int:
        names = [*([of] if of else []), "params", "flags"]
        values = {"flags": 0, **dict(zip(names, given, strict=False)), **named}
        if len(given) > len(names) or set(values) != set(names):
            raise TypeError(f"set_{what} takes {', '.join(names)}")
        first = [values[of]] if of else []
        flags = values["flags"]
        there = self._ask(f"domain_get_{what}", self._ref, *first, most, flags).params
        kinds = {one.field: one.kind for one in there}
        told = params(values["params"], kinds)
        self._ask(f"domain_set_{what}", self._ref, *first, told, flags)
        return 0

    method.__doc__ = f"Call ``domain_set_{what}`` of the protocol."
    return method


class Limited(Handle):
    """A domain's limits and shares."""

    blkioParameters = uses("domain_get_blkio_parameters")
    blockIoTune = uses("domain_get_block_io_tune", nparams=32)
    interfaceParameters = uses("domain_get_interface_parameters")
    setBlkioParameters = _sets("blkio_parameters")
    setBlockIoTune = _sets("block_io_tune", of="disk", most=32)
    setInterfaceParameters = _sets("interface_parameters", of="device")
    setMemoryParameters = _sets("memory_parameters")
    setNumaParameters = _sets("numa_parameters")
    setSchedulerParametersFlags = _sets("scheduler_parameters_flags")

    def _host_cpus(self) -> int:
        """Return how many CPUs the host has, whether they are online or not."""
        return int(self._ask("node_get_cpu_map", 0, 0, 0).ret)

    def vcpus(self) -> tuple[list[tuple[int, ...]], list[tuple[bool, ...]]]:
        """Return number, state, time and CPU of each vCPU, and on which CPUs it may run."""
        count = self._host_cpus()
        most = self._ask("domain_get_info", self._ref).nrVirtCpu
        found = self._ask("domain_get_vcpus", self._ref, most, -(-count // 8))
        maps = _each(found.cpumaps, len(found.info), count)
        return [tuple(one) for one in found.info], maps

    def vcpuPinInfo(self, flags: int = 0) -> list[tuple[bool, ...]]:
        """Return of each vCPU on which CPUs it may run."""
        count = self._host_cpus()
        most = self._ask("domain_get_vcpus_flags", self._ref, flags | 4).num
        found = self._ask("domain_get_vcpu_pin_info", self._ref, most, -(-count // 8), flags)
        return _each(found.cpumaps, found.num, count)

    def pinVcpu(self, vcpu: int, cpumap: tuple[bool, ...]) -> int:
        """Let a vCPU run on those CPUs only that are true."""
        self._ask("domain_pin_vcpu", self._ref, vcpu, bits_of(cpumap))
        return 0

    def pinVcpuFlags(self, vcpu: int, cpumap: tuple[bool, ...], flags: int = 0) -> int:
        """Let a vCPU run on those CPUs only that are true, now or from the next start."""
        self._ask("domain_pin_vcpu_flags", self._ref, vcpu, bits_of(cpumap), flags)
        return 0

    def emulatorPinInfo(self, flags: int = 0) -> tuple[bool, ...]:
        """Return on which CPUs the emulator's own threads may run."""
        count = self._host_cpus()
        found = self._ask("domain_get_emulator_pin_info", self._ref, -(-count // 8), flags)
        return tuple(cpus_of(found.cpumaps, count))

    def pinEmulator(self, cpumap: tuple[bool, ...], flags: int = 0) -> int:
        """Let the emulator's own threads run on those CPUs only that are true."""
        self._ask("domain_pin_emulator", self._ref, bits_of(cpumap), flags)
        return 0

    def pinIOThread(self, iothread_id: int, cpumap: tuple[bool, ...], flags: int = 0) -> int:
        """Let an I/O thread run on those CPUs of the host only that are true."""
        self._ask("domain_pin_iothread", self._ref, iothread_id, bits_of(cpumap), flags)
        return 0

    def ioThreadInfo(self, flags: int = 0) -> list[tuple[int, list[bool]]]:
        """Return the number of each I/O thread, and on which CPUs it may run."""
        count = self._host_cpus()
        found = self._ask("domain_get_iothread_info", self._ref, flags).info
        return [(one.iothread_id, cpus_of(one.cpumap, count)) for one in found]

    def getCPUStats(self, total: bool, flags: int = 0) -> list[dict[str, int]]:
        """Return how long it had the host's CPUs: in all, or one by one."""
        ask, name = self._ask, "domain_get_cpu_stats"
        if total:
            count = ask(name, self._ref, 0, -1, 1, flags).nparams
            found = ask(name, self._ref, count, -1, 1, flags).params
            return [{one.field: one.value for one in found}]
        cpus = ask(name, self._ref, 0, 0, 0, flags).nparams
        count = ask(name, self._ref, 0, 0, 1, flags).nparams
        figures: list[dict[str, int]] = []
        for first in range(0, cpus, _CPUS_AT_ONCE):
            some = min(cpus - first, _CPUS_AT_ONCE)
            found = ask(name, self._ref, count, first, some, flags).params
            each = len(found) // some
            figures += [
                {one.field: one.value for one in found[at * each : (at + 1) * each]}
                for at in range(some)
            ]
        return figures
