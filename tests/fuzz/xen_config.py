"""Configurations of Xen's toolstacks: read, written, and read as the same."""

from __future__ import annotations

from polyvisor.errors import SpecError
from polyvisor_libxl.config.xl import XlFormat
from polyvisor_libxl.config.xm import XmFormat

SEEDS = ("xlconfigdata/*.cfg", "xmconfigdata/*.cfg")
EXAMPLES = (
    b"name = 'a'\nmemory = 64\n",
    b"""# a guest
name = "web"; uuid = "4dea22b3-1d52-d8f3-2516-782e98ab3fa0"
builder = "hvm"
memory = 512
vcpus = 2
cpus = "0-3,^2"
disk = [ '/dev/vg/web,raw,xvda,rw',   # the root
         'format=qcow2, vdev=hdb, access=ro, target=/b', ',hdc:cdrom', ]
vif = [ "mac=00:16:3e:01:02:03,bridge=br0.42,rate=10MB/s@20ms,ip=10.0.0.1 ::1" ]
serial = [ "pty", "udp:a:1@:2" ]
vnuma = [ [ "pnode=0", "size=512", "vcpus=0-1", "vdistances=10" ] ]
cpuid = "host,tm=0,sse3=x"
pci = [ "01:00.0,permissive=1" ]
extra = "a\\x20b" + 1
""",
    b'name="p"\ntype="pvh"\nkernel="/k"\nvfb=["type=vnc,vncdisplay=3"]\nchannel=["connection=pty"]',
)


def one(data: bytes) -> None:
    """Read a configuration in both formats or refuse it; what was read is written."""
    for native in (XlFormat(), XmFormat()):
        native.recognises(data)
        try:
            spec = native.read(data, path="guest.cfg")
        except SpecError:
            continue
        text = native.write(spec)
        again = native.read(text.encode(), path="again.cfg")
        assert native.write(again) == text
