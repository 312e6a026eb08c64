"""The agent inside the guest, and what is asked of it.

Answers are QEMU's guest agent's (``qga/qapi-schema.json``); names that clients get for
them are libvirt's (``virDomainGetGuestInfo``).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from polyvisor.errors import HypervisorError, OperationInvalid, Timeout
from polyvisor_remote.server._families.arguments import check_flags, need
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure
from polyvisor_remote.wire import params
from polyvisor_remote.wire.params import INT, UINT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from uuid import UUID

    from polyvisor.handles import DomainAgent
    from polyvisor.model.devices.disk import Disk
    from polyvisor_remote.server.session import Session
    from polyvisor_remote.wire import TypedParam

    _Teller = Callable[[DomainAgent, Sequence[Disk]], Iterator[tuple[str, Any]]]

# virDomainQemuAgentCommandTimeoutValues
_BLOCK, _DEFAULT, _NOWAIT = -2, -1, 0
#: Seconds of the default (``QEMU_AGENT_WAIT_TIME``).
_SECONDS = 5.0
#: ``VIR_DOMAIN_TIME_SYNC``.
_SYNC = 1
# virDomainInterfaceAddressesSource
_LEASE, _AGENT, _ARP = 0, 1, 2
#: ``VIR_DOMAIN_PASSWORD_ENCRYPTED``.
_ENCRYPTED = 1
# virDomainGuestInfoTypes
_USERS, _OS, _TIMEZONE, _HOSTNAME, _FILESYSTEM, _DISKS, _INTERFACES = (1 << bit for bit in range(7))
_OS_NAMES = (
    "id", "name", "pretty-name", "version", "version-id", "machine", "variant", "variant-id",
    "kernel-release", "kernel-version",
)  # fmt: skip
_IPV4, _IPV6 = 0, 1
_UNRESPONSIVE = 86


def _agent(session: Session, dom: Any, procedure: str, home: str = "remote") -> DomainAgent:
    need(session.driver.agent, procedure, home)
    return session.connection.domains[session.uuid(dom)].agent


def _asked(call: Callable[[], Any]) -> Any:
    """Return an answer; an agent that gives none is libvirt's own kind of error."""
    try:
        return call()
    except Timeout as error:
        raise Failure(_UNRESPONSIVE, error.message) from error


@serves("domain_agent_command", slow=True, of="qemu")
def command(session: Session, arguments: Any) -> tuple[str | None]:
    """Send a command as it is."""
    check_flags(arguments.flags, 0, "virDomainQemuAgentCommand")
    agent = _agent(session, arguments.dom, "domain_agent_command", "qemu")
    given = arguments.timeout
    if given < _BLOCK:
        raise Failure(8, f"guest agent timeout '{given}' is less than the minimum '{_BLOCK}'")
    seconds = {_BLOCK: None, _DEFAULT: _SECONDS, _NOWAIT: 0.0}.get(given, float(given))
    return (_asked(lambda: agent.command(arguments.cmd, timeout=seconds)),)


# File systems


@serves("domain_fsfreeze", slow=True)
def fsfreeze(session: Session, arguments: Any) -> tuple[int]:
    """Stop writing to file systems."""
    check_flags(arguments.flags, 0, "virDomainFSFreeze")
    agent = _agent(session, arguments.dom, "domain_fsfreeze")
    return (_asked(lambda: agent.freeze(arguments.mountpoints or None)),)


@serves("domain_fsthaw", slow=True)
def fsthaw(session: Session, arguments: Any) -> tuple[int]:
    """Let them be written again: all, as libvirt does whatever is named."""
    check_flags(arguments.flags, 0, "virDomainFSThaw")
    agent = _agent(session, arguments.dom, "domain_fsthaw")
    return (_asked(agent.thaw),)


@serves("domain_fstrim", slow=True)
def fstrim(session: Session, arguments: Any) -> None:
    """Tell disks which blocks are free."""
    check_flags(arguments.flags, 0, "virDomainFSTrim")
    agent = _agent(session, arguments.dom, "domain_fstrim")
    if arguments.mountPoint is not None:
        raise Failure(84, "Specifying mount point is not supported for now")
    _asked(lambda: agent.trim(minimum=arguments.minimum))


@serves("domain_get_fsinfo", slow=True)
def get_fsinfo(session: Session, arguments: Any) -> tuple[list[Any], int]:
    """Return what is mounted, each with the disks that it is on."""
    check_flags(arguments.flags, 0, "virDomainGetFSInfo")
    agent = _agent(session, arguments.dom, "domain_get_fsinfo")
    disks = _disks(session, session.uuid(arguments.dom))
    found = [
        (
            one["mountpoint"],
            one["name"],
            one["type"],
            [target for place in one.get("disk", ()) if (target := _target(disks, place))],
        )
        for one in _asked(agent.filesystems)
    ]
    return found, len(found)


def _disks(session: Session, uuid: UUID) -> Sequence[Disk]:
    devices = session.driver.domains.spec(uuid).devices
    return () if devices is None else devices.disks


def _target(disks: Sequence[Disk], place: dict[str, Any]) -> str | None:
    """Return the target of the disk that the agent speaks of, found by its address."""
    pci = place.get("pci-controller", {})
    for disk in disks:
        address = disk.address
        if address is None or disk.target is None:
            continue
        if address.type == "pci":
            there = (address.domain or 0, address.bus, address.slot, address.function or 0)
            told = (pci.get(name) for name in ("domain", "bus", "slot", "function"))
            if there == tuple(told):
                return disk.target.dev
        elif address.type == "drive":
            place_there = (address.bus or 0, address.target or 0, address.unit or 0)
            if place.get("bus-type") == disk.target.bus and place_there == tuple(
                place.get(name) for name in ("bus", "target", "unit")
            ):
                return disk.target.dev
    return None


# Time, names and passwords


@serves("domain_get_time", slow=True)
def get_time(session: Session, arguments: Any) -> tuple[int, int]:
    """Return the guest's clock: seconds and nanoseconds."""
    check_flags(arguments.flags, 0, "virDomainGetTime")
    agent = _agent(session, arguments.dom, "domain_get_time")
    return divmod(int(_asked(lambda: agent.ask("guest-get-time"))), 1_000_000_000)


@serves("domain_set_time", slow=True)
def set_time(session: Session, arguments: Any) -> None:
    """Set the guest's clock, or have it read that of its hardware."""
    check_flags(arguments.flags, _SYNC, "virDomainSetTime")
    agent = _agent(session, arguments.dom, "domain_set_time")
    when = arguments.seconds * 1_000_000_000 + arguments.nseconds
    given = {} if arguments.flags & _SYNC else {"time": when}
    _asked(lambda: agent.ask("guest-set-time", given))


@serves("domain_get_hostname", slow=True)
def get_hostname(session: Session, arguments: Any) -> tuple[str]:
    """Return the guest's name for itself, as the agent says it."""
    check_flags(arguments.flags, 3, "virDomainGetHostname")
    agent = _agent(session, arguments.dom, "domain_get_hostname")
    return (_asked(agent.hostname),)


@serves("domain_set_user_password", slow=True)
def set_user_password(session: Session, arguments: Any) -> None:
    """Set somebody's password in the guest."""
    import base64

    check_flags(arguments.flags, _ENCRYPTED, "virDomainSetUserPassword")
    agent = _agent(session, arguments.dom, "domain_set_user_password")
    given = {
        "username": arguments.user or "",
        "password": base64.b64encode((arguments.password or "").encode()).decode("ascii"),
        "crypted": bool(arguments.flags & _ENCRYPTED),
    }
    _asked(lambda: agent.ask("guest-set-user-password", given))


@serves("domain_authorized_ssh_keys_get", slow=True)
def authorized_ssh_keys_get(session: Session, arguments: Any) -> tuple[list[str]]:
    """Return the keys with which somebody may log in."""
    check_flags(arguments.flags, 0, "virDomainAuthorizedSSHKeysGet")
    agent = _agent(session, arguments.dom, "domain_authorized_ssh_keys_get")
    given = {"username": arguments.user}
    answer = _asked(lambda: agent.ask("guest-ssh-get-authorized-keys", given))
    return (list(answer["keys"]),)


@serves("domain_authorized_ssh_keys_set", slow=True)
def authorized_ssh_keys_set(session: Session, arguments: Any) -> None:
    """Set, add to or remove from the keys with which somebody may log in."""
    append, remove = 1, 2  # virDomainAuthorizedSSHKeysSetFlags
    flags = arguments.flags
    check_flags(flags, append | remove, "virDomainAuthorizedSSHKeysSet")
    agent = _agent(session, arguments.dom, "domain_authorized_ssh_keys_set")
    given: dict[str, Any] = {"username": arguments.user, "keys": list(arguments.keys)}
    if flags & remove:
        _asked(lambda: agent.ask("guest-ssh-remove-authorized-keys", given))
    else:
        given["reset"] = not flags & append
        _asked(lambda: agent.ask("guest-ssh-add-authorized-keys", given))


# Addresses


@serves("domain_interface_addresses", slow=True)
def interface_addresses(session: Session, arguments: Any) -> tuple[list[Any]]:
    """Return the addresses of interfaces: those that networks gave out, or the agent's."""
    check_flags(arguments.flags, 0, "virDomainInterfaceAddresses")
    uuid = session.uuid(arguments.dom)
    if not session.driver.domains.summary(uuid).state.active:
        raise Failure(55, "domain is not running")
    if arguments.source == _LEASE:
        return (list(_leased(session, uuid)),)
    if arguments.source == _AGENT:
        agent = _agent(session, arguments.dom, "domain_interface_addresses")
        return ([_interface(one) for one in _asked(agent.interfaces)],)
    if arguments.source == _ARP:
        raise Failure(84, "addresses from the host's ARP table are not known here")
    raise Failure(84, f"Unknown IP address data source {arguments.source}")


def _leased(session: Session, uuid: UUID) -> Iterator[tuple[Any, ...]]:
    part = session.driver.networks
    devices = session.driver.domains.spec(uuid).devices
    for one in () if devices is None else devices.interfaces:
        name = getattr(one.source, "network", None)
        mac = None if one.mac is None else one.mac.address
        if part is None or name is None or mac is None:
            continue
        leases = part.leases(part.by_name(name).key, mac)
        if leases:
            addresses = [(int(":" in each.address), each.address, each.prefix) for each in leases]
            target = getattr(one.target, "dev", None)
            yield target or "", mac, addresses


def _interface(one: dict[str, Any]) -> tuple[Any, ...]:
    addresses = [
        (
            _IPV6 if each.get("ip-address-type") == "ipv6" else _IPV4,
            each["ip-address"],
            each["prefix"],
        )
        for each in one.get("ip-addresses", ())
    ]
    return one["name"], one.get("hardware-address"), addresses


# What is known at once


@serves("domain_get_guest_info", slow=True)
def get_guest_info(session: Session, arguments: Any) -> tuple[list[TypedParam]]:
    """Return what the agent knows of a guest, by kinds; of all, those that it can tell."""
    check_flags(arguments.flags, 0, "virDomainGetGuestInfo")
    agent = _agent(session, arguments.dom, "domain_get_guest_info")
    asked = arguments.types
    known = sum(_INFO)
    if asked & ~known:
        raise Failure(84, f"unsupported guest information types '0x{asked & ~known:x}'")
    disks = _disks(session, session.uuid(arguments.dom))
    facts: dict[str, Any] = {}
    for kind, tell in _INFO.items():
        if asked and not asked & kind:
            continue
        try:
            facts.update(_asked(partial(_told, tell, agent, disks)))
        except OperationInvalid:
            raise
        except HypervisorError:
            if asked:
                raise
    return (params(facts, {name: kind for name in facts if (kind := _kind(name))}),)


def _told(tell: _Teller, agent: DomainAgent, disks: Sequence[Disk]) -> dict[str, Any]:
    return dict(tell(agent, disks))


def _kind(name: str) -> int:
    last = name.rpartition(".")[2]
    if last in ("count", "prefix"):
        return UINT
    return INT if name == "timezone.offset" else 0


def _users(agent: DomainAgent, disks: Sequence[Disk]) -> Iterator[tuple[str, Any]]:
    found = agent.users()
    yield "user.count", len(found)
    for number, one in enumerate(found):
        yield f"user.{number}.name", one["user"]
        yield f"user.{number}.domain", one.get("domain")
        yield f"user.{number}.login-time", int(one["login-time"] * 1000)


def _os(agent: DomainAgent, disks: Sequence[Disk]) -> Iterator[tuple[str, Any]]:
    found = agent.os_info()
    for name in _OS_NAMES:
        yield f"os.{name}", found.get(name)


def _timezone(agent: DomainAgent, disks: Sequence[Disk]) -> Iterator[tuple[str, Any]]:
    found = agent.ask("guest-get-timezone")
    yield "timezone.name", found.get("zone")
    yield "timezone.offset", found["offset"]


def _hostname(agent: DomainAgent, disks: Sequence[Disk]) -> Iterator[tuple[str, Any]]:
    yield "hostname", agent.hostname()


def _filesystems(agent: DomainAgent, disks: Sequence[Disk]) -> Iterator[tuple[str, Any]]:
    found = agent.filesystems()
    yield "fs.count", len(found)
    for number, one in enumerate(found):
        here = f"fs.{number}"
        yield f"{here}.name", one["name"]
        yield f"{here}.mountpoint", one["mountpoint"]
        yield f"{here}.fstype", one["type"]
        yield f"{here}.total-bytes", one.get("total-bytes")
        yield f"{here}.used-bytes", one.get("used-bytes")
        places = one.get("disk", ())
        yield f"{here}.disk.count", len(places)
        for index, place in enumerate(places):
            yield f"{here}.disk.{index}.alias", _target(disks, place)
            yield f"{here}.disk.{index}.serial", place.get("serial")
            yield f"{here}.disk.{index}.device", place.get("dev")


def _guest_disks(agent: DomainAgent, disks: Sequence[Disk]) -> Iterator[tuple[str, Any]]:
    found = agent.ask("guest-get-disks")
    yield "disk.count", len(found)
    for number, one in enumerate(found):
        here, address = f"disk.{number}", one.get("address")
        yield f"{here}.name", one["name"]
        yield f"{here}.partition", bool(one["partition"])
        needs = one.get("dependencies", ())
        if needs:
            yield f"{here}.dependency.count", len(needs)
        for index, name in enumerate(needs):
            yield f"{here}.dependency.{index}.name", name
        if address is not None:
            yield f"{here}.serial", address.get("serial")
            yield f"{here}.alias", _target(disks, address)
            yield f"{here}.guest_bus", address.get("bus-type")
        yield f"{here}.guest_alias", one.get("alias")


def _interfaces(agent: DomainAgent, disks: Sequence[Disk]) -> Iterator[tuple[str, Any]]:
    found = agent.interfaces()
    yield "if.count", len(found)
    for number, one in enumerate(found):
        here = f"if.{number}"
        name, mac, addresses = _interface(one)
        yield f"{here}.name", name
        yield f"{here}.hwaddr", mac
        yield f"{here}.addr.count", len(addresses)
        for index, (kind, address, prefix) in enumerate(addresses):
            yield f"{here}.addr.{index}.type", "ipv6" if kind == _IPV6 else "ipv4"
            yield f"{here}.addr.{index}.addr", address
            yield f"{here}.addr.{index}.prefix", prefix


_INFO = {
    _USERS: _users,
    _OS: _os,
    _TIMEZONE: _timezone,
    _HOSTNAME: _hostname,
    _FILESYSTEM: _filesystems,
    _DISKS: _guest_disks,
    _INTERFACES: _interfaces,
}
