"""Calls that the families of host objects have in common, each declared once for all of them.

A family says what it is called in procedures and where the driver has it; the calls that are
its own are served by functions of the driver's part and the arguments::

    NETWORKS = Family("network", "networks", "net", lambda driver: driver.networks)
    NETWORKS.serve_lists()

    @NETWORKS.serves("network_get_bridge_name")
    def get_bridge_name(part: Networks, arguments: Any) -> tuple[str]:
        return (part.bridge(NETWORKS.key(arguments)),)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID

import attrs

from polyvisor.errors import NotFound
from polyvisor_remote.server._families.arguments import check_flags, need
from polyvisor_remote.server._families.objects import key_of, named, reference
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import function_name

if TYPE_CHECKING:
    from polyvisor.driver import Driver
    from polyvisor.objects import ObjectSummary
    from polyvisor_remote.server.session import Session

__all__ = ["Family"]

_Part = TypeVar("_Part", bound=Any)
_INACTIVE_XML = 1


@attrs.frozen
class Family(Generic[_Part]):
    """A family of host objects, as the protocol has it.

    Attributes:
        one: what one is called in procedures.
        many: what several are called there.
        argument: the argument that names one.
        part: gives the driver's part, or ``None``.
        refer: makes what clients know one by.
        key_of: gives the key of what a client names one by.
    """

    one: str
    many: str
    argument: str
    part: Callable[[Driver], _Part | None]
    refer: Callable[[_Part, ObjectSummary], Any] = lambda part, found: reference(found)
    key_of: Callable[[Any], str] = key_of

    @property
    def noun(self) -> str:
        """What one is called in errors."""
        return self.one.replace("_", " ")

    def of(self, session: Session, procedure: str) -> _Part:
        """Return the driver's part, which a procedure needs.

        Raises:
            Failure: there is none.
        """
        return need(self.part(session.driver), procedure)

    def key(self, arguments: Any) -> str:
        """Return the key of the one that a call is about."""
        return self.key_of(getattr(arguments, self.argument))

    def serves(
        self, procedure: str, *, slow: bool = False, flags: int | None = 0
    ) -> Callable[[Callable[[_Part, Any], Any]], Callable[[_Part, Any], Any]]:
        """Have a function of the driver's part and the arguments serve a procedure.

        Args:
            procedure: its name.
            slow: see :func:`polyvisor_remote.server.dispatch.serves`.
            flags: those that it knows, if it has any; ``None``: the function looks at them.
        """

        def mark(act: Callable[[_Part, Any], Any]) -> Callable[[_Part, Any], Any]:
            @serves(procedure, slow=slow)
            def handler(session: Session, arguments: Any) -> Any:
                if flags is not None:
                    check_flags(getattr(arguments, "flags", 0), flags, function_name(procedure))
                return act(self.of(session, procedure), arguments)

            return act

        return mark

    # What many families have

    def serve_lists(self) -> None:
        """Serve the calls that count and name those that are active, and those that are not."""
        for active, word in ((True, ""), (False, "defined_")):

            def count(part: _Part, arguments: Any, active: bool = active) -> tuple[int]:
                return (sum(one.active is active for one in part.summaries()),)

            def names(part: _Part, arguments: Any, active: bool = active) -> tuple[list[str]]:
                return (named(part.summaries(), arguments.maxnames, active=active),)

            self.serves(f"connect_num_of_{word}{self.many}")(count)
            self.serves(f"connect_list_{word}{self.many}")(names)

    def serve_lookups(self) -> None:
        """Serve the calls that find one by its name and by its UUID."""
        self.serve_uuid_lookup()

        @self.serves(f"{self.one}_lookup_by_name")
        def by_name(part: _Part, arguments: Any) -> tuple[Any]:
            try:
                return (self.refer(part, part.by_name(arguments.name)),)
            except NotFound as error:
                raise self.missing(f"name '{arguments.name}'", error) from error

    def serve_uuid_lookup(self) -> None:
        """Serve the call that finds one by its UUID."""

        @self.serves(f"{self.one}_lookup_by_uuid")
        def by_uuid(part: _Part, arguments: Any) -> tuple[Any]:
            key = str(UUID(bytes=arguments.uuid))
            try:
                return (self.refer(part, part.get(key)),)
            except NotFound as error:
                raise self.missing(f"uuid '{key}'", error) from error

    def missing(self, what: str, error: NotFound | None = None) -> NotFound:
        """Return the error for one that cannot be found, in libvirt's words."""
        key = error.key if error is not None else None
        return NotFound(f"no {self.noun} with matching {what}", kind=self.noun, key=key)

    def serve_definitions(self, spec: Any, *, inactive_xml: bool, flagged: bool) -> None:
        """Serve the calls that define one, tell its definition and forget it.

        Every definition is validated, whatever a flag says.

        Args:
            spec: the class of definitions.
            inactive_xml: whether the definition of an active one can be asked for.
            flagged: whether defining with flags is a call of its own.
        """

        def define(part: _Part, arguments: Any) -> tuple[Any]:
            return (self.refer(part, part.get(part.define(spec.from_xml(arguments.xml)))),)

        self.serves(f"{self.one}_define_xml", slow=True, flags=1)(define)
        if flagged:
            self.serves(f"{self.one}_define_xml_flags", slow=True, flags=1)(define)

        @self.serves(f"{self.one}_get_xml_desc", flags=_INACTIVE_XML if inactive_xml else 0)
        def xml(part: _Part, arguments: Any) -> tuple[str]:
            more = {"inactive": True} if arguments.flags else {}
            return (part.xml(self.key(arguments), **more),)

        @self.serves(f"{self.one}_undefine", slow=True)
        def undefine(part: _Part, arguments: Any) -> None:
            part.undefine(self.key(arguments))

    def serve_end(self) -> None:
        """Serve the call that stops one."""

        @self.serves(f"{self.one}_destroy", slow=True)
        def destroy(part: _Part, arguments: Any) -> None:
            part.destroy(self.key(arguments))

    def serve_facts(self, *facts: str) -> None:
        """Serve the calls that say whether one is ``active``, ``persistent``, ``autostart``."""
        for fact in facts:

            def tell(part: _Part, arguments: Any, fact: str = fact) -> tuple[int]:
                return (int(getattr(part.get(self.key(arguments)), fact)),)

            word = "get" if fact == "autostart" else "is"
            self.serves(f"{self.one}_{word}_{fact}")(tell)

    def serve_autostart(self) -> None:
        """Serve the calls that say whether one starts with the host, and have it do so."""
        self.serve_facts("autostart")

        @self.serves(f"{self.one}_set_autostart", slow=True)
        def set_autostart(part: _Part, arguments: Any) -> None:
            part.set_autostart(self.key(arguments), bool(arguments.autostart))
