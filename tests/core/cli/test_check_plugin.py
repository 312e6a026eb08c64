"""``polyvisor plugins --check`` says at which stage a plugin is wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Check = Callable[..., tuple[int, list[dict[str, Any]], str]]

WORKS = """
    import polyvisor
    from polyvisor.driver import Driver, DriverInfo, Usability

    polyvisor_api = 1

    @polyvisor.hookimpl
    def polyvisor_drivers():
        return [DriverInfo("third", ("third",), "A test", "polyvisor_third:Third",
                           probe="polyvisor_third:probe", target={target})]

    def probe():
        return Usability(True, "version 7")

    class Third(Driver):
        domains = None

        @classmethod
        def open(cls, uri, context): ...
        def close(self): ...
        def host(self): ...
        def support(self): ...
"""


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Give a function that installs a plugin's source and checks it."""

    def run(
        source: str, name: str = "third", requires: str = ""
    ) -> tuple[int, list[dict[str, Any]], str]:
        site = tmp_path / "site"
        info = site / "polyvisor_third-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: polyvisor-third\nVersion: 1.0\n{requires}"
        )
        (info / "entry_points.txt").write_text("[polyvisor]\nthird = polyvisor_third\n")
        (site / "polyvisor_third.py").write_text(textwrap.dedent(source))
        words = ["-m", "polyvisor", "plugins", *(["--check", name] if name else []), "--json"]
        done = subprocess.run(
            [sys.executable, *words],
            check=False,
            env={**os.environ, "PYTHONPATH": f"{site}:{os.environ.get('PYTHONPATH', '')}"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        stages = json.loads(done.stdout) if done.stdout else []
        return done.returncode, stages, done.stderr

    return run


def test_a_plugin_that_works(check: Check) -> None:
    """Each stage says what it found; without a target the suite is not run."""
    code, stages, _ = check(WORKS.format(target=None))
    assert code == 0
    assert [(one["stage"], one["ok"]) for one in stages] == [
        ("import", True),
        ("hooks", True),
        ("probe", True),
        ("driver", True),
        ("suite", None),
    ]
    assert stages[0]["text"] == "polyvisor_third of polyvisor-third 1.0"
    assert stages[1]["text"] == "polyvisor_drivers"
    assert stages[2]["text"] == "third: version 7"
    assert "names no target" in stages[4]["text"]


@pytest.mark.parametrize(
    ("source", "stage", "words"),
    [
        ("import no_such_thing", "import", "No module named 'no_such_thing'"),
        ("polyvisor_api = 99", "import", "plugin API 99"),
        ("polyvisor_api = 0", "import", "upgrade the plugin"),
        ("", "import", "does not state the plugin API version"),
        (
            WORKS.replace("def polyvisor_drivers", "def polyvisor_nothing"),
            "import",
            "unknown hooks",
        ),
        (
            WORKS.replace('("third",)', '("sim", "third")'),
            "hooks",
            "already belongs to plugin 'sim'",
        ),
        (WORKS.replace("return Usability(True", "return Usability(False"), "probe", "version 7"),
        (WORKS.replace("def host(self)", "def guest(self)"), "driver", "lacks host"),
        (WORKS.replace("class Third", "class Other"), "driver", "has no attribute 'Third'"),
        (WORKS.replace("{target}", "'polyvisor_third:gone'"), "suite", "the suite could not run"),
    ],
)
def test_a_plugin_that_is_wrong(check: Check, source: str, stage: str, words: str) -> None:
    """The check ends at the stage that fails, with the reason, and so does the command."""
    code, stages, _ = check(source.replace("{target}", "None"))
    assert code == 1
    assert (stages[-1]["stage"], stages[-1]["ok"]) == (stage, False)
    assert words in stages[-1]["text"]
    assert all(one["ok"] is not False for one in stages[:-1])


def test_a_suite_that_fails(check: Check) -> None:
    """Each test that failed is told with its error."""
    source = (
        WORKS.format(target="'polyvisor_third:hosts'")
        + """
    def hosts(folder):
        from polyvisor_sim.conformance import sim
        return {**sim(folder), "spec": lambda name: "<domain>"}
"""
    )
    code, stages, _ = check(source)
    assert code == 1
    assert "tests failed: Test" in stages[-1]["text"]
    assert "(polyvisor.errors.XmlSyntaxError: not readable as XML" in stages[-1]["text"]


def test_a_suite_that_leaves_things(check: Check) -> None:
    """What is wrong when a test is cleared away is told too, each thing of several."""
    source = (
        WORKS.format(target="'polyvisor_third:hosts'")
        + """
    def hosts(folder):
        import os, uuid
        from polyvisor_sim.conformance import sim
        given = sim(folder)

        def spec(name):
            (given["files"] / uuid.uuid4().hex).touch()
            os.open("/dev/null", os.O_RDONLY)
            return given["spec"](name)

        return {**given, "spec": spec}
"""
    )
    code, stages, _ = check(source)
    assert code == 1
    assert "(AssertionError: descriptors left open: [" in stages[-1]["text"]
    assert "; AssertionError: files left under " in stages[-1]["text"]


def test_a_probe_that_hangs(check: Check) -> None:
    """It is given up after its time, and holds nobody up at the end."""
    source = WORKS.format(target=None).replace(
        "    def probe():", "    def probe():\n        import threading; threading.Event().wait()"
    )
    before = time.monotonic()
    code, stages, _ = check(source)
    assert code == 1
    assert stages[-1]["stage"] == "probe"
    assert "did not answer within 10 s" in stages[-1]["text"]
    assert time.monotonic() - before < 60


@pytest.mark.parametrize(
    ("source", "requires", "words"),
    [
        (
            WORKS,
            "Requires-Dist: attrs>=999\n",
            "polyvisor-third requires attrs>=999, but attrs {attrs} is installed; let pip look "
            "for versions that go together: pip install --upgrade polyvisor 'polyvisor-third'",
        ),
        (
            WORKS,
            "Requires-Dist: no-such-thing>=2 ; python_version >= '3'\n",
            "polyvisor-third requires no-such-thing>=2, which is not installed; "
            "pip install 'no-such-thing>=2'",
        ),
        (
            "import no_such_thing",
            "Provides-Extra: odd\nRequires-Dist: no-such-thing; extra == 'odd'\n",
            "No module named 'no_such_thing'; polyvisor-third[odd] requires no-such-thing, "
            "which is not installed; pip install 'polyvisor-third[odd]'",
        ),
        (
            "import no_such_module",
            "Provides-Extra: third\nRequires-Dist: no-such-thing<3; extra == 'third'\n",
            "polyvisor-third[third] requires no-such-thing<3, which is not installed; "
            "pip install 'polyvisor-third[third]'",
        ),
    ],
)
def test_what_is_required_and_not_there(
    check: Check, source: str, requires: str, words: str
) -> None:
    """It is told with what is there and what to do, by the check and by the list."""
    from importlib.metadata import version

    words = words.format(attrs=version("attrs"))
    code, stages, _ = check(source.replace("{target}", "None"), requires=requires)
    assert code == 1
    assert [(one["stage"], one["ok"]) for one in stages] == [("import", False)]
    assert words in stages[0]["text"]


def test_the_list_tells_what_is_required_too(check: Check) -> None:
    """A plugin that was loaded is told apart from one that is broken."""
    requires = "Requires-Dist: attrs<1\nRequires-Dist: no-such-thing; python_version < '3'\n"
    requires += "Requires-Dist: attrs\nRequires-Dist: other-thing; extra == 'third'\n"
    code, plugins, _ = check(WORKS.format(target=None), "", requires)
    faults = {one["name"]: one["faults"] for one in plugins}
    assert code == 0
    assert [one.partition(",")[0] for one in faults["third"]] == [
        "polyvisor-third requires attrs<1"
    ]
    assert not any(faults[name] for name in ("sim", "qemu", "remote"))


def test_an_unknown_plugin(check: Check) -> None:
    """A name that nobody has is told with those that there are."""
    code, stages, said = check(WORKS.format(target=None), "nobody")
    assert (code, stages) == (1, [])
    assert "no plugin called 'nobody'" in said
    assert "third" in said


@pytest.mark.slow
def test_the_quick_part_of_the_suite(check: Check) -> None:
    """The simulator passes it, and the check says how much that was."""
    code, stages, _ = check(WORKS.format(target=None), "sim")
    assert code == 0, stages
    assert [one["ok"] for one in stages] == [True] * 8
    assert "tests passed against the simulator" in stages[4]["text"]


@pytest.mark.real
def test_qemu_is_checked(check: Check) -> None:
    """Real QEMU runs the counting guest in the quick part of the suite."""
    missing = [one for one in ("qemu-system-x86_64", "qemu-img") if shutil.which(one) is None]
    if missing:
        reason = f"{' and '.join(missing)} missing: apt install qemu-system-x86 qemu-utils"
        if os.environ.get("POLYVISOR_REQUIRE_REAL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    code, stages, _ = check(WORKS.format(target=None), "qemu")
    assert code == 0, stages
    assert [one["ok"] for one in stages] == [True] * 5
    assert "tests passed against real QEMU" in stages[4]["text"]


@pytest.mark.skipif(os.path.exists("/proc/xen/capabilities"), reason="this is a Xen host")
def test_where_there_is_no_xen(check: Check) -> None:
    """The check of a driver whose hypervisor is not here ends at its probe, which says so."""
    code, stages, _ = check(WORKS.format(target=None), "libxl")
    assert code == 1
    assert [one["ok"] for one in stages] == [True, True, False]
    assert "Xen" in stages[2]["text"]
