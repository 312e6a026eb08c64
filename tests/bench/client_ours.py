"""Times our client over one local socket: ``client_ours.py URI``; JSON, seconds a call.

The other side of ``peers/wire.py``, with the same keys.
"""

import json
import sys
import threading
from time import perf_counter

import polyvisor

SECONDS, THREADS = 0.4, 4
uri = sys.argv[1]


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


host = polyvisor.open(uri)
domain = host.domains["test"]
link, dom = host.driver.link, host.driver.domains.reference(domain.uuid)
# Where one of our calls asks for more than one of libvirt's, the procedure itself is timed.
figures = {
    "hostname": each(lambda: link.call("connect_get_hostname")),
    "by_name": each(lambda: host.domains["test"]),
    "info": each(lambda: link.call("domain_get_info", dom)),
    "state": each(lambda: domain.state),
    "active": each(lambda: link.call("domain_is_active", dom)),
    "xml": each(domain.xml),
    "count": each(lambda: link.call("connect_num_of_domains")),
    "together": together(lambda: link.call("domain_is_active", dom)),
    "list_100": each(host.domains.list),
    "states_100": each(lambda: link.call("connect_get_all_domain_stats", [], 1, 0)),
    "stats_100": each(lambda: link.call("connect_get_all_domain_stats", [], 0, 0)),
}
begun = perf_counter()
for _ in range(50):
    polyvisor.open(uri).close()
figures["connect"] = (perf_counter() - begun) / 50
print(json.dumps(figures))
