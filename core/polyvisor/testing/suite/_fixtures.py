"""Fixtures of the suite; each says exactly what it holds."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from typing import TYPE_CHECKING

import pytest

import polyvisor

if TYPE_CHECKING:
    from polyvisor.connection import Connection
    from polyvisor.domain import Domain
    from polyvisor.testing._target import Target

__all__ = [
    "domain",
    "host",
    "leaves_nothing_behind",
    "peer",
    "polyvisor_requirements",
]


def clear(connection: Connection) -> None:
    """Destroy and undefine every domain of the connection."""
    for found in connection.domains.list():
        try:
            if found.active:
                found.destroy()
            found.undefine(managed_save=True, snapshots=True, checkpoints=True)
        except polyvisor.errors.NotFound:
            continue


def _children() -> set[int]:
    found: set[int] = set()
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/children", encoding="ascii") as file:
                found.update(int(pid) for pid in file.read().split())
        except FileNotFoundError:
            continue
    return found


@pytest.fixture(autouse=True)
def leaves_nothing_behind() -> Iterator[None]:
    """Assert that no descriptor, thread or child process is left after a test."""
    descriptors = _open_files()
    threads = set(threading.enumerate())
    children = _children()
    yield
    left = [thread.name for thread in threading.enumerate() if thread not in threads]
    assert not left, f"threads left running: {left}"
    more = _open_files() - descriptors
    if more:
        gc.collect()  # what is only referred to in a circle is nobody's; this takes a while
        more &= _open_files()
    assert not more, f"descriptors left open: {sorted(more)}"
    orphans = _children() - children
    assert not orphans, f"child processes left: {orphans}"


def _open_files() -> set[str]:
    """Return number and target of each descriptor."""
    names = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            names.add(f"{number}={os.readlink(f'/proc/self/fd/{number}')}")
        except OSError:
            continue
    return names


def _kept_files(target: Target) -> set[str]:
    """Return the files of the target's hosts that should not outlive a domain."""
    if target.files is None:
        return set()
    found = (
        os.path.relpath(os.path.join(folder, name), target.files)
        for folder, _, names in os.walk(target.files)
        for name in names
    )
    return {path for path in found if not any(fnmatch(path, kind) for kind in target.keeps)}


#: Of targets whose hosts a test has: how many of them, and the files before the first.
_in_use: dict[int, tuple[int, set[str]]] = {}


@contextmanager
def _cleared(target: Target, uri: str) -> Iterator[Connection]:
    """Hold a connection to a host without domains.

    The last of a test's hosts to be cleared away asserts that none left files.
    """
    hosts, files = _in_use.get(id(target)) or (0, _kept_files(target))
    _in_use[id(target)] = hosts + 1, files
    try:
        connection = polyvisor.open(uri)
        clear(connection)
        yield connection
        if connection.closed:
            connection = polyvisor.open(uri)
        clear(connection)
        connection.close()
    finally:
        hosts, files = _in_use.pop(id(target))
        if hosts > 1:
            _in_use[id(target)] = hosts - 1, files
    left = _kept_files(target) - files if hosts == 1 else set()
    assert not left, f"files left under {target.files}: {sorted(left)}"


@pytest.fixture
def host(target: Target, leaves_nothing_behind: None) -> Iterator[Connection]:
    """Hold an open connection to a host without domains; they are cleared away after."""
    with _cleared(target, target.uri) as connection:
        yield connection


@pytest.fixture
def peer(target: Target, leaves_nothing_behind: None) -> Iterator[Connection]:
    """Hold an open connection to a second host without domains."""
    if target.peer is None:
        pytest.skip("the target has no second host")
    with _cleared(target, target.peer) as connection:
        yield connection


@pytest.fixture
def domain(host: Connection, target: Target) -> Domain:
    """Hold a defined domain called ``guest`` that does not run."""
    return host.domains.define(target.spec("guest"))


@pytest.fixture(autouse=True)
def polyvisor_requirements(request: pytest.FixtureRequest, target: Target) -> None:
    """Skip a test whose features the driver does not claim."""
    for marker in request.node.iter_markers("polyvisor_requires"):
        with polyvisor.open(target.uri) as connection:
            table = connection.support
            for feature in marker.args:
                if not table.usable(feature):
                    answer = table[feature]
                    pytest.skip(f"not claimed: {feature} is {answer.status}: {answer.reason}")
