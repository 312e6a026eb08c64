"""The agent inside the guest, and what is asked of it.

Answers are QEMU's guest agent's (``qga/qapi-schema.json``); names that clients get for
them are libvirt's (``virDomainGetGuestInfo``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.errors import Timeout
from polyvisor_remote.server._families.arguments import check_flags, need
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure
from polyvisor_remote.wire import params
from polyvisor_remote.wire.params import INT, UINT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from polyvisor.handles import DomainAgent
    from polyvisor_remote.server.session import Session
    from polyvisor_remote.wire import TypedParam

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
#: ``virDomainGuestInfoTypes``, a bit each.
_INFO = ("user", "os", "timezone", "hostname", "filesystem", "disk", "interface")
_IPV4, _IPV6 = 0, 1
_ARGUMENT_UNSUPPORTED, _UNRESPONSIVE = 74, 86
#: ``virNodeSuspendTarget``.
_SLEEPS = ("ram", "disk", "hybrid")


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
    seconds = _waited(arguments.timeout)
    return (_asked(lambda: agent.command(arguments.cmd, timeout=seconds)),)


@serves("domain_agent_set_response_timeout")
def set_response_timeout(session: Session, arguments: Any) -> tuple[int]:
    """Say how long answers are waited for."""
    check_flags(arguments.flags, 0, "virDomainAgentSetResponseTimeout")
    part = need(session.driver.agent, "domain_agent_set_response_timeout")
    part.set_timeout(session.uuid(arguments.dom), _waited(arguments.timeout))
    return (0,)


def _waited(given: int) -> float | None:
    """Return seconds to wait for; ``None``: without an end."""
    if given < _BLOCK:
        raise Failure(8, f"guest agent timeout '{given}' is less than the minimum '{_BLOCK}'")
    return {_BLOCK: None, _DEFAULT: _SECONDS, _NOWAIT: 0.0}.get(given, float(given))


@serves("domain_pm_suspend_for_duration", slow=True)
def pm_suspend_for_duration(session: Session, arguments: Any) -> None:
    """Have the guest put itself to sleep; nothing here would wake it after a time."""
    check_flags(arguments.flags, 0, "virDomainPMSuspendForDuration")
    if arguments.duration:
        raise Failure(_ARGUMENT_UNSUPPORTED, "Duration not supported. Use 0 for now")
    if arguments.target >= len(_SLEEPS):
        raise Failure(8, f"Unknown suspend target: {arguments.target}")
    agent = _agent(session, arguments.dom, "domain_pm_suspend_for_duration")
    _asked(lambda: agent.suspend(_SLEEPS[arguments.target]))


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
    found = [
        (one["mountpoint"], one["name"], one["type"], targets)
        for one, targets in _asked(agent.disks_of_filesystems)
    ]
    return found, len(found)


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
    flags, user, password = arguments.flags, arguments.user, arguments.password
    check_flags(flags, _ENCRYPTED, "virDomainSetUserPassword")
    agent = _agent(session, arguments.dom, "domain_set_user_password")
    encrypted = bool(flags & _ENCRYPTED)
    _asked(lambda: agent.set_password(user or "", password or "", encrypted=encrypted))


@serves("domain_authorized_ssh_keys_get", slow=True)
def authorized_ssh_keys_get(session: Session, arguments: Any) -> tuple[list[str]]:
    """Return the keys with which somebody may log in."""
    check_flags(arguments.flags, 0, "virDomainAuthorizedSSHKeysGet")
    agent = _agent(session, arguments.dom, "domain_authorized_ssh_keys_get")
    return (_asked(lambda: agent.ssh_keys(arguments.user)),)


@serves("domain_authorized_ssh_keys_set", slow=True)
def authorized_ssh_keys_set(session: Session, arguments: Any) -> None:
    """Set, add to or remove from the keys with which somebody may log in."""
    append, remove = 1, 2  # virDomainAuthorizedSSHKeysSetFlags
    flags = arguments.flags
    check_flags(flags, append | remove, "virDomainAuthorizedSSHKeysSet")
    agent = _agent(session, arguments.dom, "domain_authorized_ssh_keys_set")
    user, keys = arguments.user, arguments.keys
    if flags & remove:
        _asked(lambda: agent.remove_ssh_keys(user, keys))
    else:
        _asked(lambda: agent.add_ssh_keys(user, keys, reset=not flags & append))


# vCPUs as the guest uses them


@serves("domain_get_guest_vcpus", slow=True)
def get_guest_vcpus(session: Session, arguments: Any) -> tuple[list[TypedParam]]:
    """Return which vCPUs there are, are used, and need not be, each as a set."""
    from polyvisor.model.cpuset import compact

    check_flags(arguments.flags, 0, "virDomainGetGuestVcpus")
    found = _asked(_agent(session, arguments.dom, "domain_get_guest_vcpus").vcpus)
    return (params({name: compact(numbers) for name, numbers in found.items()}),)


@serves("domain_set_guest_vcpus", slow=True)
def set_guest_vcpus(session: Session, arguments: Any) -> None:
    """Have the guest use some, or cease to."""
    from polyvisor.model.cpuset import members

    check_flags(arguments.flags, 0, "virDomainSetGuestVcpus")
    agent = _agent(session, arguments.dom, "domain_set_guest_vcpus")
    if arguments.state not in (0, 1):
        raise Failure(8, "unsupported state value")
    numbers = members(arguments.cpumap)
    _asked(lambda: agent.set_vcpus(numbers, online=bool(arguments.state)))


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
            yield one.target or "", mac, addresses


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
    if unknown := asked >> len(_INFO):
        raise Failure(84, f"unsupported guest information types '0x{unknown << len(_INFO):x}'")
    kinds = [kind for bit, kind in enumerate(_INFO) if asked >> bit & 1]
    facts = _asked(lambda: agent.guest_info(*kinds))
    return (params(facts, {name: kind for name in facts if (kind := _kind(name))}),)


def _kind(name: str) -> int:
    last = name.rpartition(".")[2]
    if last in ("count", "prefix"):
        return UINT
    return INT if name == "timezone.offset" else 0
