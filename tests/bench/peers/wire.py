"""Times libvirt-python over one local socket: ``wire.py URI``; prints JSON, seconds a call.

Whose daemon it is makes no difference to this script: it is run once for ours and once for
libvirt's, each with the test driver behind it. See ``client_ours.py`` for the other client.
"""

import json
import sys

import documents
import libvirt
from timing import least_seconds, seconds_in_all, seconds_together

DOMAINS = 100
uri = sys.argv[1]
libvirt.registerErrorHandler(lambda *_: None, None)

host = libvirt.open(uri)
domain = host.lookupByName("test")
figures = {
    "hostname": least_seconds(host.getHostname),
    "by_name": least_seconds(lambda: host.lookupByName("test")),
    "info": least_seconds(domain.info),
    "state": least_seconds(domain.state),
    "active": least_seconds(domain.isActive),
    "xml": least_seconds(domain.XMLDesc),
    "list_1": least_seconds(host.listAllDomains),
    "count": least_seconds(host.numOfDomains),
    "together": seconds_together(domain.isActive),
}
for number in range(DOMAINS - 1):
    host.defineXML(documents.small(number)).create()
figures["list_100"] = least_seconds(host.listAllDomains)
figures["states_100"] = least_seconds(
    lambda: host.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE)
)
figures["stats_100"] = least_seconds(host.getAllDomainStats)
figures["connect"] = seconds_in_all(lambda: libvirt.open(uri).close())
print(json.dumps(figures))
