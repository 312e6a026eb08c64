"""Times our client over one local socket: ``client_ours.py URI``; JSON, seconds a call.

The other side of ``peers/wire.py``, with the same keys.
"""

import json
import sys

import documents
from timing import least_seconds, seconds_in_all, seconds_together

import polyvisor

DOMAINS = 100
uri = sys.argv[1]
host = polyvisor.open(uri)
domain = host.domains["test"]
link, dom = host.driver.link, host.driver.domains.reference(domain.uuid)
# Where one of our calls asks for more than one of libvirt's, the procedure itself is timed.
figures = {
    "hostname": least_seconds(lambda: link.call("connect_get_hostname")),
    "by_name": least_seconds(lambda: host.domains["test"]),
    "info": least_seconds(lambda: link.call("domain_get_info", dom)),
    "state": least_seconds(lambda: domain.state),
    "active": least_seconds(lambda: link.call("domain_is_active", dom)),
    "xml": least_seconds(domain.xml),
    "count": least_seconds(lambda: link.call("connect_num_of_domains")),
    "together": seconds_together(lambda: link.call("domain_is_active", dom)),
}
# libvirt's test driver forgets everything with its last client.
for number in range(DOMAINS - 1):
    host.domains.define(documents.small(number)).start()
assert len(host.domains.list()) == DOMAINS
figures["list_100"] = least_seconds(host.domains.list)
figures["states_100"] = least_seconds(lambda: link.call("connect_get_all_domain_stats", [], 1, 0))
figures["stats_100"] = least_seconds(lambda: link.call("connect_get_all_domain_stats", [], 0, 0))
figures["connect"] = seconds_in_all(lambda: polyvisor.open(uri).close())
print(json.dumps(figures))
