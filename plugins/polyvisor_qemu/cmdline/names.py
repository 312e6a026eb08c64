"""What devices and block nodes are called: as libvirt calls them (qemu_alias.c, qemu_domain.c).

A guest's memory and some of its state is known by these names in saved images and in
migration, and people know them from libvirt's events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

__all__ = ["COUNTED", "MODULES", "Names", "target_index"]

#: Lists of devices whose name is a word and their place.
COUNTED = {
    "filesystems": "fs", "interfaces": "net", "sounds": "sound", "videos": "video",
    "inputs": "input", "redirdevs": "redir", "hubs": "hub", "rngs": "rng", "tpms": "tpm",
    "smartcards": "smartcard", "shmems": "shmem", "panics": "panic", "hostdevs": "hostdev",
    "serials": "serial", "parallels": "parallel", "channels": "channel", "consoles": "console",
    "watchdogs": "watchdog",
}  # fmt: skip
MODULES = {"dimm": "dimm", "nvdimm": "nvdimm", "virtio-pmem": "virtiopmem",
            "virtio-mem": "virtiomem", "sgx-epc": "epc"}  # fmt: skip


def target_index(name: str) -> int:
    """Return the number that a target's letters stand for: ``vda`` 0, ``vdaa`` 26."""
    letters = name[2:].rstrip("0123456789")
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("a") + 1
    return number - 1


class Names:
    """Names of all devices of a definition in which every device has its address.

    Args:
        spec: the definition.
        root: name of the first PCI bus.
    """

    def __init__(self, spec: DomainSpec, root: str) -> None:
        self._root = root
        self._controllers: dict[tuple[str, int], str] = {}
        self._lsi = {
            one.index or 0
            for one in spec.devices.controllers
            if one.type == "scsi" and one.model == "lsilogic"
        }
        self._q35 = root == "pcie.0"
        for one in spec.devices.controllers:
            key = (one.type or "", one.index or 0)
            if key not in self._controllers:
                # The machine's own buses are called as QEMU calls them.
                own = None if key == ("pci", 0) else _own(one)
                self._controllers[key] = own or self._controller(*key)

    def _controller(self, kind: str, index: int) -> str:
        if kind == "pci":
            return self._root if index == 0 else f"pci.{index}"
        if kind == "usb" and index == 0:
            return "usb"
        if kind in ("ide", "sata") and index == 0:
            return "ide"
        return f"{kind}{index}"

    def controller(self, kind: str, index: int | None) -> str:
        """Return a controller's name."""
        found = self._controllers.get((kind, index or 0))
        return found or self._controller(kind, index or 0)

    def counted(self, kind: str, number: int, device: Any) -> str:
        """Return the name of the device at a place of one of the lists of devices."""
        return _own(device) or f"{COUNTED[kind]}{number}"

    def interface(self, number: int, device: Any, hostdevs: int) -> str:
        """Return an interface's name; one that is a host's device counts with those."""
        if device.type == "hostdev":
            return _own(device) or f"hostdev{hostdevs}"
        return _own(device) or f"net{number}"

    def module(self, device: Any, number: int) -> str:
        """Return the name of a memory module."""
        slot = getattr(device.address, "slot", None) if device.model.endswith("dimm") else None
        word = MODULES[device.model]
        return _own(device) or f"{word}{number if slot is None else slot}"

    def disk(self, disk: Any) -> str:
        """Return a disk's name."""
        if own := _own(disk):
            return own
        bus = disk.target.bus
        place = disk.address
        if place is not None and place.type == "drive":
            controller, unit = place.controller or 0, place.unit or 0
            if bus == "scsi" and controller not in self._lsi:
                return f"scsi{controller}-{place.bus or 0}-{place.target or 0}-{unit}"
            return f"{bus}{controller}-{place.bus or 0}-{unit}"
        return f"{bus}-disk{target_index(disk.target.dev)}"


def _own(device: Any) -> str | None:
    """Return the name that the definition gives a device itself: libvirt wants ``ua-`` before."""
    alias = device.alias
    return alias if alias is not None and alias.startswith("ua-") else None
