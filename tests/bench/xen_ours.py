"""Times our verifier and our converter on the streams in the folder that is named."""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from time import perf_counter

from xen_pipes import Drain, Feed

from polyvisor.saveimage import verify
from polyvisor_libxl.streams.convert import convert_legacy

folder = Path(sys.argv[1])
figures = {}

verify(folder / "legacy", form="xen-legacy-stream")  # Whatever is imported is.
start = perf_counter()
assert verify(folder / "v2", strict=True).ok
figures["verify, file"] = perf_counter() - start
with Feed(folder / "v2") as fd:
    start = perf_counter()
    assert verify(fd, strict=True).ok
    figures["verify, pipe"] = perf_counter() - start
figures["bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
source = os.open(folder / "legacy", os.O_RDONLY)
with Drain() as fd:
    start = perf_counter()
    assert convert_legacy(source, fd)
    figures["convert, into a pipe"] = perf_counter() - start
print(json.dumps(figures))
