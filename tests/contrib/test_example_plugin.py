"""The example of a plugin, installed as anybody's would be: found, held to the suite, served."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "contrib" / "example-plugin"
SLEEPER = """<domain type='proc'><name>sleeper</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
<os><type>exe</type><init>/bin/sleep</init><initarg>600</initarg></os></domain>"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of programs that have the plugin."""
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(SOURCE, folder / "source")  # building leaves traces
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    pip += ["--no-build-isolation", "--target", str(folder / "site"), str(folder / "source")]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return {**os.environ, "PYTHONPATH": str(folder / "site")}


def ask(environment: dict[str, str], *words: str, folder: Path) -> str:
    """Run a module of Python's and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *words],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_driver_is_short() -> None:
    """It stays what the documentation says it is."""
    driver = SOURCE / "polyvisor_proc" / "driver.py"
    assert len(driver.read_text(encoding="utf-8").splitlines()) < 200


def test_it_is_found(installed: dict[str, str], tmp_path: Path) -> None:
    """``polyvisor plugins`` lists it as a distribution of its own that works here."""
    plugins = json.loads(ask(installed, "polyvisor", "plugins", "--json", folder=tmp_path))
    found = next(one for one in plugins if one["name"] == "proc")
    assert (found["distribution"], found["version"]) == ("polyvisor-proc", "0.1.0")
    assert (found["schemes"], found["usable"], found["faults"]) == (["proc"], True, [])


@pytest.mark.slow
def test_it_conforms(installed: dict[str, str], tmp_path: Path) -> None:
    """It passes polyvisor's conformance suite, and not by leaving everything out."""
    shutil.copytree(SOURCE / "tests", tmp_path / "tests")
    words = ["pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", "tests"]
    last = ask(installed, *words, folder=tmp_path).splitlines()[-1]
    assert int(last.split()[0]) > 60, last
    assert last.split()[1] == "passed,", last


@pytest.mark.slow
def test_it_can_be_checked(installed: dict[str, str], tmp_path: Path) -> None:
    """``polyvisor plugins --check`` goes through all its stages."""
    words = ["polyvisor", "plugins", "--check", "proc", "--json"]
    stages = json.loads(ask(installed, *words, folder=tmp_path))
    assert [(one["stage"], one["ok"]) for one in stages] == [
        (stage, True) for stage in ("import", "hooks", "probe", "driver", "suite")
    ]
    assert "tests passed against real" in stages[-1]["text"]


@pytest.mark.real
def test_virsh_drives_it_through_polyvisord(installed: dict[str, str], tmp_path: Path) -> None:
    """A process is defined, started, stopped, let go on and ended by libvirt's own client."""
    virsh = shutil.which("virsh")
    if virsh is None:
        reason = "virsh is not installed: apt install libvirt-clients"
        if os.environ.get("POLYVISOR_REQUIRE_REAL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    (tmp_path / "polyvisor.toml").write_text(f"root = '{tmp_path}/root'\n")
    (tmp_path / "sleeper.xml").write_text(SLEEPER)
    socket, log = tmp_path / "sock", tmp_path / "log"
    uri = f"proc+unix:///default?socket={socket}"

    def ok(*words: str) -> str:
        environment = {**os.environ, "LC_ALL": "C"}
        done = subprocess.run([virsh, "-q", "-c", uri, *words], capture_output=True, text=True,
                              timeout=60, check=False, env=environment)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    daemon = [sys.executable, "-m", "polyvisor_remote", "--config", f"{tmp_path}/polyvisor.toml"]
    with log.open("w") as file:
        process = subprocess.Popen(
            [*daemon, "--listen", f"unix:{socket}"], stderr=file, env=installed
        )
    try:
        deadline = time.monotonic() + 30
        while "listens on" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "polyvisord does not begin"
            time.sleep(0.02)
        ok("define", str(tmp_path / "sleeper.xml"))
        ok("start", "sleeper")
        assert ok("domstate", "sleeper") == "running"
        ok("suspend", "sleeper")
        assert ok("domstate", "sleeper") == "paused"
        ok("resume", "sleeper")
        ok("shutdown", "sleeper")
        deadline = time.monotonic() + 20
        while ok("domstate", "sleeper") != "shut off":
            assert time.monotonic() < deadline, "SIGTERM did not end it"
            time.sleep(0.05)
        ok("start", "sleeper")
        ok("destroy", "sleeper")
        ok("undefine", "sleeper")
        assert ok("list", "--all") == ""
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        finally:
            process.kill()
