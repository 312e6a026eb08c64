"""Xen hosts in QEMU's software emulation, booted from the test bed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

__all__ = ["SECONDS", "Host", "Outcome", "pair"]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

#: What QEMU 7.2 emulates wrongly is taken away: SMAP crashes the control domain, MONITOR
#: Xen, RDTSCP guests of PVH kind; AVX state is lost once there are such guests.
CPU = "EPYC,+svm,+npt,-smap,-monitor,-rdtscp,-xsave,-avx,-avx2,-f16c,-fma"
#: How long a host's job may take. A quarter of an hour is enough for each where nothing else
#: runs; beside other work everything takes many times as long.
SECONDS = 2700
#: Python packages that polyvisor needs, all pure, as they are named in site-packages.
NEEDED = ("attr", "attrs", "pluggy", "click", "tomli_w")


class Outcome(dict[str, Any]):
    """What a host's job has found out, by name."""


class Host:
    """One emulated Xen host, from its boot to its end.

    Args:
        bed: the folder of the test bed.
        work: an empty folder, shared with the host as ``/host``.
        script: the Python program to run there, below ``inside``.
        name: the host's name.
        memory: MiB of the machine, and of its control domain.
        network: words for QEMU.
        address: the host's IPv4 address.
        parts: names of the parts of the program to run; all if empty.
    """

    def __init__(
        self,
        bed: Path,
        work: Path,
        script: str,
        *,
        name: str = "xen1",
        memory: tuple[int, int] = (3072, 1536),
        network: tuple[str, ...] = (),
        address: str = "",
        parts: str = "",
    ) -> None:
        self.work = work
        self.log = work / "log"
        _fill(work, script, parts)
        words = [
            "qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi,tb-size=256",
            "-cpu", CPU, "-smp", "2", "-m", str(memory[0]), "-nodefaults", "-nographic",
            "-serial", "stdio", "-monitor", "none", "-no-reboot", "-kernel", f"{bed}/xen",
            "-append", f"com1=115200,8n1 console=com1 dom0_max_vcpus=1 "
            f"dom0_mem={memory[1]}M,max:{memory[1]}M",
            "-initrd", f"{bed}/vmlinux-dom0 console=hvc0 quiet bed.name={name} "
            f"bed.address={address},{bed}/initrd-dom0",
            "-drive", f"file={bed}/disk,format=raw,if=none,id=disk,snapshot=on,cache=unsafe",
            "-device", "virtio-blk-pci,drive=disk",
            "-virtfs", f"local,path={work},mount_tag=host,security_model=none", *network,
        ]  # fmt: skip
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def wait(self, seconds: float) -> Outcome:
        """Wait for the job's end; return what it has found out.

        Raises:
            TimeoutError: it has not ended in time; the host is gone nevertheless.
        """
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(
                f"the host has not ended after {seconds} s:\n{self.tail()}"
            ) from None
        finally:
            self.end()
        return self.outcome()

    def outcome(self) -> Outcome:
        """Return what the job has found out so far."""
        found = Outcome()
        path = self.work / "found"
        for line in path.read_text().splitlines() if path.exists() else ():
            found.update(json.loads(line))
        return found

    def tail(self) -> str:
        """Return the last lines that the host has said."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])

    def end(self) -> None:
        """End it, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


def pair(bed: Path, work: Path, script: str, seconds: float, parts: str = "") -> Outcome:
    """Boot two hosts, joined by a network of their own, and return what the first has found out.

    Args:
        bed: the folder of the test bed.
        work: an empty folder.
        script: the Python program that both run.
        seconds: how long it may take.
        parts: as for :class:`Host`.
    """
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hosts = []
    try:
        for number, role in ((1, f"listen=127.0.0.1:{port}"), (2, f"connect=127.0.0.1:{port}")):
            (work / f"h{number}").mkdir()
            words = (
                "-netdev", f"socket,id=n0,{role}",
                "-device", f"virtio-net-pci,netdev=n0,mac=52:54:00:00:00:0{number},romfile=",
            )  # fmt: skip
            hosts.append(
                Host(
                    bed,
                    work / f"h{number}",
                    script,
                    name=f"h{number}",
                    memory=(1408, 768),
                    network=words,
                    address=f"10.9.0.{number}",
                    parts=parts,
                )
            )
            time.sleep(1)  # The first must listen before the second connects.
        return hosts[0].wait(seconds)
    finally:
        for host in hosts:
            host.end()


def _fill(work: Path, script: str, parts: str) -> None:
    """Put the project, what it needs, and the job into the shared folder."""
    import attr

    packages = Path(attr.__file__).parents[1]
    with tarfile.open(work / "python.tar", "w") as tar:
        for source in (ROOT / "core/polyvisor", *(ROOT / "plugins").glob("polyvisor_*")):
            tar.add(source, source.name, filter=_plain)
        for name in NEEDED:
            tar.add(packages / name, name, filter=_plain)
            for facts in packages.glob(f"{name}-*.dist-info"):
                tar.add(facts, facts.name)
        facts = work / "polyvisor-0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: polyvisor\nVersion: 0\n")
        entries = "libxl = polyvisor_libxl\nremote = polyvisor_remote\nfar = far\n"
        (facts / "entry_points.txt").write_text(f"[polyvisor]\n{entries}")
        tar.add(facts, facts.name)
        for file in (HERE / "inside").iterdir():
            tar.add(file, file.name, filter=_plain)
    job = work / "job"
    job.write_text(
        "#!/bin/bash\n"
        "mkdir /tmp/python && tar -xf /host/python.tar -C /tmp/python\n"
        f"export PYTHONPATH=/tmp/python PYTHONUNBUFFERED=1 PARTS='{parts}'\n"
        f"exec timeout {SECONDS} python3 /tmp/python/{script}\n"
    )
    job.chmod(0o755)


def _plain(facts: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in facts.name else facts


def main() -> None:
    """Boot a host by hand: ``python tests/xen/emulated.py SCRIPT FOLDER [PART …]``."""
    sys.path.insert(0, str(HERE))
    from bed import Bed, folder

    script, work = sys.argv[1], Path(sys.argv[2])
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    started = time.monotonic()
    bed, parts, seconds = Bed.ready(folder()).path, " ".join(sys.argv[3:]), SECONDS + 100
    if script == "two.py":
        found = pair(bed, work, script, seconds, parts)
    else:
        found = Host(bed, work, script, parts=parts).wait(seconds)
    print(json.dumps(found, indent=1))
    print(f"{time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    main()
