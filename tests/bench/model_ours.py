"""Times our model; prints JSON."""

import gc
import json

import documents
from timing import median_seconds, resident_bytes

from polyvisor.model import DomainSpec

text = documents.large(1)
spec = DomainSpec.from_xml(text)
spec.to_xml()
figures = {
    "both": median_seconds(lambda: DomainSpec.from_xml(text).to_xml(), 500),
    "parse": median_seconds(lambda: DomainSpec.from_xml(text), 500),
    "format": median_seconds(spec.to_xml, 500),
}
texts = [documents.large(number) for number in range(1000)]
gc.collect()
before = resident_bytes()
kept = [DomainSpec.from_xml(text) for text in texts]
gc.collect()
figures["bytes_per_domain"] = (resident_bytes() - before) / len(kept)
print(json.dumps(figures))
