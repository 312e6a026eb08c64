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


def among(known: int) -> Iterator[str]:
    """Yield the same documents to one who has met nothing like them, or so many of them."""
    for text in documents.different():
        _lexer.forget()
        for number in range(known):
            both(documents.large(number))
        yield text


figures = {
    "both": median_over(both, documents.different()),
    "parse": median_over(DomainSpec.from_xml, documents.different()),
    "format": median_seconds(spec.to_xml, 500),
    "both_first": median_over(both, among(0)),
    "both_second": median_over(both, among(1)),
}
texts = [documents.large(number) for number in range(1000)]
gc.collect()
before = resident_bytes()
kept = [DomainSpec.from_xml(text) for text in texts]
gc.collect()
figures["bytes_per_domain"] = (resident_bytes() - before) / len(kept)
print(json.dumps(figures))
