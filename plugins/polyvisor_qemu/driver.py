"""The driver: where its hosts are, what they can do."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from polyvisor.errors import ConfigError, HypervisorError, InvalidArgument, PluginUnusable, UriError
from polyvisor.host import HostInfo
from polyvisor.local import LocalDriver
from polyvisor.support import Support, SupportStatus, SupportTable
from polyvisor_qemu.late import Late

if TYPE_CHECKING:
    from typing import Literal, Self

    from polyvisor.driver import (
        BlockJobs,
        Consoles,
        Debug,
        Dumps,
        GuestAgent,
        HostMachine,
        NodeDevices,
        OpenContext,
        Processors,
        Screens,
        Secrets,
        StoragePools,
    )
    from polyvisor.host import CpuTimes, GuestKind, HostMemory
    from polyvisor.model import DomainCapabilities
    from polyvisor.uri import ConnectionUri
    from polyvisor_qemu.emulator import Emulator

__all__ = ["QemuDriver"]

_YES = SupportStatus.SUPPORTED


class QemuDriver(LocalDriver):
    """``qemu:///session`` for a user's own guests, ``qemu:///system`` for the host's."""

    hypervisor: Any
    consoles: Consoles | None = cast("Consoles", Late("consoles", "QemuConsoles"))
    screens: Screens | None = cast("Screens", Late("screens", "QemuScreens"))
    dumps: Dumps | None = cast("Dumps", Late("dumping", "QemuDumps"))
    block: BlockJobs | None = cast("BlockJobs", Late("blocks", "QemuBlockJobs"))
    debug: Debug | None = cast("Debug", Late("debug", "QemuDebug"))
    agent: GuestAgent | None = cast("GuestAgent", Late("agent", "QemuAgent"))
    processors: Processors | None = cast("Processors", Late("processors", "QemuProcessors"))

    @classmethod
    def open(cls, uri: ConnectionUri, context: OpenContext) -> Self:
        """See :meth:`polyvisor.driver.Driver.open`."""
        from polyvisor.local import checkpoint_family
        from polyvisor.state import Home, Roots
        from polyvisor_qemu.keeping import KeepingQemu

        scope = uri.path.strip("/")
        if uri.transport is not None or uri.host is not None:
            raise UriError(
                f"{uri}: this driver runs QEMU on this machine only; remote hosts need the "
                f"remote plugin, which is not part of this release"
            )
        if scope not in ("system", "session"):
            raise UriError(f"{uri}: use qemu:///session or qemu:///system")
        if scope == "system" and os.geteuid() != 0 and context.root is None:
            raise UriError(f"{uri}: qemu:///system is root's; use qemu:///session")
        scope_name: Literal["system", "session"] = "system" if scope == "system" else "session"
        roots = Roots.of("qemu", scope_name, root=uri.query.get("root") or context.root)
        emulator = context.settings.get("emulator")
        from polyvisor_qemu.probe import emulator_for, usable

        if emulator_for(None, dict(context.settings)) is None:
            answer = usable()
            named = f"the emulator {emulator!r} is not there" if emulator else answer.reason
            raise PluginUnusable(f"cannot open {uri}: {named}; {answer.remedy}", plugin="qemu")
        layout = context.settings.get("layout")
        if layout not in (None, "libvirt"):
            raise ConfigError(
                f"cannot open {uri}: the QEMU plugin's setting layout is {layout!r}; use "
                f"'libvirt' or leave it out",
                key="plugins.qemu.layout",
            )
        # libvirt's word for no compression is raw.
        packed = context.settings.get("save_image_format", "raw")
        if packed not in ("raw", "gzip", "bzip2", "xz", "lzop", "zstd"):
            raise ConfigError(
                f"cannot open {uri}: the QEMU plugin's setting save_image_format is {packed!r}; "
                f"use raw, gzip, bzip2, xz, lzop or zstd",
                key="plugins.qemu.save_image_format",
            )
        hypervisor = KeepingQemu(dict(context.settings), f"{roots.state}/cache")
        driver = cls(roots.canonical(uri), hypervisor, Home.on_disk(roots), context)
        hypervisor.image_compression = "none" if packed == "raw" else packed
        hypervisor.secret = driver.secret_value
        hypervisor.volume = driver.volume_file
        if scope == "system" and context.settings.get("user") is not None:
            from polyvisor_qemu.owning import Owning

            hypervisor.owning = Owning.of(context.settings, driver.home)
            if hypervisor.owning is not None:
                hypervisor.owning.settle()
        store = driver.home.store
        hypervisor.tracked = lambda uuid: bool(store.objects(checkpoint_family(uuid)))
        return driver

    @property
    def storage_pools(self) -> StoragePools:
        """Folders of image files."""
        from polyvisor.local.objects import DirectoryPools

        return DirectoryPools(self.home)

    @property
    def node_devices(self) -> NodeDevices:
        """This machine's devices."""
        from polyvisor.local.objects import MachineDevices

        return MachineDevices()

    @property
    def machine(self) -> HostMachine:
        """This machine."""
        from polyvisor.local import ThisMachine

        return ThisMachine()

    @property
    def secrets(self) -> Secrets:
        """Secrets, for disks and network storage."""
        from polyvisor.local.objects import LocalSecrets

        return LocalSecrets(self.home)

    def secret_value(self, uuid: str | None, usage: str | None) -> bytes:
        """Return the value of a secret.

        Args:
            uuid: which one it is; or else
            usage: what it is for.

        Raises:
            NotFound: there is none, or it has no value.
        """
        from polyvisor.errors import NotFound

        if uuid is not None:
            return self.secrets.value(uuid)
        for kind in ("volume", "ceph", "iscsi", "tls", "vtpm"):
            try:
                found = self.secrets.by_usage(kind, usage or "")
            except NotFound:
                continue
            return self.secrets.value(found.key)
        raise NotFound(f"no secret is for {usage!r}", kind="secret", key=usage)

    def volume_file(self, pool: str, name: str) -> str:
        """Return the file of a storage pool's volume.

        Args:
            pool: the pool's name.
            name: the volume's.

        Raises:
            NotFound: there is no such pool or volume.
            OperationInvalid: the pool is not active.
        """
        pools = self.storage_pools
        return pools.volumes.by_name(pools.by_name(pool).key, name).path

    def capabilities(self) -> str:
        """Return capabilities with all emulators of this host and their machine types."""
        from polyvisor_qemu.emulator import emulator
        from polyvisor_qemu.hostcaps import ARCHITECTURES, host_capabilities
        from polyvisor_qemu.probe import emulator_for, kvm_works

        known = {}
        native = {platform.machine(), *(["i686"] if platform.machine() == "x86_64" else [])}
        for arch in ARCHITECTURES:
            path = emulator_for(arch, self.hypervisor.settings)
            if path is not None:
                kvm = arch in native and kvm_works(path, self.hypervisor.cache_dir)[0]
                known[arch] = emulator(path, self.hypervisor.cache_dir, kvm=kvm), kvm
        cpu = None
        if (native_one := known.get(platform.machine())) is not None:
            from polyvisor_qemu.processors import host_cpu

            cpu = host_cpu(native_one[0], self.hypervisor.cache_dir)
        return host_capabilities(self.host(), known, cpu).to_xml()

    def domain_capabilities(
        self,
        *,
        emulator: str | None = None,
        arch: str | None = None,
        machine: str | None = None,
        kind: str | None = None,
    ) -> DomainCapabilities:
        """See :meth:`polyvisor.driver.Driver.domain_capabilities`."""
        from polyvisor.host import GuestKind
        from polyvisor_qemu.domaincaps import domain_capabilities
        from polyvisor_qemu.hostmodel import host_model

        known, kind = self.emulator_of(GuestKind(emulator, arch, machine, kind))
        model = None
        with suppress(HypervisorError):  # with a KVM that QEMU cannot use for the host's own CPU
            model = host_model(known, self.hypervisor.cache_dir, kvm=kind == "kvm")
        return domain_capabilities(
            known, self.hypervisor.host(), machine=machine, kind=kind, model=model
        )

    def emulator_of(self, guests: GuestKind) -> tuple[Emulator, str]:
        """Return the emulator of a kind of guests, and their domains' type.

        Raises:
            InvalidArgument: there is no such emulator, machine or type.
        """
        from polyvisor_qemu.emulator import emulator
        from polyvisor_qemu.probe import emulator_for, kvm_works

        kind, arch = guests.kind, guests.arch
        path = guests.emulator or emulator_for(arch, self.hypervisor.settings)
        if path is None or not os.access(path, os.X_OK):
            raise InvalidArgument(f"there is no emulator {path or f'for {arch} guests'}")
        kvm, why = kvm_works(path, self.hypervisor.cache_dir)
        if kind not in (None, "kvm", "qemu"):
            raise InvalidArgument(f"QEMU runs no domains of type {kind!r}; use 'kvm' or 'qemu'")
        if kind == "kvm" and not kvm:
            raise InvalidArgument(f"KVM cannot be used here: {why}; ask for 'qemu'")
        known = emulator(path, self.hypervisor.cache_dir, kvm=kvm)
        if arch is not None and arch != known.arch:
            raise InvalidArgument(f"{path} runs guests of {known.arch}, not {arch}")
        if guests.machine is not None and known.machine(guests.machine) is None:
            raise InvalidArgument(f"{path} has no machine type {guests.machine!r}")
        return known, kind or ("kvm" if kvm else "qemu")

    def host(self) -> HostInfo:
        """Return facts about this machine and its QEMU."""
        from polyvisor.local import machine_nodes
        from polyvisor_qemu.probe import emulator_for, kvm_works, version_of

        emulator = emulator_for(None, self.hypervisor.settings) or ""
        kvm, _ = kvm_works(emulator, self.hypervisor.cache_dir)
        cpus = os.cpu_count() or 1
        sockets, cores, threads = _shape(cpus)
        return HostInfo(
            hostname=platform.node(),
            hypervisor="QEMU",
            hypervisor_version=version_of(emulator, self.hypervisor.cache_dir),
            architecture=platform.machine(),
            memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            cpus=cpus,
            sockets=sockets,
            cores=cores,
            threads=threads,
            cpu_model=_told_of_cpu("model name"),
            cpu_mhz=int(float(_told_of_cpu("cpu MHz") or 0)),
            numa_nodes=len(machine_nodes()),
            accelerators=("kvm", "tcg") if kvm else ("tcg",),
        )

    def host_times(self, cpu: int | None) -> CpuTimes:
        """Return what the kernel tells of this machine's CPUs."""
        from polyvisor.local import machine_times

        return machine_times(cpu)

    def host_memory(self, cell: int | None) -> HostMemory:
        """Return what the kernel tells of this machine's memory."""
        from polyvisor.local import machine_memory

        return machine_memory(cell)

    def support(self) -> SupportTable:
        """Return what this driver does with QEMU."""
        return _support()


@cache
def _support() -> SupportTable:
    none = Support(SupportStatus.UNSUPPORTED, "QEMU itself has nothing of the kind")
    return SupportTable(
        {
            "domains.define": _YES,
            "domains.transient": _YES,
            "domains.start": _YES,
            "domains.start-paused": _YES,
            "domains.shutdown": _YES,
            "domains.destroy": _YES,
            "domains.reboot": _YES,
            "domains.reset": _YES,
            "domains.suspend": _YES,
            "domains.autostart": _YES,
            "domains.rename": _YES,
            "domains.lifecycle": _YES,
            "domains.stats": _YES,
            "domains.dump": _YES,
            "domains.debug": _YES,
            "domains.metadata": _YES,
            "domains.tuning": _YES,
            "save.file": _YES,
            "save.managed": _YES,
            "save.edit": _YES,
            "migration.live": _YES,
            "migration.stopped": _YES,
            "migration.offline": _YES,
            "migration.peer-to-peer": _YES,
            "migration.tunnelled": _YES,
            "migration.post-copy": _YES,
            "migration.storage": _YES,
            "migration.limits": _YES,
            "migration.timeout": _YES,
            "migration.auto-converge": _YES,
            "migration.compression": _YES,
            "migration.parallel": _YES,
            "migration.tls": _YES,
            "migration.abort-on-error": _YES,
            "migration.steering": _YES,
            "snapshots.memory": _YES,
            "snapshots.disk": _YES,
            "snapshots.revert": _YES,
            "checkpoints": _YES,
            "backup": _YES,
            "devices.attach": _YES,
            "devices.memory": _YES,
            "devices.vcpus": _YES,
            "devices.iothreads": _YES,
            "block.jobs": _YES,
            "console.serial": _YES,
            "console.screenshot": _YES,
            "console.send-key": _YES,
            "console.graphics": _YES,
            "guest.agent": _YES,
            "host.figures": _YES,
            "host.cpus": _YES,
            "host.memory": _YES,
            "storage": _YES,
            "networks": none,
            "interfaces": none,
            "nwfilters": none,
            "node-devices": _YES,
            "secrets": _YES,
            "events": _YES,
        }
    )


@cache
def _shape(cpus: int) -> tuple[int, int, int]:
    """Return sockets, cores and threads, which change no more often than the number of CPUs."""
    from polyvisor.local import machine_shape

    return machine_shape()


def _told_of_cpu(name: str) -> str:
    """Return what the kernel says of the first CPU; nothing if it does not."""
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith(name):
                return line.partition(":")[2].strip()
    return ""
