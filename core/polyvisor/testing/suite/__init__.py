"""All tests of the suite and the fixtures that they need; to be imported with ``*``."""

from __future__ import annotations

from polyvisor.testing.suite._families import (
    TestNetworks,
    TestNwFilters,
    TestSecrets,
    TestStoragePools,
)
from polyvisor.testing.suite._fixtures import (
    domain,
    host,
    leaves_nothing_behind,
    peer,
    polyvisor_requirements,
)
from polyvisor.testing.suite._life import TestDefinitions, TestLife
from polyvisor.testing.suite._machine import TestStateMachine
from polyvisor.testing.suite._moving import TestMigration
from polyvisor.testing.suite._parts import TestAnnotations, TestDumps, TestTuning
from polyvisor.testing.suite._processes import TestManyProcesses
from polyvisor.testing.suite._saving import (
    TestCheckpoints,
    TestSaving,
    TestSnapshots,
    TestSnapshotsOfDisks,
)
from polyvisor.testing.suite._support import TestEvents, TestSupport

__all__ = [
    "TestAnnotations",
    "TestCheckpoints",
    "TestDefinitions",
    "TestDumps",
    "TestEvents",
    "TestLife",
    "TestManyProcesses",
    "TestMigration",
    "TestNetworks",
    "TestNwFilters",
    "TestSaving",
    "TestSecrets",
    "TestSnapshots",
    "TestSnapshotsOfDisks",
    "TestStateMachine",
    "TestStoragePools",
    "TestSupport",
    "TestTuning",
    "domain",
    "host",
    "leaves_nothing_behind",
    "peer",
    "polyvisor_requirements",
]
