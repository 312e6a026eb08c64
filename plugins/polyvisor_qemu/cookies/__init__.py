"""What the two sides of a migration tell one another in libvirt's form."""

from polyvisor_qemu.cookies.cookie import QemuCookie, host_uuid
from polyvisor_qemu.cookies.parts import Graphics, Nbd

__all__ = ["Graphics", "Nbd", "QemuCookie", "host_uuid"]
