"""What QEMU's machines need beside the rules for all hypervisors.

The facts are those of libvirt's QEMU driver (qemu_validate.c, qemu_domain.c,
qemu_domain_address.c), as far as they do not depend on the QEMU that is installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from polyvisor.model.check import Problem, Rule, at, placed, rule

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

__all__ = ["RULES"]

TYPES = ("qemu", "kvm")


def _machine(spec: DomainSpec) -> str | None:
    """Return the kind of the machine: ``pc``, ``q35``, ``virt`` …; ``None`` if none is named."""
    name = spec.os.machine
    if name is None:
        return None
    if name == "q35" or name.startswith("pc-q35"):
        return "q35"
    if name == "pc" or name.startswith(("pc-i440fx", "pc-0", "pc-1", "rhel")):
        return "pc"
    if name == "virt" or name.startswith("virt-"):
        return "virt"
    if name.startswith("pseries"):
        return "pseries"
    return "s390" if name.startswith("s390") else name


def _is_arm(spec: DomainSpec) -> bool:
    return spec.os.arch in {"aarch64", "armv7l", "armv6l"}


#: The root of PCI by kind of machine.
_ROOTS = {"pc": "pci-root", "q35": "pcie-root", "virt": "pcie-root", "pseries": "pci-root"}


@rule("qemu-pci-root", "The root of PCI is that of the machine.", types=TYPES)
def _root(spec: DomainSpec) -> Iterator[Problem]:
    machine = _machine(spec)
    wanted = _ROOTS.get(machine or "")
    controllers = spec.devices.controllers
    for number, controller in enumerate(controllers):
        where = at("controller", number, controllers)
        if controller.type != "pci":
            continue
        if (
            wanted is not None
            and controller.index == 0
            and controller.model in {"pci-root", "pcie-root"}
            and controller.model != wanted
        ):
            fault = f"the root of a {machine} machine is no {controller.model}"
            yield Problem(where, fault, f"use model={wanted!r}")
        expanders = {"pci-expander-bus": ("pc",), "pcie-expander-bus": ("q35", "virt")}
        fitting = expanders.get(controller.model or "")
        if fitting is not None and machine is not None and machine not in fitting:
            fault = f"a {machine} machine has no {controller.model}"
            yield Problem(where, fault, f"use a machine of type {' or '.join(fitting)}")
        node = controller.target.node if controller.target is not None else None
        if fitting is not None and node is not None:
            numa = spec.cpu.numa if spec.cpu is not None else None
            if node >= (len(numa.cells) if numa is not None else 0):
                yield Problem(f"{where}/target/node", f"there is no NUMA cell {node}", "add it")


#: Features that only some machines have.
_PSERIES = ("hpt", "htm", "nested_hv", "ccf_assist", "cfpc", "sbbc", "ibs")


@rule("qemu-feature", "Features are those that the machine has.", types=TYPES)
def _features(spec: DomainSpec) -> Iterator[Problem]:
    features, machine = spec.features, _machine(spec)
    if features is None or machine is None:
        return
    # One without a version is carried along unread.
    unread = features.extra.elements if features.extra is not None else ()
    gic = features.gic is not None or any(one.startswith("<gic") for one in unread)
    if gic and not (_is_arm(spec) and machine == "virt"):
        fault = f"a {machine} machine on {spec.os.arch} has no GIC"
        yield Problem("domain/features/gic", fault, "remove it, or use machine='virt'")
    for name in _PSERIES:
        if getattr(features, name) is not None and machine != "pseries":
            tag = name.replace("_", "-")
            yield Problem(
                f"domain/features/{tag}", f"a {machine} machine has no {tag}", "remove it"
            )
    if features.smm is not None and features.smm.tseg is not None and machine != "q35":
        fault = f"a {machine} machine has no TSEG to size"
        yield Problem("domain/features/smm/tseg", fault, "use machine='q35'")
    loader = spec.os.loader
    uefi = spec.os.firmware_name == "efi" or (loader is not None and loader.type == "pflash")
    if features.acpi and spec.os.arch == "aarch64" and not uefi:
        yield Problem("domain/features/acpi", "on aarch64 ACPI needs UEFI", "remove it")


@rule("qemu-cpu", "Parts of a CPU feature are asked for where the whole is.", types=TYPES)
def _cpu(spec: DomainSpec) -> Iterator[Problem]:
    features = spec.cpu.features if spec.cpu is not None else ()
    off = any(one.name == "sve" and one.policy == "disable" for one in features)
    for number, feature in enumerate(features):
        name = feature.name or ""
        if off and name.startswith("sve") and name[3:].isdecimal() and feature.policy != "disable":
            where = at("feature", number, features, "domain/cpu")
            yield Problem(where, f"{name} is asked for, sve is switched off", "ask for both")


@rule("qemu-timer", "The timer tsc is one of x86.", types=TYPES)
def _timers(spec: DomainSpec) -> Iterator[Problem]:
    timers = spec.clock.timers if spec.clock is not None else ()
    for number, timer in enumerate(timers):
        if timer.name == "tsc" and spec.os.arch not in {None, "x86_64", "i686"}:
            where = at("timer", number, timers, "domain/clock")
            yield Problem(where, f"{spec.os.arch} has no timer tsc", "remove it")


@rule("qemu-memory-hotplug", "Memory is plugged into NUMA cells.", types=TYPES)
def _hotplug(spec: DomainSpec) -> Iterator[Problem]:
    most = spec.max_memory
    numa = spec.cpu.numa if spec.cpu is not None else None
    cells = numa is not None and bool(numa.cells)
    # On ppc64 memory is plugged in without, elsewhere not at all.
    if most is not None and most.slots and not cells and spec.os.arch in {"x86_64", "i686"}:
        yield Problem("domain/maxMemory", "there is no NUMA cell", "add <cpu><numa>")


@rule("qemu-disk", "Disks have formats that QEMU writes, and what their bus has.", types=TYPES)
def _disks(spec: DomainSpec) -> Iterator[Problem]:
    disks = spec.devices.disks
    for number, disk in enumerate(disks):
        where = at("disk", number, disks)
        form = disk.driver.type if disk.driver is not None else None
        source = disk.source
        if form in {"cow", "iso"}:
            yield Problem(f"{where}/driver", f"QEMU has no format {form!r}", "use 'raw' or 'qcow2'")
        encrypted = disk.encryption or (source.encryption if source is not None else None)
        # What the client of Ceph encrypts is its own, whatever lies in it.
        ours = encrypted is not None and encrypted.engine != "librbd"
        if ours and form not in {None, "raw", "qcow2"}:
            fault = f"a {form} image is not encrypted"
            yield Problem(f"{where}/driver", fault, "use 'raw' or 'qcow2'")
        if disk.shareable and form not in {None, "raw"}:
            yield Problem(where, f"a {form} image cannot be shared", "use type='raw'")
        bus = disk.target.bus if disk.target is not None else None
        if bus not in {None, "scsi"}:
            for what in ("vendor", "product"):
                if getattr(disk, what) is not None:
                    yield Problem(f"{where}/{what}", f"a disk on {bus} has no {what}", "remove it")


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@rule("qemu-queue-size", "Queues of interfaces are as long as a power of two.", types=TYPES)
def _queues(spec: DomainSpec) -> Iterator[Problem]:
    held = spec.devices.interfaces
    for number, interface in enumerate(held):
        for what in ("rx_queue_size", "tx_queue_size"):
            size = getattr(interface.driver, what, None)
            if size and not _power_of_two(size):
                where = f"{at('interface', number, held)}/driver"
                yield Problem(where, f"{what} is {size}", "use a power of two, such as 512")


@rule("qemu-iommu", "An IOMMU is that of a machine that has it.", types=TYPES)
def _iommu(spec: DomainSpec) -> Iterator[Problem]:
    iommu, machine = spec.devices.iommu, _machine(spec)
    if iommu is None or machine is None:
        return
    fitting = {"intel": ("q35",), "virtio": ("q35", "virt"), "smmuv3": ("virt",)}[iommu.model]
    if machine not in fitting:
        fault = f"a {machine} machine has no {iommu.model} IOMMU"
        yield Problem("domain/devices/iommu", fault, f"use {' or '.join(fitting)}")


@rule("qemu-tpm", "A TPM is of a version and model that the architecture has.", types=TYPES)
def _tpm(spec: DomainSpec) -> Iterator[Problem]:
    tpms = spec.devices.tpms
    for number, tpm in enumerate(tpms):
        backend = tpm.backend
        if _is_arm(spec) and backend is not None and backend.version == "1.2":
            where = f"{at('tpm', number, tpms)}/backend"
            yield Problem(where, "ARM has no TPM 1.2", "use version='2.0'")


#: Kinds of serial port that one kind of machine has.
_SERIALS = {"system-serial": "virt", "spapr-vio-serial": "pseries", "sclp-serial": "s390"}


@rule("qemu-port", "Serial and parallel ports are of a kind that the machine has.", types=TYPES)
def _ports(spec: DomainSpec) -> Iterator[Problem]:
    machine = _machine(spec)
    serials = spec.devices.serials
    for number, serial in enumerate(serials):
        kind = serial.target.type if serial.target is not None else None
        fitting = _SERIALS.get(kind or "")
        arm = kind == "system-serial" and _is_arm(spec)
        if fitting is not None and machine is not None and machine != fitting and not arm:
            where = f"{at('serial', number, serials)}/target"
            yield Problem(where, f"a {machine} machine has no {kind}", "leave the type out")
    parallels = spec.devices.parallels
    if parallels and spec.os.arch in {"s390", "s390x"}:
        where = at("parallel", 0, parallels)
        yield Problem(where, "s390 has no parallel ports", "remove it")


@rule("qemu-panic-address", "Panic devices of pseries and s390 have no address.", types=TYPES)
def _panic(spec: DomainSpec) -> Iterator[Problem]:
    panics = spec.devices.panics
    for number, panic in enumerate(panics):
        model = panic.model or {"pseries": "pseries", "s390": "s390"}.get(_machine(spec) or "")
        if model in {"pseries", "s390"} and panic.address is not None:
            where = f"{at('panic', number, panics)}/address"
            yield Problem(where, f"a panic device of {model} has no address", "remove it")


@rule(
    "qemu-display", "One display draws with OpenGL, and what is shown has a display.", types=TYPES
)
def _displays(spec: DomainSpec) -> Iterator[Problem]:
    held = spec.devices.graphics
    drawing = [
        number
        for number, one in enumerate(held)
        if one.type == "egl-headless" or (one.gl is not None and one.gl.enable)
    ]
    if len(drawing) > 1:
        where = at("graphics", drawing[1], held)
        yield Problem(where, "a second display draws with OpenGL", "keep one")
    hostdevs = spec.devices.hostdevs
    for number, hostdev in enumerate(hostdevs):
        where = at("hostdev", number, hostdevs)
        if hostdev.type == "mdev" and hostdev.display and not held:
            yield Problem(where, "there is no display to show it on", "add <graphics>")
        if hostdev.model == "vfio-ap" and hostdev.boot is not None:
            yield Problem(f"{where}/boot", "nothing boots from vfio-ap", "remove it")


@rule(
    "qemu-input-model", "Only input devices passed through are of transitional models.", types=TYPES
)
def _inputs(spec: DomainSpec) -> Iterator[Problem]:
    held = spec.devices.inputs
    for number, one in enumerate(held):
        transitional = one.model in {"virtio-transitional", "virtio-non-transitional"}
        if transitional and one.type != "passthrough":
            where = at("input", number, held)
            yield Problem(where, f"a {one.type} has no model {one.model}", "use model='virtio'")


@rule("qemu-zpci", "PCI has its s390 side on s390 alone.", types=TYPES)
def _zpci(spec: DomainSpec) -> Iterator[Problem]:
    for tag, number, twins, device in placed(spec.devices):
        zpci = getattr(device.address, "zpci", None)
        if zpci is not None and spec.os.arch not in {None, "s390x"}:
            where = f"{at(tag, number, twins)}/address/zpci"
            yield Problem(where, f"{spec.os.arch} has none", "remove it")


#: Ports of QEMU's hub and of an xHCI controller.
HUB_PORTS, XHCI_PORTS = 8, 15


@rule("qemu-usb", "USB devices are at ports of controllers and hubs that are there.", types=TYPES)
def _usb(spec: DomainSpec) -> Iterator[Problem]:
    controllers = spec.devices.controllers
    for number, controller in enumerate(controllers):
        xhci = controller.type == "usb" and (controller.model or "").endswith("xhci")
        if xhci and controller.ports is not None and controller.ports > XHCI_PORTS:
            where = at("controller", number, controllers)
            yield Problem(where, f"it has no {controller.ports} ports", f"use {XHCI_PORTS} at most")
    hubs = {_port(hub.address) for hub in spec.devices.hubs}
    for tag, number, twins, device in placed(spec.devices):
        place = _port(device.address)
        if place is None or "." not in place[1]:
            continue
        where = f"{at(tag, number, twins)}/address"
        bus, port = place
        above, _, last = port.rpartition(".")
        if last.isdecimal() and int(last) > HUB_PORTS:
            yield Problem(where, f"a hub has no port {last}", f"use 1 to {HUB_PORTS}")
        elif (bus, above) not in hubs:
            yield Problem(where, f"there is no hub at port {above} of bus {bus}", "add one")


def _port(address: Any) -> tuple[int, str] | None:
    if address is None or address.type != "usb" or not address.port:
        return None
    return (address.bus or 0, address.port)


RULES = tuple(value for value in list(vars().values()) if isinstance(value, Rule))
