"""Headers of Xen's save images, libvirt's and xl's: read, and what was read written again."""

from __future__ import annotations

import io
from struct import pack

from polyvisor.errors import PolyvisorError
from polyvisor_libxl.libvirtimage import LibvirtLibxlFormat
from polyvisor_libxl.xlimage import XlFormat

_XML = b"<domain type='xen'><name>a</name></domain>\0"
_JSON = b'{"c_info": {"type": "pv", "name": "a"}, "b_info": {"max_memkb": 1024}}\0'
EXAMPLES = (
    b"libvirt-xml\n \0 \r" + pack("<II40x", 2, len(_XML)) + _XML + b"LibxlFmt",
    b"libvirt-xml\n \0 \r" + pack(">II40s", 1, len(_XML), b"PVPAUSED") + _XML,
    b"Xen saved domain, xl format\n \0 \r"
    + pack("<5I", 0x01020304, 3, 0, 4 + len(_JSON), len(_JSON))
    + _JSON,
    b"Xen saved domain, xl format\n \0 \r" + pack(">5I", 0x01020304, 2, 1, 8, 4) + b"a=1\0rest",
)


def one(data: bytes) -> None:
    """Read a header; put into an image again, it says the same."""
    form: LibvirtLibxlFormat | XlFormat
    form = XlFormat() if data.startswith(b"Xen") else LibvirtLibxlFormat()
    try:
        header = form.bare_header(io.BytesIO(data), path="image")
    except PolyvisorError:
        return
    assert header.stream_offset <= len(data)
    if isinstance(form, LibvirtLibxlFormat):
        again = form.with_definition(header, header.xml)
        found = form.bare_header(io.BytesIO(again), path="image")
        assert found.xml == header.xml
        assert (found.version, found.byte_order) == (header.version, header.byte_order)
        assert found.was_running == header.was_running
        return
    try:
        form.read_header(io.BytesIO(data), path="image")
    except PolyvisorError:
        return
