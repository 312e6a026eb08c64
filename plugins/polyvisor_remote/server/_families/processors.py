"""Comparing CPUs, and what several have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.host import CpuMatch, GuestKind
from polyvisor_remote.server._families.arguments import check_flags, need
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import CPU_INCOMPATIBLE, Failure

if TYPE_CHECKING:
    from polyvisor_remote.server.session import Session

#: ``virConnectCompareCPUFlags``: an error instead of an answer; against the schema, which is
#: libvirt's own and looked at by nobody here.
_FAIL_INCOMPATIBLE, _VALIDATE = 1, 2
#: ``virConnectBaselineCPUFlags``.
_EXPAND, _MIGRATABLE = 1, 2
#: ``virCPUCompareResult``.
_RESULTS = {CpuMatch.INCOMPATIBLE: 0, CpuMatch.IDENTICAL: 1, CpuMatch.SUPERSET: 2}


def _guests(arguments: Any) -> GuestKind:
    return GuestKind(
        emulator=arguments.emulator,
        arch=arguments.arch,
        machine=arguments.machine,
        kind=arguments.virttype,
    )


def _compared(
    session: Session, arguments: Any, xml: str, guests: GuestKind | None, procedure: str, name: str
) -> tuple[int]:
    check_flags(arguments.flags, _FAIL_INCOMPATIBLE | _VALIDATE, name)
    part = need(session.driver.processors, procedure)
    found = part.compare(xml, guests)
    if found.match is CpuMatch.INCOMPATIBLE and arguments.flags & _FAIL_INCOMPATIBLE:
        raise Failure(CPU_INCOMPATIBLE, found.reason)
    return (_RESULTS[found.match],)


def _baseline(
    session: Session, arguments: Any, guests: GuestKind | None, procedure: str, name: str
) -> tuple[str]:
    check_flags(arguments.flags, _EXPAND | _MIGRATABLE, name)
    part = need(session.driver.processors, procedure)
    found = part.baseline(
        arguments.xmlCPUs,
        guests,
        expand=bool(arguments.flags & _EXPAND),
        migratable=bool(arguments.flags & _MIGRATABLE),
    )
    return (found.to_xml(),)


@serves("connect_compare_cpu", slow=True)
def compare_cpu(session: Session, arguments: Any) -> tuple[int]:
    """Compare a CPU with the host's."""
    names = ("connect_compare_cpu", "virConnectCompareCPU")
    return _compared(session, arguments, arguments.xml, None, *names)


@serves("connect_compare_hypervisor_cpu", slow=True)
def compare_hypervisor_cpu(session: Session, arguments: Any) -> tuple[int]:
    """Compare a CPU with what guests can have here."""
    names = ("connect_compare_hypervisor_cpu", "virConnectCompareHypervisorCPU")
    return _compared(session, arguments, arguments.xmlCPU, _guests(arguments), *names)


@serves("connect_baseline_cpu", slow=True)
def baseline_cpu(session: Session, arguments: Any) -> tuple[str]:
    """Return the best CPU that hosts have in common."""
    return _baseline(session, arguments, None, "connect_baseline_cpu", "virConnectBaselineCPU")


@serves("connect_baseline_hypervisor_cpu", slow=True)
def baseline_hypervisor_cpu(session: Session, arguments: Any) -> tuple[str]:
    """Return the best CPU that some have in common and guests can have here."""
    names = ("connect_baseline_hypervisor_cpu", "virConnectBaselineHypervisorCPU")
    return _baseline(session, arguments, _guests(arguments), *names)
