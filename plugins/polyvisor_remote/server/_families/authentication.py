"""Who a client is: what must be settled before anything else."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import AuthError, ConfigError
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure
from polyvisor_remote.server.scram import MECHANISMS, Exchange, Plain, Scram

if TYPE_CHECKING:
    from polyvisor_remote.server.session import Session

# remote_auth_type
_NONE, _SASL, _POLKIT = 0, 1, 2
_AUTH_FAILED = 45
_NOTHING = "there is nothing to authenticate for here"
#: Attempts that a client has.
_ATTEMPTS = 3

log = logging.getLogger("polyvisor.remote")


@serves("auth_list", needs="nothing")
def auth_list(session: Session, arguments: Any) -> tuple[list[int]]:
    """Say how to authenticate; not at all, where the kernel or TLS has said who it is."""
    client = session.client
    if client.polkit and not client.authenticated and client.identity.uid == 0:
        # root need not ask, and comes in where polkit does not run.
        client.authenticate(client.identity)
    if client.authenticated:
        return ([_NONE],)
    return ([_POLKIT if client.polkit else _SASL],)


@serves("auth_polkit", slow=True, needs="nothing")
def auth_polkit(session: Session, arguments: Any) -> tuple[int]:
    """Ask polkit."""
    from polyvisor_remote.server import polkit

    client, who = session.client, session.client.identity
    if client.authenticated or not client.polkit:
        raise Failure(_AUTH_FAILED, _NOTHING)
    assert who.pid is not None
    assert who.uid is not None
    action = polkit.MONITOR if client.readonly else polkit.MANAGE
    try:
        polkit.ask(action, who.pid, who.started or 0, who.uid, lambda: client.closed)
    except Failure as failure:
        _failed(session, str(failure))
        raise
    client.authenticate(who)
    log.info("%s has authenticated", client)
    return (1,)


def _offered(session: Session) -> tuple[str, ...]:
    """Return the mechanisms for this client: PLAIN only where nobody can listen in."""
    return MECHANISMS if session.client.transport.secure else MECHANISMS[:1]


@serves("auth_sasl_init", needs="nothing")
def sasl_init(session: Session, arguments: Any) -> tuple[str]:
    """Name the mechanisms."""
    if not _asks_for_sasl(session):
        raise Failure(_AUTH_FAILED, _NOTHING)
    return (",".join(_offered(session)),)


@serves("auth_sasl_start", slow=True, needs="nothing")
def sasl_start(session: Session, arguments: Any) -> tuple[int, int, bytes]:
    """Begin with a mechanism."""
    users = session.server.users
    if users is None or not _asks_for_sasl(session):
        raise Failure(_AUTH_FAILED, _NOTHING)
    if arguments.mech not in _offered(session):
        raise Failure(_AUTH_FAILED, f"there is no mechanism {arguments.mech!r} here")
    exchange: Exchange = Scram(users) if arguments.mech == MECHANISMS[0] else Plain(users)
    session.kept["exchange"] = exchange
    return _step(session, exchange, arguments)


@serves("auth_sasl_step", slow=True, needs="nothing")
def sasl_step(session: Session, arguments: Any) -> tuple[int, int, bytes]:
    """Go on with it."""
    exchange: Exchange | None = session.kept.get("exchange")
    if exchange is None:
        raise Failure(_AUTH_FAILED, "no exchange was begun")
    return _step(session, exchange, arguments)


def _asks_for_sasl(session: Session) -> bool:
    client = session.client
    return not (client.authenticated or client.polkit or session.server.users is None)


def _failed(session: Session, why: str) -> None:
    """Write down that a client did not get in; one that tries too often is let go."""
    client = session.client
    failed = session.kept["attempts"] = session.kept.get("attempts", 0) + 1
    log.warning("%s: %s", client, why)
    if failed >= _ATTEMPTS:
        client.hang_up()


def _step(session: Session, exchange: Exchange, arguments: Any) -> tuple[int, int, bytes]:
    client = session.client
    try:
        answer = exchange.step(None if arguments.nil else arguments.data)
    except (AuthError, ConfigError) as error:
        session.kept.pop("exchange", None)
        _failed(session, error.message)
        # Why it failed is for the log, not for the one who tried.
        raise Failure(_AUTH_FAILED, "authentication failed") from error
    if exchange.user is not None:
        session.kept.pop("exchange", None)
        client.authenticate(attrs.evolve(client.identity, name=exchange.user))
        log.info("%s has authenticated", client)
    return int(exchange.user is not None), int(answer is None), answer or b""
