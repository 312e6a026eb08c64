"""Containers behind a real libvirt daemon's LXC driver, driven over libvirt's protocol."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from xml.sax.saxutils import escape

import pytest

from polyvisor.errors import Unsupported
from polyvisor.events import EventKind
from polyvisor.model import DomainSpec
from polyvisor.testing import Target, suite
from polyvisor.testing.counting import read_ticks
from polyvisor.testing.suite import *  # noqa: F403
from polyvisor.testing.suite._life import ODD_NAMES

if TYPE_CHECKING:
    from polyvisor.connection import Connection
    from polyvisor.domain import Domain

pytestmark = pytest.mark.real

#: The first process of a container: it counts aloud, into a file that outlives it.
_INIT = """#!/bin/sh
trap '' HUP  # which asks it for a reboot
i=0
while :; do printf 'tick %04X\\n' $i >> /ticks; i=$((i+1)); sleep 0.05; done
"""
# Without <privnet/> a container would have the host's own network.
_CONTAINER = """<domain type='lxc'><name>{name}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type>exe</type><init>/init</init></os><features><privnet/></features>
<devices><filesystem type='mount'><source dir='{root}'/><target dir='/'/></filesystem>
<console type='pty'/></devices></domain>"""

#: A device of the host's; disks would have to be block devices.
_DEVICE = """<hostdev mode='capabilities' type='misc'>
<source><char>{}</char></source></hostdev>"""
#: The longest of a name: libvirt makes sockets of it.
_LONGEST = 100


class TestDefinitions(suite.TestDefinitions):
    """Definitions, of which those with long names do not start."""

    @pytest.mark.parametrize("name", [name for name in ODD_NAMES if len(name) < _LONGEST])
    def test_odd_names(self, host: Connection, target: Target, name: str) -> None:
        """As everywhere, but for long ones."""
        super().test_odd_names(host, target, name)


class TestEvents(suite.TestEvents):
    """Events: libvirtd tells a container's stop for its end, for what ended it, or for both."""

    def test_a_life_in_events(self, host: Connection, target: Target) -> None:
        """They come in order."""
        stream = host.events(timeout=10 * target.slow)
        domain = host.domains.define(target.spec("watched"))
        domain.start()
        domain.suspend()
        domain.resume()
        domain.destroy()
        domain.undefine()
        seen = []
        for event in stream:
            seen.append(event.kind)
            if event.kind is EventKind.UNDEFINED:
                break
        assert [kind for kind, _ in groupby(seen)] == [
            EventKind.DEFINED,
            EventKind.STARTED,
            EventKind.SUSPENDED,
            EventKind.RESUMED,
            EventKind.STOPPED,
            EventKind.UNDEFINED,
        ]


class TestTuning(suite.TestTuning):
    """Weights and limits."""

    def test_pins(self, domain: Domain) -> None:
        """Of containers no virtual CPU can be pinned, which is said."""
        with pytest.raises(Unsupported, match="not supported by the connection driver"):
            domain.tuning.pins(live=False)
        assert domain.xml() == domain.xml(inactive=True)


@pytest.fixture(scope="module")
def host_uri(daemons: Callable[..., list[str]]) -> str:
    """Run a host of its own and hold the URI of its LXC driver."""
    (uri,) = daemons("pvlxc", containers=True)
    return uri.replace("qemu+unix:", "lxc+unix:")


@pytest.fixture
def root(tmp_path: Path, leave_out: Callable[[str], NoReturn]) -> Path:
    """Hold the root folder of containers."""
    busybox = Path(os.environ.get("POLYVISOR_LINUX", "/")) / "bin/busybox"
    if not busybox.exists():
        leave_out("busybox is missing: POLYVISOR_LINUX names a folder with it; .ci/run makes one")
    root = tmp_path / "root"
    for name in ("bin", "dev", "proc", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy(busybox, root / "bin")
    for name in ("sh", "sleep", "printf"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "init").write_text(_INIT)
    (root / "init").chmod(0o755)
    return root


@pytest.fixture
def target(host_uri: str, via: str, root: Path) -> Target:
    """The host, and the container that counts."""

    def spec(name: str) -> DomainSpec:
        return DomainSpec.from_xml(_CONTAINER.format(name=escape(name), root=root))

    def ticks(domain: Domain) -> Sequence[int]:
        return read_ticks(root / "ticks")

    def device(path: os.PathLike[str]) -> str:
        node = f"{path}.null"
        os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        return _DEVICE.format(escape(node))

    return Target(
        uri=host_uri,
        spec=spec,
        ticks=ticks,
        shuts_down=False,
        device=device,
        slow=5.0,
        served=True,
        via=via,
    )
