"""The CPU mode ``host-model`` on real QEMU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest

from polyvisor.errors import SemanticError
from polyvisor_qemu.qmp import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyvisor.model import DomainSpec

    Hosts = Any
    Make = Callable[..., DomainSpec]

pytestmark = pytest.mark.real


def _words(hosts: Hosts, domain: Any) -> Any:
    """Return the registers of CPUID and the like that tell a guest what its CPU has."""
    (path,) = hosts.root.glob("a/session/*/*/*/control")
    with Monitor(str(path), timeout=20) as monitor:
        (cpu,) = monitor.execute("query-cpus-fast")
        told = monitor.execute("qom-get", path=cpu["qom-path"], property="feature-words")
    domain.destroy()
    return {
        (one["cpuid-input-eax"], one.get("cpuid-input-ecx"), one["cpuid-register"]): one["features"]
        for one in told
    }


def test_a_guest_has_all_that_the_host_gives(hosts: Hosts, make_spec: Make) -> None:
    """It has the features of the emulator's greatest CPU, as a model that has a name."""
    host = hosts.open()
    greatest = _words(hosts, host.domains.create(make_spec(more="<cpu mode='maximum'/>")))
    domain = host.domains.define(make_spec(more="<cpu mode='host-model'/>"))
    domain.start()
    cpu = domain.spec().cpu
    assert (cpu.mode, cpu.match, cpu.check) == ("custom", "exact", "full")
    assert cpu.model.name not in (None, "max", "host")
    assert _words(hosts, domain) == greatest
    # The definition asks for the host's again, whatever that is at the next start.
    assert domain.spec(inactive=True).cpu.mode == "host-model"
    capabilities = host.domain_capabilities(kind="qemu").cpu
    told = capabilities.mode("host-model")
    assert told.supported
    assert (told.model.name, told.vendor) == (cpu.model.name, cpu.vendor)
    assert told.features == cpu.features


def test_what_is_asked_for_beside_it(hosts: Hosts, make_spec: Make) -> None:
    """Features go and stay as the definition says; one that is forbidden must not be there."""
    host = hosts.open()
    more = (
        "<cpu mode='host-model'><topology sockets='1' cores='2' threads='1'/>"
        "<feature policy='disable' name='aes'/><feature policy='optional' name='sha-ni'/>"
        "<feature policy='forbid' name='avx512f'/></cpu>"
    )
    domain = host.domains.create(make_spec(vcpus=2, more=more))
    cpu = domain.spec().cpu
    policies = {one.name: one.policy for one in cpu.features}
    assert (policies["aes"], policies["sha-ni"], policies["avx512f"]) == ("disable",) * 3
    assert cpu.topology.cores == 2
    domain.destroy()
    with pytest.raises(SemanticError, match="3dnow is forbidden"):
        host.domains.create(
            make_spec(more=more.replace("avx512f", "3dnow").replace("cores='2'", "cores='1'"))
        )


def test_it_stays_as_it_is(hosts: Hosts) -> None:
    """A guest keeps the CPU that it was started with in its save image and after its return."""
    spec = hosts.counting()
    spec = attrs.evolve(spec, cpu=type(spec).from_xml(CPU).cpu)
    host = hosts.open()
    domain = host.domains.define(spec)
    domain.start()
    hosts.wait_for_count()
    cpu = domain.spec().cpu
    domain.managed_save()
    domain.start()
    hosts.wait_for_count()
    assert domain.spec().cpu == cpu
    assert domain.spec(inactive=True).cpu.mode == "host-model"
    other = hosts.open("b")
    arrived = domain.migrate(other)
    hosts.wait_for_count()
    assert arrived.spec().cpu == cpu


CPU = (
    "<domain type='qemu'><name>x</name><memory>1</memory><os><type>hvm</type></os>"
    "<cpu mode='host-model'/></domain>"
)
