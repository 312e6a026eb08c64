"""Starting what is marked to start with the host."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from polyvisor.errors import PolyvisorError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from polyvisor.connection import Connection

__all__ = ["start_marked"]

log = logging.getLogger("polyvisor.remote")


def start_marked(connection: Connection) -> None:
    """Start what is marked and does not run; what does not start is logged.

    Storage pools come first and then networks, since domains may need them.
    """
    for kind, thing in _marked(connection):
        try:
            thing.start()
        except PolyvisorError as error:
            log.error("%s %r does not start with the host: %s", kind, thing.name, error.message)
        else:
            log.info("%s %r was started with the host", kind, thing.name)


def _marked(connection: Connection) -> Iterator[tuple[str, Any]]:
    usable = connection.support.usable
    families: list[tuple[str, Iterable[Any]]] = []
    if usable("storage"):
        families.append(("storage pool", connection.storage_pools))
    if usable("networks"):
        families.append(("network", connection.networks))
    for kind, things in families:
        yield from ((kind, one) for one in things if one.autostart and not one.active)
    for domain in connection.domains.list(active=False):
        if domain.info().autostart:
            yield "domain", domain
