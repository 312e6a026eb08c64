"""Connections."""

from __future__ import annotations

import sys
import uuid
from typing import Any, Self

from libvirt import _domain, _error, _events, _objects  # noqa: F401 - classes register themselves
from libvirt._limits import cpus_of
from libvirt._stream import virStream
from libvirt._wire import Served, opened, text_of, uses
from polyvisor.errors import PolyvisorError

__all__ = ["open", "openAuth", "openReadOnly", "virConnect"]

_READ_ONLY = 1
_KIB = 1024


def _listed(name: str) -> Any:
    """Return a method that lists names, once it is known that there is a number of them."""
    listed = uses(name, first=False)

    def method(self: Any) -> Any:
        self._ask(name.replace("_list_", "_num_of_"))
        return listed(self)

    method.__doc__ = listed.__doc__
    return method


class virConnect(Served):
    """A connection to a hypervisor.

    Args:
        name: its URI, or ``None`` for the default.
        readonly: whether only to look.
    """

    def __init__(self, name: str | None, *, readonly: bool = False) -> None:
        self._conn = self
        self._link, self._scheme = opened(name, readonly=readonly)
        self._heard = _events.Heard(self)
        #: What ``domainEventRegister`` was given, with the numbers of those wishes.
        self._plain: list[tuple[Any, int]] = []
        self._alive = True

    def close(self) -> int:
        """Close it; return how many still use it, which is nobody."""
        if self._alive:
            self._alive = False
            self._link.close()
        return 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        # At the end of the script it goes by itself.
        if getattr(self, "_alive", False) and not sys.is_finalizing():
            self.close()

    def isAlive(self) -> int:
        """Say whether it is still there."""
        return int(self._alive and self._link.alive)

    def isEncrypted(self) -> int:
        """Say whether what goes over it is encrypted."""
        return int(self._scheme.endswith("+tls"))

    def setKeepAlive(self, interval: int, count: int) -> int:
        """Say how often to ask whether the server is there; it is asked anyway."""
        return 0

    def getInfo(self) -> list[Any]:
        """Return model, memory in MiB, CPUs, MHz, nodes, sockets, cores, threads."""
        found = self._ask("node_get_info")
        model = found.model.rstrip(b"\0").decode(errors="replace")
        return [model, found.memory // _KIB, *found[2:]]

    def getMaxVcpus(self, type: str | None = None) -> int:
        """Return how many vCPUs a domain may have."""
        return int(self._ask("connect_get_max_vcpus", type).max_vcpus)

    def lookupByUUID(self, uuid: bytes) -> Any:
        """Find a domain by its UUID."""
        return self._made("domain", self._ask("domain_lookup_by_uuid", uuid).dom)

    def lookupByUUIDString(self, uuidstr: str) -> Any:
        """Find a domain by its UUID as text."""
        return self.lookupByUUID(uuid.UUID(uuidstr).bytes)

    def networkLookupByUUIDString(self, uuidstr: str) -> Any:
        """Find a network by its UUID as text."""
        found = self._ask("network_lookup_by_uuid", uuid.UUID(uuidstr).bytes)
        return self._made("network", found.net)

    def storagePoolLookupByUUIDString(self, uuidstr: str) -> Any:
        """Find a storage pool by its UUID as text."""
        found = self._ask("storage_pool_lookup_by_uuid", uuid.UUID(uuidstr).bytes)
        return self._made("storage_pool", found.pool)

    def getFreePages(
        self, pages: list[int], startCell: int, cellCount: int, flags: int = 0
    ) -> dict[int, dict[int, int]]:
        """Return how many pages of sizes in KiB are free, node by node."""
        counts = iter(self._ask("node_get_free_pages", pages, startCell, cellCount, flags).counts)
        return {
            startCell + cell: {size: next(counts) for size in pages} for cell in range(cellCount)
        }

    def allocPages(
        self, pages: dict[int, int], startCell: int = 0, cellCount: int = 0, flags: int = 0
    ) -> int:
        """Have nodes keep so many huge pages of sizes in KiB; return how often that was done."""
        sizes, counts = list(pages), list(pages.values())
        return int(self._ask("node_alloc_pages", sizes, counts, startCell, cellCount, flags).ret)

    def getMemoryParameters(self, flags: int = 0) -> dict[str, Any]:
        """Return how the host merges equal pages of memory."""
        return self._counted("node_get_memory_parameters", lambda count: (count, flags))

    def createXMLWithFiles(self, xmlDesc: str, files: list[int], flags: int = 0) -> Any:
        """Start a domain with descriptors of its first process."""
        found = self._ask_with(files, "domain_create_xml_with_files", xmlDesc, flags)
        return self._made("domain", found.dom)

    def getCPUMap(self, flags: int = 0) -> tuple[int, list[bool], int]:
        """Return how many CPUs the host has, which are online, and how many."""
        found = self._ask("node_get_cpu_map", 1, 1, flags)
        return found.ret, cpus_of(found.cpumap, found.ret), found.online

    def getCPUStats(self, cpuNum: int, flags: int = 0) -> dict[str, int]:
        """Return how long a CPU of the host did what, or all of them (-1)."""
        return self._counted("node_get_cpu_stats", lambda count: (cpuNum, count, flags))

    def getMemoryStats(self, cellNum: int, flags: int = 0) -> dict[str, int]:
        """Return what memory of a node is used for, or of all of them (-1)."""
        return self._counted("node_get_memory_stats", lambda count: (count, cellNum, flags))

    def _counted(self, name: str, arguments: Any) -> dict[str, Any]:
        count = self._ask(name, *arguments(0)).nparams
        return {one.field: one.value for one in self._ask(name, *arguments(count)).params}

    def getCellsFreeMemory(self, startCell: int, maxCells: int) -> list[int]:
        """Return how many bytes are free, node by node."""
        return list(self._ask("node_get_cells_free_memory", startCell, maxCells).cells)

    def getSecurityModel(self) -> list[str]:
        """Return what keeps domains apart, and how it writes its labels."""
        return [text_of(each) for each in self._ask("node_get_security_model")]

    def secretLookupByUUIDString(self, uuidstr: str) -> Any:
        """Find a secret by its UUID as text."""
        return self.secretLookupByUUID(uuid.UUID(uuidstr).bytes)

    def nwfilterLookupByUUIDString(self, uuidstr: str) -> Any:
        """Find a filter by its UUID as text."""
        return self.nwfilterLookupByUUID(uuid.UUID(uuidstr).bytes)

    def virConnGetLastError(self) -> Any:
        """Return the last error, if there was one."""
        return _error.virGetLastError()

    def virConnResetLastError(self) -> None:
        """Forget it."""
        _error.virResetLastError()

    def getAllDomainStats(self, stats: int = 0, flags: int = 0) -> list[Any]:
        """Return figures of all domains, each with its domain."""
        return self._figures([], stats, flags)

    def domainListGetStats(self, doms: list[Any], stats: int = 0, flags: int = 0) -> list[Any]:
        """Return figures of some domains, each with its domain."""
        return self._figures([dom._ref for dom in doms], stats, flags)

    def _figures(self, doms: list[Any], stats: int, flags: int) -> list[Any]:
        records = self._ask("connect_get_all_domain_stats", doms, stats, flags).retStats
        return [
            (self._made("domain", one.dom), {each.field: each.value for each in one.params})
            for one in records
        ]

    def newStream(self, flags: int = 0) -> virStream:
        """Make a stream, which is nothing before something is opened on it."""
        return virStream(self, flags)

    # Events

    def _tell(self, structure: str, of: Any, event: int, cb: Any, opaque: Any) -> int:
        try:
            return self._heard.add(structure, of, event, cb, opaque)
        except PolyvisorError as error:
            raise _error.of(error, self._scheme) from None

    def _tell_no_more(self, callbackID: int) -> int:
        try:
            self._heard.remove(callbackID)
        except PolyvisorError as error:
            raise _error.of(error, self._scheme) from None
        return 0

    def domainEventRegisterAny(self, dom: Any, eventID: int, cb: Any, opaque: Any) -> int:
        """Have a function called for each event of a kind, of a domain or of all."""
        return self._tell("domain", dom, eventID, cb, opaque)

    def domainEventRegister(self, cb: Any, opaque: Any) -> int:
        """Have a function called for each change of a domain's state."""
        number = self._tell("domain", None, 0, cb, opaque)
        self._plain.append((cb, number))
        return 0

    def domainEventDeregister(self, cb: Any) -> int:
        """Have it called no more."""
        for entry in self._plain:
            if entry[0] == cb:
                self._plain.remove(entry)
                return self._tell_no_more(entry[1])
        raise _error.libvirtError("the function was not registered")

    def networkEventRegisterAny(self, net: Any, eventID: int, cb: Any, opaque: Any) -> int:
        """Have a function called for each event of a kind, of a network or of all."""
        return self._tell("network", net, eventID, cb, opaque)

    def storagePoolEventRegisterAny(self, pool: Any, eventID: int, cb: Any, opaque: Any) -> int:
        """Have a function called for each event of a kind, of a storage pool or of all."""
        return self._tell("storage_pool", pool, eventID, cb, opaque)

    def nodeDeviceEventRegisterAny(self, dev: Any, eventID: int, cb: Any, opaque: Any) -> int:
        """Have a function called for each event of a kind, of a device or of all."""
        return self._tell("node_device", dev, eventID, cb, opaque)

    def secretEventRegisterAny(self, secret: Any, eventID: int, cb: Any, opaque: Any) -> int:
        """Have a function called for each event of a kind, of a secret or of all."""
        return self._tell("secret", secret, eventID, cb, opaque)

    domainEventDeregisterAny = _tell_no_more
    networkEventDeregisterAny = _tell_no_more
    storagePoolEventDeregisterAny = _tell_no_more
    nodeDeviceEventDeregisterAny = _tell_no_more
    secretEventDeregisterAny = _tell_no_more

    def registerCloseCallback(self, cb: Any, opaque: Any) -> int:
        """Have a function called when the connection breaks."""
        try:
            self._heard.on_close(cb, opaque)
        except PolyvisorError as error:
            raise _error.of(error, self._scheme) from None
        return 0

    def unregisterCloseCallback(self) -> int:
        """Have it called no more."""
        self._heard.closing = None
        return 0

    baselineCPU = uses("connect_baseline_cpu", first=False)
    baselineHypervisorCPU = uses("connect_baseline_hypervisor_cpu", first=False)
    compareCPU = uses("connect_compare_cpu", first=False)
    compareHypervisorCPU = uses("connect_compare_hypervisor_cpu", first=False)
    createXML = uses("domain_create_xml", first=False)
    createLinux = uses("domain_create_xml", first=False)
    defineXML = uses("domain_define_xml", first=False)
    defineXMLFlags = uses("domain_define_xml_flags", first=False)
    domainXMLFromNative = uses("connect_domain_xml_from_native", first=False)
    domainXMLToNative = uses("connect_domain_xml_to_native", first=False)
    getCapabilities = uses("connect_get_capabilities", first=False)
    getDomainCapabilities = uses("connect_get_domain_capabilities", first=False)
    getFreeMemory = uses("node_get_free_memory", first=False)
    getHostname = uses("connect_get_hostname", first=False)
    getLibVersion = uses("connect_get_lib_version", first=False)
    getSysinfo = uses("connect_get_sysinfo", first=False)
    getType = uses("connect_get_type", first=False)
    getURI = uses("connect_get_uri", first=False)
    getVersion = uses("connect_get_version", first=False)
    interfaceLookupByName = uses("interface_lookup_by_name", first=False)
    isSecure = uses("connect_is_secure", first=False)
    listAllDomains = uses("connect_list_all_domains", first=False)
    listAllDevices = uses("connect_list_all_node_devices", first=False)
    listAllInterfaces = uses("connect_list_all_interfaces", first=False)
    listAllNWFilters = uses("connect_list_all_nwfilters", first=False)
    listAllNetworks = uses("connect_list_all_networks", first=False)
    listAllSecrets = uses("connect_list_all_secrets", first=False)
    listAllStoragePools = uses("connect_list_all_storage_pools", first=False)
    listDefinedDomains = _listed("connect_list_defined_domains")
    listDefinedNetworks = _listed("connect_list_defined_networks")
    listDefinedStoragePools = _listed("connect_list_defined_storage_pools")
    listDevices = uses("node_list_devices", first=False)
    listDomainsID = uses("connect_list_domains", first=False)
    listInterfaces = _listed("connect_list_interfaces")
    listNetworks = _listed("connect_list_networks")
    listStoragePools = _listed("connect_list_storage_pools")
    lookupByID = uses("domain_lookup_by_id", first=False)
    lookupByName = uses("domain_lookup_by_name", first=False)
    networkCreateXML = uses("network_create_xml", first=False)
    networkDefineXML = uses("network_define_xml", first=False)
    networkLookupByName = uses("network_lookup_by_name", first=False)
    nodeDeviceCreateXML = uses("node_device_create_xml", first=False)
    nodeDeviceLookupSCSIHostByWWN = uses("node_device_lookup_scsi_host_by_wwn", first=False)
    nodeDeviceLookupByName = uses("node_device_lookup_by_name", first=False)
    numOfDefinedDomains = uses("connect_num_of_defined_domains", first=False)
    numOfDefinedNetworks = uses("connect_num_of_defined_networks", first=False)
    numOfDomains = uses("connect_num_of_domains", first=False)
    numOfNetworks = uses("connect_num_of_networks", first=False)
    numOfStoragePools = uses("connect_num_of_storage_pools", first=False)
    nwfilterDefineXML = uses("nwfilter_define_xml", first=False)
    nwfilterLookupByName = uses("nwfilter_lookup_by_name", first=False)
    restore = uses("domain_restore", first=False)
    restoreFlags = uses("domain_restore_flags", first=False)
    saveImageDefineXML = uses("domain_save_image_define_xml", first=False)
    saveImageGetXMLDesc = uses("domain_save_image_get_xml_desc", first=False)
    secretDefineXML = uses("secret_define_xml", first=False)
    secretLookupByUsage = uses("secret_lookup_by_usage", first=False)
    storagePoolCreateXML = uses("storage_pool_create_xml", first=False)
    storagePoolDefineXML = uses("storage_pool_define_xml", first=False)
    storagePoolLookupByName = uses("storage_pool_lookup_by_name", first=False)
    setMemoryParameters = uses("node_set_memory_parameters", first=False)
    changeBegin = uses("interface_change_begin", first=False)
    changeCommit = uses("interface_change_commit", first=False)
    changeRollback = uses("interface_change_rollback", first=False)
    findStoragePoolSources = uses("connect_find_storage_pool_sources", first=False)
    getCPUModelNames = uses("connect_get_cpu_model_names", first=False)
    getSEVInfo = uses("node_get_sev_info", first=False)
    getStoragePoolCapabilities = uses("connect_get_storage_pool_capabilities", first=False)
    interfaceDefineXML = uses("interface_define_xml", first=False)
    interfaceLookupByMACString = uses("interface_lookup_by_mac_string", first=False)
    listAllNWFilterBindings = uses("connect_list_all_nwfilter_bindings", first=False)
    listDefinedInterfaces = _listed("connect_list_defined_interfaces")
    listNWFilters = _listed("connect_list_nwfilters")
    listSecrets = _listed("connect_list_secrets")
    networkCreateXMLFlags = uses("network_create_xml_flags", first=False)
    networkDefineXMLFlags = uses("network_define_xml_flags", first=False)
    networkLookupByUUID = uses("network_lookup_by_uuid", first=False)
    nodeDeviceDefineXML = uses("node_device_define_xml", first=False)
    numOfDefinedInterfaces = uses("connect_num_of_defined_interfaces", first=False)
    numOfDefinedStoragePools = uses("connect_num_of_defined_storage_pools", first=False)
    numOfDevices = uses("node_num_of_devices", first=False)
    numOfInterfaces = uses("connect_num_of_interfaces", first=False)
    numOfNWFilters = uses("connect_num_of_nwfilters", first=False)
    numOfSecrets = uses("connect_num_of_secrets", first=False)
    nwfilterBindingCreateXML = uses("nwfilter_binding_create_xml", first=False)
    nwfilterBindingLookupByPortDev = uses("nwfilter_binding_lookup_by_port_dev", first=False)
    nwfilterDefineXMLFlags = uses("nwfilter_define_xml_flags", first=False)
    nwfilterLookupByUUID = uses("nwfilter_lookup_by_uuid", first=False)
    restoreParams = uses("domain_restore_params", first=False)
    secretLookupByUUID = uses("secret_lookup_by_uuid", first=False)
    setIdentity = uses("connect_set_identity", first=False)
    storagePoolLookupByTargetPath = uses("storage_pool_lookup_by_target_path", first=False)
    storagePoolLookupByUUID = uses("storage_pool_lookup_by_uuid", first=False)
    suspendForDuration = uses("node_suspend_for_duration", first=False)
    storageVolLookupByKey = uses("storage_vol_lookup_by_key", first=False)
    storageVolLookupByPath = uses("storage_vol_lookup_by_path", first=False)


def open(name: str | None = None) -> virConnect:
    """Open a connection."""
    return virConnect(name)


def openReadOnly(name: str | None = None) -> virConnect:
    """Open a connection that changes nothing."""
    return virConnect(name, readonly=True)


def openAuth(uri: str | None, auth: Any, flags: int = 0) -> virConnect:
    """Open a connection; users and passwords come from polyvisor's configuration."""
    return virConnect(uri, readonly=bool(flags & _READ_ONLY))
