"""The module ``libvirt`` on polyvisor does what libvirt's own binding does."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "contrib" / "libvirt-python"
SCRIPT = Path(__file__).with_name("libvirt_script.py")
BINDING = "/usr/bin/python3"
#: What the script prints last: the events of a guest's life.
EVENTS = [("p", 0, 0), ("p", 2, 0), ("p", 3, 0), ("p", 4, 0)]


def script(python: str, uri: str, path: str = "") -> list[list[str]]:
    """Run the script and return what it noted."""
    environment = {**os.environ, "HOME": "/nonexistent", "LC_ALL": "C"}
    environment.pop("PYTHONPATH", None)
    if path:
        environment["PYTHONPATH"] = path
    done = subprocess.run(
        [python, str(SCRIPT), uri],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[list[str]] = json.loads(done.stdout)
    return found


def test_a_script_without_a_daemon() -> None:
    """A local URI is served in the script's own process."""
    said = script(sys.executable, "test:///default", str(SOURCE))
    assert len(said) > 30
    assert said[0] == ["'TEST'", "1", "1", "[]"]
    events = next(line[0] for line in said if line[0].startswith("[('p', 0, 0"))
    assert events.startswith(str([(*one, "x") for one in EVENTS])[:-1])
    assert said[-1] == ["True"]


def test_it_is_a_distribution(tmp_path: Path) -> None:
    """It installs as anybody's would, its table of constants too."""
    shutil.copytree(SOURCE, tmp_path / "source")  # building leaves traces
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    pip += ["--no-build-isolation", "--target", str(tmp_path / "site"), str(tmp_path / "source")]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    code = "import libvirt; print(libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_ERR_NO_DOMAIN)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "1 42\n", done.stderr


@pytest.fixture(scope="module")
def binding() -> str:
    """Return the Python that has libvirt's own binding."""
    found = subprocess.run([BINDING, "-c", "import libvirt"], capture_output=True, check=False)
    if found.returncode:
        reason = "libvirt's binding is not installed: apt install python3-libvirt"
        if os.environ.get("POLYVISOR_REQUIRE_REAL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return BINDING


@pytest.mark.real
def test_the_binding_says_the_same(binding: str, tmp_path: Path) -> None:
    """Every answer and every error is what libvirt's binding gets from polyvisord."""
    socket = tmp_path / "sock"
    (tmp_path / "polyvisor.toml").write_text(f"root = '{tmp_path}/root'\n")
    command = [sys.executable, "-m", "polyvisor_remote", "--listen", f"unix:{socket}"]
    daemon = subprocess.Popen([*command, "--config", str(tmp_path / "polyvisor.toml")])
    try:
        deadline = time.monotonic() + 30
        while not socket.exists():
            assert daemon.poll() is None
            assert time.monotonic() < deadline, "polyvisord does not begin"
            time.sleep(0.02)
        theirs = script(binding, f"test+unix:///default?socket={socket}")
        ours = script(sys.executable, "test:///default", str(SOURCE))
        over = script(sys.executable, f"test+unix:///default?socket={socket}", str(SOURCE))
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(30)
    assert ours == theirs
    assert over == theirs


@pytest.mark.real
def test_the_constants_are_the_bindings(binding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each constant that libvirt's binding has is here, with its value."""
    code = (
        "import json, libvirt; print(json.dumps({name: getattr(libvirt, name) "
        "for name in dir(libvirt) if name.startswith('VIR_')}))"
    )
    done = subprocess.run([binding, "-c", code], capture_output=True, text=True, check=True)
    monkeypatch.syspath_prepend(str(SOURCE))
    ours = importlib.import_module("libvirt._constants").constants()
    theirs = json.loads(done.stdout)
    shared = set(theirs) & set(ours)
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}
    assert len(shared) > 1000
