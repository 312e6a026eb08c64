"""Virtual networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from polyvisor.errors import NotFound
from polyvisor.model import NetworkSpec
from polyvisor_remote.server._families.arguments import check_flags, need
from polyvisor_remote.server._families.objects import (
    LIST_FLAGS,
    counted,
    filtered,
    key_of,
    named,
    reference,
)
from polyvisor_remote.server.dispatch import serves

if TYPE_CHECKING:
    from polyvisor.driver import Networks
    from polyvisor.objects import DhcpLease
    from polyvisor_remote.server.session import Session

_INACTIVE_XML, _VALIDATE = 1, 1
_IPV4, _IPV6 = 0, 1


def _part(session: Session, procedure: str) -> Networks:
    return need(session.driver.networks, procedure)


@serves("connect_list_all_networks")
def list_all(session: Session, arguments: Any) -> tuple[list[Any], int]:
    """Return those that flags choose."""
    found = filtered(_part(session, "connect_list_all_networks").summaries(), arguments.flags)
    return counted(list(map(reference, found)), arguments, LIST_FLAGS, "connect_list_all_networks")


@serves("connect_num_of_networks")
def num(session: Session, arguments: Any) -> tuple[int]:
    """Count the active ones."""
    found = _part(session, "connect_num_of_networks").summaries()
    return (sum(one.active for one in found),)


@serves("connect_list_networks")
def list_active(session: Session, arguments: Any) -> tuple[list[str]]:
    """Name the active ones."""
    found = _part(session, "connect_list_networks").summaries()
    return (named(found, arguments.maxnames, active=True),)


@serves("connect_num_of_defined_networks")
def num_defined(session: Session, arguments: Any) -> tuple[int]:
    """Count the inactive ones."""
    found = _part(session, "connect_num_of_defined_networks").summaries()
    return (sum(not one.active for one in found),)


@serves("connect_list_defined_networks")
def list_defined(session: Session, arguments: Any) -> tuple[list[str]]:
    """Name the inactive ones."""
    found = _part(session, "connect_list_defined_networks").summaries()
    return (named(found, arguments.maxnames, active=False),)


@serves("network_lookup_by_name")
def lookup_by_name(session: Session, arguments: Any) -> tuple[Any]:
    """Find one by its name."""
    part = _part(session, "network_lookup_by_name")
    try:
        return (reference(part.by_name(arguments.name)),)
    except NotFound as error:
        raise NotFound(
            f"no network with matching name '{arguments.name}'", kind="network"
        ) from error


@serves("network_lookup_by_uuid")
def lookup_by_uuid(session: Session, arguments: Any) -> tuple[Any]:
    """Find one by its UUID."""
    key = str(UUID(bytes=arguments.uuid))
    part = _part(session, "network_lookup_by_uuid")
    try:
        return (reference(part.get(key)),)
    except NotFound as error:
        raise NotFound(f"no network with matching uuid '{key}'", kind="network") from error


def _define(session: Session, xml: str, procedure: str) -> tuple[Any]:
    part = _part(session, procedure)
    return (reference(part.get(part.define(NetworkSpec.from_xml(xml)))),)


@serves("network_define_xml", slow=True)
def define_xml(session: Session, arguments: Any) -> tuple[Any]:
    """Keep a definition."""
    return _define(session, arguments.xml, "network_define_xml")


@serves("network_define_xml_flags", slow=True)
def define_xml_flags(session: Session, arguments: Any) -> tuple[Any]:
    """Keep a definition; every one is validated."""
    check_flags(arguments.flags, _VALIDATE, "virNetworkDefineXMLFlags")
    return _define(session, arguments.xml, "network_define_xml_flags")


def _create(session: Session, xml: str, procedure: str) -> tuple[Any]:
    part = _part(session, procedure)
    return (reference(part.get(part.create(NetworkSpec.from_xml(xml)))),)


@serves("network_create_xml", slow=True)
def create_xml(session: Session, arguments: Any) -> tuple[Any]:
    """Start a transient one."""
    return _create(session, arguments.xml, "network_create_xml")


@serves("network_create_xml_flags", slow=True)
def create_xml_flags(session: Session, arguments: Any) -> tuple[Any]:
    """Start a transient one; every definition is validated."""
    check_flags(arguments.flags, _VALIDATE, "virNetworkCreateXMLFlags")
    return _create(session, arguments.xml, "network_create_xml_flags")


@serves("network_create", slow=True)
def create(session: Session, arguments: Any) -> None:
    """Start one."""
    _part(session, "network_create").start(key_of(arguments.net))


@serves("network_destroy", slow=True)
def destroy(session: Session, arguments: Any) -> None:
    """Stop one."""
    _part(session, "network_destroy").destroy(key_of(arguments.net))


@serves("network_undefine", slow=True)
def undefine(session: Session, arguments: Any) -> None:
    """Forget a definition."""
    _part(session, "network_undefine").undefine(key_of(arguments.net))


@serves("network_get_xml_desc")
def get_xml_desc(session: Session, arguments: Any) -> tuple[str]:
    """Return a definition."""
    check_flags(arguments.flags, _INACTIVE_XML, "virNetworkGetXMLDesc")
    part = _part(session, "network_get_xml_desc")
    return (part.xml(key_of(arguments.net), inactive=bool(arguments.flags)),)


@serves("network_get_autostart")
def get_autostart(session: Session, arguments: Any) -> tuple[int]:
    """Say whether it starts with the host."""
    return (int(_part(session, "network_get_autostart").get(key_of(arguments.net)).autostart),)


@serves("network_set_autostart", slow=True)
def set_autostart(session: Session, arguments: Any) -> None:
    """Have it start with the host, or not."""
    part = _part(session, "network_set_autostart")
    part.set_autostart(key_of(arguments.net), bool(arguments.autostart))


@serves("network_get_bridge_name")
def get_bridge_name(session: Session, arguments: Any) -> tuple[str]:
    """Name its bridge on the host."""
    return (_part(session, "network_get_bridge_name").bridge(key_of(arguments.net)),)


@serves("network_is_active")
def is_active(session: Session, arguments: Any) -> tuple[int]:
    """Say whether it is there now."""
    return (int(_part(session, "network_is_active").get(key_of(arguments.net)).active),)


@serves("network_is_persistent")
def is_persistent(session: Session, arguments: Any) -> tuple[int]:
    """Say whether there is a definition."""
    return (int(_part(session, "network_is_persistent").get(key_of(arguments.net)).persistent),)


@serves("network_get_dhcp_leases", slow=True)
def get_dhcp_leases(session: Session, arguments: Any) -> tuple[list[Any], int]:
    """Return the addresses that it gave out."""
    part = _part(session, "network_get_dhcp_leases")
    found = part.leases(key_of(arguments.net), arguments.mac)
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
