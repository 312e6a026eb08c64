"""Times our model; prints JSON."""

import gc
import json
from collections.abc import Iterator

import documents
from timing import median_over, median_seconds, resident_bytes

from polyvisor.model import DomainSpec, _lexer

spec = DomainSpec.from_xml(documents.large(1))
spec.to_xml()


def both(text: str) -> None:
    """Read and write."""
    DomainSpec.from_xml(text).to_xml()


def strangers() -> Iterator[str]:
    """Give the same documents to one who has seen nothing like them."""
    for text in documents.different():
        _lexer.forget()
        yield text


figures = {
    "both": median_over(both, documents.different()),
    "parse": median_over(DomainSpec.from_xml, documents.different()),
    "format": median_seconds(spec.to_xml, 500),
    "both_strange": median_over(both, strangers()),
    "parse_strange": median_over(DomainSpec.from_xml, strangers()),
}
texts = [documents.large(number) for number in range(1000)]
gc.collect()
before = resident_bytes()
kept = [DomainSpec.from_xml(text) for text in texts]
gc.collect()
figures["bytes_per_domain"] = (resident_bytes() - before) / len(kept)
print(json.dumps(figures))
