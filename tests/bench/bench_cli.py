"""The command line: whole processes of ``polyvisor`` beside ``virsh``, from exec to exit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from harness import Missing, Row, alternate

__all__ = ["TITLE", "measure"]

TITLE = "Command line on the test driver, beside virsh"
COMMANDS = {
    "list": ("list",),
    "list --all": ("list", "--all"),
    "dominfo": ("dominfo", "test"),
    "dumpxml": ("dumpxml", "test"),
}


def measure(rounds: int) -> list[Row]:
    """Alternate single processes, some for each round."""
    virsh = shutil.which("virsh")
    if virsh is None:
        raise Missing("virsh is missing: apt install libvirt-clients")
    polyvisor = str(Path(sys.executable).with_name("polyvisor"))
    bare = (sys.executable, "-c", "pass")

    def side(program: str) -> Callable[[], dict[str, float]]:
        return lambda: {
            name: process(program, "-c", "test:///default", *arguments)
            for name, arguments in COMMANDS.items()
        }

    mine, other, python = alternate(
        rounds * 5, side(polyvisor), side(virsh), lambda: {"start": process(*bare)}
    )
    rows = [
        Row(f"`{name}`", mine[name], other[name], 6.0 if name == "list" else None)
        for name in COMMANDS
    ]
    return [*rows, Row("(Python itself, doing nothing)", python["start"])]


def process(*command: str) -> float:
    """Return how long a process takes, in seconds."""
    # An installation is compiled; a tree must be allowed to become so.
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    start = perf_counter()
    done = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert done.stderr is not None
    words = done.stderr.read()
    _, status, _ = os.wait4(done.pid, 0)
    taken = perf_counter() - start
    done.returncode = os.waitstatus_to_exitcode(status)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {words.decode()}")
    done.stderr.close()
    return taken
