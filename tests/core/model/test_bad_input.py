"""Bad input of each kind is a clear error within bounded time and memory, in a process of its own.

The process may have no more memory than it needs for a definition of ordinary size, and little
time, so that whoever sends such input cannot take the host's.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from polyvisor.errors import SpecError
from polyvisor.model import DomainSpec
from polyvisor.model.check import ensure

#: Beyond what the interpreter and the model themselves need.
MEMORY = 256 << 20
SECONDS = 30
GIB = 1 << 30

CHILD = """
import json, resource, sys
from pathlib import Path
from polyvisor.model import DomainSpec
from polyvisor.model.check import ensure
from polyvisor.errors import SpecError
import polyvisor.model.forms, tomllib, time

DomainSpec.from_xml("<domain type='a'><name>a</name><memory>1</memory></domain>").to_toml()
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {memory}, used + {memory}))
resource.setrlimit(resource.RLIMIT_CPU, ({seconds}, {seconds}))
try:
    if sys.argv[1] == "xml":
        spec = DomainSpec.from_xml(Path("/dev/stdin"))
    else:
        read = {{"toml": DomainSpec.from_toml, "json": DomainSpec.from_json}}[sys.argv[1]]
        spec = read(sys.stdin.buffer.read((8 << 20) + 1))
    ensure(spec)
except SpecError as error:
    told = error.to_dict()
    print(json.dumps({{key: told.get(key) for key in ("code", "message", "line", "element")}}))
else:
    print(json.dumps("taken"))
"""


def read(form: str, chunks: Iterator[bytes]) -> dict[str, object]:
    """Give a child with little memory a document; return the error that it tells."""
    start = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(memory=MEMORY, seconds=SECONDS), form],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdin is not None
    # It may have read enough before all is written.
    with contextlib.suppress(BrokenPipeError), child.stdin as stdin:
        for chunk in chunks:
            left = memoryview(chunk)
            while left:
                left = left[stdin.write(left) :]
    child.stdin = None
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err.decode()[-2000:]
    assert time.monotonic() - start < 110
    told: dict[str, object] = json.loads(out)
    assert told != "taken"
    return told


def read_here(form: str, data: bytes) -> dict[str, object]:
    """Read what is small in this process; return the error."""
    reader = {
        "xml": DomainSpec.from_xml,
        "toml": DomainSpec.from_toml,
        "json": DomainSpec.from_json,
    }
    with pytest.raises(SpecError) as caught:
        ensure(reader[form](data))
    return caught.value.to_dict()


HEAD = b"<domain type='kvm'>\n<name>a</name>\n<memory unit='KiB'>1024</memory>\n"
LAUGHS = b"<!DOCTYPE domain [<!ENTITY a0 'ha'>" + b"".join(
    b"<!ENTITY a%d '%s'>" % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 12)
)


def endless(head: bytes, piece: bytes, size: int = GIB) -> Iterator[bytes]:
    """Yield a document of a size, piece by piece."""
    yield head
    block = piece * max(1, (1 << 20) // len(piece))
    for _ in range(size // len(block)):
        yield block


XML = {
    "entity expansion": ([LAUGHS + b"]><domain><name>&a11;</name></domain>"], "document type"),
    "external entity": (
        [b"<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><domain>&x;</domain>"],
        "document type",
    ),
    "external subset": ([b"<!DOCTYPE d SYSTEM 'http://127.0.0.1:9/x'><domain/>"], "document type"),
    "10,000 levels": ([HEAD, b"<a>" * 10_000], "deeper than 256"),
    "10,000 images": ([HEAD, b"<devices><disk>", b"<backingStore>" * 10_000], "deeper than 256"),
    "1 GiB of text": (endless(HEAD + b"<title>", b"x"), "the limit is 8388608"),
    "1 GiB of elements": (endless(HEAD, b"<a/>"), "the limit is 8388608"),
    "8 MiB of elements": (endless(HEAD, b"<a/>", 7 << 20), "more than 250000 tags"),
    "8 MiB of white space": (endless(HEAD, b" ", 7 << 20), "no element found"),
    "invalid UTF-8": ([HEAD, b"<title>\xc3\x28</title></domain>"], "0xc3 is not valid UTF-8"),
    "NUL": ([HEAD, b"<title>a\0b</title></domain>"], "NUL byte"),
    "memory 2^70": (
        [b"<domain type='kvm'><name>a</name>\n<memory>%d</memory></domain>" % 2**70],
        "out of range",
    ),
    "a number of a million digits": ([HEAD, b"<vcpu>", b"9" * 1_000_000, b"</vcpu></domain>"],
                                     "out of range"),
    "negative vcpu": ([HEAD, b"<vcpu>-1</vcpu></domain>"], "out of range"),
    "no vcpu": ([HEAD, b"<vcpu>0</vcpu></domain>"], "out of range"),
    "wrong unit": (
        [b"<domain type='kvm'><name>a</name>\n<memory unit='GiBs'>1</memory></domain>"],
        "'GiBs' is not a unit",
    ),
    "duplicate attribute": ([HEAD, b"<vcpu current='1' current='2'>2</vcpu>"], "duplicate"),
    "duplicate ids": (
        [
            HEAD,
            b"<iothreadids><iothread id='1'/><iothread id='1'/></iothreadids></domain>",
        ],
        "is named twice",
    ),
    "a set of all CPUs": ([HEAD, b"<vcpu cpuset='0-99999999'>1</vcpu></domain>"], "out of range"),
}  # fmt: skip


#: What is read in a process of its own.
LARGE = {
    "entity expansion", "10,000 images", "1 GiB of text", "1 GiB of elements",
    "8 MiB of elements", "8 MiB of white space", "a number of a million digits",
    "a deep key", "deep objects",
}  # fmt: skip


@pytest.mark.parametrize("kind", XML)
def test_bad_xml_is_refused_in_bounds(kind: str) -> None:
    """The error names the fault, and the line where there is one."""
    chunks, words = XML[kind]
    told = read("xml", iter(chunks)) if kind in LARGE else read_here("xml", b"".join(chunks))
    assert words in str(told["message"])
    assert told["code"] in {"xml-syntax", "schema", "semantic"}
    if told["code"] != "semantic" and "limit" not in words and "more than" not in words:
        assert told["line"]


START = b'type = "kvm"\nname = "a"\nmemory = "1 MiB"\n'
PLAIN = [
    ("toml", "1 GiB of text", endless(START + b'title = "', b"x"), "the limit is 8388608"),
    ("toml", "a deep key", iter([START, b"a." * 1_000_000, b"b = 1\n"]), "more than 100 parts"),
    ("toml", "deep lists", iter([START, b"x = ", b"[" * 100_000]), "not TOML"),
    ("toml", "invalid UTF-8", iter([START, b'title = "\xff"\n']), "not TOML"),
    ("toml", "memory 2^70", iter([b'type = "k"\nname = "a"\nmemory = %d\n' % 2**70]), "of range"),
    ("toml", "negative vcpu", iter([START, b"vcpu = -1\n"]), "out of range"),
    ("toml", "wrong unit", iter([b'type = "k"\nname = "a"\nmemory = "1 GiBs"\n']), "not a unit"),
    ("toml", "a duplicate key", iter([START, b'name = "b"\n']), "not TOML"),
    ("json", "1 GiB of text", endless(b'{"name": "', b"x"), "the limit is 8388608"),
    ("json", "deep objects", iter([b'{"a":' * 1_000_000]), "not JSON"),
    ("json", "a long number", iter([b'{"memory": ', b"9" * 1_000_000, b"}"]), "not JSON"),
    ("json", "a duplicate key", iter([b'{"name": "a", "name": "b"}']), "stands twice"),
    ("json", "not a number", iter([b'{"type":"k","name":"a","memory":NaN}']), "not a size"),
]


@pytest.mark.parametrize(
    ("form", "kind", "chunks", "words"), PLAIN, ids=[f"{p[0]}: {p[1]}" for p in PLAIN]
)
def test_bad_plain_forms_are_refused_in_bounds(
    form: str, kind: str, chunks: Iterator[bytes], words: str
) -> None:
    """TOML and JSON have the same bounds."""
    told = read(form, chunks) if kind in LARGE else read_here(form, b"".join(chunks))
    assert words in str(told["message"])
    assert told["code"] == "schema"
