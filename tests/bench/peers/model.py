"""Times reading and writing of definitions by libvirt's test driver; prints JSON."""

import gc
import json

import documents
import libvirt
from timing import median_over, median_seconds, resident_bytes

libvirt.registerErrorHandler(lambda *_: None, None)
host = libvirt.open("test:///default")
domain = host.defineXML(documents.large(1))
figures = {
    "both": median_over(lambda text: host.defineXML(text).XMLDesc(), documents.different()),
    "parse": median_over(host.defineXML, documents.different()),
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
