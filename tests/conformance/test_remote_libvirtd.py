"""QEMU behind real libvirt daemons, driven over libvirt's protocol."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from polyvisor.events import EventKind
from polyvisor.testing import Target, suite
from polyvisor.testing.suite import *  # noqa: F403

if TYPE_CHECKING:
    from polyvisor.connection import Connection

pytestmark = pytest.mark.real

#: A floppy that is not written, since libvirt migrates no guest whose disk is not shared.
_FLOPPY = """<disk type='file' device='floppy'><driver name='qemu' type='raw'/>
<source file='{}'/><target dev='fda' bus='fdc'/><readonly/></disk>"""
_DISK = """<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
<source file='{}'/><target dev='hda' bus='ide'/></disk>"""

# The least machine has no ACPI, without which only USB is plugged.
_USB_DISK = """<disk type='file' device='disk'><driver name='qemu' type='raw'/>
<source file='{}'/><target dev='sdx' bus='usb'/></disk>"""


class TestEvents(suite.TestEvents):
    """Events in the order in which libvirt's QEMU driver has them."""

    def test_a_life_in_events(self, host: Connection, target: Target) -> None:
        """Starting wakes the guest first, and a guest that is destroyed shuts down first."""
        stream = host.events(timeout=10 * target.slow)
        domain = host.domains.define(target.spec("watched"))
        domain.start()
        domain.suspend()
        domain.resume()
        domain.destroy()
        domain.undefine()
        seen: list[tuple[str, str]] = []
        for event in stream:
            seen.append((str(event.kind), event.detail))
            if event.kind is EventKind.UNDEFINED:
                break
        assert [one for one in seen if one[0] != "shutdown"] == [
            ("defined", "added"),
            ("resumed", "unpaused"),
            ("started", "booted"),
            ("suspended", "paused"),
            ("resumed", "unpaused"),
            ("stopped", "destroyed"),
            ("undefined", "removed"),
        ]


@pytest.fixture(scope="module")
def hosts(daemons: Callable[..., list[str]]) -> tuple[str, str]:
    """Run two hosts of their own and hold the URIs of their QEMU drivers."""
    first, second = daemons("pva", "pvb")
    return first, second


@pytest.fixture
def target(
    hosts: tuple[str, str], via: str, tmp_path: Path, counting_spec, serial_ticks, request
) -> Target:
    """Both hosts, and the boot sector's disk."""
    from polyvisor.testing.counting import write_image

    raw, disk = tmp_path / "tick.img", tmp_path / "tick.qcow2"
    write_image(raw)
    line = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(disk)]
    subprocess.run(line, check=True, timeout=60)
    moving = request.cls is suite.TestMigration
    return Target(
        uri=hosts[0],
        peer=hosts[1],
        spec=counting_spec(
            "qemu",
            16,
            _FLOPPY.format(raw) if moving else _DISK.format(disk),
        ),
        ticks=serial_ticks,
        shuts_down=False,
        device=_USB_DISK.format,
        slow=5.0,
        served=True,
        via=via,
    )
