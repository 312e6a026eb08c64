"""Commands for definitions and the life of domains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.cli._declare import Command, argument, echo, option, path
from polyvisor.cli._session import command, domain_argument, session

if TYPE_CHECKING:
    from polyvisor.connection import SpecSource
    from polyvisor.domain import Domain
    from polyvisor.model import DomainSpec

__all__: list[str] = []


def _plain(value: object) -> object:
    from uuid import UUID

    return str(value) if isinstance(value, UUID) else value


def read_spec(file: str) -> DomainSpec:
    """Read a definition from a file in any form, ``-`` for standard input."""
    from polyvisor.cli._documents import load_spec

    spec: DomainSpec = load_spec(file).value  # type: ignore[assignment]
    return spec


def _source(file: str) -> SpecSource:
    """Return what to define, such that faults are told with their lines."""
    from polyvisor.cli._documents import load_spec

    return load_spec(file).source()


_validate = option(
    "--validate", is_flag=True, help="Hold XML against libvirt's RELAX NG schema first."
)


@command("list")
@option("--all", "everything", is_flag=True, help="Active and inactive domains.")
@option("--inactive", is_flag=True, help="Only inactive domains.")
@option("--name", "only", flag_value="name", help="Print names alone.")
@option("--uuid", "only", flag_value="uuid", help="Print UUIDs alone.")
@option("--id", "only", flag_value="id", help="Print ids alone.")
@option("--title", is_flag=True, help="Show titles.")
@option("--managed-save", is_flag=True, help="Show which have a managed save image.")
def list_command(
    everything: bool, inactive: bool, only: str | None, title: bool, managed_save: bool
) -> None:
    """List domains: the active ones, unless --all or --inactive is given."""
    import attrs

    found = session().connection.domains.summaries(
        active=everything or not inactive, inactive=everything or inactive
    )
    # As virsh: active ones first, by id, then the others by name.
    lines = sorted(found, key=lambda line: (line.id is None, line.id or 0, line.name))

    def plain() -> None:
        if only is not None:
            for line in lines:
                value = getattr(line, only)
                echo("-" if value is None else str(value))
            return
        headers = ["Id", "Name", "State"]
        rows = []
        for line in lines:
            state = "saved" if managed_save and line.managed_save else str(line.state)
            rows.append([line.id, line.name, state])
            if title:
                rows[-1].append(line.title or "")
        session().table([*headers, "Title"] if title else headers, rows)

    data = [
        {name: _plain(value) for name, value in attrs.asdict(line, recurse=False).items()}
        for line in lines
    ]
    session().facts(data, plain)


@command("define")
@argument("file", type=path())
@_validate
def define_command(file: str, validate: bool) -> None:
    """Define a persistent domain from FILE ("-": standard input) without starting it."""
    domain = session().connection.domains.define(_source(file), validate=validate)
    session().done(f"Domain '{domain.name}' defined from {file}", uuid=domain.uuid)


@command("create")
@argument("file", type=path())
@option("--paused", is_flag=True, help="Leave its vCPUs stopped.")
@_validate
def create_command(file: str, paused: bool, validate: bool) -> None:
    """Start a transient domain from FILE; it is forgotten when it stops."""
    domain = session().connection.domains.create(_source(file), paused=paused, validate=validate)
    session().done(f"Domain '{domain.name}' created from {file}", uuid=domain.uuid)


@command("run")
@argument("file", type=path())
@option("--paused", is_flag=True, help="Leave its vCPUs stopped.")
@option("--wait", is_flag=True, help="Return when the domain has stopped.")
@option("--timeout", type=float, help="Seconds to wait at most.")
def run_command(file: str, paused: bool, wait: bool, timeout: float | None) -> None:
    """Define a domain from FILE and start it; one of that name is defined anew."""
    import attrs

    domains = session().connection.domains
    spec = read_spec(file)
    if spec.uuid is None and spec.name in domains:
        spec = attrs.evolve(spec, uuid=domains[spec.name].uuid)
    domain = domains.define(spec)
    domain.start(paused=paused)
    session().done(f"Domain '{domain.name}' started", uuid=domain.uuid)
    if wait:
        status = domain.wait(timeout=timeout)
        session().done(
            f"Domain '{domain.name}' is {status.state} ({status.reason})", uuid=domain.uuid
        )


@command("undefine")
@domain_argument
@option("--managed-save", is_flag=True, help="Remove its managed save image too.")
@option("--snapshots-metadata", "snapshots", is_flag=True, help="Remove its snapshots too.")
@option("--checkpoints-metadata", "checkpoints", is_flag=True, help="Remove its checkpoints too.")
@option("--nvram", "nvram", flag_value="remove", help="Remove its firmware's variables too.")
@option("--keep-nvram", "nvram", flag_value="keep", help="Keep its firmware's variables.")
@option("--tpm", "tpm", flag_value="remove", help="Remove what its emulated TPM keeps too.")
@option("--keep-tpm", "tpm", flag_value="keep", help="Keep what its emulated TPM keeps.")
def undefine_command(
    domain: str,
    managed_save: bool,
    snapshots: bool,
    checkpoints: bool,
    nvram: str | None,
    tpm: str | None,
) -> None:
    """Forget DOMAIN's definition; if it runs, it becomes transient."""
    found = session().domain(domain)
    name = found.name
    found.undefine(
        managed_save=managed_save,
        snapshots=snapshots,
        checkpoints=checkpoints,
        nvram=None if nvram is None else nvram == "remove",
        tpm=None if tpm is None else tpm == "remove",
    )
    session().done(f"Domain '{name}' has been undefined", uuid=found.uuid)


@command("start")
@domain_argument
@option("--paused", is_flag=True, help="Leave its vCPUs stopped.")
@option("--force-boot", is_flag=True, help="Boot afresh, drop a managed save image.")
@option("--bypass-cache", is_flag=True, help="Read its managed save image past the host's cache.")
def start_command(domain: str, paused: bool, force_boot: bool, bypass_cache: bool) -> None:
    """Start DOMAIN, from its managed save image if it has one."""
    found = session().domain(domain)
    found.start(paused=paused, force_boot=force_boot, bypass_cache=bypass_cache)
    session().done(f"Domain '{found.name}' started", uuid=found.uuid)


def _verb(name: str, said: str) -> Command:
    def run(domain: str) -> None:
        found: Domain = session().domain(domain)
        shown = found.name
        getattr(found, name)()
        session().done(f"Domain '{shown}' {said}", uuid=found.uuid)

    from polyvisor.domain import Domain as Handle

    run.__doc__ = getattr(Handle, name).__doc__.partition("\n")[0].replace(" it ", " DOMAIN ")
    return command(name)(domain_argument(run))


destroy_command: Command = _verb("destroy", "destroyed")
suspend_command: Command = _verb("suspend", "suspended")
resume_command: Command = _verb("resume", "resumed")
reset_command: Command = _verb("reset", "was reset")


_mode = option(
    "--mode",
    help="How to ask: acpi, agent, initctl, signal, paravirt, or several with commas, of which "
    "one is taken that works.",
)


def _modes(given: str | None) -> list[str] | None:
    return None if given is None else given.split(",")


@command("shutdown")
@domain_argument
@_mode
@option("--wait", is_flag=True, help="Return when it has stopped.")
@option("--timeout", type=float, help="Seconds to wait at most.")
def shutdown_command(domain: str, mode: str | None, wait: bool, timeout: float | None) -> None:
    """Ask DOMAIN's guest to shut down."""
    found = session().domain(domain)
    name = found.name
    found.shutdown(mode=_modes(mode))
    if wait:
        found.wait(timeout=timeout)
    session().done(
        f"Domain '{name}' {'has shut down' if wait else 'is being shutdown'}", uuid=found.uuid
    )


@command("reboot")
@domain_argument
@_mode
@option("--timeout", type=float, help="Seconds to stay at most until the guest has shut down.")
def reboot_command(domain: str, mode: str | None, timeout: float | None) -> None:
    """Ask DOMAIN's guest to reboot; if it takes a process to see to that, stay until then."""
    found = session().domain(domain)
    name = found.name
    found.reboot(mode=_modes(mode))
    session().done(f"Domain '{name}' is being rebooted", uuid=found.uuid)
    if found.reboot_pending:
        _see_rebooted(found, timeout)


def _see_rebooted(domain: Domain, timeout: float | None) -> None:
    """Stay until a guest has shut down and is started afresh, which our being here does."""
    from polyvisor.errors import Timeout
    from polyvisor.events import EventKind

    events = domain.connection.events(timeout=timeout)
    session().note(
        f"Staying until the guest of '{domain.name}' has shut down, to start it afresh; if you "
        f"leave, the next command that looks at it does"
    )
    if not domain.reboot_pending:
        return
    for event in events:
        ended = event.kind in (EventKind.REBOOT, EventKind.STOPPED)
        if ended and event.domain.uuid == domain.uuid:
            return
    raise Timeout(
        f"reboot {domain.name!r}: the guest has not shut down within {timeout:g} s; once it has, "
        f"the next command that looks at it starts it afresh",
        domain=domain.name,
    )


@command("autostart")
@domain_argument
@option("--disable", is_flag=True, help="Do not start it with the host any more.")
def autostart_command(domain: str, disable: bool) -> None:
    """Start DOMAIN together with the host."""
    found = session().domain(domain)
    found.set_autostart(not disable)
    said = "unmarked" if disable else "marked"
    session().done(f"Domain '{found.name}' {said} as autostarted", uuid=found.uuid)
