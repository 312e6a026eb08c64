"""What QEMU is handed open: sockets, files, secrets, network devices.

All is made before QEMU starts, by who starts it: QEMU itself, in its sandbox, need have no
right to make any of it, and a secret is in nobody's command line and on no disk.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from polyvisor.errors import HypervisorError, StorageError
from polyvisor_qemu.cmdline.words import RUN_FD, Inline, Listen, Open, Secret, Tap, Vhost

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.cmdline.host import Host
    from polyvisor_qemu.cmdline.words import CommandLine

__all__ = ["in_memory", "open_all", "ours", "secret_of"]

# linux/if_tun.h, linux/if.h, linux/sockios.h, linux/vhost.h.
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR, _IFF_MULTI_QUEUE = 0x0002, 0x1000, 0x4000, 0x0100
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCGIFINDEX, _SIOCBRADDIF = 0x8913, 0x8914, 0x8933, 0x89A2
_IFF_UP = 0x1
_VHOST_VSOCK_SET_GUEST_CID = 0x4008AF60


def open_all(made: CommandLine, spec: DomainSpec, run_dir: str, host: Host) -> dict[int, int]:
    """Open what a command line asks for and return our descriptors by QEMU's numbers.

    Args:
        made: the command line.
        spec: the definition, for messages.
        run_dir: the guest's run folder.
        host: where secrets are.

    Raises:
        StorageError: a file cannot be opened, or a template is missing.
        HypervisorError: a device cannot be made; says what is in the way.
    """
    opened: dict[int, int] = {}
    taps: dict[Tap, str] = {}
    try:
        for path, template in made.templates.items():
            _copy(ours(path, run_dir), template, spec)
        for number, wanted in made.descriptors.items():
            try:
                opened[number] = _open(wanted, spec, run_dir, host, taps)
            except OSError as error:
                raise HypervisorError(
                    f"start {spec.name!r}: cannot open {_what(wanted)}: {error.strerror}",
                    domain=spec.name,
                ) from error
    except BaseException:
        for fd in opened.values():
            os.close(fd)
        raise
    return opened


def ours(path: str, run_dir: str) -> str:
    """Return a path as we see it: QEMU knows its run folder by a descriptor."""
    inside = f"/proc/self/fd/{RUN_FD}"
    return run_dir + path.removeprefix(inside) if path.startswith(inside) else path


def _what(wanted: Any) -> str:
    if isinstance(wanted, Tap):
        return f"a TAP device on {wanted.bridge or 'this host'} (needs the right to make one)"
    return str(getattr(wanted, "path", "a file for a secret"))


def _open(wanted: Any, spec: DomainSpec, run_dir: str, host: Host, taps: dict[Tap, str]) -> int:
    if isinstance(wanted, Listen):
        from polyvisor_qemu.qmp import listen

        return listen(ours(wanted.path, run_dir)).detach()
    if isinstance(wanted, Open):
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        flags |= os.O_APPEND if wanted.append else os.O_TRUNC
        return os.open(ours(wanted.path, run_dir), flags, 0o600)
    if isinstance(wanted, Secret):
        return secret_of(wanted, spec, host)
    if isinstance(wanted, Inline):
        return in_memory(wanted.text.encode())
    if isinstance(wanted, Vhost):
        fd = os.open(wanted.path, os.O_RDWR | os.O_CLOEXEC)
        if wanted.cid is not None:
            fcntl.ioctl(fd, _VHOST_VSOCK_SET_GUEST_CID, struct.pack("Q", wanted.cid))
        return fd
    return _tap(wanted, spec, taps)


def secret_of(wanted: Secret, spec: DomainSpec, host: Host) -> int:
    """Open a file of memory alone with a secret of the host's store in it.

    Raises:
        HypervisorError: there is no store.
        NotFound: there is no such secret, or it has no value.
    """
    if host.secret is None:
        raise HypervisorError(
            f"start {spec.name!r}: there is no store of secrets", domain=spec.name
        )
    return in_memory(host.secret(wanted.uuid, wanted.usage))


def in_memory(value: bytes) -> int:
    """Open a file of memory alone that holds a value and cannot be changed any more."""
    fd = os.memfd_create("secret", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, value)
    # F_ADD_SEALS of linux/fcntl.h: no sealing, shrinking, growing, writing from now on.
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, 0x1 | 0x2 | 0x4 | 0x8)
    return fd


def _tap(wanted: Tap, spec: DomainSpec, taps: dict[Tap, str]) -> int:
    """Make one queue of a TAP device; the first one also plugs it into its bridge."""
    if wanted.mode is not None:
        raise HypervisorError(
            f"start {spec.name!r}: an interface of type 'direct' is not made by this driver yet; "
            f"use 'bridge'",
            domain=spec.name,
        )
    first = wanted not in taps
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
    if wanted.queues > 1:
        flags |= _IFF_MULTI_QUEUE
    name = taps.get(wanted) or wanted.device or "vnet%d"
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        request = struct.pack("16sH22x", name.encode()[:15], flags)
        found = fcntl.ioctl(fd, _TUNSETIFF, request)
        made = bytes(found[:16]).split(b"\0")[0].decode()
        taps[wanted] = made
        if first and wanted.managed:
            _plug(made, wanted.bridge)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _plug(device: str, bridge: str | None) -> None:
    """Make a device a port of a bridge and let it run."""
    name = device.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        if bridge is not None:
            request = struct.pack("16si20x", name, 0)
            index = struct.unpack("16si20x", fcntl.ioctl(control, _SIOCGIFINDEX, request))[1]
            fcntl.ioctl(control, _SIOCBRADDIF, struct.pack("16si20x", bridge.encode()[:15], index))
        request = struct.pack("16sH22x", name, 0)
        flags = struct.unpack("16sH22x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", name, flags | _IFF_UP))


def _copy(path: str, template: str, spec: DomainSpec) -> None:
    """Copy a template to where it is wanted, unless there is something already."""
    import shutil

    if os.path.exists(path):
        return
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    beside = f"{path}.{os.getpid()}"
    try:
        shutil.copyfile(template, beside)
        os.chmod(beside, 0o600)
        os.replace(beside, path)
    except OSError as error:
        with suppress(OSError):
            os.unlink(beside)
        raise StorageError(
            f"start {spec.name!r}: cannot copy the firmware's variables from {template}: "
            f"{error.strerror}",
            path=template,
            domain=spec.name,
        ) from error
