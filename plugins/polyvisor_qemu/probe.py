"""Whether QEMU works on this machine, and whether KVM does."""

from __future__ import annotations

import os
import platform
import threading
from typing import Any

from polyvisor.driver import Usability

__all__ = ["emulator_for", "kept", "kvm_works", "usable", "version_of"]

#: Package that has the emulator for an architecture, on Debian.
_PACKAGES = {"x86_64": "qemu-system-x86", "i686": "qemu-system-x86", "aarch64": "qemu-system-arm"}

_asking = threading.RLock()
#: Where programs were found, by their names and the path that was gone through.
_found: dict[tuple[str, str], str | None] = {}
#: The CPU that KVM is tried with.
_KVM_CPU = "host"


def emulator_for(architecture: str | None, settings: dict[str, Any] | None = None) -> str | None:
    """Return the path of the emulator for guests of an architecture, ``None`` if there is none.

    Args:
        architecture: of the guest; ``None``: the host's.
        settings: the plugin's settings; ``emulator`` names one for the host's architecture.
    """
    host = platform.machine()
    wanted = architecture or host
    given = (settings or {}).get("emulator")
    if given and wanted == host:
        return _which(str(given))
    name = {"i686": "i386", "armv7l": "arm", "ppc64le": "ppc64"}.get(wanted, wanted)
    return _which(f"qemu-system-{name}")


def _which(name: str) -> str | None:
    """Find a program in the path; one that was found there is so as long as it is there."""
    key = name, os.environ.get("PATH", os.defpath)
    found = _found.get(key)
    if found is not None and os.access(found, os.X_OK):
        return found
    import shutil

    found = _found[key] = shutil.which(name)
    return found


def usable() -> Usability:
    """Say whether there is an emulator for this host's architecture."""
    path = emulator_for(None)
    if path is None:
        host = platform.machine()
        package = _PACKAGES.get(host, "qemu-system")
        return Usability(False, f"qemu-system-{host} is not installed", f"apt install {package}")
    return Usability(True)


def version_of(emulator: str, cache_dir: str) -> str:
    """Return the version of an emulator; it is run once and the answer is kept."""
    return str(kept(emulator, cache_dir, "version", lambda: _ask_version(emulator)))


def kvm_works(emulator: str, cache_dir: str) -> tuple[bool, str]:
    """Say whether KVM runs guests with this emulator, and if not why.

    That /dev/kvm can be opened says too little: some machines have one that cannot run
    real guests. So a boot sector is run with it, once for each boot of the host, and with the
    host's own CPU, which is what most clients ask for and the first to fail where KVM only
    seems to be there.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        there = os.path.exists("/dev/kvm")
        return False, "/dev/kvm may not be opened" if there else "there is no /dev/kvm"
    found = kept(emulator, cache_dir, "kvm", lambda: _try_kvm(emulator), _KVM_CPU, per_boot=True)
    return found == "", str(found)


def kept(
    emulator: str, cache_dir: str, what: str, ask: Any, *more: Any, per_boot: bool = False
) -> Any:
    """Return an answer kept under the identity of a binary: path, size, time of change.

    Args:
        emulator: the binary.
        cache_dir: folder for answers.
        what: what was asked, part of the file's name.
        ask: asks, and returns plain JSON values.
        more: what else the answer depends on.
        per_boot: whether it holds only until the host is booted again.
    """
    import hashlib
    import json

    facts = os.stat(emulator)
    key = [os.path.realpath(emulator), facts.st_size, facts.st_mtime_ns, *more]
    if per_boot:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            key.append(file.read().strip())
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]
    path = f"{cache_dir}/{what}-{name}.json"
    # Many threads may want to know at once: one asks for all.
    with _asking:
        try:
            with open(path, encoding="utf-8") as file:
                return json.load(file)
        except (OSError, ValueError):
            answer = ask()
        os.makedirs(cache_dir, mode=0o700, exist_ok=True)
        temporary = f"{path}.{os.getpid()}"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(answer, file)
        os.replace(temporary, path)
        return answer


def _ask_version(emulator: str) -> str:
    import re
    import subprocess

    out = subprocess.run(
        [emulator, "--version"], capture_output=True, text=True, timeout=30, check=False
    ).stdout
    found = re.search(r"version (\S+)", out)
    return found[1] if found else ""


def _try_kvm(emulator: str) -> str:
    """Run a guest of a few instructions under KVM; return what went wrong, ``""`` if nothing."""
    import subprocess
    import tempfile

    # mov dx, 0xf4; mov al, 0x10; out dx, al: with isa-debug-exit at 0xf4 QEMU then ends
    # with the code (0x10 << 1) | 1.
    sector = (b"\xba\xf4\x00\xb0\x10\xee\xf4\xeb\xfd").ljust(510, b"\0") + b"\x55\xaa"
    # Where KVM only seems to be there QEMU aborts, and may leave a core behind.
    with tempfile.TemporaryDirectory(prefix="pv-") as folder:
        disk = f"{folder}/disk.img"
        with open(disk, "wb") as file:
            file.write(sector)
        try:
            done = subprocess.run(
                [
                    emulator, "-accel", "kvm", "-cpu", _KVM_CPU, "-m", "16", "-nodefaults",
                    "-no-user-config", "-display", "none", "-machine", "pc",
                    "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04",
                    "-drive", f"file={disk},format=raw,if=ide,snapshot=on",
                ],
                stdin=subprocess.DEVNULL,
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return "a guest of four instructions did not finish under KVM in 20 s"
    if done.returncode == (0x10 << 1) | 1:
        return ""
    return (done.stderr.strip().splitlines() or [f"QEMU ended with code {done.returncode}"])[-1]


def has_spice() -> bool:
    """Say whether QEMU's SPICE module is installed (Debian has it in a package of its own)."""
    import glob

    return bool(glob.glob("/usr/lib/*/qemu/ui-spice-core.so"))
