"""Commands that take disks and interfaces of a few words away, and change what is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.cli._declare import argument, choice, echo, option
from polyvisor.cli._devices import device_xml, persistent_option, print_option
from polyvisor.cli._session import command, domain_argument, session
from polyvisor.cli._where import where, where_options
from polyvisor.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from polyvisor.domain import Domain
    from polyvisor.model.devices.disk import Disk
    from polyvisor.model.devices.interface import Interface

__all__: list[str] = []


def _place(found: Domain, flags: dict[str, bool], persistent: bool = False) -> dict[str, bool]:
    if persistent:
        return {"live": found.active, "config": True}
    return where(found, **flags)


def _disk(found: Domain, name: str, place: dict[str, bool]) -> Disk:
    """Return the disk with a target or a source, where it is to be changed."""
    for disk in found.spec(inactive=not place["live"]).devices.disks:
        source = disk.source
        if name in (disk.target and disk.target.dev, source and (source.file or source.dev)):
            return disk
    raise NotFound(f"{found.name!r} has no disk {name!r}", key=name)


def _interface(found: Domain, place: dict[str, bool], **wanted: str | None) -> Interface:
    """Return the only interface of a name, an address or a type."""
    interfaces = [
        one
        for one in found.spec(inactive=not place["live"]).devices.interfaces
        if (wanted.get("kind") in (None, one.type))
        and (wanted.get("mac") in (None, one.mac and one.mac.address))
        and (wanted.get("name") in (None, one.target, one.mac and one.mac.address))
    ]
    words = " ".join(value for value in wanted.values() if value is not None)
    if not interfaces:
        raise NotFound(f"{found.name!r} has no interface {words}", key=words)
    if len(interfaces) > 1:
        raise InvalidArgument(
            f"{found.name!r} has {len(interfaces)} interfaces {words}; say which by its MAC address"
        )
    return interfaces[0]


def _detach(found: Domain, xml: str, what: str, shown: bool, place: dict[str, bool]) -> None:
    if shown:
        echo(xml)
        return
    found.detach_device(xml, **place)
    session().done(f"{what} detached successfully", uuid=found.uuid)


@command("detach-disk")
@domain_argument
@argument("target")
@persistent_option
@print_option
@where_options
def detach_disk_command(
    domain: str, target: str, persistent: bool, shown: bool, **flags: bool
) -> None:
    """Remove the disk TARGET from DOMAIN."""
    found = session().domain(domain)
    place = _place(found, flags, persistent)
    _detach(found, device_xml(_disk(found, target, place), "disk"), "Disk", shown, place)


@command("detach-interface")
@domain_argument
@argument("kind", metavar="TYPE")
@option("--mac", help="Its address, where there are more of the type.")
@persistent_option
@print_option
@where_options
def detach_interface_command(
    domain: str, kind: str, mac: str | None, persistent: bool, shown: bool, **flags: bool
) -> None:
    """Remove the interface of TYPE from DOMAIN."""
    found = session().domain(domain)
    place = _place(found, flags, persistent)
    device = _interface(found, place, kind=kind, mac=mac and mac.lower())
    _detach(found, device_xml(device, "interface"), "Interface", shown, place)


@command("domif-getlink")
@domain_argument
@argument("interface")
@option("--config", is_flag=True, help="Of the definition for the next start.")
def domif_getlink_command(domain: str, interface: str, config: bool) -> None:
    """Print whether the cable of DOMAIN's INTERFACE (target or MAC address) is in."""
    found = session().domain(domain)
    device = _interface(found, {"live": not config}, name=interface.lower())
    state = device.link or "up"
    session().facts({"link": state}, lambda: echo(f"{interface} {state}"))


@command("domif-setlink")
@domain_argument
@argument("interface")
@argument("state", type=choice("up", "down"))
@option("--config", is_flag=True, help="In the definition, from the next start on.")
@print_option
def domif_setlink_command(
    domain: str, interface: str, state: Any, config: bool, shown: bool
) -> None:
    """Plug the cable of DOMAIN's INTERFACE (target or MAC address) in or out."""
    found = session().domain(domain)
    active = found.active and not config
    place = {"live": active, "config": not active}
    device = attrs.evolve(_interface(found, place, name=interface.lower()), link=state)
    xml = device_xml(device, "interface")
    if shown:
        echo(xml)
        return
    found.update_device(xml, **place)
    session().done("Device updated successfully", uuid=found.uuid)


@command("change-media")
@domain_argument
@argument("path")
@argument("source", required=False)
@option("--eject", is_flag=True, help="Take the medium out.")
@option("--insert", is_flag=True, help="Put SOURCE in, where nothing is.")
@option("--update", is_flag=True, help="Put SOURCE in, in place of what is there.")
@option("--block", is_flag=True, help="SOURCE is a device.")
@print_option
@where_options
def change_media_command(
    domain: str,
    path: str,
    source: str | None,
    eject: bool,
    insert: bool,
    update: bool,
    block: bool,
    shown: bool,
    **flags: bool,
) -> None:
    """Change what is in DOMAIN's drive PATH (target or source): to SOURCE, or nothing."""
    if eject + insert + update > 1:
        raise InvalidArgument("change-media: --eject, --insert and --update exclude one another")
    if eject and source is not None:
        raise InvalidArgument("change-media: --eject takes no source")
    if (insert or update) and source is None:
        raise InvalidArgument("change-media: --insert and --update need a source")
    found = session().domain(domain)
    place = _place(found, flags)
    disk = _disk(found, path, place)
    if disk.device not in ("cdrom", "floppy"):
        raise InvalidArgument(f"change-media: {path!r} of {found.name!r} is no drive for media")
    full = disk.source is not None
    if source is None and not full:
        raise InvalidArgument(f"change-media: nothing is in {path!r} of {found.name!r}")
    if insert and full:
        raise InvalidArgument(
            f"change-media: something is in {path!r} of {found.name!r}; use --update"
        )
    from polyvisor.model.devices.disk_source import DiskSource

    device = block or (source or "").startswith("/dev/")
    new = None
    if source is not None:
        new = DiskSource(dev=source) if device else DiskSource(file=source)
    changed = attrs.evolve(disk, type="block" if device else "file", source=new, backing_store=None)
    xml = device_xml(changed, "disk")
    if shown:
        echo(xml)
        return
    found.update_device(xml, **place)
    how = "ejected" if source is None else "updated" if full else "inserted"
    session().done(f"Successfully {how} media.", uuid=found.uuid)
