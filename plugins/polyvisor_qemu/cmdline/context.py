"""What all parts of a command line share: the definition, the names, how devices are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.errors import SemanticError
from polyvisor.model.cpuset import members
from polyvisor_qemu.cmdline.names import Names
from polyvisor_qemu.cmdline.words import CommandLine, Inline, Secret

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.cmdline.host import Host
    from polyvisor_qemu.layout.machines import Machine

__all__ = ["Context", "numbers", "refused"]

#: Options that every virtio device has (qemuBuildVirtioDevGetConfig).
_VIRTIO = {
    "iommu": "iommu_platform",
    "ats": "ats",
    "packed": "packed",
    "page_per_vq": "page-per-vq",
}


def refused(spec: DomainSpec, element: str, fault: str) -> SemanticError:
    """Return the error for what this driver cannot run."""
    return SemanticError(
        f"domain {spec.name!r}: {element}: {fault}", domain=spec.name, element=element, fault=fault
    )


def numbers(text: str | None) -> list[int]:
    """Return what a set of CPUs or nodes holds, such as ``"0-3,8"``, in order."""
    return members(text) if text else []


class Context:
    """Collects the command line of one definition.

    Args:
        spec: a definition in which everything is explicit.
        machine: its machine.
        host: the host that it is for.
    """

    def __init__(self, spec: DomainSpec, machine: Machine, host: Host) -> None:
        self.spec = spec
        self.machine = machine
        self.host = host
        self.line = CommandLine()
        self.root = "pcie.0" if machine.q35 or machine.virt else "pci.0"
        self.names = Names(spec, self.root)
        #: Boot order of the classes in ``<os><boot/>`` whose first device is still to come.
        self.boot: dict[str, int] = {
            dev: place for place, dev in reversed(list(enumerate(spec.os.boot, 1)))
        }
        #: Passwords of screens: protocol, password, until when, what a new client does to others.
        self.passwords: list[tuple[str, str | None, str | None, str | None]] = []
        self._overrides = {
            one.alias: one.frontend.properties
            for one in (spec.qemu_override.devices if spec.qemu_override is not None else ())
            if one.frontend is not None
        }

    def refuse(self, element: str, fault: str) -> SemanticError:
        """Return the error for a device that cannot be built."""
        return refused(self.spec, f"domain/devices/{element}", fault)

    def object_(self, kind: str, name: str, **values: Any) -> str:
        """Add an object and return its name; ``__`` in a property's name stands for ``-``."""
        plain = {key.replace("__", "-"): value for key, value in values.items()}
        self.line.json("object", {"qom-type": kind, "id": name, **plain})
        return name

    def secret(self, name: str, secret: Any) -> str:
        """Add a secret whose value never stands on the command line; return its name."""
        uuid = str(secret.uuid) if secret.uuid is not None else None
        number = self.line.descriptor(Secret(uuid, secret.usage))
        return self.object_("secret", name, format="raw", file=f"/proc/self/fd/{number}")

    def inline_secret(self, name: str, text: str) -> str:
        """Add a secret that the definition holds itself; return its name."""
        number = self.line.descriptor(Inline(text))
        return self.object_("secret", name, format="raw", file=f"/proc/self/fd/{number}")

    def tls_password(self, kind: str, name: str) -> str | None:
        """Add the password of a TLS key, if the settings name its secret; return its name.

        Args:
            kind: what the key is for, as in the settings: ``"vnc"``, ``"chardev"``, ``"nbd"``.
            name: what the secret is to be called.
        """
        uuid = self.host.setting(f"{kind}_tls_x509_secret_uuid")
        if not uuid:
            return None
        number = self.line.descriptor(Secret(str(uuid), None))
        return self.object_("secret", name, format="raw", file=f"/proc/self/fd/{number}")

    def with_passwords(self) -> None:
        """Have the passwords of screens set before the guest runs."""
        for protocol, password, until, connected in self.passwords:
            if password is not None:
                # SPICE alone can send clients away.
                more = {"connected": connected} if connected and protocol == "spice" else {}
                self.line.commands.append(
                    ("set_password", {"protocol": protocol, "password": password, **more})
                )
            if until is not None:
                from datetime import UTC, datetime

                moment = datetime.fromisoformat(until).replace(tzinfo=UTC).timestamp()
                self.line.commands.append(
                    ("expire_password", {"protocol": protocol, "time": str(int(moment))})
                )

    def device(
        self, driver: str, device: Any = None, id_: str | None = None, /, **values: Any
    ) -> None:
        """Add a device with its place, its place in the boot order and its ROM.

        Args:
            driver: QEMU's name of its kind.
            device: its element.
            id_: its name.
            values: its properties; ``__`` in a name stands for ``-``.
        """
        plain = {key.rstrip("_").replace("__", "-"): value for key, value in values.items()}
        written: dict[str, Any] = {"driver": driver, "id": id_, **plain}
        if device is not None:
            written |= self.place(device)
            written |= _rom(device.rom)
            if device.boot is not None and device.boot.order:
                written["bootindex"] = device.boot.order
            written["acpi-index"] = device.acpi_index
        for given in self._overrides.get(id_ or "", ()):
            written[given.name] = _overriding(given)
        self.line.json("device", written)

    def virtio(
        self, kind: str, device: Any = None, id_: str | None = None, /, **values: Any
    ) -> None:
        """Add a virtio device: on PCI, or on the bus that its address says."""
        model = str(getattr(device, "model", None) or "")
        if device is not None and device.__class__.__name__ == "Video":
            model = ""
        address = device.address if device is not None else None
        bus = {"virtio-mmio": "device", "ccw": "ccw"}.get(getattr(address, "type", "pci"), "pci")
        suffix = next((s for s in ("-non-transitional", "-transitional") if model.endswith(s)), "")
        options = getattr(device, "driver", None)
        for field, word in _VIRTIO.items():
            found = getattr(options, field, None)
            if found is not None:
                values[word.replace("-", "__")] = found
        self.device(f"{kind}-{bus}{suffix}", device, id_, **values)

    def place(self, device: Any) -> dict[str, Any]:
        """Return where a device sits (qemuBuildDeviceAddressProps)."""
        place = device.address
        if place is None:
            return {}
        if place.type == "pci" and place.slot is not None:
            function = f".0x{place.function:x}" if place.function else ""
            return {
                "bus": self.names.controller("pci", place.bus),
                "addr": f"0x{place.slot:x}{function}",
                "multifunction": place.multifunction,
            }
        if place.type == "usb":
            return {"bus": f"{self.names.controller('usb', place.bus)}.0", "port": place.port}
        if place.type == "virtio-serial":
            bus = self.names.controller("virtio-serial", place.controller)
            return {"bus": f"{bus}.{place.bus or 0}", "nr": place.port}
        if place.type == "ccid":
            return {"bus": f"{self.names.controller('ccid', place.controller)}.0"}
        if place.type == "isa":
            return {"iobase": place.iobase, "irq": place.irq}
        if place.type == "dimm":
            return {"slot": place.slot, "addr": place.base or None}
        if place.type == "spapr-vio":
            return {"reg": place.reg}
        if place.type == "ccw":
            return {"devno": f"{place.cssid or 0:x}.{place.ssid or 0:x}.{place.devno or 0:04x}"}
        return {}


def _rom(rom: Any) -> dict[str, Any]:
    if rom is None:
        return {}
    if rom.enabled == "no":
        return {"romfile": ""}
    return {"rombar": {"on": 1, "off": 0}.get(rom.bar or ""), "romfile": rom.file}


def _overriding(given: Any) -> Any:
    """Return a property of ``<qemu:override>`` as JSON has it; one to be removed is absent."""
    if given.type == "remove":
        return None
    if given.type == "bool":
        return given.value == "true"
    return int(given.value) if given.type in ("signed", "unsigned") else given.value
