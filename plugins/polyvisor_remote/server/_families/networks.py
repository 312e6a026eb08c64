"""Virtual networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.model import NetworkSpec
from polyvisor_remote.server._families.objects import LIST_FLAGS, counted, filtered, reference
from polyvisor_remote.server._families.routine import Family

if TYPE_CHECKING:
    from polyvisor.driver import Networks
    from polyvisor.objects import DhcpLease

_VALIDATE = 1
_IPV4, _IPV6 = 0, 1

NETWORKS: Family[Networks] = Family("network", "networks", "net", lambda driver: driver.networks)
NETWORKS.serve_lists()
NETWORKS.serve_lookups()
NETWORKS.serve_definitions(NetworkSpec, inactive_xml=True, flagged=True)
NETWORKS.serve_end()
NETWORKS.serve_facts("active", "persistent")
NETWORKS.serve_autostart()


@NETWORKS.serves("connect_list_all_networks", flags=None)
def list_all(part: Networks, arguments: Any) -> tuple[list[Any], int]:
    """Return those that flags choose."""
    found = filtered(part.summaries(), arguments.flags)
    return counted(list(map(reference, found)), arguments, LIST_FLAGS, "connect_list_all_networks")


@NETWORKS.serves("network_create_xml", slow=True)
@NETWORKS.serves("network_create_xml_flags", slow=True, flags=_VALIDATE)
def create_xml(part: Networks, arguments: Any) -> tuple[Any]:
    """Start a transient one; every definition is validated."""
    return (reference(part.get(part.create(NetworkSpec.from_xml(arguments.xml)))),)


@NETWORKS.serves("network_create", slow=True)
def create(part: Networks, arguments: Any) -> None:
    """Start one."""
    part.start(NETWORKS.key(arguments))


@NETWORKS.serves("network_get_bridge_name")
def get_bridge_name(part: Networks, arguments: Any) -> tuple[str]:
    """Name its bridge on the host."""
    return (part.bridge(NETWORKS.key(arguments)),)


@NETWORKS.serves("network_get_dhcp_leases", slow=True, flags=None)
def get_dhcp_leases(part: Networks, arguments: Any) -> tuple[list[Any], int]:
    """Return the addresses that it gave out."""
    found = part.leases(NETWORKS.key(arguments), arguments.mac)
    return counted(list(map(_lease, found)), arguments, 0, "network_get_dhcp_leases")


def _lease(one: DhcpLease) -> tuple[Any, ...]:
    kind = _IPV6 if ":" in one.address else _IPV4
    expires = 0 if one.expires is None else int(one.expires.timestamp())
    return (
        one.interface,
        expires,
        kind,
        one.mac,
        None,
        one.address,
        one.prefix,
        one.hostname,
        one.client_id,
    )
