"""Times libvirt's test driver in one process: ``inprocess.py DOMAINS``; prints JSON."""

import json
import sys

import documents
import libvirt
from timing import median_seconds, seconds_each

many = int(sys.argv[1])
libvirt.registerErrorHandler(lambda *_: None, None)
host = libvirt.open("test:///default")
for number in range(many - 1):
    host.defineXML(documents.small(number))
names = [documents.name(number * 7919 % (many - 1)) for number in range(1000)]
uuids = [host.lookupByName(name).UUID() for name in names]

small = host.lookupByName(documents.name(0))
large = host.defineXML(documents.large(2_000_000))
fresh = [host.lookupByName(documents.name(number)) for number in range(200)]
figures = {
    "list": median_seconds(host.listAllDomains, 15),
    "summaries": median_seconds(
        lambda: [(found.name(), found.state()) for found in host.listAllDomains()], 7
    ),
    "by_name": seconds_each((lambda n=n: host.lookupByName(n)) for n in names),
    "by_uuid": seconds_each((lambda u=u: host.lookupByUUID(u)) for u in uuids),
    "xml": median_seconds(small.XMLDesc, 500),
    "xml_large": median_seconds(large.XMLDesc, 500),
    "define": seconds_each(
        (lambda x=x: host.defineXML(x)) for x in map(documents.small, range(3_000_000, 3_000_200))
    ),
    "define_large": seconds_each(
        (lambda x=x: host.defineXML(x)) for x in map(documents.large, range(4_000_000, 4_000_200))
    ),
    "start": seconds_each(domain.create for domain in fresh),
    "destroy": seconds_each(domain.destroy for domain in fresh),
}
print(json.dumps(figures))
