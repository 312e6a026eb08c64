"""The compiled binding: which interface it asks for, where it is kept, what it says is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from polyvisor.errors import PluginUnusable
from polyvisor_libxl import binding

HEADER = """
#if LIBXL_API_VERSION != 0x040200 && LIBXL_API_VERSION != 0x040300 && \\
    {more}
#error Unknown LIBXL_API_VERSION
"""


@pytest.mark.parametrize(
    ("more", "chosen"),
    [
        ("LIBXL_API_VERSION != 0x040400", 0x040400),
        ("LIBXL_API_VERSION != 0x040400 && LIBXL_API_VERSION != 0x041300", 0x041300),
        ("LIBXL_API_VERSION != 0x041400 && LIBXL_API_VERSION != 0x990000", 0x041400),
    ],
)
def test_an_interface_that_the_header_lists(more, chosen):
    """The newest listed one is chosen that the binding was written for."""
    assert binding.choose_api(HEADER.format(more=more)) == chosen


def test_a_header_that_is_too_old():
    """Where only interfaces are listed that cannot say a stream's version, it is refused."""
    with pytest.raises(PluginUnusable, match=r"0x040200, 0x040300.*0x040400 or newer"):
        binding.choose_api(HEADER.format(more="0"))


def test_it_is_built_once(standin, tmp_path, monkeypatch):
    """A built binding is loaded from the cache by later processes, without a compiler."""
    built = Path(binding.module_path())
    assert built.exists()
    assert built.is_relative_to(standin / "cache")
    code = "from polyvisor_libxl import binding; print(binding.load().lib.pv_stream_version())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": "", "XDG_CACHE_HOME": str(standin / "cache")},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "2\n"


def test_it_is_built_on_request(standin, tmp_path, monkeypatch, capsys):
    """The command line builds it, and says where it is."""
    from polyvisor.cli import main

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["plugins", "build", "libxl"]) == 0
    assert capsys.readouterr().out == f"built {binding.module_path()}\n"
    assert Path(binding.module_path()).is_relative_to(tmp_path)
    assert main(["plugins", "build", "sim"]) == 1


@pytest.mark.slow
def test_processes_that_build_at_once(standin, tmp_path):
    """Several processes may build at the same time; each gets a whole binding."""
    code = "from polyvisor_libxl import binding; binding.build(); binding.load()"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={"PATH": "/usr/bin:/bin", "XDG_CACHE_HOME": str(tmp_path)},
        )
        for _ in range(3)
    ]
    assert [child.wait(120) for child in children] == [0, 0, 0]
    assert [path.name for path in (tmp_path / "polyvisor/libxl").iterdir()] == [
        Path(binding.module_path()).parent.name
    ]


@pytest.mark.slow
def test_threads_that_load_at_once(standin, tmp_path):
    """Of several threads that need it first, one builds it, where the process is; all share it."""
    code = (
        "import os, threading\n"
        "from polyvisor_libxl import binding\n"
        "found, before = [], os.getcwd()\n"
        "def load(): found.append((id(binding.load()), os.getcwd() == before))\n"
        "threads = [threading.Thread(target=load) for _ in range(4)]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
        "print(len(found), len(set(found)), found[0][1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": "/usr/bin:/bin", "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout == "4 1 True\n"


def test_importing_it_needs_nothing():
    """Neither polyvisor nor the plugin imports cffi before it is used."""
    code = "import sys, polyvisor, polyvisor_libxl.probe; print('cffi' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "False\n"
