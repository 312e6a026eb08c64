"""Network filters: which traffic of a guest passes."""

from __future__ import annotations

import re
from typing import ClassVar, Literal, Self
from uuid import UUID

import attrs

from polyvisor.model._codecs import NAME, STR, UUID_TEXT, Codec, Fault, choices, integer
from polyvisor.model._nwfilter_codecs import STATEMATCH
from polyvisor.model.binding import Element, attr, children, element, value
from polyvisor.model.document import Document
from polyvisor.model.nwfilter_match import MATCHES, Match
from polyvisor.model.storage import set_defaults

__all__ = ["NwFilterParameter", "NwFilterRef", "NwFilterRule", "NwFilterSpec"]

RuleAction = Literal["drop", "accept", "reject", "return", "continue"]
RuleDirection = Literal["in", "out", "inout"]
PRIORITY = integer(-1000, 1000)

#: Priorities of chains that are not given one (NWFILTER_*_FILTER_PRI, nwfilter_conf.h).
_CHAINS = {
    "root": 0,
    "mac": -800,
    "vlan": -750,
    "stp": 0,
    "arp": -500,
    "rarp": -400,
    "ipv4": -700,
    "ipv6": -600,
}
_chain = re.compile(r"[a-zA-Z0-9_.:-]{1,12}").fullmatch


def _chain_prefix(chain: str) -> str | None:
    return next((name for name in _CHAINS if chain.startswith(name)), None)


def _read_chain(text: str | None) -> str:
    if not isinstance(text, str) or _chain(text) is None:
        raise Fault(
            f"{text or ''!r} is not the name of a chain",
            "use up to 12 letters, digits and _ - . :",
        )
    prefix = _chain_prefix(text)
    if prefix is None or (prefix == "root" and text != "root"):
        others = ", ".join(name for name in _CHAINS if name != "root")
        raise Fault(f"there is no chain {text!r}", f"use root, or a name that starts with {others}")
    return text


#: The chain that a filter's rules are in: of all traffic, or of one protocol's.
CHAIN = Codec(_read_chain, _read_chain)


@element(kw_only=True)
class NwFilterParameter(Element):
    """What a variable of another filter stands for."""

    name: str = attr(NAME, required=True)
    value: str = attr(STR, required=True)


@element(kw_only=True)
class NwFilterRef(Element):
    """Another filter whose rules count here: ``<filterref>``."""

    filter: str = attr(required=True)
    parameters: tuple[NwFilterParameter, ...] = children(NwFilterParameter, "parameter")


@element(kw_only=True)
class NwFilterRule(Element):
    """What happens with packets: ``<rule>``."""

    action: RuleAction = attr(choices(RuleAction), required=True)
    direction: RuleDirection = attr(choices(RuleDirection), required=True)
    #: The least is asked first.
    priority: int = attr(PRIORITY, default=500)
    #: False: the connection's state does not matter.
    statematch: bool | None = attr(STATEMATCH)
    #: What packets are like; one as a rule, none: all packets.
    matches: tuple[Match, ...] = children(MATCHES)


@element(kw_only=True)
class NwFilterSpec(Document):
    """A network filter: libvirt's ``<filter>``.

    Values are frozen; :func:`attrs.evolve` makes a changed one.
    """

    XML_TAG: ClassVar[str] = "filter"
    XML_TITLE: ClassVar[str] = "network filter"

    name: str = attr(required=True)
    chain: str = attr(CHAIN, default="root")
    #: The chain's; the least is asked first.
    priority: int | None = attr(PRIORITY)
    uuid: UUID | None = value(UUID_TEXT)
    entries: tuple[NwFilterRule | NwFilterRef, ...] = children(
        {"rule": NwFilterRule, "filterref": NwFilterRef}
    )

    def __attrs_post_init__(self) -> None:
        if self.priority is None:
            usual = _CHAINS.get(_chain_prefix(self.chain) or "")
            if usual:
                set_defaults(self, priority=usual)

    @property
    def rules(self) -> tuple[NwFilterRule, ...]:
        """The rules of its own."""
        return tuple(entry for entry in self.entries if isinstance(entry, NwFilterRule))

    def definition(self) -> Self:
        """Return what libvirt keeps of it when it is defined: without what is the default."""
        spec = super().definition()
        entries = tuple(
            attrs.evolve(
                entry,
                statematch=False if entry.statematch is False else None,
                matches=tuple(attrs.evolve(m, match=m.match and None) for m in entry.matches),
            )
            if isinstance(entry, NwFilterRule)
            else attrs.evolve(
                entry, parameters=tuple(sorted(entry.parameters, key=lambda one: one.name))
            )
            for entry in spec.entries
        )
        return attrs.evolve(spec, priority=spec.priority or None, entries=entries)
