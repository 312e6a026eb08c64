"""Networks, storage, interfaces, node devices, secrets and filters."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from libvirt._wire import Handle, uses

if TYPE_CHECKING:
    from libvirt._stream import virStream

__all__ = [
    "virInterface",
    "virNWFilter",
    "virNWFilterBinding",
    "virNetwork",
    "virNetworkPort",
    "virNodeDevice",
    "virSecret",
    "virStoragePool",
    "virStorageVol",
]


#: Bytes of a piece of a stream, as the binding says (``VIR_NET_MESSAGE_LEGACY_PAYLOAD_MAX``).
_PIECE = 262120
#: Methods of what is defined, runs and begins with the host, with what the procedures have
#: after the structure's name.
_LIFE = {
    "XMLDesc": "get_xml_desc",
    "autostart": "get_autostart",
    "create": "create",
    "destroy": "destroy",
    "isActive": "is_active",
    "isPersistent": "is_persistent",
    "setAutostart": "set_autostart",
    "undefine": "undefine",
}


class _Lasting(Handle):
    """What is defined, runs and begins with the host."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for method, verb in _LIFE.items():
            setattr(cls, method, uses(f"{cls.structure}_{verb}"))


class virNetwork(_Lasting):
    """A virtual network."""

    structure = "network"
    DHCPLeases = uses("network_get_dhcp_leases", mac=None)
    bridgeName = uses("network_get_bridge_name")
    listAllPorts = uses("network_list_all_ports")
    portCreateXML = uses("network_port_create_xml")
    portLookupByUUID = uses("network_port_lookup_by_uuid")
    update = uses("network_update")

    def portLookupByUUIDString(self, uuidstr: str) -> virNetworkPort:
        """Find a port by its UUID as text."""
        found: virNetworkPort = self.portLookupByUUID(UUID(uuidstr).bytes)
        return found


class virNetworkPort(Handle):
    """A port of a virtual network."""

    structure = "network_port"
    XMLDesc = uses("network_port_get_xml_desc")
    delete = uses("network_port_delete")
    parameters = uses("network_port_get_parameters")
    setParameters = uses("network_port_set_parameters")

    def network(self) -> virNetwork:
        """Return the network."""
        return virNetwork(self._conn, self._named.net)


class virStoragePool(_Lasting):
    """A storage pool."""

    structure = "storage_pool"
    build = uses("storage_pool_build")
    createXML = uses("storage_vol_create_xml")
    createXMLFrom = uses("storage_vol_create_xml_from")
    delete = uses("storage_pool_delete")
    info = uses("storage_pool_get_info")
    listAllVolumes = uses("storage_pool_list_all_volumes")
    listVolumes = uses("storage_pool_list_volumes")
    numOfVolumes = uses("storage_pool_num_of_volumes")
    refresh = uses("storage_pool_refresh")
    storageVolLookupByName = uses("storage_vol_lookup_by_name")


class virStorageVol(Handle):
    """A volume of a storage pool."""

    structure = "storage_vol"
    XMLDesc = uses("storage_vol_get_xml_desc")
    delete = uses("storage_vol_delete")
    info = uses("storage_vol_get_info")
    infoFlags = uses("storage_vol_get_info_flags")
    path = uses("storage_vol_get_path")
    resize = uses("storage_vol_resize")
    storagePoolLookupByVolume = uses("storage_pool_lookup_by_volume")
    wipe = uses("storage_vol_wipe")
    wipePattern = uses("storage_vol_wipe_pattern")

    def streamBufSize(self) -> int:
        """Return how many bytes go well into one piece of a stream."""
        return _PIECE

    def upload(self, stream: virStream, offset: int, length: int, flags: int = 0) -> int:
        """Have what is sent on a stream written into it."""
        stream._begin("storage_vol_upload", self._ref, offset, length, flags)
        return 0

    def download(self, stream: virStream, offset: int, length: int, flags: int = 0) -> int:
        """Have what is in it sent on a stream; a length of 0 means all."""
        stream._begin("storage_vol_download", self._ref, offset, length, flags)
        return 0

    def key(self) -> str:
        """Return what is unique for it on the host."""
        return str(self._named.key)


class virInterface(Handle):
    """A network interface of the host."""

    structure = "interface"
    XMLDesc = uses("interface_get_xml_desc")
    create = uses("interface_create")
    destroy = uses("interface_destroy")
    isActive = uses("interface_is_active")
    undefine = uses("interface_undefine")

    def MACString(self) -> str:
        """Return its MAC address."""
        return str(self._named.mac)


class virNodeDevice(Handle):
    """A device of the host, which the protocol names by its name alone."""

    structure = "node_device"

    def XMLDesc(self, flags: int = 0) -> str:
        """Return its document."""
        return str(self._ask("node_device_get_xml_desc", self._named.name, flags).xml)

    def parent(self) -> str | None:
        """Return the name of the device that it hangs on."""
        name: str | None = self._ask("node_device_get_parent", self._named.name).parentName
        return name

    def numOfCaps(self) -> int:
        """Return how many things it is."""
        return int(self._ask("node_device_num_of_caps", self._named.name).num)

    def listCaps(self) -> list[str]:
        """Return what it is."""
        names = self._ask("node_device_list_caps", self._named.name, self.numOfCaps()).names
        return list(names)

    def dettach(self) -> int:
        """Take it from the host, for guests."""
        self._ask("node_device_dettach", self._named.name)
        return 0

    def detachFlags(self, driverName: str | None, flags: int = 0) -> int:
        """Take it from the host, to be handed on by a driver that is named."""
        self._ask("node_device_detach_flags", self._named.name, driverName, flags)
        return 0

    def reAttach(self) -> int:
        """Give it back to the host."""
        self._ask("node_device_re_attach", self._named.name)
        return 0

    def reset(self) -> int:
        """Reset it."""
        self._ask("node_device_reset", self._named.name)
        return 0

    def destroy(self) -> int:
        """Remove it, which was made of another."""
        self._ask("node_device_destroy", self._named.name)
        return 0

    def create(self, flags: int = 0) -> int:
        """Make one that is defined."""
        self._ask("node_device_create", self._named.name, flags)
        return 0

    def undefine(self, flags: int = 0) -> int:
        """Forget its definition."""
        self._ask("node_device_undefine", self._named.name, flags)
        return 0

    def isActive(self) -> int:
        """Say whether it is there."""
        return int(self._ask("node_device_is_active", self._named.name).active)

    def isPersistent(self) -> int:
        """Say whether it is defined."""
        return int(self._ask("node_device_is_persistent", self._named.name).persistent)

    def autostart(self) -> int:
        """Say whether it is made with the host."""
        return int(self._ask("node_device_get_autostart", self._named.name).autostart)

    def setAutostart(self, autostart: int) -> int:
        """Have it made with the host, or not."""
        self._ask("node_device_set_autostart", self._named.name, int(autostart))
        return 0


class virSecret(Handle):
    """A passphrase or key."""

    structure = "secret"
    XMLDesc = uses("secret_get_xml_desc")
    setValue = uses("secret_set_value")
    undefine = uses("secret_undefine")
    value = uses("secret_get_value")

    def usageType(self) -> int:
        """Return for what kind of thing it is."""
        return int(self._named.usageType)

    def usageID(self) -> str:
        """Return what it is for."""
        return str(self._named.usageID)


class virNWFilter(Handle):
    """Rules for the traffic of domains."""

    structure = "nwfilter"
    XMLDesc = uses("nwfilter_get_xml_desc")
    undefine = uses("nwfilter_undefine")


class virNWFilterBinding(Handle):
    """A filter at a network device."""

    structure = "nwfilter_binding"
    XMLDesc = uses("nwfilter_binding_get_xml_desc")
    delete = uses("nwfilter_binding_delete")

    def portDev(self) -> str:
        """Return the name of the device."""
        return str(self._named.portdev)

    def filterName(self) -> str:
        """Return the name of the filter."""
        return str(self._named.filtername)
