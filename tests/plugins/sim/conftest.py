"""Simulated guests without a host around them, and with one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import attrs
import pytest

import polyvisor
from polyvisor.local import Guest
from polyvisor.model import DomainSpec
from polyvisor.state import Home, Roots
from polyvisor.states import DomainState, StateReason
from polyvisor_sim.hypervisor import SimHypervisor
from polyvisor_sim.rack import FileRack, ProcessRack, Rack

GUEST = """\
<domain type='{kind}'>
  <name>{name}</name>
  <metadata>
    <sim:guest xmlns:sim='urn:polyvisor:sim:1.0' {sim}/>
  </metadata>
  <memory unit='KiB'>{memory}</memory>
  <vcpu>2</vcpu>
  <os><type>hvm</type></os>
  {more}
</domain>
"""


def _make_spec(
    name: str = "guest", *, kind: str = "sim", memory: int = 4096, sim: str = "", more: str = ""
) -> DomainSpec:
    text = GUEST.format(name=name, kind=kind, memory=memory, sim=sim, more=more)
    return DomainSpec.from_xml(text)


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., DomainSpec]:
    """Hold a function that makes the definition of a guest.

    It takes the guest's ``name`` and ``kind``, its ``memory`` in KiB, the attributes of its
    ``<sim:guest>`` as ``sim``, and further elements as ``more``.
    """
    return _make_spec


@attrs.define
class Bench:
    """A hypervisor with a clock that stands still unless it is moved.

    Attributes:
        hypervisor: the hypervisor.
        folder: where run folders are made; ``None`` for one in memory.
        time: its host's time in nanoseconds.
    """

    folder: Path | None
    hypervisor: SimHypervisor = attrs.field(init=False)
    _home: Home = attrs.field(init=False)
    time: int = 0

    def __attrs_post_init__(self) -> None:
        rack: Rack
        if self.folder is None:
            self._home = Home.in_memory()
            rack = ProcessRack(self._home.bells)
        else:
            self._home = Home.on_disk(Roots.of("sim", "session", root=self.folder))
            rack = FileRack(self._home.bells)
        self.hypervisor = SimHypervisor(rack, clock=lambda: self.time)

    def close(self) -> None:
        """Release what is open."""
        self._home.close()

    def guest(self, spec: DomainSpec) -> Guest:
        """Return a guest for this hypervisor, not yet launched."""
        uuid = uuid4()
        run_dir = None
        if self.folder is not None:
            folder = self.folder / str(uuid)
            folder.mkdir()
            run_dir = str(folder)
        return Guest(
            uuid,
            spec.name,
            1,
            run_dir,
            None,
            DomainState.PAUSED,
            StateReason.USER,
            {},
            lambda: spec,
        )

    def advance(self, seconds: float) -> None:
        """Move the clock."""
        self.time += int(seconds * 1e9)

    def state(self, guest: Guest) -> DomainState:
        """Return the state that a look at the guest shows."""
        return self.hypervisor.observe(guest, deep=True).state

    def ticks(self, guest: Guest) -> int:
        """Return how many ticks the guest has done; all of its memory must be right."""
        found = self.hypervisor.verify_memory(guest)
        assert found.ok, f"page {found.wrong_page}: {found.fault}"
        return found.ticks


@pytest.fixture
def new_bench() -> Iterator[Callable[[Path | None], Bench]]:
    """Hold a function that makes a hypervisor, in a folder or in memory."""
    made: list[Bench] = []

    def make(folder: Path | None) -> Bench:
        made.append(Bench(folder))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


@pytest.fixture(params=["file", "process"])
def bench(
    request: pytest.FixtureRequest, tmp_path: Path, new_bench: Callable[[Path | None], Bench]
) -> Bench:
    """Hold a hypervisor of either kind."""
    return new_bench(tmp_path if request.param == "file" else None)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Callable[[str], polyvisor.Connection]]:
    """Hold a function that opens ``sim:///NAME`` under the test's own folder."""
    opened: list[polyvisor.Connection] = []

    def open_host(name: str) -> polyvisor.Connection:
        opened.append(polyvisor.open(f"sim:///{name}?root={tmp_path / 'root'}"))
        return opened[-1]

    yield open_host
    for connection in opened:
        if not connection.closed:
            for domain in connection.domains.list(inactive=False):
                domain.destroy()
            connection.close()
