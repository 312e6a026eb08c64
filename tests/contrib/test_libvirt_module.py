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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from polyvisor.testing.counting import write_image

SOURCE = Path(__file__).parents[2] / "contrib" / "libvirt-python"
BINDING = "/usr/bin/python3"
#: A guest of each driver with which every call has something to do.
GUESTS = {
    "test": """<domain type='test'><name>p</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
<os><type>hvm</type></os></domain>""",
    "qemu": """<domain type='qemu'><name>p</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
<iothreads>1</iothreads><os><type arch='x86_64' machine='pc'>hvm</type></os>
<devices><disk type='file' device='disk'><driver name='qemu' type='raw'/>
<source file='{folder}/disk.img'/><target dev='vda' bus='virtio'/></disk>
<graphics type='vnc' socket='{folder}/vnc'/><video><model type='vga'/></video>
</devices></domain>""",
}
#: What the script prints last: the events of a guest's life.
EVENTS = [("p", 0, 0), ("p", 2, 0), ("p", 3, 0), ("p", 4, 0)]


def script(python: str, uri: str, *more: str, name: str = "libvirt_script.py") -> Any:
    """Run a script with the binding of a Python, or with ours, and return what it noted."""
    environment = {**os.environ, "HOME": "/nonexistent", "LC_ALL": "C"}
    environment.pop("PYTHONPATH", None)
    if python == sys.executable:
        environment["PYTHONPATH"] = str(SOURCE)
    done = subprocess.run(
        [python, str(Path(__file__).with_name(name)), uri, *more],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextmanager
def daemon(folder: Path) -> Iterator[Path]:
    """Run polyvisord with hosts of its own; give the path of its socket."""
    socket = folder / "sock"
    (folder / "polyvisor.toml").write_text(f"root = '{folder}/root'\n")
    command = [sys.executable, "-m", "polyvisor_remote", "--listen", f"unix:{socket}"]
    process = subprocess.Popen([*command, "--config", str(folder / "polyvisor.toml")])
    try:
        deadline = time.monotonic() + 30
        while not socket.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline, "polyvisord does not begin"
            time.sleep(0.02)
        yield socket
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def test_a_script_without_a_daemon() -> None:
    """A local URI is served in the script's own process."""
    said = script(sys.executable, "test:///default")
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
    with daemon(tmp_path) as socket:
        there = f"test+unix:///default?socket={socket}"
        theirs = script(binding, there)
        assert script(sys.executable, "test:///default") == theirs
        assert script(sys.executable, there) == theirs


@pytest.mark.real
@pytest.mark.parametrize("driver", ["test", "qemu"])
def test_each_call_answers_as_the_binding_does(driver: str, binding: str, own_home: Path) -> None:
    """What a domain may use, its guest and its host: answers and errors are the binding's."""
    if driver == "qemu" and shutil.which("qemu-system-x86_64") is None:
        pytest.skip("QEMU is not installed: apt install qemu-system-x86")
    write_image(own_home / "disk.img")
    (own_home / "guest.xml").write_text(GUESTS[driver].format(folder=own_home))
    with daemon(own_home) as socket:
        uri = f"{driver}+unix:///{'default' if driver == 'test' else 'session'}?socket={socket}"
        guest = str(own_home / "guest.xml")
        theirs = script(binding, uri, guest, name="libvirt_calls.py")
        ours = script(sys.executable, uri, guest, name="libvirt_calls.py")
    assert ours == theirs
    assert len(theirs) > 70


@pytest.mark.real
def test_every_name_is_there(binding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each class, method and function of the binding; no C pointer stands behind ours."""
    code = (
        "import json, libvirt; print(json.dumps({name: [one for one in dir(it) if one[0] != '_'] "
        "for name, it in vars(libvirt).items() if name[0] != '_' "
        "and callable(it) and it.__module__ == 'libvirt'}))"
    )
    done = subprocess.run([binding, "-c", code], capture_output=True, text=True, check=True)
    monkeypatch.syspath_prepend(str(SOURCE))
    for name in [name for name in sys.modules if name.partition(".")[0] == "libvirt"]:
        monkeypatch.delitem(sys.modules, name)
    ours = importlib.import_module("libvirt")
    missing = {
        f"{name}.{method}"
        for name, methods in json.loads(done.stdout).items()
        for method in methods or [""]
        if method not in ("c_pointer", "virConnect")
        and not hasattr(getattr(ours, name, None), method or "__call__")
    }
    assert missing == set()


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
