"""Domain XML laid out for QEMU: every device gets its place, or the definition is refused."""

from __future__ import annotations

from polyvisor.errors import SpecError
from polyvisor.model import DomainSpec
from polyvisor_qemu.layout import laid_out

SEEDS = ("qemuxml2argvdata/*.xml",)
EXAMPLES = (
    b"""<domain type='kvm'><name>a</name><memory unit='MiB'>64</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os><devices>
<controller type='pci' index='1' model='pcie-root-port'/>
<disk><source file='/a'/><target dev='vda' bus='virtio'/><address type='pci' bus='1'/></disk>
<input type='tablet' bus='usb'/><hub type='usb'><address type='usb' bus='0' port='1.2'/></hub>
<console type='pty'><target type='virtio'/></console><rng model='virtio'/></devices></domain>""",
    b"""<domain type='qemu'><name>a</name><memory unit='MiB'>64</memory>
<os><type arch='s390x' machine='s390-ccw-virtio'>hvm</type></os><devices>
<disk><source file='/a'/><target dev='vda' bus='virtio'/><address type='ccw' devno='0x0001'/>
</disk></devices></domain>""",
)


def one(data: bytes) -> None:
    """Lay a definition out; what comes of it can be written, read and laid out again."""
    try:
        laid = laid_out(DomainSpec.from_xml(data))
    except SpecError:
        return
    laid_out(DomainSpec.from_xml(laid.to_xml()))
