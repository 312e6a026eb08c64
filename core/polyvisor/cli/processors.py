"""Commands that compare CPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.cli._declare import argument, echo, option
from polyvisor.cli._session import command, session

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyvisor.host import GuestKind

__all__: list[str] = []


def _kind(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say which guests are meant."""
    for name, text in (
        ("machine", "Of this machine type."),
        ("arch", "Of guests of this architecture."),
        ("emulator", "Of this emulator."),
        ("virttype", "Of domains of this type: kvm or qemu."),
    ):
        function = option(f"--{name}", help=text)(function)
    return function


def _cpus(file: str) -> tuple[str, ...]:
    """Return the CPUs in a file, ``-`` for standard input."""
    import sys

    from polyvisor.errors import SchemaError, StorageError
    from polyvisor.model.host_cpu import cpus_in

    try:
        if file == "-":
            text = sys.stdin.read()
        else:
            with open(file, encoding="utf-8") as opened:
                text = opened.read()
    except OSError as error:
        raise StorageError(f"{file}: {error.strerror}", path=file) from error
    found = cpus_in(text)
    if not found:
        raise SchemaError(
            f"File '{file}' does not contain any <cpu> element or valid domain XML, host "
            "capabilities XML, or domain capabilities XML"
        )
    return found


def _compare(file: str, error: bool, guests: GuestKind | None) -> None:
    from polyvisor.errors import OperationFailed
    from polyvisor.host import CpuMatch

    found = session().connection.compare_cpu(_cpus(file)[0], guests=guests)
    if error and found.match is CpuMatch.INCOMPATIBLE:
        raise OperationFailed(f"the CPU is incompatible with host CPU: {found.reason}")
    host = "host CPU" if guests is None else "the CPU provided by hypervisor on the host"
    other = f"CPU described in {file}"
    text = {
        CpuMatch.INCOMPATIBLE: f"{other} is incompatible with {host}",
        CpuMatch.IDENTICAL: f"{other} is identical to {host}",
        CpuMatch.SUPERSET: f"{host[:1].upper()}{host[1:]} is a superset of {other}",
    }[found.match]
    session().facts({"match": found.match, "reason": found.reason}, lambda: echo(text))
    if found.match is CpuMatch.INCOMPATIBLE:
        session().exit_code = 1


def _baseline(file: str, guests: GuestKind | None, *, features: bool, migratable: bool) -> None:
    found = session().connection.baseline_cpu(
        _cpus(file), guests=guests, expand=features, migratable=migratable
    )
    text = found.to_xml()
    session().facts({"xml": text}, lambda: echo(text))


def _guests(given: dict[str, Any]) -> GuestKind:
    from polyvisor.host import GuestKind

    return GuestKind(given["emulator"], given["arch"], given["machine"], given["virttype"])


@command("cpu-compare")
@argument("file")
@option("--error", is_flag=True, help="Fail, with the reason, if they are incompatible.")
def cpu_compare_command(file: str, error: bool) -> None:
    """Compare the CPU in FILE with the host's."""
    _compare(file, error, None)


@command("hypervisor-cpu-compare")
@argument("file")
@_kind
@option("--error", is_flag=True, help="Fail, with the reason, if they are incompatible.")
def hypervisor_cpu_compare_command(file: str, error: bool, **kind: Any) -> None:
    """Compare the CPU in FILE with what guests can have on the host."""
    _compare(file, error, _guests(kind))


@command("cpu-baseline")
@argument("file")
@option("--features", is_flag=True, help="Name all features.")
@option("--migratable", is_flag=True, help="Without features that prevent migration.")
def cpu_baseline_command(file: str, features: bool, migratable: bool) -> None:
    """Print the best CPU that the hosts whose CPUs are in FILE have in common."""
    _baseline(file, None, features=features, migratable=migratable)


@command("hypervisor-cpu-baseline")
@argument("file")
@_kind
@option("--features", is_flag=True, help="Name all features.")
@option("--migratable", is_flag=True, help="Without features that prevent migration.")
def hypervisor_cpu_baseline_command(
    file: str, features: bool, migratable: bool, **kind: Any
) -> None:
    """Print the best CPU that those in FILE have in common and guests can have on the host."""
    _baseline(file, _guests(kind), features=features, migratable=migratable)
