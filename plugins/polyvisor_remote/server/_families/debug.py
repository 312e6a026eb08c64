"""Looking into a running machine: its monitor, memory, disks, interrupts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_remote.server._families.arguments import check_flags, need
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure

if TYPE_CHECKING:
    from polyvisor.driver import Debug
    from polyvisor_remote.server.passing import Files
    from polyvisor_remote.server.session import Session

#: ``VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP``.
_HMP = 1
# virDomainMemoryFlags
_VIRTUAL, _PHYSICAL = 1, 2
#: Bytes that one look may bring (``REMOTE_DOMAIN_MEMORY_PEEK_BUFFER_MAX``, and that of disks).
_MOST = 4 << 20
_INVALID_ARG = 8


def _part(session: Session, procedure: str, home: str = "remote") -> Debug:
    return need(session.driver.debug, procedure, home)


@serves("domain_monitor_command", slow=True, of="qemu")
def monitor_command(session: Session, arguments: Any) -> tuple[str]:
    """Send a command to the monitor as it is."""
    check_flags(arguments.flags, _HMP, "virDomainQemuMonitorCommand")
    part = _part(session, "domain_monitor_command", "qemu")
    human = bool(arguments.flags & _HMP)
    return (part.command(session.uuid(arguments.dom), arguments.cmd, human=human),)


@serves("domain_monitor_command_with_files", slow=True, of="qemu", files=True)
def monitor_command_with_files(session: Session, arguments: Any, files: Files) -> tuple[str]:
    """Send a command to the monitor, and descriptors with it."""
    procedure = "domain_monitor_command_with_files"
    check_flags(arguments.flags, _HMP, "virDomainQemuMonitorCommandWithFiles")
    part = _part(session, procedure, "qemu")
    fds = files.need(len(files.received))
    human = bool(arguments.flags & _HMP)
    return (part.command(session.uuid(arguments.dom), arguments.cmd, human=human, fds=fds),)


@serves("domain_memory_peek", slow=True)
def memory_peek(session: Session, arguments: Any) -> tuple[bytes]:
    """Give a piece of a guest's memory."""
    flags, function = arguments.flags, "virDomainMemoryPeek"
    check_flags(flags, _VIRTUAL | _PHYSICAL, function)
    if flags not in (_VIRTUAL, _PHYSICAL):
        raise Failure(_INVALID_ARG, f"flags in {function} must name virtual or physical memory")
    _check_size(arguments.size)
    part = _part(session, "domain_memory_peek")
    uuid = session.uuid(arguments.dom)
    given = arguments.offset, arguments.size
    return (part.read_memory(uuid, *given, physical=flags == _PHYSICAL),)


@serves("domain_block_peek", slow=True)
def block_peek(session: Session, arguments: Any) -> tuple[bytes]:
    """Give a piece of what is behind a disk."""
    check_flags(arguments.flags, 0, "virDomainBlockPeek")
    _check_size(arguments.size)
    part = _part(session, "domain_block_peek")
    uuid = session.uuid(arguments.dom)
    found = part.read_disk(uuid, arguments.path, arguments.offset, arguments.size)
    if len(found) < arguments.size:
        raise Failure(38, f"{arguments.path} ends before {arguments.offset + arguments.size}")
    return (found,)


@serves("domain_inject_nmi", slow=True)
def inject_nmi(session: Session, arguments: Any) -> None:
    """Interrupt a machine."""
    check_flags(arguments.flags, 0, "virDomainInjectNMI")
    _part(session, "domain_inject_nmi").nmi(session.uuid(arguments.dom))


@serves("domain_pm_wakeup", slow=True)
def pm_wakeup(session: Session, arguments: Any) -> None:
    """Wake a machine that sleeps."""
    check_flags(arguments.flags, 0, "virDomainPMWakeup")
    _part(session, "domain_pm_wakeup").wakeup(session.uuid(arguments.dom))


def _check_size(size: int) -> None:
    if size > _MOST:
        raise Failure(_INVALID_ARG, f"size {size} is more than {_MOST}, which one call may ask for")
