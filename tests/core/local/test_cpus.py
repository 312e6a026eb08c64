"""Comparing CPUs, by models of a table."""

from __future__ import annotations

import pytest

from polyvisor.errors import OperationFailed, SchemaError, SemanticError
from polyvisor.host import CpuMatch
from polyvisor.local import CpuFacts, CpuModels, machine_cpu
from polyvisor.model.host_cpu import HostCpu

NAMES = frozenset("abcdefg") | {"hypervisor", "invtsc"}
MODELS = CpuModels(
    "x86_64",
    {
        "plain": CpuFacts(None, frozenset("ab")),
        "better": CpuFacts("Intel", frozenset("abcd")),
        "other": CpuFacts("AMD", frozenset("abce")),
    },
    NAMES,
)
THERE = CpuFacts("Intel", frozenset("abcde"))
HOST = "<cpu><arch>x86_64</arch><model>{}</model>{}</cpu>"


@pytest.mark.parametrize(
    ("xml", "match", "reason"),
    [
        ("<cpu><model>plain</model></cpu>", "superset", ""),
        ("<cpu><model>better</model><feature name='e'/></cpu>", "identical", ""),
        ("<cpu match='strict'><model>better</model></cpu>", "incompatible", "Extra features: e"),
        ("<cpu><model>plain</model><feature name='g'/></cpu>", "incompatible", "required.*: g"),
        (
            "<cpu match='strict'><model>better</model><feature name='e' policy='optional'/></cpu>",
            "identical",
            "",
        ),
        ("<cpu><model>plain</model><feature name='g' policy='force'/></cpu>", "superset", ""),
        ("<cpu><model>plain</model><feature name='e' policy='disable'/></cpu>", "superset", ""),
        (
            "<cpu><model>plain</model><feature name='e' policy='forbid'/></cpu>",
            "incompatible",
            "forbidden features: e",
        ),
        ("<cpu><model>plain</model><feature name='hypervisor'/></cpu>", "superset", ""),
        ("<cpu><model>plain</model><vendor>AMD</vendor></cpu>", "incompatible", "vendor.*AMD"),
        (HOST.format("better", "<feature name='e'/>"), "identical", ""),
        ("<cpu><arch>s390x</arch><model>z15</model></cpu>", "incompatible", "arch s390x"),
        ("<cpu mode='host-model'/>", "superset", ""),
    ],
)
def test_a_cpu_is_compared_by_its_features(xml: str, match: str, reason: str) -> None:
    """Each policy of a feature means what libvirt says of it."""
    import re

    found = MODELS.compare(xml, THERE)
    assert found.match is CpuMatch(match)
    assert re.search(reason, found.reason)
    assert bool(found.reason) is (match == "incompatible")


def test_what_is_not_known_is_an_error() -> None:
    """A model or a feature that is in no table, and a host without a model."""
    for xml, words in (
        ("<cpu><model>nothing</model></cpu>", "model nothing"),
        ("<cpu><model>plain</model><feature name='z'/></cpu>", "feature z"),
        ("<cpu><arch>x86_64</arch></cpu>", "no model"),
    ):
        with pytest.raises(SemanticError, match=words):
            MODELS.compare(xml, THERE)


def test_what_hosts_have_in_common() -> None:
    """The nearest model that either's maker makes, and what differs from it."""
    found = MODELS.baseline([HOST.format("better", ""), HOST.format("plain", "")])
    assert found.model is not None
    assert (found.model.name, found.model.fallback, found.features) == ("plain", "allow", ())
    two = [HOST.format("better", "<feature name='e'/>"), HOST.format("other", "")]
    found = MODELS.baseline(two, expand=True)
    assert found.model is not None
    assert found.model.name == "other"
    assert {one.name for one in found.features if one.policy == "require"} == set("abce")
    found = MODELS.baseline([HOST.format("plain", "<feature name='invtsc'/>")], migratable=True)
    assert found.features == ()


def test_what_guests_can_have_bounds_it() -> None:
    """A model stays what it was, without what is not given; guests' CPUs may be given too."""
    within = CpuFacts(None, frozenset("ab"))
    found = MODELS.baseline(["<cpu><model>better</model></cpu>"], within=within)
    assert found.model is not None
    assert (found.model.name, found.model.fallback) == ("better", "forbid")
    assert [(one.name, one.policy) for one in found.features] == [
        ("c", "disable"),
        ("d", "disable"),
    ]


def test_what_has_no_baseline_says_why() -> None:
    """Makers that differ, guests where hosts are asked for, nothing in common, nothing at all."""
    makers = [HOST.format("plain", f"<vendor>{one}</vendor>") for one in ("AMD", "Intel")]
    with pytest.raises(OperationFailed, match="vendors do not match"):
        MODELS.baseline(makers)
    with pytest.raises(SchemaError, match="architecture"):
        MODELS.baseline(["<cpu><model>plain</model></cpu>"])
    with pytest.raises(SemanticError, match="only allowed for guest"):
        MODELS.baseline(["<cpu mode='custom'><model>plain</model></cpu>"])
    with pytest.raises(SemanticError, match="no CPUs"):
        MODELS.baseline([])
    with pytest.raises(OperationFailed, match="no feature"):
        MODELS.baseline([HOST.format("plain", "")], within=CpuFacts(None, frozenset("g")))


def test_a_host_is_its_nearest_model_and_more() -> None:
    """Of models that have nothing beyond it, the one with least left to say."""
    cpu = MODELS.host(HostCpu.from_xml(HOST.format("x", "".join(
        f"<feature name='{name}'/>" for name in "abcdf"
    ) + "<vendor>Intel</vendor>")))  # fmt: skip
    assert (cpu.model, [one.name for one in cpu.features]) == ("better", ["f"])


def test_the_kernel_says_what_the_machine_has(tmp_path) -> None:
    """Its names become libvirt's, and its numbers the signature."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(
        "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\n"
        "model name\t: AMD EPYC\nstepping\t: 1\nmicrocode\t: 0x1000065\n"
        "flags\t\t: fpu sse4_1 xsave nonstop_tsc pclmulqdq\n\nprocessor\t: 1\nflags\t\t: other\n"
    )
    cpu = machine_cpu(root=f"{tmp_path}/")
    assert (cpu.vendor, cpu.microcode) == ("AMD", 0x1000065)
    assert cpu.signature is not None
    assert (cpu.signature.family, cpu.signature.model, cpu.signature.stepping) == (25, 17, 1)
    assert [one.name for one in cpu.features] == [
        "fpu", "invtsc", "osxsave", "pclmuldq", "sse4.1", "xsave",
    ]  # fmt: skip
