"""Domains, their snapshots and checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from libvirt import _migration
from libvirt._inside import Inside
from libvirt._limits import Limited
from libvirt._wire import Handle, uses

if TYPE_CHECKING:
    from libvirt._stream import virStream

__all__ = ["virDomain", "virDomainCheckpoint", "virDomainSnapshot"]

#: ``virDomainMemoryStatTags`` by their numbers.
_MEMORY = (
    "swap_in", "swap_out", "major_fault", "minor_fault", "unused", "available", "actual", "rss",
    "usable", "last_update", "disk_caches", "hugetlb_pgalloc", "hugetlb_pgfail",
)  # fmt: skip

#: Methods of what belongs to a domain, with what the procedures have after its structure's name.
_OF_DOMAIN = {
    "delete": "delete",
    "getParent": "get_parent",
    "getXMLDesc": "get_xml_desc",
    "listAllChildren": "list_all_children",
}
_BLOCK_JOB = ("type", "bandwidth", "cur", "end")


class virDomain(Limited, Inside):
    """A domain."""

    structure = "domain"

    def ID(self) -> int:
        """Return its number while it is active, else -1."""
        if self._named.id < 0 or not self.isActive():
            found = self._ask("domain_lookup_by_uuid", self._named.uuid).dom
            self._ref, self._named = tuple(found), found
        return int(self._named.id)

    def info(self) -> list[int]:
        """Return state, most memory and memory in KiB, vCPUs, time in nanoseconds."""
        return list(self._ask("domain_get_info", self._ref))

    def state(self, flags: int = 0) -> list[int]:
        """Return state and reason."""
        return list(self._ask("domain_get_state", self._ref, flags))

    def create(self) -> int:
        """Start it."""
        self._ask("domain_create", self._ref)
        self._ref = (*self._ref[:2], -1)
        self._named = self._ask("domain_lookup_by_uuid", self._named.uuid).dom
        self._ref = tuple(self._named)
        return 0

    def createWithFlags(self, flags: int = 0) -> int:
        """Start it in a certain way."""
        self._named = self._ask("domain_create_with_flags", self._ref, flags).dom
        self._ref = tuple(self._named)
        return 0

    def createWithFiles(self, files: list[int], flags: int = 0) -> int:
        """Start it with descriptors of its first process."""
        self._named = self._ask_with(files, "domain_create_with_files", self._ref, flags).dom
        self._ref = tuple(self._named)
        return 0

    def FDAssociate(self, name: str, files: list[int], flags: int = 0) -> int:
        """Give descriptors a name, under which its definition means them."""
        self._ask_with(files, "domain_fd_associate", self._ref, name, flags)
        return 0

    def memoryStats(self) -> dict[str, int]:
        """Return figures of its memory."""
        found = self._ask("domain_memory_stats", self._ref, len(_MEMORY), 0).stats
        return {_MEMORY[one.tag]: one.val for one in found if one.tag < len(_MEMORY)}

    def blockInfo(self, path: str, flags: int = 0) -> list[int]:
        """Return capacity, allocation and physical size of a disk."""
        found = self._ask("domain_get_block_info", self._ref, path, flags)
        return [found.capacity, found.allocation, found.physical]

    def blockJobInfo(self, path: str, flags: int = 0) -> dict[str, int] | None:
        """Return how far a job on a disk is, or ``None``."""
        found = self._ask("domain_get_block_job_info", self._ref, path, flags)
        return {name: getattr(found, name) for name in _BLOCK_JOB} if found.found else None

    def jobStats(self, flags: int = 0) -> dict[str, Any]:
        """Return how far its job is, by names."""
        found = self._ask("domain_get_job_stats", self._ref, flags)
        return {"type": found.type, **{one.field: one.value for one in found.params}}

    def jobInfo(self) -> list[int]:
        """Return how far its job is."""
        return list(self._ask("domain_get_job_info", self._ref))

    def snapshotNum(self, flags: int = 0) -> int:
        """Return how many snapshots it has."""
        return int(self._ask("domain_snapshot_num", self._ref, flags).num)

    def schedulerType(self) -> tuple[str, int]:
        """Return what shares the host's CPUs out, and how many values it has."""
        found = self._ask("domain_get_scheduler_type", self._ref)
        return found.type, found.nparams

    def revertToSnapshot(self, snap: virDomainSnapshot, flags: int = 0) -> int:
        """Put it back into the state of a snapshot."""
        self._ask("domain_revert_to_snapshot", snap._ref, flags)
        return 0

    # Streams

    def openConsole(self, dev_name: str | None, st: virStream, flags: int = 0) -> int:
        """Join a stream to a console."""
        st._begin("domain_open_console", self._ref, dev_name, flags)
        return 0

    def openChannel(self, name: str | None, st: virStream, flags: int = 0) -> int:
        """Join a stream to a channel."""
        st._begin("domain_open_channel", self._ref, name, flags)
        return 0

    def screenshot(self, stream: virStream, screen: int, flags: int = 0) -> str | None:
        """Have a picture sent on a stream; return of which kind it is."""
        kind: str | None = stream._begin("domain_screenshot", self._ref, screen, flags).mime
        return kind

    # Migration

    def migrate(
        self,
        dconn: Any,
        flags: int = 0,
        dname: str | None = None,
        uri: str | None = None,
        bandwidth: int = 0,
    ) -> virDomain | None:
        """Move it; return it as the destination knows it."""
        return _migration.moved(self, dconn, _said(dname, uri, None, bandwidth), flags)

    def migrate2(
        self,
        dconn: Any,
        dxml: str | None = None,
        flags: int = 0,
        dname: str | None = None,
        uri: str | None = None,
        bandwidth: int = 0,
    ) -> virDomain | None:
        """Move it, with another definition there."""
        return _migration.moved(self, dconn, _said(dname, uri, dxml, bandwidth), flags)

    def migrate3(self, dconn: Any, params: dict[str, Any], flags: int = 0) -> virDomain | None:
        """Move it, with parameters by name."""
        return _migration.moved(self, dconn, params, flags)

    def migrateToURI(
        self, duri: str, flags: int = 0, dname: str | None = None, bandwidth: int = 0
    ) -> int:
        """Have its server move it to another's."""
        return _migration.sent(self, duri, _said(dname, None, None, bandwidth), flags)

    def migrateToURI2(
        self,
        dconnuri: str | None = None,
        miguri: str | None = None,
        dxml: str | None = None,
        flags: int = 0,
        dname: str | None = None,
        bandwidth: int = 0,
    ) -> int:
        """Have its server move it to another's, with another definition there."""
        return _migration.sent(self, dconnuri, _said(dname, miguri, dxml, bandwidth), flags)

    def migrateToURI3(self, dconnuri: str | None, params: dict[str, Any], flags: int = 0) -> int:
        """Have its server move it to another's, with parameters by name."""
        return _migration.sent(self, dconnuri, params, flags)

    startDirtyRateCalc = uses("domain_start_dirty_rate_calc")

    agentSetResponseTimeout = uses("domain_agent_set_response_timeout")
    addIOThread = uses("domain_add_iothread")
    delIOThread = uses("domain_del_iothread")
    setIOThreadParams = uses("domain_set_iothread_params")
    abortJob = uses("domain_abort_job")
    abortJobFlags = uses("domain_abort_job_flags")
    attachDevice = uses("domain_attach_device")
    attachDeviceFlags = uses("domain_attach_device_flags")
    autostart = uses("domain_get_autostart")
    backupBegin = uses("domain_backup_begin")
    backupGetXMLDesc = uses("domain_backup_get_xml_desc")
    blockCopy = uses("domain_block_copy", params=[])
    blockCommit = uses("domain_block_commit", bandwidth=0)
    blockJobAbort = uses("domain_block_job_abort")
    blockJobSetSpeed = uses("domain_block_job_set_speed")
    blockPull = uses("domain_block_pull", bandwidth=0)
    blockRebase = uses("domain_block_rebase", bandwidth=0)
    blockResize = uses("domain_block_resize")
    blockStats = uses("domain_block_stats")
    blockStatsFlags = uses("domain_block_stats_flags")
    checkpointCreateXML = uses("domain_checkpoint_create_xml")
    checkpointLookupByName = uses("domain_checkpoint_lookup_by_name")
    coreDump = uses("domain_core_dump")
    coreDumpWithFormat = uses("domain_core_dump_with_format")
    destroy = uses("domain_destroy")
    destroyFlags = uses("domain_destroy_flags")
    detachDevice = uses("domain_detach_device")
    detachDeviceFlags = uses("domain_detach_device_flags")
    detachDeviceAlias = uses("domain_detach_device_alias")
    fsFreeze = uses("domain_fsfreeze", mountpoints=[])
    fsThaw = uses("domain_fsthaw", mountpoints=[])
    graphicsReload = uses("domain_graphics_reload")
    guestInfo = uses("domain_get_guest_info", types=0)
    hasCurrentSnapshot = uses("domain_has_current_snapshot")
    hasManagedSaveImage = uses("domain_has_managed_save_image")
    hostname = uses("domain_get_hostname")
    injectNMI = uses("domain_inject_nmi")
    interfaceStats = uses("domain_interface_stats")
    isActive = uses("domain_is_active")
    isPersistent = uses("domain_is_persistent")
    isUpdated = uses("domain_is_updated")
    listAllCheckpoints = uses("domain_list_all_checkpoints")
    listAllSnapshots = uses("domain_list_all_snapshots")
    managedSave = uses("domain_managed_save")
    managedSaveDefineXML = uses("domain_managed_save_define_xml")
    managedSaveRemove = uses("domain_managed_save_remove")
    managedSaveGetXMLDesc = uses("domain_managed_save_get_xml_desc")
    maxMemory = uses("domain_get_max_memory")
    maxVcpus = uses("domain_get_max_vcpus")
    memoryParameters = uses("domain_get_memory_parameters")
    metadata = uses("domain_get_metadata")
    migrateGetCompressionCache = uses("domain_migrate_get_compression_cache")
    migrateGetMaxDowntime = uses("domain_migrate_get_max_downtime")
    migrateGetMaxSpeed = uses("domain_migrate_get_max_speed")
    migrateSetCompressionCache = uses("domain_migrate_set_compression_cache")
    migrateSetMaxSpeed = uses("domain_migrate_set_max_speed")
    migrateStartPostCopy = uses("domain_migrate_start_post_copy")
    migrateSetMaxDowntime = uses("domain_migrate_set_max_downtime")
    numaParameters = uses("domain_get_numa_parameters")
    OSType = uses("domain_get_os_type")
    reboot = uses("domain_reboot")
    rename = uses("domain_rename")
    reset = uses("domain_reset")
    resume = uses("domain_resume")
    save = uses("domain_save")
    saveParams = uses("domain_save_params")
    saveFlags = uses("domain_save_flags")
    schedulerParameters = uses("domain_get_scheduler_parameters")
    schedulerParametersFlags = uses("domain_get_scheduler_parameters_flags")
    setAutostart = uses("domain_set_autostart")
    setBlockThreshold = uses("domain_set_block_threshold")
    setMemoryStatsPeriod = uses("domain_set_memory_stats_period")
    launchSecurityInfo = uses("domain_get_launch_security_info")
    setLaunchSecurityState = uses("domain_set_launch_security_state")
    perfEvents = uses("domain_get_perf_events")
    setPerfEvents = uses("domain_set_perf_events")
    pMSuspendForDuration = uses("domain_pm_suspend_for_duration")
    pMWakeup = uses("domain_pm_wakeup")
    setLifecycleAction = uses("domain_set_lifecycle_action")
    setMaxMemory = uses("domain_set_max_memory")
    setMemory = uses("domain_set_memory")
    setMemoryFlags = uses("domain_set_memory_flags")
    setMetadata = uses("domain_set_metadata")
    setSchedulerParameters = uses("domain_set_scheduler_parameters")
    setVcpu = uses("domain_set_vcpu")
    setVcpus = uses("domain_set_vcpus")
    setVcpusFlags = uses("domain_set_vcpus_flags")
    shutdown = uses("domain_shutdown")
    shutdownFlags = uses("domain_shutdown_flags")
    snapshotCreateXML = uses("domain_snapshot_create_xml")
    snapshotCurrent = uses("domain_snapshot_current")
    snapshotListNames = uses("domain_snapshot_list_names")
    snapshotLookupByName = uses("domain_snapshot_lookup_by_name")
    suspend = uses("domain_suspend")
    undefine = uses("domain_undefine")
    undefineFlags = uses("domain_undefine_flags")
    updateDeviceFlags = uses("domain_update_device_flags")
    vcpusFlags = uses("domain_get_vcpus_flags")
    XMLDesc = uses("domain_get_xml_desc")

    def qemuAgentCommand(self, cmd: str, timeout: int, flags: int) -> str:
        """Ask the agent inside the guest."""
        return str(self._ask("qemu:domain_agent_command", self._ref, cmd, timeout, flags).result)

    def __lt__(self, other: virDomain) -> bool:
        return self.name() < other.name()


def _said(
    name: str | None, uri: str | None, xml: str | None, bandwidth: int
) -> dict[str, str | int | None]:
    """Return what the older functions say one by one, by the names of parameters."""
    return {
        "destination_name": name,
        "migrate_uri": uri,
        "destination_xml": xml,
        "bandwidth": bandwidth or None,
    }


class _OfDomain(Handle):
    """Something that belongs to a domain, and has ones of its kind before and after it."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for method, verb in _OF_DOMAIN.items():
            setattr(cls, method, uses(f"{cls.structure}_{verb}"))

    def getName(self) -> str:
        """Return its name."""
        return self.name()

    def getDomain(self) -> virDomain:
        """Return the domain."""
        return virDomain(self._conn, self._named.dom)

    domain = getDomain

    def getConnect(self) -> Any:
        """Return the connection."""
        return self._conn


class virDomainSnapshot(_OfDomain):
    """A snapshot of a domain."""

    structure = "domain_snapshot"
    hasMetadata = uses("domain_snapshot_has_metadata")
    isCurrent = uses("domain_snapshot_is_current")
    listChildrenNames = uses("domain_snapshot_list_children_names")
    numChildren = uses("domain_snapshot_num_children")


class virDomainCheckpoint(_OfDomain):
    """A checkpoint of a domain."""

    structure = "domain_checkpoint"
