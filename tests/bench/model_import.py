"""Times importing the model in a fresh process, after lxml; prints JSON."""

import json
from time import perf_counter

import lxml.etree  # noqa: F401

start = perf_counter()
import polyvisor.model  # noqa: E402

polyvisor.model.DomainSpec  # noqa: B018
print(json.dumps({"model": perf_counter() - start}))
