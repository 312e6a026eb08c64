"""libvirt's QEMU cookies of every phase, as libvirtd and polyvisord give them one another."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from test_virsh_qemu_migration import PLACE, Pair, pair

import polyvisor
from polyvisor.driver import MigrationOptions
from polyvisor.jobs import Job
from polyvisor_qemu.cookies import QemuCookie
from polyvisor_qemu.probe import has_spice

pytestmark = [pytest.mark.real, pytest.mark.slow]

__all__ = ["pair"]

SIDES = ("ours", "theirs")
GUEST = UUID("6f7a2a2e-52f6-4cf9-a8a4-4ac1bb5f4a12")
SCREEN = (
    "<graphics type='spice' port='{port}' autoport='no' listen='127.0.0.1'>"
    "<listen type='address' address='127.0.0.1'/></graphics>"
    "<video><model type='qxl'/></video></devices>"
)
#: Follows a screen as virt-viewer does, and says to which port it is connected, and how it got on.
VIEWER = """
import sys
import gi
gi.require_version("SpiceClientGLib", "2.0")
from gi.repository import GLib, GObject, SpiceClientGLib as Spice

on = GObject.Object.connect  # theirs is hidden by SPICE's own
session = Spice.Session(uri=f"spice://127.0.0.1:{sys.argv[1]}")
def say(*words):
    print(*words, flush=True)
def main(channel, event):
    say("channel", event.value_nick)
def new(_, channel):
    if isinstance(channel, Spice.MainChannel):
        on(channel, "channel-event", main)
    Spice.Channel.connect(channel)
on(session, "channel-new", new)
on(session, "notify::migration-state", lambda *_: say(
    "migration", session.get_property("migration-state").value_nick, session.get_property("port")))
on(session, "disconnected", lambda *_: (say("disconnected"), loop.quit()))
loop = GLib.MainLoop()
GLib.timeout_add_seconds(120, loop.quit)
session.connect()
loop.run()
"""


def move(pair: Pair, source: str, target: str) -> dict[str, QemuCookie]:
    """Migrate the guest step by step; return the cookie that each step gave, as it is read."""
    said: dict[str, bytes | None] = {}
    options = MigrationOptions(
        uri=PLACE, unsafe=True, source=pair.uris[source], destination=pair.uris[target]
    )
    with (
        polyvisor.open(pair.uris[source]) as here,
        polyvisor.open(pair.uris[target]) as there,
        Job("migration") as job,
    ):
        leaving, arriving = here.driver.migration, there.driver.migration
        assert leaving is not None
        assert arriving is not None
        begun = leaving.begin(GUEST, options, job)
        said["begin"] = begun.cookie
        prepared = arriving.prepare(begun.spec, begun.cookie, options)
        said["prepare"] = prepared.cookie
        said["perform"] = leaving.perform(GUEST, prepared.uri, prepared.cookie, options, job)
        finished = arriving.finish(GUEST, said["perform"], options, cancelled=False)
        said["finish"] = finished.cookie
        leaving.confirm(GUEST, finished.cookie, options, cancelled=False)
    found = {}
    for phase, data in said.items():
        assert data is not None
        cookie, behind = QemuCookie.from_bytes(data)
        # What is read is all that there is: written again it is the same, byte for byte.
        assert cookie.to_bytes(behind) == data, phase
        found[phase] = cookie
    return found


def parts(cookie: QemuCookie) -> set[str]:
    """Return which of its parts a cookie has."""
    return {
        name
        for name in ("graphics", "lock", "domain", "nbd", "statistics", "cpu", "capabilities")
        if getattr(cookie, name) is not None
    }


@contextmanager
def port() -> Iterator[int]:
    """Give a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        yield held.getsockname()[1]


def test_every_cookie_is_read_and_has_the_same_parts(pair: Pair) -> None:
    """Both ways each phase's has the same parts, but what only libvirt has to say."""
    pair.virsh("ours", "create", f"{pair.folder}/g.xml")
    pair.wait_for_count()
    found = {}
    for source, target in (SIDES, SIDES[::-1], SIDES):
        cookies = move(pair, source, target)
        assert pair.where() == [target]
        pair.wait_for_count()
        for phase, cookie in cookies.items():
            teller = source if phase in ("begin", "perform") else target
            found[phase, teller] = cookie
    for phase in ("begin", "prepare", "perform", "finish"):
        ours, theirs = found[phase, "ours"], found[phase, "theirs"]
        assert parts(ours) == parts(theirs), phase
        assert ours.capabilities is not None or phase in ("perform", "finish")
        assert [name for name, _ in ours.capabilities or ()] == [
            name for name, _ in theirs.capabilities or ()
        ]
        for one, other in ((ours, theirs), (theirs, ours)):
            alone = set(one.statistics or {}) - set(other.statistics or {})
            assert not alone, phase
    # The CPU that libvirt's guest has seen is the one that it has here, and goes on with.
    assert found["begin", "ours"].cpu == found["begin", "theirs"].cpu
    counted = pair.lines()
    assert counted == sorted(counted), "the guest was started anew"


@pytest.mark.skipif(not has_spice(), reason="QEMU has no SPICE: qemu-system-modules-spice")
def test_a_viewer_goes_along(pair: Pair, tmp_path: Path) -> None:
    """A client of SPICE that looks at the guest is told where it goes, and is there with it."""
    python = "/usr/bin/python3"
    probe = "import gi; gi.require_version('SpiceClientGLib', '2.0')"
    if not shutil.which(python) or subprocess.run([python, "-c", probe], check=False).returncode:
        pytest.skip("no gir1.2-spiceclientglib-2.0 for Python")
    xml = (pair.folder / "g.xml").read_text()
    with port() as number, port() as other:
        ports = {"ours": number, "theirs": other}
    (pair.folder / "g.xml").write_text(xml.replace("</devices>", SCREEN.format(port=number)))
    (tmp_path / "viewer.py").write_text(VIEWER)
    pair.virsh("ours", "create", f"{pair.folder}/g.xml")
    pair.wait_for_count()
    log = tmp_path / "viewer.log"
    with log.open("w") as out:
        viewer = subprocess.Popen([python, tmp_path / "viewer.py", str(number)], stdout=out)

    def said(words: str) -> None:
        deadline = time.monotonic() + 60
        while words not in log.read_text():
            assert viewer.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)

    try:
        said("channel opened")
        for source, target in (SIDES, SIDES[::-1]):
            xml = pair.virsh(source, "dumpxml", "g", "--migratable")
            there = f"port='{ports[target]}'"
            (tmp_path / "there.xml").write_text(xml.replace(f"port='{ports[source]}'", there))
            pair.virsh(
                source, "migrate", "g", pair.uris[target], PLACE, "--live", "--unsafe",
                "--xml", str(tmp_path / "there.xml"),
            )  # fmt: skip
            said(f"migration none {ports[target]}")
            assert pair.where() == [target]
        assert viewer.poll() is None, log.read_text()
    finally:
        viewer.kill()
        viewer.wait()
