"""The host's network interfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.model import InterfaceSpec
from polyvisor_remote.server._families.objects import counted, filtered
from polyvisor_remote.server._families.routine import Family
from polyvisor_remote.server.failures import Failure

if TYPE_CHECKING:
    from polyvisor.driver import Interfaces
    from polyvisor.objects import ObjectSummary

#: ``virConnectListAllInterfacesFlags``: inactive and active, as networks have them.
_LIST = 3


def _refer(part: Interfaces, one: ObjectSummary) -> tuple[str, str]:
    return one.name, part.mac(one.key) or ""


INTERFACES: Family[Interfaces] = Family(
    "interface",
    "interfaces",
    "iface",
    lambda driver: driver.interfaces,
    refer=_refer,
    key_of=lambda named: str(named.name),
)
INTERFACES.serve_lists()
INTERFACES.serve_definitions(InterfaceSpec, inactive_xml=True, flagged=False)
INTERFACES.serve_end()
INTERFACES.serve_facts("active")


@INTERFACES.serves("connect_list_all_interfaces", flags=None)
def list_all(part: Interfaces, arguments: Any) -> tuple[list[Any], int]:
    """Return those that flags choose."""
    found = [_refer(part, one) for one in filtered(part.summaries(), arguments.flags)]
    return counted(found, arguments, _LIST, "connect_list_all_interfaces")


@INTERFACES.serves("interface_lookup_by_name")
def lookup_by_name(part: Interfaces, arguments: Any) -> tuple[Any]:
    """Find one by its name."""
    return (_refer(part, part.by_name(arguments.name)),)


@INTERFACES.serves("interface_lookup_by_mac_string")
def lookup_by_mac(part: Interfaces, arguments: Any) -> tuple[Any]:
    """Find the one with a MAC address."""
    found = part.by_mac(arguments.mac)
    if not found:
        raise INTERFACES.missing(f"mac '{arguments.mac}'")
    if len(found) > 1:
        raise Failure(63, "multiple interfaces with matching MAC address")
    return (_refer(part, found[0]),)


@INTERFACES.serves("interface_create", slow=True)
def create(part: Interfaces, arguments: Any) -> None:
    """Bring one up."""
    part.start(INTERFACES.key(arguments))
