"""Commands that change domains: sizes, devices, and what is written down about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.cli._declare import argument, echo, option, path
from polyvisor.cli._devices import persistent_option
from polyvisor.cli._session import command, domain_argument, session
from polyvisor.cli._where import size, where, where_options
from polyvisor.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

__all__: list[str] = []


@command("setvcpus")
@domain_argument
@argument("count", type=int)
@option("--maximum", is_flag=True, help="Set how many there may be at most.")
@where_options
def setvcpus_command(
    domain: str, count: int, maximum: bool, live: bool, config: bool, current: bool
) -> None:
    """Set how many of DOMAIN's virtual CPUs are on."""
    found = session().domain(domain)
    change: Callable[..., None] = found.set_max_vcpus if maximum else found.set_vcpus
    change(count, **where(found, live, config, current))


@command("setvcpu")
@domain_argument
@argument("vcpulist")
@option("--enable", is_flag=True, help="Plug them in.")
@option("--disable", is_flag=True, help="Plug them out.")
@where_options
def setvcpu_command(
    domain: str,
    vcpulist: str,
    enable: bool,
    disable: bool,
    live: bool,
    config: bool,
    current: bool,
) -> None:
    """Plug certain virtual CPUs into DOMAIN, or out: their numbers, such as 1 or 2-3."""
    from polyvisor.model.cpuset import members

    if enable == disable:
        raise InvalidArgument("setvcpu: say --enable or --disable")
    found = session().domain(domain)
    found.enable_vcpus(set(members(vcpulist)), enable, **where(found, live, config, current))


@command("setmem")
@domain_argument
@argument("size")
@where_options
def setmem_command(domain: str, size: str, live: bool, config: bool, current: bool) -> None:
    """Set how much memory DOMAIN has, in KiB or with a unit: 2GiB."""
    found = session().domain(domain)
    found.set_memory(_bytes(size), **where(found, live, config, current))


@command("setmaxmem")
@domain_argument
@argument("size")
@where_options
def setmaxmem_command(domain: str, size: str, live: bool, config: bool, current: bool) -> None:
    """Set how much memory DOMAIN may have at most, in KiB or with a unit: 2GiB."""
    found = session().domain(domain)
    found.set_max_memory(_bytes(size), **where(found, live, config, current))


@command("domrename")
@domain_argument
@argument("name")
def domrename_command(domain: str, name: str) -> None:
    """Give DOMAIN, which must be off, another NAME."""
    found = session().domain(domain)
    found.rename(name)
    session().done("Domain successfully renamed", uuid=found.uuid)


@command("set-lifecycle-action")
@domain_argument
@argument("event")
@argument("action")
@where_options
def set_lifecycle_action_command(
    domain: str, event: str, action: str, live: bool, config: bool, current: bool
) -> None:
    """Set what happens at EVENT of DOMAIN: poweroff, reboot or crash.

    ACTION is destroy, restart, rename-restart, preserve, coredump-destroy or coredump-restart.
    """
    found = session().domain(domain)
    found.set_lifecycle_action(event, action, **where(found, live, config, current))


def _bytes(text: str) -> int:
    return size(text)


def _read(file: str) -> str:
    import sys

    if file == "-":
        return sys.stdin.read()
    with open(file, encoding="utf-8") as opened:
        return opened.read()


def _device(how: str, said: str, domain: str, file: str, **flags: Any) -> None:
    found = session().domain(domain)
    persistent = flags.pop("persistent", False)
    place = where(found, **flags)
    if persistent:
        place = {"live": found.active, "config": True}
    getattr(found, how)(_read(file), **place)
    session().done(f"Device {said} successfully", uuid=found.uuid)


@command("attach-device")
@domain_argument
@argument("file", type=path())
@persistent_option
@where_options
def attach_device_command(domain: str, file: str, **flags: bool) -> None:
    """Add the device described by FILE to DOMAIN."""
    _device("attach_device", "attached", domain, file, **flags)


@command("detach-device")
@domain_argument
@argument("file", type=path())
@persistent_option
@where_options
def detach_device_command(domain: str, file: str, **flags: bool) -> None:
    """Remove the device that matches FILE from DOMAIN."""
    _device("detach_device", "detached", domain, file, **flags)


@command("detach-device-alias")
@domain_argument
@argument("alias")
@where_options
def detach_device_alias_command(domain: str, alias: str, **flags: bool) -> None:
    """Remove the device of DOMAIN that is called ALIAS."""
    found = session().domain(domain)
    found.detach_device_alias(alias, **where(found, **flags))
    session().done("Device detached successfully", uuid=found.uuid)


@command("update-device")
@domain_argument
@argument("file", type=path())
@persistent_option
@where_options
def update_device_command(domain: str, file: str, **flags: bool) -> None:
    """Change the device of DOMAIN that matches FILE into it."""
    _device("update_device", "updated", domain, file, **flags)


@command("desc")
@domain_argument
@argument("words", nargs=-1, metavar="[TEXT]...")
@option("--title", is_flag=True, help="The title, not the description.")
@where_options
def desc_command(
    domain: str, words: tuple[str, ...], title: bool, live: bool, config: bool, current: bool
) -> None:
    """Print DOMAIN's description, or set it to TEXT; empty TEXT removes it."""
    found = session().domain(domain)
    kind = "title" if title else "description"
    if not words:
        text = getattr(found.spec(inactive=config), kind)
        missing = f"No {kind} for domain: {found.name}"
        session().facts({kind: text}, lambda: echo(text or missing))
        return
    change = found.set_title if title else found.set_description
    change(" ".join(words) or None, **where(found, live, config, current))
    session().done(f"Domain {kind} updated successfully", uuid=found.uuid)


@command("metadata")
@domain_argument
@argument("uri")
@option("--set", "xml", help="The element, as XML.")
@option("--key", help="The prefix that it is written with.")
@option("--remove", is_flag=True, help="Remove the element.")
@where_options
def metadata_command(
    domain: str,
    uri: str,
    xml: str | None,
    key: str | None,
    remove: bool,
    live: bool,
    config: bool,
    current: bool,
) -> None:
    """Print, set or remove the element of the namespace URI in DOMAIN's metadata."""
    from polyvisor.errors import NotFound

    found = session().domain(domain)
    if remove or xml is not None:
        found.set_metadata(uri, key, None if remove else xml, **where(found, live, config, current))
        session().done("Metadata removed" if remove else "Metadata modified", uuid=found.uuid)
        return
    text = found.metadata(uri, inactive=config)
    if text is None:
        raise NotFound(f"{found.name!r} has no metadata of {uri}", key=uri)
    session().facts({"xml": text}, lambda: echo(text))
