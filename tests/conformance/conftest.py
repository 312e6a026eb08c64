"""What the first-party drivers tell the conformance suite of themselves."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from polyvisor.model import DomainSpec
from polyvisor.testing.counting import read_ticks

if TYPE_CHECKING:
    from polyvisor.domain import Domain

# The least machine that counts aloud on its serial port, into a file that outlives it.
COUNTING = """\
<domain type='{type}'>
  <name>{name}</name>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>1</vcpu>
  <os><type>hvm</type></os>
  <devices>
    {devices}
    <serial type='file'><source path='{serial}' append='on'/><target port='0'/></serial>
  </devices>
</domain>
"""


@pytest.fixture
def counting_spec(tmp_path: Path) -> Callable[..., Callable[[str], DomainSpec]]:
    """Hold a function that makes a function that makes definitions of a counting guest."""

    def of(type_: str, memory: int, devices: str = "") -> Callable[[str], DomainSpec]:
        def make(name: str) -> DomainSpec:
            from xml.sax.saxutils import escape

            return DomainSpec.from_xml(
                COUNTING.format(
                    type=type_,
                    name=escape(name),
                    memory=memory,
                    devices=devices,
                    serial=tmp_path / "serial",
                )
            )

        return make

    return of


@pytest.fixture
def serial_ticks(tmp_path: Path) -> Callable[[Domain], Sequence[int]]:
    """Hold a function that gives the numbers a guest has counted so far."""

    def ticks(domain: Domain) -> Sequence[int]:
        if domain.active:
            domain.stats()  # the simulator's guest catches up when it is looked at
        return read_ticks(tmp_path / "serial")

    return ticks


def _leave_out(reason: str) -> NoReturn:
    """Skip a test for a reason, or fail it where nothing may be left out.

    Of the suite's own tests the hook that does so for all others takes no notice.
    """
    if os.environ.get("POLYVISOR_REQUIRE_REAL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def leave_out() -> Callable[[str], NoReturn]:
    """Hold a function that leaves a test out for a reason, where that may be."""
    return _leave_out


@pytest.fixture(scope="module")
def daemons() -> Iterator[Callable[..., list[str]]]:
    """Hold a function that runs libvirt hosts of given names; it returns their QEMU drivers' URIs.

    Benchmarks use the hosts too. Each knows the others' names, by which it is sent to.
    """
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.syspath_prepend(Path(__file__).parents[1] / "bench")
        from harness import Missing
        from libvirt_host import libvirt_host

        # Short, since sockets are in it.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pv-")))

        def run(*names: str, containers: bool = False) -> list[str]:
            try:
                uris = [
                    stack.enter_context(libvirt_host(folder / name, name, containers=containers))
                    for name in names
                ]
            except Missing as missing:
                _leave_out(str(missing))
            for name in names:
                (folder / name / "hosts").write_text(f"127.0.0.1 localhost {' '.join(names)}\n")
            return uris

        yield run


@pytest.fixture(scope="session")
def via() -> str:
    """Hold libvirtd's name and version."""
    said = subprocess.run(["libvirtd", "--version"], capture_output=True, text=True, check=True)
    return f"libvirtd {said.stdout.split()[-1]}"
