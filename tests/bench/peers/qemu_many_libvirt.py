"""Times many guests on QEMU through libvirtd: ``qemu_many_libvirt.py FOLDER GUESTS URI``."""

import json
import pathlib
import sys
from time import perf_counter

import libvirt
from timing import median_seconds


def main(folder, guests, uri):
    """Print what it takes with all of them running, as JSON."""
    spec = pathlib.Path(folder, "one.xml").read_text(encoding="utf-8")
    figures = {}
    host = libvirt.open(uri)
    try:
        begun = perf_counter()
        for number in range(guests):
            host.createXML(spec.replace("NAME", f"guest-{number}"), libvirt.VIR_DOMAIN_START_PAUSED)
        figures["start each"] = (perf_counter() - begun) / guests
        figures["figures of all"] = median_seconds(host.getAllDomainStats, 5)
    finally:
        for domain in host.listAllDomains():
            domain.destroy()
    print(json.dumps(figures))


main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
