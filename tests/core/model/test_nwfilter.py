"""Network filters, as those who import the model meet them."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyvisor.errors import SchemaError
from polyvisor.model import NwFilterSpec
from polyvisor.model.binding import bindings_of
from polyvisor.model.nwfilter import NwFilterParameter, NwFilterRef, NwFilterRule
from polyvisor.model.nwfilter_match import MATCHES, AllMatch, TcpMatch


def test_a_filter_in_some_lines() -> None:
    """Numbers are numbers, and what libvirt fills in is filled in."""
    web = NwFilterSpec(
        name="web",
        entries=(
            NwFilterRef(filter="clean-traffic"),
            NwFilterRule(action="accept", direction="in", matches=(TcpMatch(dstportstart=443),)),
            NwFilterRule(action="drop", direction="inout", priority=1000, matches=(AllMatch(),)),
        ),
    )
    assert web.chain == "root"
    assert [rule.priority for rule in web.rules] == [500, 1000]
    assert "    <tcp dstportstart='443'/>\n" in web.to_xml()
    assert NwFilterSpec.from_xml(web.to_xml()) == web


def test_a_chain_has_its_usual_priority() -> None:
    """It depends on the protocol; root's and stp's, 0, is not written."""
    for chain, priority in [("arp-mine", -500), ("mac", -800), ("root", None), ("stp-x", None)]:
        assert NwFilterSpec(name="a", chain=chain).priority == priority
    assert NwFilterSpec(name="a", chain="arp", priority=0).definition().priority == -500


def one(attributes: str, tag: str = "tcp") -> Any:
    """Return the match of a filter's only rule."""
    spec = NwFilterSpec.from_xml(
        "<filter name='a'><rule action='drop' direction='in'>\n"
        f"<{tag} {attributes}/></rule></filter>"
    )
    assert NwFilterSpec.from_xml(spec.to_xml()) == spec
    assert NwFilterSpec.from_toml(spec.to_toml()) == spec
    return spec.rules[0].matches[0]


@pytest.mark.parametrize(
    ("tag", "name", "given", "kept"),
    [
        ("tcp", "dstportstart", "22", 22),
        ("tcp", "dstportstart", "0x0016", "0x16"),
        ("tcp", "dstportstart", "$PORT[ @1 ]", "$PORT[@1]"),
        ("tcp", "dstportstart", "$PORT[@0]", "$PORT"),
        ("tcp", "dstportstart", "$PORT[0]", "$PORT[0]"),
        ("tcp", "srcmacaddr", "1:2:3:4:5:A", "01:02:03:04:05:0a"),
        ("tcp", "srcipmask", "255.255.0.0", 16),
        ("tcp-ipv6", "srcipmask", "ffff:ffff::", 32),
        ("tcp-ipv6", "srcipaddr", "FD00:0::1", "fd00::1"),
        ("tcp", "state", "established,new", "NEW,ESTABLISHED"),
        ("tcp", "state", "NEW,NONE", "NONE"),
        ("tcp", "flags", "ack,syn/SYN", "SYN,ACK/SYN"),
        ("tcp", "flags", "ALL/", "ALL/NONE"),
        ("tcp", "ipsetflags", "SRC,dst", "src,dst"),
        ("mac", "protocolid", "0x800", "ipv4"),
        ("mac", "protocolid", "ARP", "arp"),
        ("mac", "protocolid", "0x1234", "0x1234"),
        ("ip", "protocol", "17", "udp"),
        ("ip", "protocol", "18", 18),
        ("arp", "opcode", "1", "Request"),
        ("arp", "opcode", "0xff", 255),
        ("arp", "gratuitous", "yes", True),
        ("arp", "gratuitous", "0", False),
    ],
)
def test_values_are_kept_as_libvirt_prints_them(
    tag: str, name: str, given: str, kept: object
) -> None:
    """Hex digits stay hex, masks are counted, names have one spelling."""
    assert getattr(one(f"{name}='{given}'", tag), name) == kept


@pytest.mark.parametrize(
    ("tag", "attributes", "message"),
    [
        ("tcp", "dstportstart='65536'", "line 2: filter/rule/tcp: attribute dstportstart: 65536"),
        ("tcp", "dstportstart='http'", "'http' is not known here; use a number from 0 to 65535"),
        ("tcp", "dstportstart='$'", "'\\$' is not a variable"),
        ("tcp", "dscp='64'", "64 is out of range; use a number from 0 to 63"),
        ("tcp", "srcipaddr='fd00::1'", "fd00::1 is of another family; use IPv4"),
        ("tcp", "srcipmask='33'", "33 is out of range"),
        ("tcp", "srcipmask='255.0.255.0'", "255.0.255.0 is not a mask"),
        ("tcp", "srcmacaddr='1:2'", "not a MAC address"),
        ("tcp", "state='OLD'", "'OLD' is not known here"),
        ("tcp", "flags='SYN'", "has no slash"),
        ("tcp", "ipset='a/b'", "not the name of an ipset"),
        ("tcp", "ipsetflags='src,any'", "not flags of an ipset"),
        ("mac", "srcmacmask='ff:00:ff:00:00:00'", "is not a mask"),
        ("mac", "protocolid='5'", "5 is out of range"),
        ("vlan", "vlanid='4096'", "4096 is out of range"),
        ("ip", "srcportstart='1'", "ports are of a protocol"),
        ("ip", "srcportstart='1' protocol='icmp'", "ports are of a protocol"),
        ("ip", "protocol='tpc'", "'tpc' is not known here"),
    ],
)
def test_matches_that_libvirt_refuses(tag: str, attributes: str, message: str) -> None:
    """The message names line, element and what would be right."""
    with pytest.raises(SchemaError, match=message):
        one(attributes, tag)


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<filter/>", "has no attribute name"),
        ("<filter name='a' chain='tcp'/>", "there is no chain 'tcp'; use root, or"),
        ("<filter name='a' chain='rooted'/>", "there is no chain 'rooted'"),
        ("<filter name='a' chain='arp-much-too-long'/>", "not the name of a chain"),
        ("<filter name='a' priority='1001'/>", "1001 is out of range"),
        ("<filter name='a'><rule direction='in'/></filter>", "has no attribute action"),
        ("<filter name='a'><rule action='drop'/></filter>", "has no attribute direction"),
        ("<filter name='a'><rule action='dorp' direction='in'/></filter>", "did you mean 'drop'"),
        ("<filter name='a'><filterref/></filter>", "has no attribute filter"),
    ],
)
def test_filters_that_libvirt_refuses(xml: str, message: str) -> None:
    """The message names line, element and what would be right."""
    with pytest.raises(SchemaError, match=message):
        NwFilterSpec.from_xml(xml)


def test_a_definition_is_without_defaults() -> None:
    """What libvirt does not write is dropped, and parameters are in order."""
    xml = (
        "<filter name='a' priority='0'><filterref filter='b'><parameter name='Z' value='1'/>"
        "<parameter name='A' value='2'/></filterref>"
        "<rule action='drop' direction='in' statematch='true'><tcp match='yes' odd='1'/></rule>"
        "</filter>"
    )
    kept = NwFilterSpec.from_xml(xml).definition()
    assert kept == NwFilterSpec(
        name="a",
        entries=(
            NwFilterRef(
                filter="b",
                parameters=(
                    NwFilterParameter(name="A", value="2"),
                    NwFilterParameter(name="Z", value="1"),
                ),
            ),
            NwFilterRule(action="drop", direction="in", matches=(TcpMatch(),)),
        ),
    )


def _values(cls: Any) -> st.SearchStrategy[Any]:
    """Return a strategy of matches of one class: variables, which every field takes."""
    fields = [name for name, binding in bindings_of(cls) if name not in {"match", "comment"}]
    return st.dictionaries(
        st.sampled_from(fields), st.from_regex(r"\A\$[A-Z]{1,5}(\[@?[1-9]\])?\Z"), max_size=4
    ).map(lambda words: cls(**words))


@given(
    matches=st.lists(
        st.sampled_from(sorted(MATCHES)).flatmap(lambda tag: _values(MATCHES[tag])), max_size=3
    ),
    comment=st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=20),
)
def test_filters_survive_every_form(matches: list[Any], comment: str) -> None:
    """XML, dict, JSON and TOML give equal filters back."""
    entries = tuple(
        NwFilterRule(action="drop", direction="in", matches=(attrs.evolve(m, comment=comment),))
        for m in matches
    )
    spec = NwFilterSpec(name="a", entries=entries)
    try:
        xml = spec.to_xml()
    except SchemaError as error:
        assert "ports are of a protocol" in str(error) or "XML cannot" in str(error)  # noqa: PT017
        return
    assert NwFilterSpec.from_xml(xml) == spec
    assert NwFilterSpec.from_dict(spec.to_dict()) == spec
    assert NwFilterSpec.from_json(spec.to_json()) == spec
    assert NwFilterSpec.from_toml(spec.to_toml()) == spec
