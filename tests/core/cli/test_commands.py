"""Each command does what virsh's does, says so, and answers as JSON where it prints facts."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
from uuid import UUID

import pytest

HERE = "sim:///default"


def test_life_of_a_domain(tick) -> None:
    """Start, suspend, resume, reset, reboot and destroy, each seen by ``domstate``."""

    def state() -> str:
        return tick("domstate", "tick", "--reason").out.strip()

    assert state() == "shut off (unknown)"
    for command, said, after in (
        ("start", "started", "running (booted)"),
        ("suspend", "suspended", "paused (user)"),
        ("resume", "resumed", "running (unpaused)"),
        ("reset", "was reset", "running (unpaused)"),
        ("reboot", "being rebooted", "running (unpaused)"),
        ("destroy", "destroyed", "shut off (destroyed)"),
    ):
        done = tick(command, "tick")
        assert (done.code, done.err) == (0, ""), done
        assert "tick" in done.out
        assert said in done.out
        assert state() == after
    assert tick("undefine", "tick").out == "Domain 'tick' has been undefined\n"
    assert tick("list", "--all", "--name").out == ""


def test_shutdown_asks_the_guest(tick) -> None:
    """The simulated guest does what it is asked, after its delay."""
    import polyvisor

    tick("start", "tick")
    refused = tick("shutdown", "tick", "--mode", "agent")
    assert refused.code != 0
    assert "shutdown 'tick' by agent: sim has only acpi for that" in refused.err
    assert tick("shutdown", "tick", "--mode", "acpi").code == 0
    with polyvisor.open(HERE) as host:
        assert host.domains["tick"].wait(timeout=30) is not None


def test_run_and_create_take_a_file(polyvisor) -> None:
    """``run`` defines and starts; ``create`` starts without defining."""
    assert polyvisor("run", "examples/tick.xml").code == 0
    assert polyvisor("list", "--name").out == "tick\n"
    polyvisor("destroy", "tick")
    polyvisor("undefine", "tick")
    assert polyvisor("create", "examples/tick.xml").code == 0
    polyvisor("destroy", "tick")
    assert polyvisor("list", "--all", "--name").out == ""


def test_list(tick) -> None:
    """Active ones first; tables for people, names for scripts, JSON for programs."""
    assert tick("list", "--all").out.splitlines()[-1].split() == ["-", "tick", "shut", "off"]
    assert tick("list").out.splitlines()[2:] == []
    tick("start", "tick")
    assert tick("list").out.splitlines()[-1].split() == ["1", "tick", "running"]
    assert tick("list", "--inactive", "--name").out == ""
    assert tick("list", "--id").out == "1\n"
    assert str(UUID(tick("list", "--uuid").out.strip()))
    (line,) = tick("list", "--json").facts
    assert (line["name"], line["id"], line["state"]) == ("tick", 1, "running")


@pytest.mark.parametrize("command", ["dominfo", "domstate", "domuuid", "domid", "domname"])
def test_facts_are_json_too(tick, command: str) -> None:
    """What prints facts of a domain prints one JSON document when asked."""
    tick("start", "tick")
    which = tick("domuuid", "tick").out.strip() if command == "domname" else "tick"
    assert tick(command, which).code == 0
    assert tick(command, which, "--json").facts is not None


@pytest.mark.parametrize("command", ["plugins", "config", "hosts", "nodeinfo", "uri", "hostname"])
def test_facts_of_the_host_are_json_too(polyvisor, command: str) -> None:
    """What prints facts of hosts and settings prints one JSON document when asked."""
    done = polyvisor(command)
    assert (done.code, done.err) == (0, ""), done
    assert done.out.strip()
    assert polyvisor(command, "--json").facts is not None


def test_dumpxml_is_what_define_takes(tick, tmp_path) -> None:
    """A definition goes out and in again without change."""
    text = tick("dumpxml", "tick").out
    (tmp_path / "again.xml").write_text(text)
    assert tick("define", "again.xml").code == 0
    assert tick("dumpxml", "tick").out == text


def test_save_and_restore(tick, tmp_path) -> None:
    """The image is made, told of, and taken back."""
    tick("start", "tick")
    assert tick("save", "tick", "image").out == "Domain 'tick' saved to image\n"
    assert tick("domstate", "tick").out.strip() == "shut off"
    assert "<name>tick</name>" in tick("save-image-dumpxml", "image").out
    assert tick("restore", "image").out == "Domain restored from image\n"
    assert tick("domstate", "tick").out.strip() == "running"


def test_figures_of_a_job_as_virsh_prints_them(tick) -> None:
    """Those of the last completed job are printed once, or kept."""
    tick("start", "tick")
    tick("save", "tick", "image")
    assert tick("domjobinfo", "tick").out == "Job type:         None\n"
    kept = tick("domjobinfo", "tick", "--completed", "--keep-completed").out.splitlines()
    assert kept[:2] == ["Job type:         Completed", "Operation:        Save"]
    assert re.fullmatch(r"Time elapsed:     \d+ +ms", kept[2])
    assert [line.partition(":")[0] for line in kept[3:9]] == [
        f"{what} {part}"
        for what in ("Data", "Memory")
        for part in ("processed", "remaining", "total")
    ]
    assert re.fullmatch(r"Memory total:     \d+\.\d{3} [KM]iB", kept[8])
    facts = tick("domjobinfo", "tick", "--completed", "--json").facts
    assert (facts["operation"], facts["outcome"]) == ("save", "completed")
    assert facts["memory_total"] == facts["data_total"] > 0
    assert tick("domjobinfo", "tick", "--completed").out == "Job type:         None\n"
    refused = tick("domjobinfo", "tick", "--keep-completed")
    assert refused.code == 1
    assert "--completed" in refused.err


def test_managed_save_is_what_start_goes_on_with(tick) -> None:
    """``managedsave`` keeps the guest with its definition; ``managedsave-remove`` drops it."""
    tick("start", "tick")
    assert tick("managedsave", "tick").code == 0
    assert tick("start", "tick").code == 0
    assert tick("domstate", "tick", "--reason").out.strip() == "running (restored)"
    tick("managedsave", "tick")
    assert tick("managedsave-remove", "tick").code == 0
    tick("start", "tick")
    assert tick("domstate", "tick", "--reason").out.strip() == "running (booted)"


def test_migrate(tick) -> None:
    """The domain is there afterwards, and here no more unless defined."""
    tick("start", "tick")
    assert tick("migrate", "--live", "tick", "sim:///other").code == 0
    assert tick("-c", "sim:///other", "list", "--name").out == "tick\n"
    assert tick("list", "--name").out == ""


def test_snapshots(tick) -> None:
    """Create, list, revert, delete."""
    tick("start", "tick")
    assert tick("snapshot-create-as", "tick", "first").code == 0
    assert "first" in tick("snapshot-list", "tick").out
    assert [each["name"] for each in tick("snapshot-list", "tick", "--json").facts] == ["first"]
    assert "<name>first</name>" in tick("snapshot-dumpxml", "tick", "first").out
    assert tick("snapshot-revert", "tick", "first").code == 0
    tick("snapshot-create-as", "tick", "second")
    assert tick("snapshot-current", "tick", "--name").out == "second\n"
    assert tick("snapshot-parent", "tick", "second").out == "first\n"
    assert tick("snapshot-parent", "tick", "first").code != 0
    assert tick("snapshot-list", "tick", "--tree").out == "first\n  +- second *\n"
    facts = tick("snapshot-info", "tick", "first", "--json").facts
    assert (facts["children"], facts["current"], facts["external"]) == (["second"], False, False)
    assert "Children:" in tick("snapshot-info", "tick", "first").out
    assert tick("snapshot-revert", "tick", "--current", "--paused").code == 0
    assert tick("snapshot-delete", "tick", "first", "--children-only").code == 0
    assert tick("snapshot-delete", "tick", "--current", "--metadata").code == 0
    assert tick("snapshot-list", "tick", "--json").facts == []
    assert tick("snapshot-delete", "tick").code == 2


def test_what_is_said_of_snapshots(tick) -> None:
    """Disks and memory are described as for virsh; what is wrong is told."""
    xml = tick(
        "snapshot-create-as", "tick", "one", "words", "--print-xml",
        "--memspec", "/srv/a,,b", "--diskspec", "vda,snapshot=external,driver=qcow2,file=/srv/c",
        "--diskspec", "vdb,snapshot=no",
    ).out  # fmt: skip
    assert "<name>one</name>" in xml
    assert "<memory snapshot='external' file='/srv/a,b'/>" in xml
    assert "<disk name='vda' snapshot='external'>" in xml
    assert "<source file='/srv/c'/>" in xml
    assert "<disk name='vdb' snapshot='no'/>" in xml
    for option, words in (("--diskspec", "vda,size=3"), ("--memspec", "a,b"), ("--diskspec", "")):
        told = tick("snapshot-create-as", "tick", "one", option, words)
        assert told.code != 0
        assert "is not understood" in told.err
    told = tick("snapshot-create-as", "tick", "one", "--disk-only")
    assert told.code != 0
    assert "keeps no disks" in told.err


def test_backups_of_what_has_none(tick) -> None:
    """The simulator backs nothing up, and says so; documents are printed all the same."""
    for words in (
        ("backup-begin", "tick"),
        ("backup-dumpxml", "tick"),
    ):
        told = tick(*words)
        assert told.code != 0
        assert "simulator" in told.err or "disks" in told.err, told.err
    xml = tick(
        "checkpoint-create-as", "tick", "one", "--print-xml", "--diskspec", "vda,bitmap=b"
    ).out
    assert "<disk name='vda' bitmap='b'/>" in xml


def test_events_are_lines(tick, tmp_path) -> None:
    """``event`` in a process of its own prints what another process does."""
    watching = subprocess.Popen(
        [sys.executable, "-m", "polyvisor", "event", "--loop", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        # Whoever runs the tests in the background may have it ignored, which is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert watching.stdout is not None
    assert watching.stderr is not None
    try:
        # It listens once it stands in the list of those to be told; until then try again.
        for _ in range(50):
            tick("start", "tick")
            tick("destroy", "tick")
            if select.select([watching.stdout], [], [], 0.3)[0]:
                break
        assert '"tick"' in watching.stdout.readline()
    finally:
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=20)
    assert watching.returncode in (0, 130)


def test_a_process_of_its_own_each(tick, tmp_path) -> None:
    """What one process started, saved and restored, the next one finds."""
    for arguments in (["start", "tick"], ["save", "tick", "image"], ["restore", "image"]):
        done = subprocess.run(
            [sys.executable, "-m", "polyvisor", *arguments],
            check=False,
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert tick("domstate", "tick").out.strip() == "running"


def test_help_and_completion_name_every_command(polyvisor) -> None:
    """``--help`` lists the commands, each command has its own, and shells can complete them."""
    from polyvisor.cli._app import COMMANDS

    said = polyvisor("--help")
    assert said.code == 0
    for name in COMMANDS:
        assert f"  {name} " in said.out
        assert polyvisor(name, "--help").out.startswith(f"Usage: polyvisor {name}")
    for shell in ("bash", "zsh", "fish"):
        assert "_POLYVISOR_COMPLETE" in polyvisor("completion", shell).out


@pytest.mark.parametrize(
    ("words", "number", "offered"),
    [
        ("start ti", 2, "tick"),
        ("-c test:///default dominfo te", 4, "test"),
        ("-c test : ///default dominfo te", 6, "test"),  # as bash splits it
        ("dominfo -c test : ///default te", 6, "test"),
        ("domst", 1, "domstate"),
        ("list --al", 2, "--all"),
    ],
)
def test_what_is_completed(tick, words: str, number: int, offered: str) -> None:
    """The shell is offered commands, options and the host's domains, as they begin."""
    done = subprocess.run(
        [sys.executable, "-m", "polyvisor"],
        check=False,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "_POLYVISOR_COMPLETE": "bash_complete",
            "COMP_WORDS": f"polyvisor {words}",
            "COMP_CWORD": str(number),
        },
    )
    assert f"plain,{offered}\n" in done.stdout, done.stderr


def test_the_readers_end_is_quiet(tick) -> None:
    """``polyvisor … | head`` ends without complaint."""
    done = subprocess.run(
        f"{sys.executable} -m polyvisor --help | head -n 1",
        shell=True,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
