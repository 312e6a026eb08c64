"""Times many guests on QEMU through polyvisor: ``qemu_many_ours.py FOLDER GUESTS``."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

from timing import median_seconds

import polyvisor

#: Threads that start guests.
AT_ONCE = 50


def main(folder: str, guests: int) -> None:
    """Print what it takes with all of them running, as JSON."""
    spec = Path(folder, "one.xml").read_text(encoding="utf-8")
    figures = {}
    with polyvisor.open(f"qemu:///session?root={folder}/many") as host:

        def create(number: int) -> None:
            host.domains.create(spec.replace("NAME", f"guest-{number}"), paused=True)

        try:
            # What QEMU can do is found out before the first of all guests, once and for all.
            create(0)
            host.domains["guest-0"].destroy()
            begun = perf_counter()
            with ThreadPoolExecutor(AT_ONCE) as pool:
                for started in [pool.submit(create, number) for number in range(guests)]:
                    started.result()
            figures["start all at once"] = perf_counter() - begun
            for domain in host.domains.list(inactive=False):
                domain.destroy()
            begun = perf_counter()
            for number in range(guests):
                create(number)
            figures["start each"] = (perf_counter() - begun) / guests
            figures["figures of all"] = median_seconds(host.domains.stats, 5)
        finally:
            for domain in host.domains.list(inactive=False):
                domain.destroy()
    sys.stdout.write(json.dumps(figures))


main(sys.argv[1], int(sys.argv[2]))
