"""Times many QEMUs started at once by hand: ``qemu_many_raw.py FOLDER GUESTS``; prints JSON.

The same machines as in ``qemu_many_ours.py``.
"""

import json
import sys
from time import perf_counter

from qemu_raw import ALIVE, Machine, disk


def main(folder, guests):
    """Print what it takes until all of them answer."""
    try:
        begun = perf_counter()
        machines = [
            Machine(
                folder,
                f"raw-{number}",
                memory=16,
                devices=[
                    *disk(f"{folder}/guest-{number}.img"),
                    *("-device", "virtio-blk-pci,drive=disk"),
                    *("-device", "virtio-balloon-pci,id=balloon0"),
                ],
                wait=False,
            )
            for number in range(guests)
        ]
        for machine in machines:
            machine.ready()
        print(json.dumps({"start all at once": perf_counter() - begun}))
    finally:
        for left in ALIVE:
            left.process.kill()
            left.process.wait()


main(sys.argv[1], int(sys.argv[2]))
