"""polkit says who may use the local sockets: Debian's polkitd on a bus of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
from served import Served, need, run, served

pytestmark = pytest.mark.real

BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow own="*"/><allow user="*"/></policy>
</busconfig>
"""
#: One user may, one may not, and who else there is must give root's password.
RULES = """polkit.addRule(function(action, subject) {
    if (action.id == "org.libvirt.unix.manage" && subject.user == "nobody")
        return polkit.Result.YES;
    if (action.id.indexOf("org.libvirt.unix") == 0 && subject.user == "games")
        return polkit.Result.NO;
});
"""
#: The actions as they are installed where libvirt has not brought them.
POLICY = Path(__file__).parents[3] / "contrib" / "org.libvirt.unix.policy"
POLKITD = "/usr/lib/polkit-1/polkitd"


@attrs.frozen
class Guarded:
    """A daemon whose local sockets polkit guards.

    Attributes:
        daemon: the daemon.
        readonly: its read-only socket.
    """

    daemon: Served
    readonly: str

    def command(self, user: str, *words: str, readonly: bool = False) -> list[str]:
        """Return the command line of virsh as a user."""
        socket = self.readonly if readonly else self.daemon.socket
        uri = f"test+unix:///default?socket={socket}"
        found = pwd.getpwnam(user)
        who = ["setpriv", f"--reuid={found.pw_uid}", f"--regid={found.pw_gid}", "--clear-groups"]
        virsh = [need("virsh", "libvirt-clients"), *(["-r"] if readonly else []), "-c", uri]
        return [*who, *virsh, *words]

    def virsh(self, user: str, *words: str, readonly: bool = False) -> tuple[int, str]:
        """Run virsh as a user; return its status and what it says."""
        done = run(*self.command(user, *words, readonly=readonly))
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def folder() -> Iterator[Path]:
    """Hold a folder that everybody may enter."""
    path = Path(tempfile.mkdtemp(prefix="pv-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def bus(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run a bus and a polkitd with our actions and rules of its own; yield the rules' folder."""
    if os.geteuid() != 0:
        pytest.skip("only root can run polkitd and be other users")
    need("pkcheck", "polkitd")
    need("dbus-daemon", "dbus-daemon")
    rules, actions = folder / "rules.d", folder / "actions"
    for one in (rules, actions):
        one.mkdir()
        one.chmod(0o755)
    shutil.copy(POLICY, actions)
    (rules / "10-test.rules").write_text(RULES)
    (folder / "bus.conf").write_text(BUS.format(path=folder / "bus"))
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={folder}/bus")
    commands = (
        ["dbus-daemon", f"--config-file={folder}/bus.conf", "--nofork"],
        [
            *("unshare", "--mount", "sh", "-ec"),
            f"mount --bind {rules} /etc/polkit-1/rules.d; "
            f"mount --bind {actions} /usr/share/polkit-1/actions; exec {POLKITD} --no-debug",
        ],
    )
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))
            deadline = time.monotonic() + 30
            ask = ["pkcheck", "--action-id", "org.libvirt.unix.manage", "--process", "1"]
            while not (folder / "bus").exists() or (
                len(processes) == 2 and run(*ask).returncode == 127
            ):
                assert processes[-1].poll() is None, f"{command[0]} has ended"
                assert time.monotonic() < deadline, f"{command[0]} does not begin"
                time.sleep(0.05)
        yield rules
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(30)


@pytest.fixture
def guarded(folder: Path, bus: Path) -> Iterator[Guarded]:
    """Run the daemon beside it."""
    readonly = f"{folder}/ro"
    with served(
        folder / "d",
        *("--listen", f"unix-ro:{readonly}"),
        config="[plugins.remote]\nauth_unix = 'polkit'\n",
    ) as daemon:
        yield Guarded(daemon, readonly)


def test_polkit_lets_in_whom_its_rules_name(guarded: Guarded) -> None:
    """Others are refused in libvirt's words; on the read-only socket its own action is asked."""
    assert oct(os.stat(guarded.daemon.socket).st_mode)[-3:] == "777"
    status, words = guarded.virsh("nobody", "list", "--all")
    assert (status, "test" in words) == (0, True), words
    status, words = guarded.virsh("games", "list", "--all")
    assert status == 1
    assert "authentication failed: access denied by policy" in words
    status, words = guarded.virsh("daemon", "list", "--all")
    assert status == 1
    assert (
        "authentication unavailable: no polkit agent available to authenticate action "
        "'org.libvirt.unix.manage'" in words
    )
    # The policy itself lets everybody look.
    status, words = guarded.virsh("daemon", "list", "--all", readonly=True)
    assert status == 0, words
    status, words = guarded.virsh("games", "list", "--all", readonly=True)
    assert (status, "access denied by policy" in words) == (1, True), words
    assert guarded.virsh("root", "list")[0] == 0


def test_our_client_is_asked_as_well(guarded: Guarded) -> None:
    """It says that it is refused, and why."""
    program = (
        "import os, sys, pwd\n"
        "who = pwd.getpwnam(sys.argv[1])\n"
        "import polyvisor, polyvisor.errors, polyvisor_remote.client.failures\n"
        # Root comes in unasked. What is imported on the way nobody may be able to read.
        "def look():\n"
        f"    with polyvisor.open('sim+unix:///a?socket={guarded.daemon.socket}') as host:\n"
        "        return len(host.domains.list())\n"
        "look()\n"
        "os.setgroups([]); os.setgid(who.pw_gid); os.setuid(who.pw_uid)\n"
        "try:\n"
        "    print(look())\n"
        "except polyvisor.errors.AuthError as error:\n"
        "    sys.exit(error.message)\n"
    )
    done = run(sys.executable, "-c", program, "nobody")
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
    done = run(sys.executable, "-c", program, "games")
    assert (done.returncode, done.stderr.strip()) == (1, "access denied by policy")


def test_root_comes_in_where_polkit_does_not_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else does, and they are told what is missing."""
    if os.geteuid() != 0:
        pytest.skip("only root can be other users")
    need("pkcheck", "polkitd")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={folder}/nothing")
    with served(folder / "d", config="[plugins.remote]\nauth_unix = 'polkit'\n") as daemon:
        guarded = Guarded(daemon, "")
        assert guarded.virsh("root", "list")[0] == 0
        status, words = guarded.virsh("nobody", "list")
        assert status == 1
        assert "polkit cannot be asked" in words


def test_nobody_is_asked_for_a_client_that_has_gone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor more than twice at once for one user; a program that never ends is in pkcheck's place."""
    if os.geteuid() != 0:
        pytest.skip("only root can be other users")
    slow = folder / "bin" / "pkcheck"
    slow.parent.mkdir()
    slow.write_text(f"#!/bin/sh\necho $$ >> {folder}/asked\nexec sleep 1000\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    asked = folder / "asked"

    def until(condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, what
            time.sleep(0.05)

    def pids() -> list[str]:
        return asked.read_text().split() if asked.exists() else []

    with served(folder / "d", config="[plugins.remote]\nauth_unix = 'polkit'\n") as daemon:
        guarded = Guarded(daemon, "")
        waiting = []
        try:
            for count in (1, 2):
                waiting.append(
                    subprocess.Popen(guarded.command("nobody", "list"), stdin=subprocess.DEVNULL)
                )
                until(lambda count=count: len(pids()) == count, "it is not asked")  # type: ignore[misc]
            status, words = guarded.virsh("nobody", "list")
            assert (status, "asked of others meanwhile" in words) == (1, True), words
            # Nobody else is held up.
            assert guarded.virsh("root", "list")[0] == 0
        finally:
            for client in waiting:
                client.kill()
                client.wait(30)
        until(
            lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids()),
            "it is still asked for who has gone",
        )
        assert len(pids()) == 2
