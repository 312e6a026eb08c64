"""Starting and stopping domains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.driver import ASKING_MODES, DomainOptions
from polyvisor_remote.server._families.arguments import check_flags, impact, reference
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure, unsupported
from polyvisor_remote.server.numbers import ACTIONS, ENDS

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor_remote.server.session import Session

# virDomainCreateFlags
PAUSED, AUTODESTROY, BYPASS_CACHE, FORCE_BOOT, VALIDATE, RESET_NVRAM = (
    1 << bit for bit in range(6)
)
_CREATE = PAUSED | AUTODESTROY | BYPASS_CACHE | FORCE_BOOT | VALIDATE
#: What stops a guest in a gentler way first, which ours do anyway (``virDomainDestroyFlags``).
_GRACEFUL = 1
_INVALID_ARG, _CONFIG_UNSUPPORTED = 8, 67


def options(flags: int, function: str) -> DomainOptions:
    """Return how to start, of the flags that say so."""
    check_flags(flags, _CREATE, function)
    return DomainOptions(
        paused=bool(flags & PAUSED),
        force_boot=bool(flags & FORCE_BOOT),
        bypass_cache=bool(flags & BYPASS_CACHE),
    )


def destroy_at_end(session: Session, uuid: UUID, flags: int) -> None:
    """Destroy a domain when the client leaves, if the flags say so."""
    if flags & AUTODESTROY:
        domains = session.driver.domains

        def end() -> None:
            if domains.exists(uuid) and domains.status(uuid).state.active:
                domains.destroy(uuid)

        session.at_end(end)


@serves("domain_create", slow=True)
def create(session: Session, arguments: Any) -> None:
    """Start one."""
    session.driver.domains.start(session.uuid(arguments.dom), DomainOptions())


@serves("domain_create_with_flags", slow=True)
def create_with_flags(session: Session, arguments: Any) -> tuple[Any]:
    """Start one in a certain way."""
    uuid = session.uuid(arguments.dom)
    session.driver.domains.start(uuid, options(arguments.flags, "virDomainCreateWithFlags"))
    destroy_at_end(session, uuid, arguments.flags)
    return (reference(session, uuid),)


@serves("domain_set_lifecycle_action", slow=True)
def set_lifecycle_action(session: Session, arguments: Any) -> None:
    """Say what is to happen when the guest ends of itself."""
    event, action, flags = arguments.type, arguments.action, arguments.flags
    if event >= len(ENDS):
        raise Failure(_INVALID_ARG, f"invalid lifecycle type '{event}'")
    if action >= len(ACTIONS):
        raise Failure(_INVALID_ARG, f"invalid lifecycle action '{action}'")
    if not session.connection.support.usable("domains.lifecycle"):
        raise unsupported("domain_set_lifecycle_action")
    end, then = ENDS[event], ACTIONS[action]
    if then.startswith("coredump") and end != "crash":
        said = "Lifecycle event '{}' doesn't support '{}' action"
        raise Failure(_CONFIG_UNSUPPORTED, said.format(end, then))
    uuid = session.uuid(arguments.dom)
    where = impact(session, uuid, flags, "virDomainSetLifecycleAction")
    session.driver.domains.set_lifecycle_action(uuid, end, then, **where)


@serves("domain_suspend", slow=True)
def suspend(session: Session, arguments: Any) -> None:
    """Stop its vCPUs."""
    session.driver.domains.suspend(session.uuid(arguments.dom))


@serves("domain_resume", slow=True)
def resume(session: Session, arguments: Any) -> None:
    """Let them run on."""
    session.driver.domains.resume(session.uuid(arguments.dom))


def _modes(flags: int, function: str) -> list[str]:
    check_flags(flags, (1 << len(ASKING_MODES)) - 1, function)
    return [mode for bit, mode in enumerate(ASKING_MODES) if flags & 1 << bit]


@serves("domain_shutdown", slow=True)
def shutdown(session: Session, arguments: Any) -> None:
    """Ask the guest to shut down."""
    session.driver.domains.shutdown(session.uuid(arguments.dom))


@serves("domain_shutdown_flags", slow=True)
def shutdown_flags(session: Session, arguments: Any) -> None:
    """Ask the guest to shut down in certain ways."""
    modes = _modes(arguments.flags, "virDomainShutdownFlags")
    session.driver.domains.shutdown(session.uuid(arguments.dom), modes)


@serves("domain_reboot", slow=True)
def reboot(session: Session, arguments: Any) -> None:
    """Ask the guest to reboot."""
    modes = _modes(arguments.flags, "virDomainReboot")
    session.driver.domains.reboot(session.uuid(arguments.dom), modes)


@serves("domain_reset", slow=True)
def reset(session: Session, arguments: Any) -> None:
    """Reset the machine."""
    check_flags(arguments.flags, 0, "virDomainReset")
    session.driver.domains.reset(session.uuid(arguments.dom))


@serves("domain_destroy")
def destroy(session: Session, arguments: Any) -> None:
    """Stop it at once, whatever is under way: so it waits for no other call."""
    session.driver.domains.destroy(session.uuid(arguments.dom))


@serves("domain_destroy_flags")
def destroy_flags(session: Session, arguments: Any) -> None:
    """Stop it at once."""
    check_flags(arguments.flags, _GRACEFUL, "virDomainDestroyFlags")
    session.driver.domains.destroy(session.uuid(arguments.dom))
