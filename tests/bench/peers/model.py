"""Times reading and writing of definitions by libvirt's test driver; prints JSON."""

import gc
import json

import documents
import libvirt
from timing import median_seconds, resident_bytes

libvirt.registerErrorHandler(lambda *_: None, None)
host = libvirt.open("test:///default")
text = documents.large(1)
domain = host.defineXML(text)
figures = {
    "both": median_seconds(lambda: host.defineXML(text).XMLDesc(), 500),
    "parse": median_seconds(lambda: host.defineXML(text), 500),
    "format": median_seconds(domain.XMLDesc, 500),
}
texts = [documents.large(number) for number in range(10, 1010)]
gc.collect()
before = resident_bytes()
for text in texts:
    host.defineXML(text)
gc.collect()
figures["bytes_per_domain"] = (resident_bytes() - before) / len(texts)
print(json.dumps(figures))
