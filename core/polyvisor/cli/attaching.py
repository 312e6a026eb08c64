"""Commands that add disks and interfaces of a few words to domains, and list interfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.cli._declare import argument, choice, echo, option
from polyvisor.cli._devices import device_xml, persistent_option, print_option
from polyvisor.cli._session import command, domain_argument, session
from polyvisor.cli._where import where, where_options

if TYPE_CHECKING:
    from polyvisor.domain import Domain

__all__: list[str] = []


@command("attach-disk")
@domain_argument
@argument("source")
@argument("target")
@option("--targetbus", "bus", help="Such as virtio, sata or usb; by the target unless it is said.")
@option("--driver", help="Such as qemu.")
@option("--subdriver", "form", help="Format, such as qcow2.")
@option("--cache", help="How the host caches.")
@option("--type", "device", type=choice("disk", "cdrom", "floppy", "lun"), default="disk")
@option("--sourcetype", "kind", type=choice("file", "block"), help="A file, or a device.")
@option("--mode", type=choice("readonly", "shareable"), help="What may be done with it.")
@option("--serial", help="Its serial number.")
@print_option
@persistent_option
@where_options
def attach_disk_command(
    domain: str,
    source: str,
    target: str,
    bus: Any,
    driver: str | None,
    form: str | None,
    cache: Any,
    device: Any,
    kind: str | None,
    mode: str | None,
    serial: str | None,
    shown: bool,
    persistent: bool,
    **flags: bool,
) -> None:
    """Add SOURCE to DOMAIN as the disk TARGET."""
    from polyvisor.model.devices.disk import Disk, DiskDriver, DiskTarget
    from polyvisor.model.devices.disk_source import DiskSource

    block = kind == "block" or (kind is None and source.startswith("/dev/"))
    disk = Disk(
        type="block" if block else "file",
        device=device,
        driver=DiskDriver(name=driver, type=form, cache=cache) if driver or form or cache else None,
        source=DiskSource(dev=source) if block else DiskSource(file=source),
        target=DiskTarget(dev=target, bus=bus),
        readonly=mode == "readonly",
        shareable=mode == "shareable",
        serial=serial,
    )
    _attach(domain, device_xml(disk, "disk"), "Disk", shown, persistent, flags)


def _attach(
    domain: str, xml: str, what: str, shown: bool, persistent: bool, flags: dict[str, bool]
) -> None:
    """Attach a device and say so, or print it."""
    if shown:
        echo(xml)
        return
    found = session().domain(domain)
    place = where(found, **flags)
    if persistent:
        place = {"live": found.active, "config": True}
    found.attach_device(xml, **place)
    session().done(f"{what} attached successfully", uuid=found.uuid)


@command("domiflist")
@domain_argument
@option("--inactive", is_flag=True, help="Of the definition for the next start.")
def domiflist_command(domain: str, inactive: bool) -> None:
    """List DOMAIN's network interfaces."""
    spec = session().domain(domain).spec(inactive=inactive)
    facts = [
        {
            "interface": one.target,
            "type": one.type,
            "source": _network(one),
            "model": one.model,
            "mac": None if one.mac is None else one.mac.address,
        }
        for one in spec.devices.interfaces
    ]
    headers = ["Interface", "Type", "Source", "Model", "MAC"]
    session().facts(facts, lambda: session().table(headers, [list(one.values()) for one in facts]))


def _network(one: Any) -> str | None:
    source = one.source
    if source is None:
        return None
    for name in ("network", "bridge", "dev", "name"):
        if value := getattr(source, name, None):
            return str(value)
    return None


@command("domifaddr")
@domain_argument
@argument("interface", required=False)
@option("--source", type=choice("lease", "agent"), default="lease", help="Who is asked.")
@option("--full", is_flag=True, help="Name and address on every line.")
def domifaddr_command(domain: str, interface: str | None, source: str, full: bool) -> None:
    """Print the addresses of DOMAIN's interfaces: those that networks gave out, or the agent's."""
    found = session().domain(domain)
    told = _asked(found) if source == "agent" else _leased(found)
    facts = [one for one in told if interface in (None, one["name"])]

    def plain() -> None:
        echo(" Name       MAC address          Protocol     Address")
        echo("-" * 79)
        for one in facts:
            name, mac = one["name"] or "-", one["mac"] or "N/A"
            for address in one["addresses"] or [None]:
                kind, text = ("N/A", "N/A") if address is None else (
                    "ipv6" if ":" in address else "ipv4", address)  # fmt: skip
                echo(f" {name:<10} {mac:<17}    {kind:<8}     {text}")
                if not full:
                    name = mac = "-"

    session().facts(facts, plain)


def _asked(found: Domain) -> list[dict[str, Any]]:
    return [
        {
            "name": one["name"],
            "mac": one.get("hardware-address"),
            "addresses": [
                f"{each['ip-address']}/{each['prefix']}" for each in one.get("ip-addresses", ())
            ],
        }
        for one in found.agent.interfaces()
    ]


def _leased(found: Domain) -> list[dict[str, Any]]:
    told = []
    for one in found.spec().devices.interfaces:
        network = getattr(one.source, "network", None)
        if network is None or one.mac is None:
            continue
        leases = found.connection.networks[network].leases(one.mac.address)
        if leases:
            addresses = [f"{each.address}/{each.prefix}" for each in leases]
            told.append({"name": one.target, "mac": one.mac.address, "addresses": addresses})
    return told


@command("attach-interface")
@domain_argument
@argument("kind", metavar="TYPE")
@argument("source", required=False)
@option("--target", help="Its name on the host.")
@option("--mac", help="Its address.")
@option("--model", help="Such as virtio or e1000e.")
@print_option
@persistent_option
@where_options
def attach_interface_command(
    domain: str,
    kind: Any,
    source: str | None,
    target: str | None,
    mac: str | None,
    model: str | None,
    shown: bool,
    persistent: bool,
    **flags: bool,
) -> None:
    """Add an interface of TYPE (network, bridge, direct, user …) at SOURCE to DOMAIN."""
    from polyvisor.errors import InvalidArgument
    from polyvisor.model.devices.interface import Interface, InterfaceSource, Mac

    named = {"network": "network", "bridge": "bridge", "direct": "dev"}
    if kind in named and source is None:
        raise InvalidArgument(f"attach-interface: an interface of type {kind} needs a source")
    if source is not None and kind not in named:
        raise InvalidArgument(f"attach-interface: an interface of type {kind} takes no source")
    place: dict[str, Any] = {} if source is None else {named[kind]: source}
    device = Interface(
        type=kind,
        source=InterfaceSource(**place) if place else None,
        target=target,
        mac=None if mac is None else Mac(address=mac),
        model=model,
    )
    _attach(domain, device_xml(device, "interface"), "Interface", shown, persistent, flags)
