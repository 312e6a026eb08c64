"""The command that prints events."""

from __future__ import annotations

import json

from polyvisor.cli._declare import argument, echo, option
from polyvisor.cli._session import command, session
from polyvisor.events import Event, EventKind

__all__: list[str] = []


@command("event")
@argument("events", nargs=-1, metavar="[EVENT]...")
@option("--domain", metavar="DOMAIN", help="Only events of this domain.")
@option("--loop", is_flag=True, help="Go on after the first event.")
@option("--timeout", type=float, help="Seconds to wait for the next event.")
@option("--timestamp", is_flag=True, help="Say when each happened.")
@option("--list", "kinds", is_flag=True, help="Print the kinds of event.")
def event_command(
    events: tuple[str, ...],
    domain: str | None,
    loop: bool,
    timeout: float | None,
    timestamp: bool,
    kinds: bool,
) -> None:
    """Wait for an event, of one of the kinds EVENT if any are given, and print it.

    With --json each event is one line.
    """
    known = [str(kind) for kind in EventKind]
    if kinds:
        session().facts(known, lambda: echo("\n".join(known)))
        return
    for word in events:
        if word not in known:
            from click import BadParameter

            raise BadParameter(f"{word!r} is not one of {', '.join(known)}")
    here = session()
    uuid = None if domain is None else here.domain(domain).uuid
    count = 0
    for event in here.connection.events(timeout=timeout):
        if (events and event.kind not in events) or uuid not in (None, event.domain.uuid):
            continue
        echo(_line(event, as_json=here.json, timestamp=timestamp))
        count += 1
        if not loop:
            break
    if count == 0:
        here.exit_code = 1
    if not (here.json or here.quiet):
        echo(f"events received: {count}")


def _line(event: Event, *, as_json: bool, timestamp: bool) -> str:
    if as_json:
        return json.dumps(
            {
                "sequence": event.sequence,
                "time": event.time.isoformat(),
                "domain": {"name": event.domain.name, "uuid": str(event.domain.uuid)},
                "kind": str(event.kind),
                "detail": event.detail,
                "data": dict(event.data),
            },
            ensure_ascii=False,
        )
    when = f"{event.time.astimezone().isoformat(' ', 'milliseconds')}: " if timestamp else ""
    return f"{when}event '{event.kind}' for domain '{event.domain.name}': {event.detail}".rstrip()
