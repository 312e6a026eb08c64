"""The devices that are few: input, file systems, TPM, randomness, watchdogs and their like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_qemu.cmdline.chardevs import chardev
from polyvisor_qemu.cmdline.words import Helper, Secret, Vhost, joined

if TYPE_CHECKING:
    from polyvisor_qemu.cmdline.context import Context

__all__ = ["ACTIONS", "balloon", "filesystems", "hubs", "inputs", "iommu", "panics", "polling",
           "rngs", "shmems", "tpms", "vmgenid", "vsock", "watchdogs"]  # fmt: skip

#: Where shm_open(3) has its files.
SHARED = "/dev/shm"  # noqa: S108 - a place that guests and other processes agree on

_USB_INPUTS = {"tablet": "usb-tablet", "mouse": "usb-mouse", "keyboard": "usb-kbd"}
_VIRTIO_INPUTS = {"tablet": "virtio-tablet", "mouse": "virtio-mouse", "keyboard": "virtio-keyboard",
                  "passthrough": "virtio-input-host"}  # fmt: skip
ACTIONS = {"dump": "pause", "shutdown": "shutdown"}


def inputs(c: Context) -> None:
    """Add keyboards, mice and tablets; PS/2 ones are part of the machine."""
    for number, one in enumerate(c.spec.devices.inputs):
        name = c.names.counted("inputs", number, one)
        source = one.source
        if one.type == "evdev" and source is not None:
            c.object_(
                "input-linux", name, evdev=source.dev, repeat=source.repeat,
                grab_all=True if source.grab == "all" else None,
                grab__toggle=source.grab_toggle,
            )  # fmt: skip
        elif one.bus == "virtio" and one.type in _VIRTIO_INPUTS:
            path = source.evdev if source is not None else None
            if one.type == "passthrough" and path is None:
                raise c.refuse(f"input[{number}]/source", "passthrough needs the host's device")
            c.virtio(_VIRTIO_INPUTS[one.type], one, name, evdev=path)
        elif one.bus == "usb" and one.type in _USB_INPUTS:
            c.device(_USB_INPUTS[one.type], one, name)
        elif one.bus not in ("ps2", None):
            raise c.refuse(f"input[{number}]", f"{one.type} on {one.bus} is not supported by QEMU")


def hubs(c: Context) -> None:
    """Add USB hubs."""
    for number, one in enumerate(c.spec.devices.hubs):
        c.device("usb-hub", one, c.names.counted("hubs", number, one))


def filesystems(c: Context) -> None:
    """Add folders of the host: 9p by QEMU itself, virtiofs by a process beside it."""
    for number, one in enumerate(c.spec.devices.filesystems):
        name = c.names.counted("filesystems", number, one)
        driver, source = one.driver, one.source
        kind = (driver.type if driver is not None else None) or "path"
        if kind == "virtiofs":
            path = source.socket if source is not None else None
            end = f"chr-vu-{name}"
            if path is None:
                path = f"{c.host.run}/{name}-fs.sock"
                _virtiofsd(c, number, one, path)
            c.line.add("chardev", joined("socket", id=end, path=path))
            queue = driver.queue if driver is not None else None
            c.virtio("vhost-user-fs", one, name, chardev=end, tag=one.target, queue__size=queue)
            continue
        if kind not in ("path", "handle") or source is None or source.dir is None:
            raise c.refuse(f"filesystem[{number}]", f"{kind!r} is not shared by QEMU; use virtiofs")
        model = {"passthrough": "passthrough", "mapped": "mapped", "squash": "none"}
        c.line.add(
            "fsdev",
            joined(
                "handle" if kind == "handle" else "local",
                security_model=model[one.accessmode or "passthrough"] if kind == "path" else None,
                multidevs=one.multidevs,
                fmode=one.fmode, dmode=one.dmode,
                writeout=driver.wrpolicy if driver is not None else None,
                id=f"fsdev-{name}", path=source.dir, readonly=True if one.readonly else None,
            ),
        )  # fmt: skip
        c.virtio("virtio-9p", one, name, fsdev=f"fsdev-{name}", mount_tag=one.target)


def _virtiofsd(c: Context, number: int, one: Any, path: str) -> None:
    """Have a process started that shares a folder."""
    if one.source is None or one.source.dir is None:
        raise c.refuse(f"filesystem[{number}]/source", "has no dir")
    given = one.binary
    program = (given.path if given is not None else None) or c.host.virtiofsd()
    words = [program, "--fd={fd}", "-o", joined(source=one.source.dir)]
    if given is not None:
        if given.cache is not None:
            words += ["-o", f"cache={given.cache}"]
        if given.xattr is not None:
            words += ["-o", "xattr" if given.xattr else "no_xattr"]
        if given.sandbox is not None:
            words += ["-o", f"sandbox={given.sandbox}"]
        if given.thread_pool is not None:
            words.append(f"--thread-pool-size={given.thread_pool}")
        if given.lock is not None:
            for field, word in (("posix", "posix_lock"), ("flock", "flock")):
                state = getattr(given.lock, field)
                if state is not None:
                    words += ["-o", word if state else f"no_{word}"]
    c.line.helpers.append(Helper("virtiofsd", path, tuple(words), (), "virtiofsd"))


def tpms(c: Context) -> None:
    """Add trusted platform modules; an emulated one is a process beside QEMU."""
    for number, one in enumerate(c.spec.devices.tpms):
        name = c.names.counted("tpms", number, one)
        back = one.backend
        kind = back.type if back is not None else "emulator"
        if one.model == "spapr-tpm-proxy":
            c.device("spapr-tpm-proxy", one, name, host__path=back.device if back else None)
            continue
        if kind == "passthrough":
            path = (back.device if back is not None else None) or "/dev/tpm0"
            c.line.add("tpmdev", joined("passthrough", id=f"tpm-{name}", path=path))
        elif kind in ("emulator", "external"):
            given = back.source.path if back is not None and back.source is not None else None
            path = given or c.host.tpm_socket()
            if given is None:
                _swtpm(c, back, path)
            c.line.add("chardev", joined("socket", id="chrtpm", path=path))
            c.line.add("tpmdev", joined("emulator", id=f"tpm-{name}", chardev="chrtpm"))
        else:
            raise c.refuse(f"tpm[{number}]/backend", f"{kind!r} is not supported by QEMU")
        model = one.model or "tpm-tis"
        driver = "tpm-tis-device" if model == "tpm-tis" and c.machine.arm else model
        c.device(driver, one, name, tpmdev=f"tpm-{name}")


def _swtpm(c: Context, back: Any, path: str) -> None:
    """Have an emulated TPM started that keeps its state from start to start."""
    version = (back.version if back is not None else None) or "2.0"
    folder = f"{c.host.tpm_folder(c.spec)}/tpm{version[0]}"
    words = ["swtpm", "socket", "--ctrl", "type=unixio,fd={fd}", "--terminate",
             "--tpmstate", joined(dir=folder, mode="0600")]  # fmt: skip
    if version == "2.0":
        words.append("--tpm2")
    key = None
    if back is not None and back.encryption is not None:
        key = Secret(back.encryption, None)
        words += ["--key", "pwdfd={key},mode=aes-256-cbc"]
    c.line.helpers.append(Helper("swtpm", path, tuple(words), (folder,), "swtpm", key, plain=True))


def rngs(c: Context) -> None:
    """Add random number generators."""
    for number, one in enumerate(c.spec.devices.rngs):
        name = c.names.counted("rngs", number, one)
        back, source = one.backend, f"obj{name}"
        model = (back.model if back is not None else None) or "random"
        if model == "egd":
            if back is None or back.type is None:
                raise c.refuse(f"rng[{number}]/backend", "'egd' has no type")
            chardev(c, name, back, kind=back.type)
            c.object_("rng-egd", source, chardev=f"char{name}")
        elif model == "builtin":
            c.object_("rng-builtin", source)
        else:
            path = (back.path if back is not None else None) or "/dev/urandom"
            c.object_("rng-random", source, filename=path)
        limits: dict[str, Any] = {}
        if one.rate is not None and one.rate.bytes:
            limits = {"max__bytes": one.rate.bytes, "period": one.rate.period or 1000}
        c.virtio("virtio-rng", one, name, rng=source, **limits)


def watchdogs(c: Context) -> None:
    """Add watchdogs and what they do."""
    action = None
    for number, one in enumerate(c.spec.devices.watchdogs):
        name = c.names.counted("watchdogs", number, one)
        if one.model == "itco":
            c.line.add("global", "ICH9-LPC.noreboot=off")
        else:
            c.device(one.model or "i6300esb", one, name)
        action = action or ACTIONS.get(one.action or "reset", one.action or "reset")
    if action is not None:
        c.line.add("watchdog-action", action)


def balloon(c: Context) -> None:
    """Add the memory balloon."""
    one = c.spec.devices.memballoon
    if one is None or one.model in (None, "none"):
        return
    if not one.model.startswith("virtio"):
        raise c.refuse("memballoon", f"{one.model!r} is no balloon of QEMU's; use 'virtio'")
    name = _own(one) or "balloon0"
    c.virtio(
        "virtio-balloon", one, name, deflate__on__oom=one.autodeflate,
        free__page__reporting=one.free_page_reporting,
    )  # fmt: skip
    if one.stats_period:
        c.line.commands.append(("qom-set", polling(name, one.stats_period)))


def polling(name: str, period: int) -> dict[str, Any]:
    """Return what ``qom-set`` takes to have a balloon tell of itself every so many seconds."""
    path = f"/machine/peripheral/{name}"
    return {"path": path, "property": "guest-stats-polling-interval", "value": period}


def panics(c: Context) -> None:
    """Add devices through which a guest says that it crashed."""
    for number, one in enumerate(c.spec.devices.panics):
        if one.model == "isa":
            at: Any = one.address
            c.device("pvpanic", None, None, ioport=at.iobase if at is not None else None)
        elif one.model == "pvpanic":
            c.device("pvpanic-pci", one, c.names.counted("panics", number, one))
        elif one.model not in ("hyperv", "pseries", "s390"):
            raise c.refuse("panic", f"{one.model!r} is not supported by QEMU; use 'isa'")


def shmems(c: Context) -> None:
    """Add memory shared with other guests."""
    for number, one in enumerate(c.spec.devices.shmems):
        name = c.names.counted("shmems", number, one)
        if one.model == "ivshmem-plain":
            back = f"shmmem-{name}"
            c.object_(
                "memory-backend-file", back, mem__path=f"{SHARED}/{one.name}", size=one.size,
                share=True,
            )  # fmt: skip
            c.device("ivshmem-plain", one, name, memdev=back, master=one.role == "master" or None)
        elif one.model == "ivshmem-doorbell":
            path = (one.server.path if one.server is not None else None) or (
                f"/var/lib/libvirt/shmem-{one.name}-sock")  # fmt: skip
            c.line.add("chardev", joined("socket", id=f"char{name}", path=path))
            msi = one.msi
            c.device(
                "ivshmem-doorbell", one, name, chardev=f"char{name}", master=one.role == "master"
                or None, vectors=msi.vectors if msi is not None else None,
                ioeventfd=msi.ioeventfd if msi is not None else None,
            )  # fmt: skip
        else:
            raise c.refuse(f"shmem[{number}]", "QEMU no longer has it; use ivshmem-plain")


def iommu(c: Context) -> None:
    """Add the guest's IOMMU; an ARM one is part of the machine."""
    one = c.spec.devices.iommu
    if one is None or one.model == "smmuv3":
        return
    name = _own(one) or "iommu0"
    if one.model == "virtio":
        c.device("virtio-iommu", one, name)
        return
    driver = one.driver
    words: dict[str, Any] = {}
    if driver is not None:
        # Some are switches with a third state, written as words; others are plain truths.
        for field in ("intremap", "eim"):
            words[field] = {True: "on", False: "off"}.get(getattr(driver, field))
        words |= {"caching__mode": driver.caching_mode, "device__iotlb": driver.iotlb}
        words["aw__bits"] = driver.aw_bits
    c.device("intel-iommu", None, name, **words)


def vsock(c: Context) -> None:
    """Add sockets between host and guest."""
    one = c.spec.devices.vsock
    if one is None:
        return
    wanted = one.cid.address if one.cid is not None else None
    if one.cid is not None and one.cid.auto:
        wanted = c.host.vsock_cid() or wanted
    number = c.line.descriptor(Vhost("/dev/vhost-vsock", wanted))
    c.virtio("vhost-vsock", one, _own(one) or "vsock0", guest__cid=wanted, vhostfd=str(number))


def vmgenid(c: Context) -> None:
    """Add the guest's generation."""
    if c.spec.genid is not None:
        c.device("vmgenid", None, "vmgenid0", guid=c.spec.genid or "auto")


def _own(device: Any) -> str | None:
    alias = device.alias
    return alias if alias is not None and alias.startswith("ua-") else None
