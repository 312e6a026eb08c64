"""From a procedure's number to who serves it.

A family is a module of ``_families`` whose functions say which procedure they serve::

    @serves("domain_suspend", slow=True)
    def suspend(session: Session, arguments: Any) -> None:
        session.driver.domains.suspend(session.uuid(arguments.dom))

One that a stream follows gets that as well, and gives it a source or a sink; it is always
slow. One that descriptors come or go with gets these as well. What one returns is the
result's fields in order, or their bytes if it has encoded them itself, or ``None`` if there
are none; what it raises is the answer too. It need not check who calls: procedures declare
what a caller must be allowed to, and that is looked at before.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from polyvisor_remote.wire import program

if TYPE_CHECKING:
    from polyvisor_remote.wire import Procedure

__all__ = ["FAMILIES", "Entry", "Handler", "Table", "serves"]

Handler = Callable[..., Any]

#: Modules that serve something; what is in none of them is answered with "not supported".
FAMILIES = (
    "connect",
    "domains",
    "life",
    "definitions",
    "details",
    "figures",
    "counting",
    "protection",
    "jobs",
    "saving",
    "snapshots",
    "devices",
    "resources",
    "seat",
    "tuning",
    "iothreads",
    "values",
    "blockjobs",
    "checkpoints",
    "agent",
    "debug",
    "monitorevents",
    "devicestats",
    "migration",
    "oldmigration",
    "steering",
    "native",
    "events",
    "hostfigures",
    "processors",
    "hostmachine",
    "networks",
    "pools",
    "volumes",
    "interfaces",
    "nodedevices",
    "secrets",
    "nwfilters",
    "objectevents",
    "authentication",
)

_served: dict[tuple[str, str], tuple[Handler, bool, str, bool, bool]] = {}


def serves(
    procedure: str,
    *,
    slow: bool = False,
    needs: str = "connection",
    of: str = "remote",
    streams: bool = False,
    files: bool = False,
) -> Callable[[Handler], Handler]:
    """Have a function serve a procedure.

    Args:
        procedure: its name.
        slow: whether it is known to take long, so that a thread of its own does it from
            the beginning.
        needs: ``"connection"``, an open one; ``"login"``, a client that has authenticated;
            ``"nothing"``.
        of: the procedure's program.
        streams: whether a stream follows though the protocol's description does not say so.
        files: whether descriptors come with the call or go with its answer, as
            :class:`polyvisor_remote.server.passing.Files`; such a one must be slow.
    """

    def mark(handler: Handler) -> Handler:
        assert (of, procedure) not in _served, procedure
        _served[of, procedure] = (handler, slow, needs, streams, files)
        return handler

    return mark


class Entry:
    """A procedure, ready to be served.

    Attributes:
        procedure: the procedure.
        handler: who serves it, or ``None``.
        slow: see :func:`serves`.
        needs: see :func:`serves`.
        streams: whether a stream follows.
        files: see :func:`serves`.
        read_only: whether a read-only client may call it, whatever the arguments.
        decode: makes arguments of bytes.
        encode: makes bytes of results; ``None`` if there are none.
    """

    __slots__ = (
        *("decode", "encode", "files", "handler", "needs"),
        *("procedure", "read_only", "slow", "streams"),
    )

    def __init__(
        self, procedure: Procedure, served: tuple[Handler, bool, str, bool, bool] | None
    ) -> None:
        self.procedure = procedure
        self.handler: Handler | None = None
        self.slow, self.needs, streams, self.files = False, "connection", False, False
        if served is not None:
            self.handler, self.slow, self.needs, streams, self.files = served
        self.streams = streams or procedure.stream is not None
        self.read_only = procedure.read_only
        self.decode = procedure.arguments.codec.decode
        self.encode = procedure.result.codec.encode if procedure.result.fields else None


class Table:
    """All procedures, by the numbers of program and procedure."""

    def __init__(self) -> None:
        for family in FAMILIES:
            import_module(f"polyvisor_remote.server._families.{family}")
        self._programs = {
            one.number: one for one in (program("remote"), program("qemu"), program("lxc"))
        }
        self._entries: dict[tuple[int, int], Entry] = {}

    def version(self, number: int) -> int | None:
        """Return the version of a program, or ``None`` if there is no such program."""
        found = self._programs.get(number)
        return None if found is None else found.version

    def get(self, number: int, procedure: int) -> Entry | None:
        """Return a procedure, or ``None`` if there is no such procedure."""
        entry = self._entries.get((number, procedure))
        if entry is None:
            home = self._programs[number]
            if procedure not in home or home[procedure].event:
                return None
            declared = home[procedure]
            entry = Entry(declared, _served.get((home.name, declared.name)))
            self._entries[number, procedure] = entry
        return entry
