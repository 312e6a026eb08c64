"""libvirt's own shell tests of virsh, with polyvisord in the place of its test driver."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Served, need, run, served

pytestmark = pytest.mark.real

#: Those that pass. Not among them: ``virsh-uriprecedence``, which needs the URI of the test
#: driver itself.
TESTS = [
    "virsh-auth",
    "virsh-checkpoint",
    "virsh-cpuset",
    "virsh-define-dev-segfault",
    "virsh-int-overflow",
    "virsh-optparse",
    "virsh-output",
    "virsh-read-bufsiz",
    "virsh-read-non-seekable",
    "virsh-schedinfo",
    "virsh-self-test",
    "virsh-snapshot",
    "virsh-start",
    "virsh-undefine",
    "virsh-vcpupin",
]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Return a daemon."""
    with served(tmp_path_factory.mktemp("shell") / "h") as found:
        yield found


@pytest.fixture(scope="module")
def source() -> Path:
    """Return libvirt's unpacked source."""
    named = os.environ.get("POLYVISOR_LIBVIRT_SOURCE")
    if named and Path(named, "tests", "virsh-undefine").is_file():
        return Path(named)
    reason = "POLYVISOR_LIBVIRT_SOURCE names no libvirt source that has tests/virsh-undefine"
    if os.environ.get("POLYVISOR_REQUIRE_REAL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.mark.parametrize("name", TESTS)
def test_libvirts_own_test_passes(name: str, host: Served, source: Path, tmp_path: Path) -> None:
    """The script ends as it does against libvirt's test driver: with success."""
    build = tmp_path / "build"
    for folder in ("tools", "src", "tests"):
        (build / folder).mkdir(parents=True)
    (build / "tools" / "virsh").symlink_to(need("virsh", "libvirt-clients"))
    top = tmp_path / "top"
    shutil.copytree(source / "tests", top / "tests", ignore=shutil.ignore_patterns("*data"))
    for folder in ("examples", "src"):
        (top / folder).symlink_to(source / folder)
    script = top / "tests" / name
    script.write_text(script.read_text().replace("test:///default", host.uri()))
    work = tmp_path / "work"
    work.mkdir()
    interpreter = "python3" if "python" in script.read_text().partition("\n")[0] else "bash"
    done = run(
        "env",
        "-C",
        str(work),
        f"abs_top_srcdir={top}",
        f"abs_top_builddir={build}",
        f"srcdir={top}/tests",
        "VIR_TEST_EXPENSIVE=1",
        "VIR_TEST_VERBOSE=1",
        interpreter,
        str(script),
        timeout=120,
    )
    assert done.returncode in (0, 77), done.stdout[-4000:] + done.stderr[-4000:]
    assert done.returncode == 0 or re.search("skip", done.stdout + done.stderr, re.IGNORECASE)
