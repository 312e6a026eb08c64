"""virt-manager under a virtual screen, with polyvisord in libvirtd's place."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from beside import picture, running, title, virtual_screen, wait_for
from served import need, run, served
from wire_client import WireClient

pytestmark = pytest.mark.real


def test_shows_a_domain(tmp_path: Path) -> None:
    """Under a virtual screen it connects, hears of events and opens the domain's details."""
    manager = need("virt-manager", "virt-manager")
    need("dbus-run-session", "dbus")
    log = tmp_path / "manager.log"
    wanted = (
        "Using domain events",
        "domain=test status=Running added",
        "network=default status=Active added",
        "pool=default-pool status=Active added",
    )
    with (
        served(tmp_path / "h") as host,
        WireClient(host.socket, "test:///default"),
        virtual_screen() as display,
    ):
        options = ("--no-fork", "--debug", "--connect", host.uri(), "--show-domain-editor", "test")
        settings = {
            "DISPLAY": display,
            "HOME": str(tmp_path),
            "GSETTINGS_BACKEND": "memory",
            "NO_AT_BRIDGE": "1",
        }
        with running("dbus-run-session", "--", manager, *options, log=log, **settings):
            found = wait_for(lambda: title(display, "test on .*?"), f"window; {log}")
            assert found == "test on test default"
            made = wait_for(lambda: picture(display, tmp_path), "picture with a window in it")
            for words in wanted:
                wait_for(lambda words=words: words in log.read_text() or None, f"word of {words}")
    folder = Path(os.environ.get("POLYVISOR_ARTIFACTS", tmp_path))
    folder.mkdir(exist_ok=True)
    (folder / "virt-manager.png").write_bytes(made)


def test_creates_a_guest(tmp_path: Path) -> None:
    """Its assistant imports a disk; QEMU runs the guest, and its screen is in a window."""
    manager = Path(need("virt-manager", "virt-manager"))
    need("dbus-run-session", "dbus")
    need("unshare", "util-linux")
    if os.geteuid() != 0:
        pytest.skip("only root can put a socket where libvirtd's is, in a namespace of its own")
    need("qemu-system-x86_64", "qemu-system-x86")
    program = need("virsh", "libvirt-clients")
    image, log = tmp_path / "d.img", tmp_path / "manager.log"
    image.write_bytes(bytes(1 << 20))
    interpreter = manager.read_text().partition("\n")[0].removeprefix("#!").strip()
    hand = Path(__file__).with_name("manager_wizard.py")
    # It shows guests' screens only where the daemon is surely on this machine, at the place
    # where libvirt's is. A user's own guests may have a network for which nothing is set up.
    own = tmp_path / "run"
    own.mkdir()
    there = f"mkdir -p /run/libvirt && mount --bind {own} /run/libvirt && exec dbus-run-session -- "
    options = "--no-fork --debug --connect qemu:///session"
    command = f"{interpreter} {hand} {image} made 64 {options}"
    with (
        served(tmp_path / "h", "--listen", f"unix:{own}/libvirt-sock") as host,
        virtual_screen() as display,
    ):

        def virsh(*words: str) -> subprocess.CompletedProcess[str]:
            return run(program, "-c", host.uri("qemu", "/session"), *words)

        settings = {
            "DISPLAY": display,
            "HOME": str(tmp_path),
            "GSETTINGS_BACKEND": "memory",
            "NO_AT_BRIDGE": "1",
        }
        beside = ("unshare", "--mount", "sh", "-c", there + command)
        try:
            with running(*beside, log=log, **settings) as process:

                def seen() -> str | None:
                    said = log.read_text()
                    assert process.poll() is None, said
                    assert "Unable to complete install" not in said, said
                    found = re.search(r"hand: sees a screen of (\d+x\d+)", said)
                    return None if found is None else found[1]

                # What the firmware shows: text of 80 by 25, or first VGA's own.
                assert wait_for(seen, f"screen of the guest; {log}") in ("720x400", "640x480")
                assert title(display, "made on .*?") == "made on QEMU/KVM User session"
                # Below the window's own bars there is the firmware's text, grey on black.
                made = wait_for(
                    lambda: picture(display, tmp_path, below=100, colours=1), "text of the guest"
                )
                assert virsh("domstate", "made").stdout.strip() == "running"
                told = virsh("dumpxml", "made").stdout
                listed = virsh("list", "--all", "--persistent", "--name").stdout
        finally:
            virsh("destroy", "made")
            gone = virsh("undefine", "made")
    assert gone.returncode == 0, gone.stderr
    assert listed.split() == ["made"]
    assert f"<source file='{image}'" in told
    assert "<memory unit='KiB'>65536</memory>" in told
    assert "<interface type='user'>" in told
    folder = Path(os.environ.get("POLYVISOR_ARTIFACTS", tmp_path))
    folder.mkdir(exist_ok=True)
    (folder / "virt-manager-created.png").write_bytes(made)
