"""Times saves of a large guest through polyvisor: ``qemu_save_ours.py FOLDER MIB``; prints JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from time import perf_counter

import polyvisor

_STEP = 32 << 20


def fill(pid: int, size: int) -> None:
    """Write random bytes into the memory of the guest that a QEMU runs."""
    for line in Path(f"/proc/{pid}/maps").read_text(encoding="ascii").splitlines():
        begin, end = (int(word, 16) for word in line.split()[0].split("-"))
        if end - begin == size:
            break
    else:
        raise RuntimeError("QEMU has no such memory")
    with open(f"/proc/{pid}/mem", "wb", buffering=0) as memory:
        for place in range(begin, end, _STEP):
            memory.seek(place)
            memory.write(os.urandom(_STEP))


def main(folder: str, mib: int) -> None:
    """Print how long either way of saving takes."""
    image = Path(folder, "image")
    figures = {}
    with polyvisor.open(f"qemu:///session?root={folder}/large") as host:
        spec = Path(folder, "large.xml").read_text(encoding="utf-8")
        for what, bypass in (("flushed", False), ("bypassing the cache", True)):
            domain = host.domains.create(spec, paused=True)
            try:
                (pid,) = (int(one.read_text()) for one in Path(folder).rglob("qemu.pid"))
                fill(pid, mib << 20)
                os.sync()
                begun = perf_counter()
                domain.save(image, bypass_cache=bypass)
                figures[what] = perf_counter() - begun
                if image.stat().st_size < mib << 20:
                    raise RuntimeError("the memory was not random")
            finally:
                for left in host.domains.list(inactive=False):
                    left.destroy()
            image.unlink()
    sys.stdout.write(json.dumps(figures))


main(sys.argv[1], int(sys.argv[2]))
