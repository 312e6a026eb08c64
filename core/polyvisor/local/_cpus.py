"""Comparing CPUs, and finding what several have in common, by sets of features.

A hypervisor says which models it knows and of what they are made; the rest is the same for all.
What the words of ``<cpu>`` mean is written down in libvirt's formatdomain and formatcaps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from polyvisor.errors import OperationFailed, SchemaError, SemanticError, Unsupported
from polyvisor.host import CpuComparison, CpuMatch
from polyvisor.model.cpu import Cpu, CpuFeature, CpuModel, Fallback
from polyvisor.model.host_cpu import HostCpu

__all__ = ["CpuFacts", "CpuModels"]

#: What keeps a guest from being migrated (libvirt's ``migratable='no'`` of cpu_map).
_UNMIGRATABLE = frozenset({"invtsc"})
#: What says where a CPU is, or what its kernel did with it, and not what it can.
_NEVER_ASKED = frozenset({"hypervisor", "osxsave", "ospke"})
#: What hosts have and no guest: libvirt tells of it in a host's capabilities.
_OF_HOSTS = frozenset({"cmt", "mbm_local", "mbm_total", "osxsave", "ospke"})


@attrs.frozen
class CpuFacts:
    """A CPU, or a named model of one.

    Attributes:
        vendor: its maker, in libvirt's words; ``None`` if it is none of them, and of a model
            that any maker's CPUs can be.
        features: what it has, by libvirt's names.
    """

    vendor: str | None
    features: frozenset[str]

    def of(self, vendor: str) -> bool:
        """Say whether a maker's CPU can be this model."""
        return self.vendor in (None, vendor)


@attrs.frozen
class _Wish:
    """A CPU that somebody describes.

    Attributes:
        arch: its architecture; ``None`` if it is not said.
        model: its model's name; ``None`` if it is not said.
        vendor: its maker.
        named: features by name, with their policies.
        match: libvirt's word for how it is to match; of a host's ``None``.
        mode: of a guest's.
    """

    arch: str | None
    model: str | None
    vendor: str | None
    named: Mapping[str, str]
    match: str | None = None
    mode: str | None = None


def _wish(xml: str) -> _Wish:
    """Read a host's or a guest's ``<cpu>``."""
    host = HostCpu.from_xml(xml)
    if host.arch is not None:
        named = {one.name or "": "require" for one in host.features}
        return _Wish(host.arch, host.model, host.vendor, named)
    cpu = Cpu.from_xml(xml)
    named = {one.name or "": one.policy or "require" for one in cpu.features}
    model = cpu.model.name if cpu.model is not None else None
    return _Wish(None, model, cpu.vendor, named, cpu.match or "exact", cpu.mode)


@attrs.frozen
class CpuModels:
    """The models that are known on a host, and what is done with them.

    Attributes:
        arch: the architecture whose models they are.
        models: by name.
        features: the name of every feature that is known.
    """

    arch: str
    models: Mapping[str, CpuFacts]
    features: frozenset[str]

    def compare(self, xml: str, there: CpuFacts) -> CpuComparison:
        """Compare a ``<cpu>`` with one that is there.

        Raises:
            SpecError: it cannot be read, or names what is not known.
        """
        wish = _wish(xml)
        if wish.arch is not None and wish.arch != self.arch:
            return _no(f"CPU arch {wish.arch} does not match host arch")
        if wish.vendor is not None and wish.vendor != there.vendor:
            return _no(f"host CPU vendor does not match required CPU vendor {wish.vendor}")
        if wish.model is None:
            if wish.mode in ("host-passthrough", "maximum", "host-model"):
                return CpuComparison(CpuMatch.SUPERSET)
            if wish.arch is not None or wish.mode == "custom":
                raise SemanticError("cpu/model: there is no model", element="cpu/model")
        wanted, forbidden, mentioned = self._sets(wish)
        given = there.features
        if found := sorted(forbidden & given):
            return _no(f"Host CPU provides forbidden features: {', '.join(found)}")
        if missing := sorted(wanted - given):
            return _no(f"Host CPU does not provide required features: {', '.join(missing)}")
        beyond = given - mentioned
        if not beyond:
            return CpuComparison(CpuMatch.IDENTICAL)
        if wish.match == "strict":
            said = ", ".join(sorted(beyond))
            return _no(f"Host CPU does not strictly match guest CPU: Extra features: {said}")
        return CpuComparison(CpuMatch.SUPERSET)

    def baseline(
        self,
        xmls: Sequence[str],
        *,
        within: CpuFacts | None = None,
        expand: bool = False,
        migratable: bool = False,
    ) -> Cpu:
        """Return the best CPU of which all the given ones have everything.

        Args:
            xmls: each a ``<cpu>``: a host's; with ``within`` also a guest's.
            within: a CPU that must have it all too; ``None``: none.
            expand: name all features.
            migratable: leave out what keeps a guest from being migrated.

        Raises:
            SpecError: one cannot be read, or names what is not known.
            OperationFailed: they have nothing in common.
        """
        wishes = [_wish(xml) for xml in xmls]
        if not wishes:
            raise SemanticError("baseline of CPUs: no CPUs given", element="cpu")
        for number, wish in enumerate(wishes):
            self._check(wish, number, hosts=within is None)
        makers = {wish.vendor for wish in wishes} - {None}
        if len(makers) > 1:
            raise OperationFailed("CPU vendors do not match")
        shared = frozenset.intersection(*(self._sets(wish)[0] for wish in wishes))
        if within is not None:
            shared &= within.features
        if migratable:
            shared -= _UNMIGRATABLE
        if not shared:
            raise OperationFailed("CPUs are incompatible: they have no feature in common")
        vendor = makers.pop() if makers and all(wish.vendor for wish in wishes) else None
        same = {wish.model or "" for wish in wishes}
        name = same.pop() if len(same) == 1 else None
        if name is not None and vendor is not None and not self.models[name].of(vendor):
            name = None
        # Another model than that of all may be replaced by its like (libvirt's fallback).
        fallback: Fallback = "forbid" if name is not None or within is not None else "allow"
        if name is None:
            name = self.nearest(CpuFacts(vendor, shared))
        made_of = self.models[name].features
        more = shared if expand else shared - made_of
        words = [CpuFeature(policy="require", name=one) for one in sorted(more)]
        words += [CpuFeature(policy="disable", name=one) for one in sorted(made_of - shared)]
        return Cpu(
            mode="custom",
            match="exact",
            model=CpuModel(fallback=fallback, name=name),
            vendor=vendor,
            features=tuple(words),
        )

    def nearest(self, facts: CpuFacts, *, within: bool = False) -> str:
        """Name the model that fewest words turn into a CPU.

        Args:
            facts: the CPU.
            within: only one that has nothing that the CPU does not.

        Raises:
            OperationFailed: there is none.
        """
        found = [
            (len(facts.features ^ model.features), name)
            for name, model in self.models.items()
            if (facts.vendor is None or model.of(facts.vendor))
            and (not within or model.features <= facts.features)
        ]
        if not found:
            raise OperationFailed("no model of a CPU fits")
        return min(found)[1]

    def host(self, cpu: HostCpu) -> HostCpu:
        """Return a host's CPU with its nearest model, and the features beyond that alone."""
        facts = self.facts(cpu)
        try:
            name = self.nearest(facts, within=True)
        except OperationFailed:
            return attrs.evolve(cpu, features=())
        beyond = sorted(facts.features - self.models[name].features)
        return attrs.evolve(cpu, model=name, features=tuple(CpuFeature(name=one) for one in beyond))

    def facts(self, cpu: HostCpu) -> CpuFacts:
        """Return what a host's CPU has, of what is known here."""
        named = {one.name or "" for one in cpu.features}
        return CpuFacts(cpu.vendor, frozenset(named) & (self.features | _OF_HOSTS))

    def _check(self, wish: _Wish, number: int, *, hosts: bool) -> None:
        if hosts and wish.mode is not None:
            raise SemanticError("Attribute mode is only allowed for guest CPU", element="cpu")
        if hosts and wish.arch is None:
            raise SchemaError("Missing CPU architecture", element="cpu/arch")
        if wish.model is None:
            raise SemanticError(
                f"no CPU model specified at index {number}", element="cpu/model", libvirt_number=8
            )
        if wish.arch not in (None, self.arch):
            raise Unsupported(f"baseline of CPUs: guests of {wish.arch} are not run here")

    def _sets(self, wish: _Wish) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
        """Return what is wanted, what is forbidden, and all that it says anything of."""
        made_of: frozenset[str] = frozenset()
        if wish.model is not None:
            if wish.model not in self.models:
                raise _unknown(f"Unknown CPU model {wish.model}", "cpu/model")
            made_of = self.models[wish.model].features
        for name in wish.named:
            if name not in self.features | _NEVER_ASKED | _OF_HOSTS:
                raise _unknown(f"Unknown CPU feature {name}", "cpu/feature")
        by = {
            policy: {name for name, one in wish.named.items() if one == policy}
            for policy in ("force", "require", "optional", "disable", "forbid")
        }
        without = by["optional"] | by["disable"] | by["forbid"]
        wanted = frozenset(((made_of - without) | by["require"]) - by["force"] - _NEVER_ASKED)
        return wanted, frozenset(by["forbid"]), frozenset(made_of | wish.named.keys())


def _unknown(words: str, element: str) -> SemanticError:
    return SemanticError(words, element=element, libvirt_number=1)


def _no(reason: str) -> CpuComparison:
    return CpuComparison(CpuMatch.INCOMPATIBLE, reason)
