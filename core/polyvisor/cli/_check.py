"""What ``polyvisor plugins --check NAME`` does: one stage after the other, each with its time.

A stage that fails ends the check, since what comes after it would only fail again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import attrs

from polyvisor.errors import NotFound, PolyvisorError

if TYPE_CHECKING:
    from polyvisor.driver import DriverInfo
    from polyvisor.plugins import PluginStatus, Registry

__all__ = ["Stage", "check"]

#: Seconds that the quick part of the suite may take.
SUITE_SECONDS = 900
#: Failures after which the rest is not tried.
ENOUGH = 10
#: What is left out of it: what takes most of the suite's time.
SLOW = ("StateMachine", "ManyProcesses", "Migration")
_MODULE = """\
import pytest
from polyvisor.plugins import load_object
from polyvisor.testing import Target
from polyvisor.testing.suite import *

@pytest.fixture
def target(tmp_path):
    with Target.at(load_object({target!r}, {plugin!r}), tmp_path) as target:
        yield target
"""


@attrs.frozen
class Stage:
    """What became of one stage.

    Attributes:
        name: ``import``, ``hooks``, ``probe``, ``driver`` or ``suite``.
        ok: whether it is as it should be; ``None`` if it could not be looked at.
        text: what was found.
        seconds: how long that took.
    """

    name: str
    ok: bool | None
    text: str
    seconds: float


_Answer = tuple[bool | None, str]


def check(found: Registry, name: str) -> Iterator[Stage]:
    """Yield the stages of checking a plugin, each when it is done.

    Args:
        found: the plugins.
        name: the plugin's, or one of its drivers'.

    Raises:
        NotFound: there is no such plugin.
    """
    status = _find(found, name)
    stages: list[tuple[str, Callable[[], _Answer]]] = [
        ("import", lambda: _imported(status)),
        ("hooks", lambda: _hooks(status)),
    ]
    for info in status.drivers:
        stages += [
            ("probe", lambda info=info: _probed(found, info, status.name)),  # type: ignore[misc]
            ("driver", lambda info=info: _driver(found, info, status.name)),  # type: ignore[misc]
            ("suite", lambda info=info: _suite(info, status.name)),  # type: ignore[misc]
        ]
    for stage, function in stages:
        before = time.monotonic()
        try:
            ok, text = function()
        except PolyvisorError as error:
            ok, text = False, error.message
        if ok is False and stage in ("probe", "driver"):
            text = "; ".join([text, *(one for one in status.unmet(text) if one not in text)])
        yield Stage(stage, ok, text, time.monotonic() - before)
        if ok is False:
            return


def _find(found: Registry, name: str) -> PluginStatus:
    statuses = found.statuses
    if name in statuses:
        return statuses[name]
    for status in statuses.values():
        if any(info.name == name for info in status.drivers):
            return status
    raise NotFound(
        f"no plugin called {name!r} is installed; there are {', '.join(statuses)}", key=name
    )


def _imported(status: PluginStatus) -> _Answer:
    if status.state != "loaded":
        words = [*status.faults, *status.unmet()]
        return False, "; ".join(words) or f"it is {status.state} by configuration"
    unmet = status.unmet()
    if unmet:
        return False, "; ".join(unmet)
    where = f" of {status.distribution} {status.version}" if status.distribution else ""
    return True, f"{status.target}{where}"


def _hooks(status: PluginStatus) -> _Answer:
    from polyvisor import hookspecs

    names = [name for name in dir(status.plugin) if hasattr(hookspecs, name)]
    names = [name for name in names if name.startswith("polyvisor_")]
    if status.faults:
        return False, "; ".join(status.faults)
    return True, ", ".join(names) or "none"


def _probed(found: Registry, info: DriverInfo, plugin: str) -> _Answer:
    answer = found.probe(info, plugin)
    words = "; ".join(filter(None, (answer.reason, answer.remedy)))
    return answer.usable, f"{info.name}: {words or 'works on this machine'}"


def _driver(found: Registry, info: DriverInfo, plugin: str) -> _Answer:
    cls = found.factory(info, plugin)
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        return False, f"{info.factory} lacks {', '.join(missing)}"
    opens = [f"{one}:///" for one in info.schemes] + [f"…+{one}://" for one in info.transports]
    return True, f"{info.factory} opens {', '.join(opens)}"


def _suite(info: DriverInfo, plugin: str) -> _Answer:
    if info.target is None:
        return None, f"{info.name}: not run, since its DriverInfo names no target"
    import json
    import os
    import subprocess
    import sys
    import tempfile
    from importlib.util import find_spec

    from polyvisor.testing.report import Matrix, Outcome

    missing = [name for name in ("pytest", "hypothesis") if find_spec(name) is None]
    if missing:
        return None, f"not run without {' and '.join(missing)}; pip install 'polyvisor[test]'"
    with tempfile.TemporaryDirectory(prefix="pv-") as folder:
        file, kept = f"{folder}/test_{info.name}.py", f"{folder}/matrix.json"
        with open(file, "w", encoding="utf-8") as module:
            module.write(_MODULE.format(target=info.target, plugin=plugin))
        words = ["-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", folder]
        words += [
            "--maxfail",
            str(ENOUGH),
            "--basetemp",
            f"{folder}/t",
            f"--polyvisor-report={kept}",
            file,
        ]
        words += ["-k", " and ".join(f"not {one}" for one in SLOW)]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=SUITE_SECONDS,
                check=False,
                cwd=folder,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "400"},
            )
        except subprocess.TimeoutExpired:
            return False, f"{info.name}: it did not end within {SUITE_SECONDS} s"
        matrix = Matrix()
        if os.path.exists(kept):
            with open(kept, encoding="utf-8") as data:
                matrix.merge(json.load(data))
    outcomes = [item for one in matrix.columns for item in one.outcomes.items()]
    passed = sum(outcome is Outcome.PASSED for _, outcome in outcomes)
    failed = [name for name, outcome in outcomes if outcome is Outcome.FAILED]
    said = _said_of(done.stdout)
    if failed:
        more = " or more" if len(failed) >= ENOUGH else ""
        told = "; ".join(said or failed)
        return False, f"{info.name}: {len(failed)}{more} tests failed: {told}"
    if done.returncode or not passed:
        why = (said or ["it said nothing", *done.stdout.strip().splitlines()][-1:])[0]
        return False, f"{info.name}: the suite could not run: {why}"
    report = matrix.columns[0]
    untested = sum(one.usable and not one.passed for one in report.features.values())
    return True, (
        f"{info.name}: {passed} tests passed against {report.ran_against}, "
        f"{len(outcomes) - passed} do not apply; {untested} claimed features without a test here"
    )


def _said_of(output: str) -> list[str]:
    """Return what pytest's summary says of each test that failed: its name and its error."""
    said = []
    for line in output.splitlines():
        kind, _, rest = line.partition(" ")
        if kind in ("FAILED", "ERROR") and "::" in rest:
            test, _, why = rest.partition(" - ")
            name = ".".join(test.split("::")[1:])
            said.append(f"{name} ({why})" if why else name)
    return said
