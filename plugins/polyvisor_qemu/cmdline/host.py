"""What a command line needs to know of the host that it is for."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor_qemu.cmdline.words import RUN_FD

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

__all__ = ["Host"]

#: Where descriptions of firmware are (docs/interop/firmware.json of QEMU), the strongest first.
FIRMWARE = ("/etc/qemu/firmware", "/usr/share/qemu/firmware")


@attrs.define
class Host:
    """Places and settings of a host; all have defaults that suit a plain machine.

    Attributes:
        run: the guest's run folder as QEMU sees it.
        channels: where sockets of channels without a path are; ``None``: in the run folder.
        hugepages: mount points of huge pages by page size in bytes; ``None``: as the kernel says.
        ram: folder for the files of memory that is shared; ``None``: the run folder.
        tpm: folder for what emulated TPMs keep; ``None``: the run folder.
        nvram: folder for the variables of UEFI firmware; ``None``: the run folder.
        firmware: folders with descriptions of firmware, in the order in which they count.
        cache: folder for what was found out about emulators; ``None``: they are not asked.
        settings: the plugin's settings.
        secret: gives the value of a secret by its UUID or by what it is for.
        volume: gives the file of a storage pool's volume by both their names.
    """

    run: str = f"/proc/self/fd/{RUN_FD}"
    channels: str | None = None
    hugepages: dict[int, str] | None = None
    ram: str | None = None
    nvram: str | None = None
    tpm: str | None = None
    firmware: tuple[str, ...] = FIRMWARE
    cache: str | None = None
    settings: dict[str, Any] = attrs.field(factory=dict)
    secret: Callable[[str | None, str | None], bytes] | None = None
    volume: Callable[[str, str], str] | None = None

    def setting(self, name: str, default: Any = None) -> Any:
        """Return one of the plugin's settings."""
        return self.settings.get(name, default)

    def channel(self, number: int, name: str | None) -> str:
        """Return the path of a channel's socket that has none of its own."""
        word = (name or f"channel{number}").replace("/", "_")
        return f"{self.channels or self.run}/{word}"

    def hugepage_mounts(self) -> dict[int, str]:
        """Return where huge pages are, by their size in bytes."""
        if self.hugepages is None:
            self.hugepages = _hugepage_mounts()
        return self.hugepages

    def hugepage_folder(self, mount: str, spec: DomainSpec) -> str:
        """Return the folder of a guest's huge pages below a mount point."""
        return mount

    def memory_folder(self, spec: DomainSpec) -> str:
        """Return the folder for files of memory."""
        return self.ram or self.run

    def variables(self, spec: DomainSpec) -> str:
        """Return the file with the variables of a guest's UEFI firmware."""
        return f"{self.nvram or self.run}/{spec.name}_VARS.fd"

    def vnc_port(self) -> int | None:
        """Return the port of a VNC server that asks for any; ``None``: QEMU finds one."""
        return None

    def spice_port(self, *, tls: bool) -> int | None:
        """Return the port of a SPICE server that asks for any; ``None``: a free one is taken."""
        import socket

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    def spice_tls(self) -> str | None:
        """Return the folder with SPICE's certificates, ``None`` if it does not use TLS."""
        found = self.setting("spice_tls_x509_cert_dir")
        return str(found) if found else None

    def vnc_tls(self) -> str | None:
        """Return the folder with VNC's certificates, ``None`` if it does not use TLS."""
        found = self.setting("vnc_tls_x509_cert_dir")
        return str(found) if found else None

    def chardev_tls(self) -> str | None:
        """Return the folder with certificates for TCP ports, ``None`` if none is set."""
        found = self.setting("chardev_tls_x509_cert_dir")
        return str(found) if found else None

    def network_bridge(self, network: str | None) -> str | None:
        """Return the bridge of a network of this host, ``None`` if there is no such network."""
        bridges = self.setting("network_bridges") or {}
        found = bridges.get(network) if isinstance(bridges, dict) else None
        return str(found) if found else None

    def helps(self, path: str) -> bool:
        """Say whether a helper of the kernel's that one can do without is to be had."""
        return os.access(path, os.R_OK | os.W_OK)

    def scsi_device(self, source: Any) -> str:
        """Return the generic device of a SCSI device of the host.

        Args:
            source: where it is: adapter, bus, target, unit.
        """
        number = (source.adapter.name or "").removeprefix("scsi_host")
        at = source.address
        place = f"{number}:{at.bus or 0}:{at.target or 0}:{at.unit or 0}"
        folder = f"/sys/bus/scsi/devices/{place}/scsi_generic"
        names = os.listdir(folder) if os.path.isdir(folder) else []
        return f"/dev/{names[0]}" if names else f"/dev/sg-{place}"

    def is_drive(self, path: str) -> bool:
        """Say whether a device of the host is a drive for CDs, which QEMU can open and close."""
        import stat

        try:
            found = os.stat(path)
        except OSError:
            return False
        # Major number 11 is that of SCSI CD-ROMs (devices.txt of Linux).
        return stat.S_ISBLK(found.st_mode) and os.major(found.st_rdev) == 11

    def tpm_socket(self) -> str:
        """Return the socket of the guest's emulated TPM."""
        return f"{self.run}/swtpm.sock"

    def tpm_folder(self, spec: DomainSpec) -> str:
        """Return the folder for what a guest's emulated TPM keeps."""
        return f"{self.tpm or self.run}/{spec.uuid}"

    def virtiofsd(self) -> str:
        """Return the program that shares folders."""
        named = self.setting("virtiofsd")
        places = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd")
        return str(named or next((one for one in places if os.path.exists(one)), places[0]))

    def vsock_cid(self) -> int | None:
        """Return a number for a guest that asks for any; ``None``: the one it had."""
        return None

    def rendernode(self) -> str | None:
        """Return the device that OpenGL is drawn with."""
        for number in range(128, 192):
            if os.path.exists(f"/dev/dri/renderD{number}"):
                return f"/dev/dri/renderD{number}"
        return None


def _hugepage_mounts() -> dict[int, str]:
    found: dict[int, str] = {}
    with open("/proc/mounts", encoding="utf-8") as file:
        for line in file:
            _, place, kind, options = line.split()[:4]
            if kind == "hugetlbfs":
                size = next((o[9:] for o in options.split(",") if o.startswith("pagesize=")), "")
                scale = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(size[-1:], 0)
                found[int(size[:-1]) * scale if scale else 2 << 20] = place
    return found
