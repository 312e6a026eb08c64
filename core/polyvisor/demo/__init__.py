"""The whole job in a few seconds: a counting guest is saved, restored and moved while it runs.

:func:`run` goes through the public API alone and says, step by step, what it did and how
long it took; at the end it compares what the guest has counted aloud, where each number
must follow the one before.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import OperationFailed, PolyvisorError, Timeout

if TYPE_CHECKING:
    from polyvisor.connection import Connection
    from polyvisor.domain import Domain

__all__ = ["BACKENDS", "Backend", "Report", "Step", "run"]

#: Seconds to wait for the guest to count.
PATIENCE = 30.0

_SPEC = """\
<domain type='{type}'>
  <name>tick</name>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64'>hvm</type></os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='{folder}/tick.img'/>
      <target dev='hda' bus='ide'/>
    </disk>
    <serial type='file'><source path='{folder}/tick.log' append='on'/></serial>
  </devices>
</domain>
"""


@attrs.frozen
class Backend:
    """What the demonstration runs on.

    Attributes:
        name: as in ``--only``.
        title: for people.
        source: URI of the host that the guest starts on; ``{root}`` is a folder.
        destination: URI of the host that it moves to.
        type: the definition's domain type.
        memory: MiB of memory.
    """

    name: str
    title: str
    source: str
    destination: str
    type: str
    memory: int


BACKENDS = (
    Backend("sim", "the simulator", "sim:///a?root={root}", "sim:///b?root={root}", "sim", 64),
    Backend(
        "qemu",
        "QEMU",
        "qemu:///session?root={root}/a",
        "qemu:///session?root={root}/b",
        "qemu",
        64,
    ),
)


@attrs.frozen
class Step:
    """One thing that was done.

    Attributes:
        name: what.
        seconds: how long it took.
        note: what came of it.
    """

    name: str
    seconds: float
    note: str = ""


@attrs.define
class Report:
    """What came of one backend.

    Attributes:
        backend: its name.
        title: for people.
        ok: whether nothing was lost; ``None`` if it could not run here.
        steps: what was done.
        ticks: how many numbers the guest counted.
        message: the verdict, or why it did not run.
    """

    backend: str
    title: str
    ok: bool | None = None
    steps: list[Step] = attrs.field(factory=list)
    ticks: int = 0
    message: str = ""


def run(
    names: Sequence[str] = (),
    *,
    keep: str | None = None,
    tell: Callable[[Report, Step | None], object] = lambda report, step: None,
) -> list[Report]:
    """Run the demonstration.

    Args:
        names: backends to run on; empty: the simulator, and QEMU where it works.
        keep: folder to leave everything in, instead of one that is removed.
        tell: called when a backend begins (without a step) and after each step.

    Returns:
        A report for each backend.
    """
    from polyvisor.connection import registry

    reports = []
    plugins = registry()
    for backend in BACKENDS:
        if names and backend.name not in names:
            continue
        report = Report(backend.name, backend.title)
        reports.append(report)
        tell(report, None)
        try:
            info, plugin = plugins.driver_for(backend.source.partition(":")[0])
            usability = plugins.probe(info, plugin)
        except PolyvisorError as error:
            report.message = error.message
            report.ok = False if names else None
            continue
        if not usability.usable:
            remedy = f"; {usability.remedy}" if usability.remedy else ""
            report.message = f"not run: {usability.reason}{remedy}"
            report.ok = False if names else None
            continue
        with _folder(keep, backend.name) as folder:
            try:
                _Demo(backend, folder, report, tell).run()
            except PolyvisorError as error:
                report.ok = False
                report.message = error.message
    return reports


@contextmanager
def _folder(keep: str | None, name: str) -> Iterator[str]:
    if keep is not None:
        folder = os.path.abspath(f"{keep}/{name}")
        os.makedirs(folder, mode=0o700, exist_ok=True)
        yield folder
        return
    import tempfile

    folder = tempfile.mkdtemp(prefix="polyvisor-demo-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Demo:
    def __init__(
        self,
        backend: Backend,
        folder: str,
        report: Report,
        tell: Callable[[Report, Step | None], object],
    ) -> None:
        self._backend = backend
        self._folder = folder
        self._report = report
        self._tell = tell

    def run(self) -> None:
        from polyvisor.connection import open as open_connection
        from polyvisor.testing.counting import write_image

        write_image(f"{self._folder}/tick.img")
        here = self._backend.source.format(root=self._folder)
        there = self._backend.destination.format(root=self._folder)
        with open_connection(here) as source, open_connection(there) as destination:
            try:
                self._go(source, destination)
            finally:
                for host in (source, destination):
                    for left in host.domains.list(inactive=False):
                        left.destroy()

    def _go(self, source: Connection, destination: Connection) -> None:
        image = f"{self._folder}/tick.save"
        text = _SPEC.format(
            type=self._backend.type, memory=self._backend.memory, folder=self._folder
        )
        domain: Domain = self._do("define", lambda: source.domains.define(text))
        self._do("start", domain.start)
        self._watch(domain, 5)
        self._do("save", lambda: domain.save(image), _size(image))
        self._do("restore", lambda: source.domains.restore(image))
        self._watch(domain, 5)
        moved: Domain = self._do("live-migrate", lambda: domain.migrate(destination))
        self._watch(moved, 5)
        verify = getattr(destination.driver, "verify_memory", None)
        if verify is not None:
            check = self._do("compare memory", lambda: verify(moved.uuid), "every byte")
            if not check.ok:
                raise OperationFailed(f"page {check.wrong_page} is wrong: {check.fault}")
        self._do("destroy", moved.destroy)
        seen = self._ticks()
        self._report.ticks = len(seen)
        gap = next((b for a, b in pairwise(seen) if b != a + 1), None)
        if gap is not None or not seen or seen[0] != 0:
            raise OperationFailed(f"a tick was lost or doubled before tick {gap}")
        self._report.ok = True
        self._report.message = f"{len(seen)} ticks counted, none lost"

    def _do(self, name: str, work: Callable[[], Any], note: str | Callable[[], str] = "") -> Any:
        begun = time.perf_counter()
        result = work()
        took = time.perf_counter() - begun
        self._note(Step(name, took, note if isinstance(note, str) else note()))
        return result

    def _note(self, step: Step) -> None:
        self._report.steps.append(step)
        self._tell(self._report, step)

    def _watch(self, domain: Domain, more: int) -> None:
        """Watch the guest until it has counted some further times."""
        begun = time.perf_counter()
        have = len(self._ticks())
        while True:
            domain.stats()  # a simulated guest catches up when it is looked at
            seen = self._ticks()
            if len(seen) >= have + more:
                break
            if time.perf_counter() - begun > PATIENCE:
                raise Timeout(f"the guest did not count for {PATIENCE:g} s")
            time.sleep(0.02)
        note = f"tick {seen[have]:04X} … {seen[-1]:04X}"
        self._note(Step("watch it tick", time.perf_counter() - begun, note))

    def _ticks(self) -> list[int]:
        try:
            with open(f"{self._folder}/tick.log", "rb") as file:
                text = file.read()
        except FileNotFoundError:
            return []
        return [int(number, 16) for number in re.findall(rb"tick ([0-9A-F]{4})\r?\n", text)]


def _size(path: str) -> Callable[[], str]:
    return lambda: f"{os.path.getsize(path) / 1024:.0f} KiB"
