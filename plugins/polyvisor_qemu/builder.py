"""How a device's options are written, and at which address it sits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from polyvisor.errors import SemanticError

if TYPE_CHECKING:
    from polyvisor.model import Device, DomainSpec

__all__ = ["RUN_FD", "Builder"]

#: Number under which QEMU has its run folder: sockets get short paths by it.
RUN_FD = 20


class Builder:
    """Collects the options for the devices of one definition.

    Attributes:
        spec: the definition.
        args: the options so far.
        q35: whether the machine is of the q35 kind.
        virt: whether it is of the virt kind.
    """

    def __init__(self, spec: DomainSpec) -> None:
        from polyvisor_qemu.argv import machine

        self.spec = spec
        self.args: list[str] = []
        self.q35 = "q35" in machine(spec)
        self.virt = machine(spec).startswith("virt")

    def refuse(self, element: str, fault: str) -> SemanticError:
        """Return the error for a device that cannot be built."""
        return SemanticError(
            f"domain {self.spec.name!r}: domain/devices/{element}: {fault}",
            domain=self.spec.name,
            element=f"domain/devices/{element}",
            fault=fault,
        )

    def option(self, kind: str, /, **values: Any) -> None:
        """Add an option in JSON; absent values are left out."""
        plain = {k.rstrip("_").replace("__", "-"): v for k, v in values.items() if v is not None}
        self.args += [f"-{kind}", json.dumps(plain, ensure_ascii=False)]

    def device(self, driver: str, device: Device | None = None, **values: Any) -> None:
        """Add a device at the address that its element states."""
        if device is not None:
            values |= self.address(device)
            if device.boot is not None and device.boot.order:
                values["bootindex"] = device.boot.order
        self.option("device", driver=driver, **values)

    def address(self, device: Device) -> dict[str, Any]:
        """Return bus and slot of a PCI device; QEMU places the others by itself."""
        place: Any = device.address
        if place is None or place.__class__.__name__ != "PciAddress" or place.bus is None:
            return {}
        root = "pcie.0" if self.q35 or self.virt else "pci.0"
        slot = f"0x{place.slot or 0:x}" + (f".0x{place.function:x}" if place.function else "")
        return {
            "bus": root if not place.bus else f"pci.{place.bus}",
            "addr": slot,
            **({"multifunction": True} if getattr(place, "multifunction", None) else {}),
        }
