"""Migration as it was called before there were named parameters: the same five phases.

Clients call these where they have been told that a server takes no parameters; each is the
newer call with its arguments named (``VIR_MIGRATE_PARAM_*``).
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from polyvisor_remote.server._families import migration
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.wire import params

if TYPE_CHECKING:
    from polyvisor_remote.server.session import Session
    from polyvisor_remote.server.streams import Stream


def _named(arguments: Any) -> Any:
    """Return a call's arguments as those of the call that has parameters."""
    given = arguments._asdict()
    named = {
        "destination_xml": given.get("dom_xml") or given.get("xmlin"),
        "destination_name": given.get("dname"),
        "migrate_uri": given.get("uri") or given.get("uri_in"),
        "bandwidth": given.get("resource") or None,
    }
    return SimpleNamespace(**{**given, "params": params(named)})


@serves("domain_migrate_begin3", slow=True)
def begin(session: Session, arguments: Any) -> tuple[bytes, str]:
    """Source: say what the domain is, and hold it."""
    answer: tuple[bytes, str] = migration.begin(session, _named(arguments))
    return answer


@serves("domain_migrate_prepare3", slow=True)
def prepare(session: Session, arguments: Any) -> tuple[bytes, str | None]:
    """Destination: make ready to receive."""
    answer: tuple[bytes, str | None] = migration.prepare(session, _named(arguments))
    return answer


@serves("domain_migrate_prepare_tunnel3", slow=True)
def prepare_tunnel(session: Session, arguments: Any, stream: Stream) -> tuple[bytes]:
    """Destination: make ready to receive what comes with the stream that follows."""
    answer: tuple[bytes] = migration.prepare_tunnel(session, _named(arguments), stream)
    return answer


@serves("domain_migrate_perform3", slow=True)
def perform(session: Session, arguments: Any) -> tuple[bytes]:
    """Source: send everything; or, peer to peer, drive the migration."""
    answer: tuple[bytes] = migration.perform(session, _named(arguments))
    return answer


@serves("domain_migrate_finish3", slow=True)
def finish(session: Session, arguments: Any) -> tuple[Any, bytes]:
    """Destination: take the domain over and run it, or give it up."""
    answer: tuple[Any, bytes] = migration.finish(session, _named(arguments))
    return answer


@serves("domain_migrate_confirm3", slow=True)
def confirm(session: Session, arguments: Any) -> None:
    """Source: let go of the domain, or run it on as before."""
    migration.confirm(session, _named(arguments))
