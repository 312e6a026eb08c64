"""Machine definitions from a few words: what a script says, and defaults for the rest.

::

    spec = DomainSpec.build(
        name="web",
        memory="2 GiB",
        vcpus=2,
        disks=["/srv/web.qcow2"],
        interfaces=["network:default"],
    )

What is not said comes from layers of :class:`Defaults`, each of which counts more than the one
before: for all machines, for a hypervisor, for an architecture, then those of plugins (the hook
``polyvisor_build_defaults``, which :meth:`polyvisor.connection.DomainCollection.build` asks).
What is said counts more than all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from polyvisor._values import frozen_mapping
from polyvisor.errors import InvalidArgument
from polyvisor.model._codecs import nearest

if TYPE_CHECKING:
    from polyvisor.model.devices import Device, Devices
    from polyvisor.model.devices.disk import Disk
    from polyvisor.model.devices.interface import Interface
    from polyvisor.model.domain import DomainSpec

__all__ = ["LAYERS", "SETTINGS", "Defaults", "build", "settings"]

_D = TypeVar("_D", bound="DomainSpec")


@attrs.frozen
class Defaults:
    """One layer of defaults.

    Attributes:
        values: settings by name; :data:`SETTINGS` says which there are.
        types: the domain types that it is for; ``None``: all.
        archs: the architectures that it is for; ``None``: all.
    """

    values: Mapping[str, Any] = attrs.field(converter=frozen_mapping)
    types: frozenset[str] | None = None
    archs: frozenset[str] | None = None

    def holds(self, domain_type: str, arch: str) -> bool:
        """Say whether it is for such a machine."""
        return (self.types is None or domain_type in self.types) and (
            self.archs is None or arch in self.archs
        )


#: What there is to set, and what it is.
SETTINGS: dict[str, str] = {
    "os_type": "hvm, linux, exe …",
    "machine": "the machine type, None: the hypervisor's own",
    "features": "names of fields of Features to switch on",
    "cpu": "a mode, such as host-passthrough, or None",
    "clock": "what the guest's clock shows: utc or localtime",
    "disk_bus": "the bus of disks",
    "cdrom_bus": "the bus of drives for media",
    "disk_driver": "name of the disks' driver, or None",
    "network_model": "the model of network interfaces, or None",
    "console": "serial, virtio, xen, sclp, lxc, or None for no console",
    "balloon": "the model of the balloon, or None",
    "rng": "whether there is a random number generator",
    "video": "the video card that comes with graphics",
    "tablet": "the bus of the tablet that comes with graphics, or None",
    "init": "what a container runs first",
}

_QEMU = frozenset({"qemu", "kvm"})
_X86 = frozenset({"x86_64", "i686"})

#: The layers that are there without plugins.
LAYERS: tuple[Defaults, ...] = (
    Defaults(
        {
            "os_type": "hvm", "machine": None, "features": (), "cpu": None, "clock": "utc",
            "disk_bus": "virtio", "cdrom_bus": "sata", "disk_driver": None,
            "network_model": "virtio", "console": "serial", "balloon": None, "rng": False,
            "video": "virtio", "tablet": None, "init": None,
        }
    ),
    # Hypervisors
    Defaults({"disk_driver": "qemu", "balloon": "virtio", "rng": True}, _QEMU),
    Defaults({"cpu": "host-passthrough"}, frozenset({"kvm"})),
    Defaults(
        {"disk_bus": "xen", "cdrom_bus": "ide", "network_model": None, "video": "vga"},
        frozenset({"xen"}),
    ),
    Defaults(
        {"disk_bus": "scsi", "cdrom_bus": "ide", "network_model": "vmxnet3", "console": None},
        frozenset({"vmware"}),
    ),
    Defaults(
        {"os_type": "exe", "init": "/sbin/init", "console": "lxc", "network_model": None},
        frozenset({"lxc"}),
    ),
    Defaults({"features": ("acpi", "apic")}, frozenset({"bhyve"})),
    # Architectures
    Defaults({"features": ("acpi", "apic"), "machine": "q35", "video": "vga", "tablet": "usb"},
             _QEMU, _X86),
    Defaults({"features": ("acpi", "apic", "pae")}, frozenset({"xen"}), _X86),
    Defaults({"machine": "virt", "cdrom_bus": "scsi"}, _QEMU,
             frozenset({"aarch64", "armv7l", "riscv64"})),
    Defaults({"machine": "pseries", "cdrom_bus": "scsi", "video": "vga"}, _QEMU,
             frozenset({"ppc64", "ppc64le"})),
    Defaults(
        {"machine": "s390-ccw-virtio", "cdrom_bus": "scsi", "console": "sclp"},
        _QEMU,
        frozenset({"s390x"}),
    ),
)  # fmt: skip


def settings(domain_type: str, arch: str, layers: Iterable[Defaults] = LAYERS) -> dict[str, Any]:
    """Return the defaults for a machine.

    Args:
        domain_type: such as ``"kvm"``.
        arch: such as ``"x86_64"``.
        layers: those to go through, later ones counting more.

    Raises:
        InvalidArgument: a layer sets what is not there to set.
    """
    found: dict[str, Any] = {}
    for layer in layers:
        if layer.holds(domain_type, arch):
            for name in layer.values:
                if name not in SETTINGS:
                    hint = nearest(name, list(SETTINGS))
                    raise InvalidArgument(f"there is no default called {name!r}; {hint}")
            found.update(layer.values)
    return found


def build(
    cls: type[_D],
    *,
    name: str,
    memory: int | str,
    vcpus: int = 1,
    type: str = "kvm",  # noqa: A002 - the attribute's name
    arch: str | None = None,
    machine: str | None = None,
    cpu: str | None = None,
    disks: Sequence[str | os.PathLike[str] | Mapping[str, Any] | Disk] = (),
    cdrom: str | os.PathLike[str] | None = None,
    interfaces: Sequence[str | Mapping[str, Any] | Interface] = (),
    boot: Sequence[str] = (),
    kernel: str | os.PathLike[str] | None = None,
    initrd: str | os.PathLike[str] | None = None,
    cmdline: str | None = None,
    firmware: str | None = None,
    graphics: str | None = None,
    console: bool = True,
    devices: Sequence[Device] = (),
    layers: Iterable[Defaults] = LAYERS,
    **fields: Any,
) -> _D:
    """Return a definition; see :meth:`polyvisor.model.DomainSpec.build`."""
    from polyvisor.model.forms import from_dict, parse_size

    arch = arch or os.uname().machine
    chosen = settings(type, arch, layers)
    plain = {key: value for key, value in fields.items() if _is_plain(value)}
    base = from_dict(cls, {**plain, "type": type, "name": name, "memory": parse_size(memory)})
    held = _Parts(chosen)
    spec = attrs.evolve(
        base,
        vcpu=base.vcpu or _vcpu(vcpus),
        os=_os(chosen, arch, machine, boot, kernel, initrd, cmdline, firmware),
        features=base.features or _features(chosen),
        cpu=base.cpu or _cpu(cpu or chosen["cpu"]),
        clock=base.clock or _clock(chosen["clock"]),
        devices=held.devices(disks, cdrom, interfaces, graphics, console, devices),
    )
    given = {key: value for key, value in fields.items() if key not in plain}
    unknown = sorted(set(given) - {field.name for field in attrs.fields(cls)})
    if unknown:
        known = [field.name for field in attrs.fields(cls)]
        raise InvalidArgument(
            f"build {name!r}: there is no {unknown[0]!r}; {nearest(unknown[0], known)}"
        )
    return attrs.evolve(spec, **given) if given else spec


def _is_plain(value: Any) -> bool:
    """Say whether a value is data that is still to be read."""
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return value is not None and isinstance(value, (str, int, float, Mapping))


def _vcpu(count: int) -> Any:
    from polyvisor.model.domain import Vcpu

    return Vcpu(placement="static", count=count)


def _os(
    chosen: Mapping[str, Any],
    arch: str,
    machine: str | None,
    boot: Sequence[str],
    kernel: str | os.PathLike[str] | None,
    initrd: str | os.PathLike[str] | None,
    cmdline: str | None,
    firmware: str | None,
) -> Any:
    from polyvisor.model.forms import from_dict
    from polyvisor.model.os import Os

    data: dict[str, Any] = {
        "type": {"name": chosen["os_type"], "arch": arch, "machine": machine or chosen["machine"]},
        "init": chosen["init"],
        "kernel": None if kernel is None else os.fspath(kernel),
        "initrd": None if initrd is None else os.fspath(initrd),
        "cmdline": cmdline,
        "firmware_name": firmware,
        "boot": tuple(boot),
    }
    data["type"] = {key: value for key, value in data["type"].items() if value is not None}
    return from_dict(Os, {k: v for k, v in data.items() if v not in (None, ())}, path="os")


def _features(chosen: Mapping[str, Any]) -> Any:
    from polyvisor.model.features import Apic, Features

    names = chosen["features"]
    if not names:
        return None
    switches: dict[str, Any] = {name: Apic() if name == "apic" else True for name in names}
    return Features(**switches)


def _cpu(word: str | None) -> Any:
    from polyvisor.model.cpu import Cpu, CpuModel

    if word is None:
        return None
    if word in {"host-passthrough", "host-model", "maximum"}:
        return Cpu(mode=word)  # type: ignore[arg-type]
    return Cpu(mode="custom", match="exact", model=CpuModel(name=word, fallback="allow"))


def _clock(offset: str) -> Any:
    from polyvisor.model.clock import Clock

    return Clock(offset=offset)  # type: ignore[arg-type]


#: How names of disks on a bus begin.
_PREFIX = {"virtio": "vd", "ide": "hd", "fdc": "fd", "xen": "xvd"}
#: Formats by the end of an image's name.
_FORMATS = {".qcow2": "qcow2", ".qcow": "qcow", ".vmdk": "vmdk", ".vdi": "vdi", ".vhdx": "vhdx"}
#: Words of a disk that are shorter than the model's own.
_DISK_WORDS = ("path", "bus", "format", "cache")


class _Parts:
    """Makes the devices of one machine."""

    def __init__(self, chosen: Mapping[str, Any]) -> None:
        self._chosen = chosen
        self._names: set[str] = set()

    def devices(
        self,
        disks: Sequence[Any],
        cdrom: Any,
        interfaces: Sequence[Any],
        graphics: str | None,
        console: bool,
        others: Sequence[Device],
    ) -> Devices:
        from polyvisor.model.devices import Devices

        made = [self._read_disk(given) for given in disks]
        if cdrom is not None:
            made.append(self._read_disk({"path": os.fspath(cdrom), "device": "cdrom"}))
        self._names = {d.target.dev for d in made if d.target is not None and d.target.dev}
        parts: dict[str, list[Any]] = {
            "disks": [self._named(disk) for disk in made],
            "interfaces": [self._interface(given) for given in interfaces],
        }
        for field, device in self._usual(graphics, console):
            parts.setdefault(field, []).append(device)
        fields = _fields_by_class() if others else {}
        for device in others:
            if device.__class__ not in fields:
                raise InvalidArgument(f"{device.__class__.__name__} is no device of a domain")
            parts.setdefault(fields[device.__class__], []).append(device)
        single = {"memballoon", "iommu", "vsock", "nvram"}
        values: dict[str, Any] = {
            field: held[-1] if field in single else tuple(held) for field, held in parts.items()
        }
        return Devices(**values)

    def _usual(self, graphics: str | None, console: bool) -> list[tuple[str, Any]]:
        """Return what comes with every machine of the kind, with its field."""
        chosen, found = self._chosen, list[tuple[str, Any]]()
        if console and chosen["console"] is not None:
            found += _console(chosen["console"])
        if graphics is not None:
            from polyvisor.model.devices.graphics import Graphics
            from polyvisor.model.devices.video import Video, VideoModel

            found.append(("graphics", Graphics(type=graphics, autoport=True)))  # type: ignore[arg-type]
            found.append(("videos", Video(model=VideoModel(type=chosen["video"]))))
            if chosen["tablet"] is not None:
                from polyvisor.model.devices.input import Input

                found.append(("inputs", Input(type="tablet", bus=chosen["tablet"])))
        if chosen["balloon"] is not None:
            from polyvisor.model.devices.memballoon import Memballoon

            found.append(("memballoon", Memballoon(model=chosen["balloon"])))
        if chosen["rng"]:
            from polyvisor.model.devices.rng import Rng, RngBackend

            backend = RngBackend(model="random", path="/dev/urandom")
            found.append(("rngs", Rng(model="virtio", backend=backend)))
        return found

    def _read_disk(self, given: Any) -> Disk:
        """Return a disk; its target may still have no name."""
        from polyvisor.model.devices.disk import Disk, DiskTarget
        from polyvisor.model.forms import from_dict

        if isinstance(given, Disk):
            return given
        if isinstance(given, (str, os.PathLike)):
            given = {"path": os.fspath(given)}
        data = dict(given)
        words = {name: data.pop(name, None) for name in _DISK_WORDS}
        if words["path"] is not None:
            path = os.fspath(words["path"])
            block = path.startswith("/dev/")
            data.setdefault("type", "block" if block else "file")
            data.setdefault("source", {"dev" if block else "file": path})
            words["format"] = words["format"] or _FORMATS.get(os.path.splitext(path)[1], "raw")
        driver = {"name": self._chosen["disk_driver"], "type": words["format"]}
        driver = {key: value for key, value in driver.items() if value} | data.pop("driver", {})
        if words["cache"]:
            driver["cache"] = words["cache"]
        if driver:
            data["driver"] = driver
        disk = from_dict(Disk, data, path="disks")
        if words["bus"] is not None:
            target = disk.target or DiskTarget()
            disk = attrs.evolve(disk, target=attrs.evolve(target, bus=words["bus"]))
        return disk if disk.device != "cdrom" else attrs.evolve(disk, readonly=True)

    def _named(self, disk: Disk) -> Disk:
        """Return a disk with a bus and the next free name on it."""
        from polyvisor.model.devices.disk import DiskTarget

        target = disk.target or DiskTarget()
        if target.dev is not None:
            return disk
        usual = {"cdrom": self._chosen["cdrom_bus"], "floppy": "fdc"}
        bus = target.bus or usual.get(disk.device, self._chosen["disk_bus"])
        prefix = _PREFIX.get(bus, "sd")
        name = next(
            word for n in range(18_278) if (word := prefix + _letters(n)) not in self._names
        )
        self._names.add(name)
        return attrs.evolve(disk, target=attrs.evolve(target, dev=name, bus=bus))

    def _interface(self, given: Any) -> Interface:
        from polyvisor.model.devices.interface import Interface
        from polyvisor.model.forms import from_dict

        if isinstance(given, Interface):
            return given
        if isinstance(given, str):
            kind, _, where = given.partition(":")
            given = {"type": kind}
            if where:
                given["source"] = {"dev" if kind == "direct" else kind: where}
        data = dict(given)
        if self._chosen["network_model"] is not None:
            data.setdefault("model", self._chosen["network_model"])
        return from_dict(Interface, data, path="interfaces")


def _letters(number: int) -> str:
    """Return ``a`` … ``z``, ``aa`` … for numbers from 0."""
    word = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        word = chr(ord("a") + rest) + word
    return word


def _console(kind: str) -> list[tuple[str, Any]]:
    from polyvisor.model.devices.chardev import ChardevTarget, Console, Serial

    if kind == "serial":
        return [
            ("serials", Serial(type="pty", target=ChardevTarget(port=0))),
            ("consoles", Console(type="pty", target=ChardevTarget(type="serial", port=0))),
        ]
    return [("consoles", Console(type="pty", target=ChardevTarget(type=kind, port=0)))]


def _fields_by_class() -> dict[type, str]:
    """Return the field of :class:`Devices` that holds devices of a class."""
    from polyvisor.model.binding import Choice, bindings_of, resolve
    from polyvisor.model.devices import Devices

    found: dict[type, str] = {}
    for name, binding in bindings_of(Devices):
        if binding.kind == "child" and binding.ref is not None:
            ref = binding.ref
            refs = ref.refs.values() if isinstance(ref, Choice) else [ref]
            found.update((resolve(one), name) for one in refs)  # type: ignore[arg-type]
    return found
