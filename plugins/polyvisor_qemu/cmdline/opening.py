"""What QEMU is handed open: sockets, files, secrets, network devices.

All is made before QEMU starts, by who starts it: QEMU itself, in its sandbox, need have no
right to make any of it, and a secret is in nobody's command line and on no disk.
"""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import HypervisorError, StorageError
from polyvisor_qemu.cmdline.words import RUN_FD, Inline, Listen, Open, Peer, Secret, Vhost

if TYPE_CHECKING:
    from collections.abc import Collection

    from polyvisor.model import DomainSpec
    from polyvisor_qemu.cmdline.host import Host
from polyvisor_qemu.cmdline.words import CommandLine

__all__ = ["Opened", "in_memory", "open_all", "ours", "secret_of"]

# linux/vhost.h.
_VHOST_VSOCK_SET_GUEST_CID = 0x4008AF60


@attrs.frozen
class Opened:
    """What was opened.

    Attributes:
        fds: our descriptors, by the numbers under which QEMU is to have them.
        taps: the host's network devices, by the places of their interfaces.
    """

    fds: dict[int, int]
    taps: dict[int, str]


def open_all(
    made: CommandLine,
    spec: DomainSpec,
    run_dir: str,
    host: Host,
    *,
    only: Collection[int] | None = None,
) -> Opened:
    """Open what a command line asks for.

    Args:
        made: the command line.
        spec: the definition, for messages.
        run_dir: the guest's run folder.
        host: where secrets are.
        only: the numbers of what is wanted, and no files are made; ``None``: all.

    Raises:
        StorageError: a file cannot be opened, or a template is missing.
        HypervisorError: a device cannot be made; says what is in the way.
    """
    opened: dict[int, int] = {}
    taps: dict[int, str] = {}
    try:
        for path, template in made.templates.items() if only is None else ():
            _copy(ours(path, run_dir), template, spec)
        for number, wanted in made.descriptors.items():
            if isinstance(wanted, Peer) or (only is not None and number not in only):
                continue
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
        if taps:
            from polyvisor_qemu.wires import release

            release(run_dir, taps.values())
        raise
    return Opened(opened, taps)


def ours(path: str, run_dir: str) -> str:
    """Return a path as we see it: QEMU knows its run folder by a descriptor."""
    inside = f"/proc/self/fd/{RUN_FD}"
    return run_dir + path.removeprefix(inside) if path.startswith(inside) else path


def _what(wanted: Any) -> str:
    return str(getattr(wanted, "path", "a file for a secret"))


def _open(wanted: Any, spec: DomainSpec, run_dir: str, host: Host, taps: dict[int, str]) -> int:
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
    from polyvisor_qemu.cmdline.taps import open_queue

    return open_queue(wanted, spec, taps, run_dir)


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
