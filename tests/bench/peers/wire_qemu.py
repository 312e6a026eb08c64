"""Times lists and figures of QEMU domains: ``wire_qemu.py URI``; prints JSON, seconds a call.

Run once for our daemon and once for libvirt's: of a hundred domains a few have a guest, which
stands still, so that it takes no processor time from either side.
"""

import json
import sys

import libvirt
from timing import least_seconds

DOMAINS, GUESTS = 100, 3
XML = """<domain type='qemu'><name>bench-{0}</name><memory unit='MiB'>32</memory>
<os><type arch='x86_64' machine='pc'>hvm</type></os></domain>"""
libvirt.registerErrorHandler(lambda *_: None, None)

host = libvirt.open(sys.argv[1])
domains = [host.defineXML(XML.format(number)) for number in range(DOMAINS)]
try:
    for domain in domains[:GUESTS]:
        domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    figures = {
        "list": least_seconds(host.listAllDomains),
        "states": least_seconds(lambda: host.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE)),
        "stats": least_seconds(host.getAllDomainStats),
    }
finally:
    for domain in domains[:GUESTS]:
        domain.destroy()
    for domain in domains:
        domain.undefine()
print(json.dumps(figures))
