"""Times libvirt-python over one local socket: ``wire.py URI``; prints JSON, seconds a call.

Whose daemon it is makes no difference to this script: it is run once for ours and once for
libvirt's, each with the test driver behind it.
"""

import json
import sys
import threading
from time import perf_counter

import documents
import libvirt

DOMAINS, SECONDS, THREADS = 100, 0.4, 4
uri = sys.argv[1]
libvirt.registerErrorHandler(lambda *_: None, None)


def each(call):
    """Return the seconds that a call takes: the least of many blocks of ten.

    What else the machine does can only add to it, and does so to either side by chance.
    """
    for _ in range(30):
        call()
    least, begun = 1.0, perf_counter()
    while (start := perf_counter()) - begun < SECONDS:
        for _ in range(10):
            call()
        least = min(least, (perf_counter() - start) / 10)
    return least


def together(call):
    """Return the seconds for each call when several threads call at once."""
    counts = [0] * THREADS
    end = perf_counter() + SECONDS

    def run(index):
        while perf_counter() < end:
            call()
            counts[index] += 1

    threads = [threading.Thread(target=run, args=(index,)) for index in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return SECONDS / sum(counts)


host = libvirt.open(uri)
domain = host.lookupByName("test")
figures = {
    "hostname": each(host.getHostname),
    "by_name": each(lambda: host.lookupByName("test")),
    "info": each(domain.info),
    "state": each(domain.state),
    "active": each(domain.isActive),
    "xml": each(domain.XMLDesc),
    "list_1": each(host.listAllDomains),
    "count": each(host.numOfDomains),
    "together": together(domain.isActive),
}
for number in range(DOMAINS - 1):
    host.defineXML(documents.small(number)).create()
figures["list_100"] = each(host.listAllDomains)
figures["states_100"] = each(lambda: host.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE))
figures["stats_100"] = each(host.getAllDomainStats)
begun = perf_counter()
for _ in range(50):
    libvirt.open(uri).close()
figures["connect"] = (perf_counter() - begun) / 50
print(json.dumps(figures))
