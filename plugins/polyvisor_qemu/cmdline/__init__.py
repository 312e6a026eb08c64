"""QEMU's command line from a definition.

Every value that comes from a definition goes into JSON (``-device``, ``-blockdev``,
``-netdev``, ``-object``), where it cannot become an option of its own; the few options that
know only ``key=value`` get their commas doubled. Names of devices and block nodes, and every
address, are libvirt's, so that a guest's saved state and its migration fit either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor_qemu.cmdline.host import Host
from polyvisor_qemu.cmdline.words import RUN_FD, CommandLine

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.cmdline.context import Context
    from polyvisor_qemu.layout.machines import Abilities

__all__ = ["RUN_FD", "CommandLine", "Host", "build"]

_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


def build(
    spec: DomainSpec,
    emulator: str,
    host: Host | None = None,
    abilities: Abilities | None = None,
    *,
    live: bool = True,
) -> CommandLine:
    """Return the command line of a machine, stopped at its first instruction.

    Args:
        spec: a definition; what it leaves open is chosen as libvirt does.
        emulator: path of QEMU.
        host: places and settings of the host.
        abilities: what the emulator can do; ``None``: what QEMU 6 and later can.
        live: keep what only a running domain has.

    Raises:
        SemanticError: it asks for what the driver cannot do; names the element.
    """
    from polyvisor_qemu.cmdline import (
        boot,
        controllers,
        cpu,
        disks,
        hostdevs,
        machine,
        memory,
        net,
        others,
        ports,
        screens,
        storage,
    )
    from polyvisor_qemu.cmdline.context import Context
    from polyvisor_qemu.cmdline.words import joined
    from polyvisor_qemu.layout import MODERN, laid_out
    from polyvisor_qemu.layout.machines import Machine

    abilities = abilities or MODERN
    _known(spec)
    host = host or Host()
    machine_ = Machine.of(spec, abilities)
    if spec.os.firmware_name is not None or spec.os.loader is not None:
        from polyvisor_qemu.cmdline.firmware import with_firmware

        spec = with_firmware(spec, host, machine_.arch, machine_.name)
    spec = laid_out(spec, abilities, live=live)
    c = Context(spec, Machine.of(spec, abilities), host)
    if spec.os.nvram is not None and spec.os.nvram.path and spec.os.nvram.template:
        c.line.templates[spec.os.nvram.path] = spec.os.nvram.template
    line = c.line
    line.args = [emulator]
    line.add("name", joined(guest=spec.name, debug__threads=True))
    line.add("S")
    flashes = boot.flash(c)
    machine.machine(c, flashes)
    cpu.cpu(c)
    memory.memory(c)
    cpu.topology(c)
    _iothreads(c)
    memory.numa(c)
    line.add("uuid", str(spec.uuid))
    machine.smbios(c)
    line.add("no-user-config")
    line.add("nodefaults")
    machine.clock(c)
    machine.actions(c)
    boot.boot(c)
    others.iommu(c)
    controllers.controllers(c)
    others.hubs(c)
    memory.modules(c)
    others.vmgenid(c)
    nodes = storage.Nodes(spec)
    disks.disks(c, nodes)
    others.filesystems(c)
    net.interfaces(c)
    ports.smartcards(c)
    ports.serials(c)
    ports.parallels(c)
    ports.channels(c)
    ports.consoles(c)
    others.tpms(c)
    others.inputs(c)
    screens.audios(c)
    screens.graphics(c)
    screens.videos(c)
    screens.sounds(c)
    others.watchdogs(c)
    ports.redirections(c)
    hostdevs.hostdevs(c, nodes)
    others.balloon(c)
    others.rngs(c)
    others.panics(c)
    others.shmems(c)
    others.vsock(c)
    c.with_passwords()
    line.add("sandbox", _SANDBOX)
    if spec.qemu_deprecation is not None and spec.qemu_deprecation.behavior:
        _deprecation(c)
    line.add("msg", "timestamp=on")
    if spec.qemu_commandline is not None:
        # Its author chose the words themselves: they are passed on as they are.
        line.args += [arg for arg in spec.qemu_commandline.args if arg is not None]
        for env in spec.qemu_commandline.envs:
            line.environment[env.name] = env.value or ""
    return line


def _known(spec: DomainSpec) -> None:
    """Refuse devices that the model carries unread."""
    held = spec.devices
    if held.extra is not None and held.extra.elements:
        import re

        from polyvisor_qemu.cmdline.context import refused

        first = re.split(r"[\s/>]", held.extra.elements[0].lstrip("<"), maxsplit=1)[0]
        raise refused(spec, f"domain/devices/{first}", "not known to this driver; remove it")


def _iothreads(c: Context) -> None:
    """Add threads for disks and their pools."""
    spec = c.spec
    given = spec.iothreadids.iothreads if spec.iothreadids is not None else ()
    known = {one.id for one in given}
    free = (n for n in range(1, 1 << 16) if n not in known)
    count = max(spec.iothreads or 0, len(given))
    every: list[tuple[int, int | None, int | None]] = [
        (one.id or 0, one.thread_pool_min, one.thread_pool_max) for one in given
    ]
    every += [(next(free), None, None) for _ in range(count - len(given))]
    for number, least, most in every:
        c.object_("iothread", f"iothread{number}", thread__pool__min=least, thread__pool__max=most)
    main = spec.defaultiothread
    if main is not None:
        c.object_(
            "main-loop", "main-loop",
            thread__pool__min=main.thread_pool_min, thread__pool__max=main.thread_pool_max,
        )  # fmt: skip


def _deprecation(c: Context) -> None:
    """Say what QEMU does where something outdated is used (virQEMUBuild…DeprecationBehavior)."""
    behavior = c.spec.qemu_deprecation.behavior if c.spec.qemu_deprecation else None
    out, into = {"omit": ("hide", "accept"), "reject": ("hide", "reject"),
                 "crash": ("hide", "crash")}.get(behavior or "", (None, None))  # fmt: skip
    if out is not None:
        c.line.add("compat", f"deprecated-output={out},deprecated-input={into}")
