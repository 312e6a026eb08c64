"""Times many guests on QEMU through polyvisor: ``qemu_many_ours.py FOLDER GUESTS``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter

from timing import median_seconds

import polyvisor


def main(folder: str, guests: int) -> None:
    """Print what it takes with all of them running, as JSON."""
    spec = Path(folder, "one.xml").read_text(encoding="utf-8")
    figures = {}
    with polyvisor.open(f"qemu:///session?root={folder}/many") as host:
        try:
            begun = perf_counter()
            for number in range(guests):
                host.domains.create(spec.replace("NAME", f"guest-{number}"), paused=True)
            figures["start each"] = (perf_counter() - begun) / guests
            figures["figures of all"] = median_seconds(host.domains.stats, 5)
        finally:
            for domain in host.domains.list(inactive=False):
                domain.destroy()
    sys.stdout.write(json.dumps(figures))


main(sys.argv[1], int(sys.argv[2]))
