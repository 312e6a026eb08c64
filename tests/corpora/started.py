"""Starts the machines of upstream's command line test with the QEMU of this host.

The line is ours. Images that upstream's test only names are made, since nothing of the machine
depends on them; the rest of the host (devices, daemons, huge pages, KVM) is as it is, and where
QEMU wants what is not there, its own words are the answer. Machines stop before their first
instruction and are told to quit through their monitor.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import attrs
from commandlines import CommandLine, command_lines

from polyvisor.errors import PolyvisorError
from polyvisor.model import DomainSpec
from polyvisor_qemu.cmdline import Host, build
from polyvisor_qemu.cmdline.helping import Helpers
from polyvisor_qemu.cmdline.opening import open_all
from polyvisor_qemu.wires import release

__all__ = ["Start", "starts"]

_QUIT = b'{"execute":"qmp_capabilities"}\n{"execute":"query-status"}\n{"execute":"quit"}\n'
#: Seconds that a machine may take to start.
PATIENCE = 20
#: Where the descriptors are kept until the child has them: beyond all that have numbers.
_BEYOND = 200


class Start(NamedTuple):
    """What came of one start."""

    case: CommandLine
    #: QEMU's own last words, or ours; empty: it started.
    refusal: str
    #: Whether it was QEMU that refused.
    by_qemu: bool = True


def starts(*, kvm: bool) -> Iterator[Start]:
    """Start every case for x86_64, one after another.

    Args:
        kvm: whether KVM works here; if not, cases for it are emulated.
    """
    for case in command_lines():
        if case.architecture == "x86_64":
            yield _start(case, kvm=kvm)


def _start(case: CommandLine, *, kvm: bool) -> Start:
    with tempfile.TemporaryDirectory(prefix="pv-") as name:
        folder = Path(name)
        host = Host(
            run=name,
            nvram=name,
            tpm=name,
            ram=name,
            channels=name,
            secret=lambda _uuid, _usage: b"x" * 16,
        )
        try:
            spec = DomainSpec.from_xml(case.input.read_bytes()).with_uuid()
            if spec.type == "kvm" and not kvm:
                spec = attrs.evolve(spec, type="qemu")
            made = build(spec, shutil.which("qemu-system-x86_64") or "", host)
            made.args = [_moved(word, folder) for word in made.args]
            made.templates.clear()
            for number, wanted in made.descriptors.items():
                path = getattr(wanted, "path", "")
                if path and not path.startswith(("/dev/vhost", "/dev/net", name)):
                    moved = folder / path.replace("/", "_")
                    made.descriptors[number] = attrs.evolve(wanted, path=str(moved))
            opened = open_all(made, spec, name, host)
            helpers = Helpers(made, spec, name, f"{name}/helpers.log", host)
        except PolyvisorError as error:
            return Start(case, str(error), by_qemu=False)
        try:
            return Start(case, _run(made.args, {**opened.fds, **helpers.peers}, helpers))
        finally:
            for fd in opened.fds.values():
                os.close(fd)
            helpers.close()
            release(name)


def _moved(word: str, folder: Path) -> str:
    """Return a word with the images that it names in a folder of their own, made if need be."""
    if not word.startswith("{"):
        return word
    values = json.loads(word)
    path = values.get("filename")
    if "node-name" in values and isinstance(path, str) and not Path(path).exists():
        image = folder / f"{values['node-name']}.img"
        with image.open("wb") as file:
            file.truncate(4 << 20)
        values |= {"driver": "file", "filename": str(image)}
        return json.dumps(values)
    kind = values.get("driver")
    image = folder / f"{values.get('file')}.img"
    if "node-name" in values and kind not in {"raw", "luks"} and image.exists():
        image.unlink()
        done = subprocess.run(
            ["qemu-img", "create", "-q", "-f", str(kind), str(image), "4M"],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            image.touch()
    return word


def _run(line: list[str], opened: dict[int, int], helpers: Helpers) -> str:
    """Run QEMU until it has answered; return its last words, ``""`` if it started."""
    high = {number: fcntl.fcntl(fd, fcntl.F_DUPFD, _BEYOND) for number, fd in opened.items()}

    def hand_over() -> None:
        for number, fd in high.items():
            os.dup2(fd, number)

    try:
        with subprocess.Popen(
            [*line, "-qmp", "stdio"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            close_fds=False,
            preexec_fn=hand_over,
        ) as process:
            serving = helpers.start()
            try:
                out, err = process.communicate(_QUIT, timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                for one in serving:
                    one.kill()
                return f"QEMU waits for another process, for {PATIENCE} s"
    finally:
        for fd in high.values():
            with contextlib.suppress(OSError):
                os.close(fd)
    if process.returncode == 0 and b'"status": "prelaunch"' in out:
        return ""
    words = [text.strip() for text in err.decode(errors="replace").splitlines() if text.strip()]
    told = [re.sub(r"^\S+Z |^\S*qemu-system-x86_64: ", "", text) for text in words]
    told = [re.sub(r"^qemu-system-x86_64: ", "", text) for text in told]
    return next(
        (text for text in reversed(told) if "warning" not in text), f"code {process.returncode}"
    )
