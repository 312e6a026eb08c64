"""Times a domain's life on QEMU through libvirtd: ``qemu_libvirt.py FOLDER ROUNDS URI URI``.

The same machine as in ``qemu_ours.py``; prints JSON.
"""

import json
import pathlib
import statistics
import sys
from time import perf_counter

import libvirt
from timing import let_count

FLAGS = (
    libvirt.VIR_MIGRATE_LIVE
    | libvirt.VIR_MIGRATE_UNSAFE
    | libvirt.VIR_MIGRATE_PERSIST_DEST
    | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
)


def main(folder, rounds, here, there):
    """Print the medians of some rounds."""
    libvirt.registerErrorHandler(lambda *_: None, None)
    seen = {}
    log, image = f"{folder}/tick.log", f"{folder}/libvirt.image"
    spec = pathlib.Path(folder, "tick.xml").read_text(encoding="utf-8")
    parameters = {libvirt.VIR_MIGRATE_PARAM_URI: f"unix://{folder}/libvirt.migration"}

    def timed(name, work):
        begun = perf_counter()
        result = work()
        seen.setdefault(name, []).append(perf_counter() - begun)
        return result

    source, other = libvirt.open(here), libvirt.open(there)
    for _ in range(rounds):
        domain = timed("define", lambda: source.defineXML(spec))
        timed("start", domain.create)
        let_count(log)
        timed("suspend", domain.suspend)
        timed("resume", domain.resume)
        timed("save", lambda domain=domain: domain.save(image))
        timed("restore", lambda: source.restore(image))
        let_count(log)
        moved = timed(
            "live migration", lambda domain=domain: domain.migrate3(other, parameters, FLAGS)
        )
        let_count(log)
        timed("destroy", moved.destroy)
        moved.undefine()
    print(json.dumps({name: statistics.median(taken) for name, taken in seen.items()}))


main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
