"""Commands that reach into a running machine."""

from __future__ import annotations

from polyvisor.cli._declare import argument, echo, option
from polyvisor.cli._session import command, domain_argument, session
from polyvisor.errors import HypervisorError, InvalidArgument

__all__: list[str] = []


@command("qemu-monitor-command")
@domain_argument
@argument("words", nargs=-1, required=True, metavar="COMMAND...")
@option("--hmp", is_flag=True, help="COMMAND is one for people, not JSON text.")
@option("--pretty", is_flag=True, help="Print the answer on several lines.")
@option("--return-value", is_flag=True, help="Print only what the command returns.")
def qemu_monitor_command_command(
    domain: str, words: tuple[str, ...], hmp: bool, pretty: bool, return_value: bool
) -> None:
    """Send COMMAND to the monitor of DOMAIN's QEMU and print its answer."""
    import json

    if hmp and (pretty or return_value):
        raise InvalidArgument("--hmp has text for an answer; leave out --pretty and --return-value")
    debug = session().domain(domain).debug
    answer = debug.command(" ".join(words), human=hmp)
    if hmp:
        session().facts(answer, lambda: echo(answer))
        return
    told = json.loads(answer)
    if return_value:
        if "error" in told:
            raise HypervisorError(
                f"QEMU refuses: {told['error'].get('desc')}",
                native_code=told["error"].get("class"),
                native_message=told["error"].get("desc"),
            )
        told = told["return"]
    text = json.dumps(told, indent=2) if pretty else json.dumps(told, separators=(",", ":"))
    session().facts(told, lambda: echo(text))


@command("inject-nmi")
@domain_argument
def inject_nmi_command(domain: str) -> None:
    """Interrupt DOMAIN's machine in the way that cannot be masked."""
    found = session().domain(domain)
    found.debug.nmi()
    session().done(f"Domain '{found.name}' was interrupted", uuid=found.uuid)


@command("qemu-monitor-event")
@domain_argument
@argument("events", nargs=-1, metavar="[EVENT]...")
@option("--loop", is_flag=True, help="Go on after the first event.")
@option("--timeout", type=float, help="Seconds to wait for the next event of any domain.")
@option("--pretty", is_flag=True, help="Print what an event says on several lines.")
def qemu_monitor_event_command(
    domain: str, events: tuple[str, ...], loop: bool, timeout: float | None, pretty: bool
) -> None:
    """Wait for an event of the monitor of DOMAIN's QEMU, one of EVENT if given, and print it.

    With --json each event is one line.
    """
    import json

    here = session()
    count = 0
    for event in here.domain(domain).debug.events(timeout=timeout):
        if events and event.name not in events:
            continue
        told = None if event.details is None else json.loads(event.details)
        if here.json:
            facts = {"event": event.name, "time": event.time, "domain": event.domain.name}
            echo(json.dumps({**facts, "details": told}))
        else:
            text = json.dumps(told, indent=2) if pretty else event.details
            words = "" if told is None else f": {text}"
            echo(f"event {event.name} at {event.time:.6f} for domain '{event.domain.name}'{words}")
        count += 1
        if not loop:
            break
    if count == 0:
        here.exit_code = 1
    if not (here.json or here.quiet):
        echo(f"events received: {count}")
