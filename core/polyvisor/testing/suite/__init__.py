"""All tests of the suite and the fixtures that they need; to be imported with ``*``."""

from __future__ import annotations

from polyvisor.testing.suite._changes import (
    TestDevices,
    TestHostDevices,
    TestIoThreads,
    TestSizes,
)
from polyvisor.testing.suite._disks import TestBlockJobs, disk
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
from polyvisor.testing.suite._person import TestAgent, TestConsoles, TestDebug, TestScreens
from polyvisor.testing.suite._processes import TestManyProcesses
from polyvisor.testing.suite._saving import (
    TestCheckpoints,
    TestSaving,
    TestSnapshots,
    TestSnapshotsOfDisks,
)
from polyvisor.testing.suite._support import TestEvents, TestSupport

__all__ = [
    "TestAgent",
    "TestAnnotations",
    "TestBlockJobs",
    "TestCheckpoints",
    "TestConsoles",
    "TestDebug",
    "TestDefinitions",
    "TestDevices",
    "TestDumps",
    "TestEvents",
    "TestHostDevices",
    "TestIoThreads",
    "TestLife",
    "TestManyProcesses",
    "TestMigration",
    "TestNetworks",
    "TestNwFilters",
    "TestSaving",
    "TestScreens",
    "TestSecrets",
    "TestSizes",
    "TestSnapshots",
    "TestSnapshotsOfDisks",
    "TestStateMachine",
    "TestStoragePools",
    "TestSupport",
    "TestTuning",
    "disk",
    "domain",
    "host",
    "leaves_nothing_behind",
    "peer",
    "polyvisor_requirements",
]
