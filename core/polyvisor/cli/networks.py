"""Commands for networks, the host's interfaces, network filters and devices."""

from __future__ import annotations

from polyvisor.cli._declare import Command, argument, option
from polyvisor.cli._families import Family, yes_no
from polyvisor.cli._session import command, session

__all__: list[str] = []

_NETWORKS = Family("net", "network", lambda connection: connection.networks)
_INTERFACES = Family("iface", "interface", lambda connection: connection.interfaces)
_FILTERS = Family("nwfilter", "network filter", lambda connection: connection.nwfilters)

net_list_command: Command = _NETWORKS.list()
net_define_command: Command = _NETWORKS.define()
net_create_command: Command = _NETWORKS.create()
net_start_command: Command = _NETWORKS.verb("start", "started", "Start a defined network.")
net_destroy_command: Command = _NETWORKS.verb("destroy", "destroyed", "Stop a network.")
net_undefine_command: Command = _NETWORKS.verb(
    "undefine", "has been undefined", "Forget a network's definition."
)
net_autostart_command: Command = _NETWORKS.autostart()
net_dumpxml_command: Command = _NETWORKS.dumpxml()
net_edit_command: Command = _NETWORKS.edit()
net_name_command: Command = _NETWORKS.name()
net_uuid_command: Command = _NETWORKS.uuid()


@command("net-info")
@argument("name")
def net_info_command(name: str) -> None:
    """Print facts about a network."""
    from polyvisor.errors import OperationInvalid

    network = _NETWORKS.object(name)
    summary = network.summary()
    try:
        bridge = network.bridge()
    except OperationInvalid:
        bridge = None
    rows = [
        ("Name", summary.name),
        ("UUID", str(summary.uuid)),
        ("Active", yes_no(summary.active)),
        ("Persistent", yes_no(summary.persistent)),
        ("Autostart", yes_no(summary.autostart)),
    ]
    if bridge is not None:
        rows.append(("Bridge", bridge))
    session().facts({key.lower(): value for key, value in rows}, lambda: session().pairs(rows))


@command("net-dhcp-leases")
@argument("name")
@argument("mac", required=False)
def net_dhcp_leases_command(name: str, mac: str | None) -> None:
    """Print the addresses that a network gave out, to MAC if that is given."""
    import attrs

    leases = _NETWORKS.object(name).leases(mac)

    def plain() -> None:
        headers = ["Expiry Time", "MAC address", "IP address", "Hostname", "Client ID"]
        rows = [
            [
                None if one.expires is None else f"{one.expires.astimezone():%Y-%m-%d %H:%M:%S}",
                one.mac,
                f"{one.address}/{one.prefix}",
                one.hostname,
                one.client_id,
            ]
            for one in leases
        ]
        session().table(headers, rows)

    session().facts([attrs.asdict(one) for one in leases], plain)


@command("iface-list")
@option("--all", "everything", is_flag=True, help="Active and inactive ones.")
@option("--inactive", is_flag=True, help="Only inactive ones.")
def iface_list_command(everything: bool, inactive: bool) -> None:
    """List the host's interfaces: the active ones, unless told otherwise."""
    collection = session().connection.interfaces
    found = [one for one in collection.summaries() if everything or one.active is not inactive]
    rows = [
        [one.name, "active" if one.active else "inactive", collection[one.name].mac or ""]
        for one in found
    ]
    session().facts(
        [dict(zip(("name", "state", "mac"), row, strict=True)) for row in rows],
        lambda: session().table(["Name", "State", "MAC Address"], rows),
    )


iface_define_command: Command = _INTERFACES.define()
iface_start_command: Command = _INTERFACES.verb("start", "started", "Bring an interface up.")
iface_destroy_command: Command = _INTERFACES.verb("destroy", "destroyed", "Take an interface down.")
iface_undefine_command: Command = _INTERFACES.verb(
    "undefine", "has been undefined", "Forget an interface's definition."
)
iface_dumpxml_command: Command = _INTERFACES.dumpxml()

nwfilter_list_command: Command = _FILTERS.plain_list(
    "UUID", "Name", row=lambda one: [one.key, one.name]
)
nwfilter_define_command: Command = _FILTERS.define()
nwfilter_undefine_command: Command = _FILTERS.verb(
    "undefine", "undefined", "Forget a network filter."
)
nwfilter_dumpxml_command: Command = _FILTERS.dumpxml()
nwfilter_edit_command: Command = _FILTERS.edit()
