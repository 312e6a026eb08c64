"""VMware's configurations: read, written, and read as the same."""

from __future__ import annotations

from polyvisor.errors import SpecError
from polyvisor_vmware.format import VmxFormat

SEEDS = ("vmx2xmldata/*.vmx", "xml2vmxdata/*.vmx")
EXAMPLES = (
    b'config.version = "8"\nvirtualHW.version = "13"\ndisplayName = "a"\n',
    b""".encoding = "UTF-8"
config.version = "8"
virtualHW.version = "7"
displayName = "a%2fb"
annotation = "x|0Ay"
numvcpus = "2"
cpuid.coresPerSocket = "2"
scsi0.present = "true"
scsi0:8.present = "true"
scsi0:8.fileName = "/vmfs/volumes/d/a.vmdk"
ethernet0.present = "true"
ethernet0.networkName = "VM Network"
ethernet0.generatedAddress = "00:50:56:87:65:43"
serial0.present = "true"
serial0.fileType = "network"
serial0.fileName = "telnet://[::1]:42001"
""",
)


def one(data: bytes) -> None:
    """Read a configuration or refuse it; what was read is written, and read as the same."""
    native = VmxFormat()
    native.recognises(data)
    try:
        spec = native.read(data, path="a.vmx")
        text = native.write(spec)
    except SpecError:
        return
    assert native.write(native.read(text.encode(), path="b.vmx")) == text
