"""The conformance suite fails a test that leaves something behind, and says what."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LEAKS = '''
import os, subprocess, threading
import pytest
from polyvisor.testing import Target
from polyvisor.model import DomainSpec
from polyvisor.testing.suite import *
import polyvisor.testing.suite as suite

for name in suite.__all__:
    if name.startswith("Test"):
        del globals()[name]

GUEST = """<domain type='sim'><name>{}</name><memory unit='MiB'>4</memory>
<os><type>hvm</type></os></domain>"""
kept = []

@pytest.fixture
def target(tmp_path):
    return Target(uri=f"sim:///a?root={tmp_path}/hosts", files=tmp_path / "hosts",
                  spec=lambda name: DomainSpec.from_xml(GUEST.format(name)), against="simulator")

def test_nothing(domain):
    domain.start()

def test_a_descriptor(domain):
    kept.append(open("/dev/null"))

def test_a_circle_that_nobody_holds(domain):
    circle = [open("/dev/null")]
    circle.append(circle)

def test_a_thread(domain):
    threading.Thread(target=threading.Event().wait, name="left", daemon=True).start()

def test_a_process(domain):
    kept.append(subprocess.Popen(["sleep", "30"]))

def test_a_file(domain, tmp_path):
    (tmp_path / "hosts" / "left").touch()

def test_the_end():
    kept[-1].kill()
    kept[-1].wait()
'''


def test_what_is_left_behind_fails_the_test(tmp_path: Path) -> None:
    """Descriptors, threads, processes and files are told; what has none of them passes."""
    (tmp_path / "test_leaks.py").write_text(LEAKS)
    words = ["-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(tmp_path)]
    words += ["-W", "ignore", "--basetemp", str(tmp_path / "t"), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    errors = [line for line in done.stdout.splitlines() if line.startswith("ERROR")]
    assert [line.split("::")[1].split()[0] for line in errors] == [
        "test_a_descriptor",
        "test_a_thread",
        "test_a_process",
        "test_a_file",
    ], done.stdout
    assert "/dev/null" in done.stdout
    for words_of in ("threads left running: ['left']", "child processes left", "['left']"):
        assert words_of in done.stdout
    assert "7 passed" in done.stdout
