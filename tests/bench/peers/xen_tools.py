"""Times xen's verifier and converter on the streams in the folder that is named.

Their code is called as their scripts do. From a pipe the scripts cannot read, since they read
without a buffer and take a short read for the end; here they get one with a buffer.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from time import perf_counter
from types import ModuleType

folder, xen = Path(sys.argv[1]), Path(sys.argv[2])
sys.path.insert(0, str(xen / "lib" / "python"))

from xen.migration.libxl import VerifyLibxl  # noqa: E402
from xen_pipes import Drain, Feed  # noqa: E402


def script(name: str) -> ModuleType:
    """Load one of the scripts."""
    loader = SourceFileLoader(name.replace("-", "_"), str(xen / "bin" / name))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True
    loader.exec_module(module)
    return module


def silent(_text: str) -> None:
    """Say nothing, as without --verbose."""


figures = {}
with open(folder / "v2", "rb", 0) as file:
    start = perf_counter()
    VerifyLibxl(silent, file.read).verify()
    figures["verify, file"] = perf_counter() - start
with Feed(folder / "v2") as fd, os.fdopen(fd, "rb", closefd=False) as pipe:
    start = perf_counter()
    VerifyLibxl(silent, pipe.read).verify()
    figures["verify, pipe"] = perf_counter() - start
figures["bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
converter = script("convert-legacy-stream")
converter.twidth, converter.pv = 64, True
with open(folder / "legacy", "rb") as file, Drain() as fd:
    converter.fin = file
    converter.fout = os.fdopen(fd, "wb", closefd=False)
    start = perf_counter()
    assert converter.read_legacy_stream(converter.VM("libxl")) == 0
    converter.fout.flush()
    figures["convert, into a pipe"] = perf_counter() - start
print(json.dumps(figures))
