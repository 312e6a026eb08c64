"""A definition as names and values of a ``vmx`` file, in libvirt's order (virVMXFormatConfig)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from polyvisor_vmware.settings import escaped, uuid_text
from polyvisor_vmware.writing_devices import devices, refuse

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

__all__ = ["entries"]

MIB = 1 << 20
#: Memory is counted in fours of MiB.
STEP = 4
SHARES = ((500, "low"), (1000, "normal"), (2000, "high"))
#: From this version of machines on they have PCI Express.
EXPRESS_FROM = 7
Entry = tuple[str, str]


def entries(spec: DomainSpec, file_name: Callable[[str], str], hardware: int) -> Iterator[Entry]:
    """Yield what to set.

    Args:
        spec: the definition, normalised.
        file_name: gives the name of an image in the file by its place.
        hardware: the version of machines to write.

    Raises:
        SpecError: it has something that VMware does not have.
    """
    if spec.type != "vmware":
        refuse("domain", f"its type is {spec.type!r}", "use type 'vmware'")
    yield ".encoding", "UTF-8"
    yield "config.version", "8"
    yield "virtualHW.version", str(hardware)
    arch = spec.os.arch or "i686"
    if arch not in {"i686", "x86_64"}:
        refuse("os/type", f"VMware has no machines of architecture {arch!r}", "use x86_64")
    yield "guestOS", "other-64" if arch == "x86_64" else "other"
    if spec.os.smbios == "host":
        yield "smbios.reflecthost", "true"
    elif spec.os.smbios == "sysinfo":
        refuse("os/smbios", "VMware cannot take these tables from a definition", "use host")
    if spec.uuid is None or not spec.uuid.int:
        yield "uuid.action", "create"
    else:
        yield "uuid.bios", uuid_text(spec.uuid)
    yield "displayName", escaped(escaped(spec.name, "|", '"'), "%", "/\\")
    if spec.description is not None:
        yield "annotation", escaped(spec.description, "|", '"')
    yield from _memory(spec)
    yield from _cpus(spec)
    yield from devices(spec, file_name, hardware)
    if spec.os.firmware_name == "efi":
        yield "firmware", "efi"
    if hardware >= EXPRESS_FROM:
        if any(
            disk.target is not None and disk.target.bus == "scsi" for disk in spec.devices.disks
        ):
            yield "pciBridge0.present", "true"
            for number in range(4, 8):
                yield f"pciBridge{number}.present", "true"
                yield f"pciBridge{number}.virtualDev", "pcieRootPort"
                yield f"pciBridge{number}.functions", "8"
        yield "vmci0.present", "true"


def _memory(spec: DomainSpec) -> Iterator[Entry]:
    memory = -(-spec.memory // (STEP * MIB)) * STEP
    yield "memsize", str(memory)
    current = spec.current_memory or spec.memory
    if current < memory * MIB:
        yield "sched.mem.max", str(-(-current // MIB))
    least = None if spec.memtune is None else spec.memtune.min_guarantee
    if least:
        yield "sched.mem.minsize", str(-(-least // MIB))


def _cpus(spec: DomainSpec) -> Iterator[Entry]:
    vcpu = spec.vcpu
    count = 1 if vcpu is None else vcpu.count
    if spec.vcpus != count:
        refuse("vcpu", "VMware plugs in no virtual CPUs", "leave current out")
    yield "numvcpus", str(count)
    cpu = spec.cpu
    if cpu is not None:
        if cpu.mode not in {None, "custom"}:
            refuse("cpu", f"VMware has no CPU mode {cpu.mode!r}", "leave it out")
        shape = cpu.topology
        if shape is None:
            refuse("cpu", "VMware knows nothing but its topology", "add topology or leave it out")
        cores, sockets = shape.cores or 1, shape.sockets or 1
        if (shape.threads or 1) != 1 or (shape.dies or 1) != 1:
            refuse("cpu/topology", "VMware has one die per socket and one thread per core")
        if cores * sockets != count:
            refuse("cpu/topology", f"{sockets} sockets of {cores} cores are not {count} CPUs")
        yield "cpuid.coresPerSocket", str(cores)
    if vcpu is not None and vcpu.cpuset:
        cpus = _members(vcpu.cpuset)
        if len(cpus) < count:
            refuse("vcpu", f"cpuset has {len(cpus)} CPUs and should have {count} or more")
        yield "sched.cpu.affinity", ",".join(map(str, cpus))
    shares = None if spec.cputune is None else spec.cputune.shares
    if shares is not None:
        words = {each * count: word for each, word in SHARES}
        yield "sched.cpu.shares", words.get(shares, str(shares))


def _members(text: str) -> list[int]:
    """Return what a set in the model's form, ``"0-3,8"``, holds."""
    found: list[int] = []
    for part in text.split(","):
        low, _, high = part.partition("-")
        found += range(int(low), int(high or low) + 1)
    return found
