"""Times polyvisor's test driver in one process: ``inprocess_ours.py DOMAINS``; prints JSON."""

import json
import sys

import documents
from timing import median_seconds, seconds_each

import polyvisor

many = int(sys.argv[1])
host = polyvisor.open("test:///default")
domains = host.domains
for number in range(many - 1):
    domains.define(documents.small(number))
names = [documents.name(number * 7919 % (many - 1)) for number in range(1000)]
uuids = [domains[name].uuid for name in names]

small = domains[documents.name(0)]
large = domains.define(documents.large(2_000_000))
fresh = [domains[documents.name(number)] for number in range(200)]
figures = {
    "list": median_seconds(domains.list, 15),
    "summaries": median_seconds(domains.summaries, 7),
    "by_name": seconds_each((lambda n=n: domains[n]) for n in names),
    "by_uuid": seconds_each((lambda u=u: domains[u]) for u in uuids),
    "xml": median_seconds(small.xml, 500),
    "xml_large": median_seconds(large.xml, 500),
    "define": seconds_each(
        (lambda x=x: domains.define(x)) for x in map(documents.small, range(3_000_000, 3_000_200))
    ),
    "define_large": seconds_each(
        (lambda x=x: domains.define(x)) for x in map(documents.large, range(4_000_000, 4_000_200))
    ),
    "start": seconds_each(domain.start for domain in fresh),
    "destroy": seconds_each(domain.destroy for domain in fresh),
}
print(json.dumps(figures))
