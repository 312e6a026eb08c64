"""Runs in the control domain: guests that count, three toolstacks, and notes of what was seen."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

__all__ = [
    "XML",
    "Counter",
    "is_whole",
    "note",
    "run",
    "start_libvirt",
    "timed",
    "until",
    "virsh",
    "xl",
    "xl_config",
    "xml",
]

#: A guest of each kind. AVX state is lost in this emulation (see ``emulated.py``), so PVH
#: guests are not to use XSAVE.
XML = """\
<domain type='xen'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='{machine}'>{type}</type>
    <kernel>/opt/guest/{kernel}</kernel>
    <initrd>/opt/guest/initrd</initrd>
    <cmdline>console=hvc0 quiet</cmdline>
  </os>
  {more}
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <console type='pty'><target type='xen' port='0'/></console>
  </devices>
</domain>
"""
TYPES = {"pv": ("xen", "xenpv"), "pvh": ("xenpvh", "xenpvh"), "hvm": ("hvm", "xenfv")}
NO_XSAVE = (
    "<features><acpi/><apic/></features>"
    "<cpu mode='host-passthrough'><feature policy='disable' name='xsave'/></cpu>"
)


def note(name: str, value: Any) -> None:
    """Tell the test outside what was seen."""
    with open("/host/found", "a", encoding="utf-8") as file:
        file.write(json.dumps({name: value}) + "\n")
    print(f"BED note {name}: {value}", flush=True)


def timed(call: Callable[[], Any]) -> float:
    """Return how many seconds a call takes."""
    started = time.monotonic()
    call()
    return time.monotonic() - started


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is true.

    Raises:
        TimeoutError: it does not become so.
    """
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not in {seconds} s")
        time.sleep(0.1)


def is_whole(*hosts: list[int]) -> bool:
    """Say whether each number is one more than the one before, from 1 on; print where not.

    Between what one host has seen and what the next one has, one number may be missing: libxc
    clears the console's page of a PVH guest as it restores it (HVM_PARAM_CONSOLE_PFN, Xen's
    xc_sr_restore_x86_hvm.c), and with it a line that xenconsoled has not fetched at the source.
    The guest had counted it, or it would come later.
    """
    broken, before = [], 0
    for seen in hosts:
        lost = seen[:1] == [before + 2] and before > 0
        if lost:
            print(f"BED {before + 1} was lost with the console's page", flush=True)
        start = seen[0] - 1 if lost else before
        broken += [f"{b} after {a}" for a, b in pairwise([start, *seen]) if b != a + 1]
        before = seen[-1] if seen else before
    if broken:
        print(f"BED not whole: {broken}", flush=True)
    return not broken


def run(*words: str, seconds: float = 300) -> str:
    """Run a program; return what it printed.

    Raises:
        RuntimeError: it failed.
    """
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=seconds,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr[-600:]}")
    return done.stdout


def xl(*words: str) -> str:
    """Run xl."""
    return run("xl", *words)


def virsh(*words: str) -> str:
    """Run virsh on this host's libvirt."""
    return run("virsh", "-q", "-c", "xen:///system", *words)


def start_libvirt(address: str | None = None) -> None:
    """Start libvirt's daemon; over TCP it trusts whoever reaches the address."""
    lines = ['auth_unix_rw="none"', 'auth_unix_ro="none"', "listen_tls=0"]
    if address is not None:
        lines += ["listen_tcp=1", 'auth_tcp="none"', f'listen_addr="{address}"']
    Path("/etc/libvirt/libvirtd.conf").write_text("\n".join(lines) + "\n")
    run("libvirtd", "-d", *(() if address is None else ("-l",)))
    for _ in range(100):
        if os.path.exists("/run/libvirt/libvirt-sock"):
            return
        time.sleep(0.1)
    raise RuntimeError("libvirtd does not listen")


def xml(name: str, number: int, kind: str = "pv", memory: int = 96) -> str:
    """Return the definition of a guest."""
    type_, machine = TYPES[kind]
    return XML.format(
        name=name,
        uuid=f"6f0e1c1a-7d0c-4a6b-9f57-{number:012}",
        memory=memory,
        type=type_,
        machine=machine,
        kernel="vmlinuz" if kind == "hvm" else "vmlinux",
        more="" if kind == "pv" else NO_XSAVE,
    )


def xl_config(name: str, number: int, kind: str = "pv", memory: int = 96) -> str:
    """Write xl's configuration of the same guest; return its path."""
    path = f"/tmp/{name}.cfg"
    lines = [
        f'name = "{name}"',
        f'uuid = "6f0e1c1a-7d0c-4a6b-9f57-{number:012}"',
        f'type = "{kind}"',
        'kernel = "/opt/guest/vmlinux"',
        'ramdisk = "/opt/guest/initrd"',
        'extra = "console=hvc0 quiet"',
        f"memory = {memory}",
        f"maxmem = {memory}",
        "vcpus = 1",
    ]
    if kind != "pv":
        lines.append('cpuid = "host,xsave=0"')
    Path(path).write_text("\n".join(lines) + "\n")
    return path


class Counter:
    """What a guest has counted, as xenconsoled has logged it.

    Args:
        name: the guest's name.
    """

    def __init__(self, name: str) -> None:
        self._path = Path(f"/var/log/xen/console/guest-{name}.log")

    def numbers(self) -> list[int]:
        """Return the numbers so far, of whole lines."""
        return [int(number) for number in re.findall(rb"TICK (\d+)\r?\n", self._read())]

    def said(self) -> list[str]:
        """Return what it has said of devices that have come and gone, in its order."""
        found = re.findall(rb"(?:DISK|NET|PCI) [^\r\n]+(?=\r?\n)", self._read())
        return [line.decode(errors="replace") for line in found]

    def _read(self) -> bytes:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""

    def clear(self) -> None:
        """Forget them; only while there is no such guest."""
        self._path.unlink(missing_ok=True)

    def wait(self, more: int = 3, seconds: float = 240) -> list[int]:
        """Wait until the guest has counted ``more`` further times; return all numbers.

        Raises:
            TimeoutError: it does not.
        """
        have, deadline = len(self.numbers()), time.monotonic() + seconds
        while len(seen := self.numbers()) < have + more:
            if time.monotonic() > deadline:
                said = self._read()[-1000:].decode(errors="replace")
                raise TimeoutError(
                    f"{self._path.name}: {len(seen) - have} counts in {seconds} s; it said {said}"
                )
            time.sleep(0.05)
        return seen

    def whole(self) -> bool:
        """Say whether each number is one more than the one before, from 1 on."""
        return is_whole(self.numbers())
