"""Devices of macvtap: made on top of another device, opened through their character device.

Made and set as libvirt does (virNetDevMacVLanCreateWithVPortProfile). ``/dev/tapN`` need not be
there, and may be of another network namespace, where another device has the same index: then a
node is made that nobody else sees.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import struct
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from polyvisor_qemu import wires
from polyvisor_qemu.cmdline import netlink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polyvisor_qemu.cmdline.words import Tap

__all__ = ["is_macvtap", "make", "open_queue"]

#: How one goes along with others on the same device (linux/if_link.h, macvlan_mode).
_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthrough": 8}
# linux/if_tun.h.
_TUNSETIFF = 0x400454CA
# asm-generic/unistd.h (the same everywhere but on Alpha), linux/mount.h.
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_CLOEXEC, _CREATE = 1, 6


def is_macvtap(name: str) -> bool:
    """Say whether there is such a device of macvtap."""
    link = netlink.find(name)
    return link is not None and link.kind == "macvtap"


def make(wanted: Tap, run_dir: str, named: str | None) -> str:
    """Make a device, which does not run yet; return its name.

    Args:
        wanted: what it is to be.
        run_dir: the guest's run folder, where it is noted.
        named: its name; ``None``: the first that is free.

    Raises:
        OSError: the kernel refuses; its words say more.
    """
    lower = netlink.find(wanted.bridge or "")
    if lower is None:
        raise OSError(errno.ENODEV, f"there is no network device {wanted.bridge}")
    number = 0
    while True:
        name = named or f"macvtap{number}"
        if netlink.find(name) is None:
            wires.note(
                run_dir, name, "macvtap", lower=wanted.bridge, mode=wanted.mode,
                mac=(wanted.mac or "").lower(), was=lower.address, all_groups=wanted.trusted,
            )  # fmt: skip
            try:
                netlink.macvtap(name, lower.index, _MODES[wanted.mode or "vepa"], wanted.mac)
                break
            except OSError as error:
                wires.forget(run_dir, name)
                if error.errno != errno.EEXIST or named is not None:
                    raise
        elif named is not None:
            raise OSError(errno.EEXIST, "there is a device of that name already")
        number += 1
    if wanted.mode == "passthrough" and wanted.mac is not None:
        # It begins with the other's address; the other one gets its own back as it goes.
        made = netlink.find(name)
        if made is not None:
            netlink.set_address(made.index, wanted.mac)
    return name


def open_queue(name: str, flags: int) -> int:
    """Open one more queue of a device.

    Args:
        name: the device.
        flags: what the queue is like (``linux/if_tun.h``).

    Raises:
        OSError: it is not there, or we may not.
    """
    link = netlink.find(name)
    if link is None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    fd = _opened(_number(name, link), f"/dev/tap{link.index}")
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _number(name: str, link: netlink.Link) -> int:
    """Return the number of a device's character device, which sysfs alone tells.

    The one that is mounted may be of another network namespace, where another device may have
    the same name and index.
    """
    inside = f"class/net/{name}/tap{link.index}/dev"
    try:
        with _detached("sysfs") as folder:
            text = _read(inside, folder)
    except OSError:
        shown = f"/sys/class/net/{name}"
        if (_read(f"{shown}/ifindex"), _read(f"{shown}/address")) != (
            str(link.index),
            link.address,
        ):
            raise
        text = _read(f"/sys/{inside}")
    major, _, minor = text.partition(":")
    return os.makedev(int(major), int(minor))


def _read(path: str, folder: int | None = None) -> str:
    with suppress(FileNotFoundError):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
        try:
            return os.read(fd, 64).decode().strip()
        finally:
            os.close(fd)
    return ""


def _opened(number: int, usual: str) -> int:
    """Open a character device, where udev has put it or by a node of our own."""
    with suppress(FileNotFoundError):
        found = os.stat(usual)
        if stat.S_ISCHR(found.st_mode) and found.st_rdev == number:
            return os.open(usual, os.O_RDWR | os.O_CLOEXEC)
    with _detached("tmpfs") as folder:
        os.mknod("tap", stat.S_IFCHR | 0o600, number, dir_fd=folder)
        return os.open("tap", os.O_RDWR | os.O_CLOEXEC, dir_fd=folder)


@contextmanager
def _detached(kind: str) -> Iterator[int]:
    """Hold the root of a file system that is mounted nowhere, and goes when it is closed.

    A sysfs shows the network namespace of the thread that makes it.
    """
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long

    def called(number: int, *given: object) -> int:
        got = int(call(ctypes.c_long(number), *given))
        if got < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return got

    made = called(_FSOPEN, ctypes.c_char_p(kind.encode()), ctypes.c_uint(_CLOEXEC))
    try:
        called(_FSCONFIG, ctypes.c_int(made), ctypes.c_uint(_CREATE), None, None, ctypes.c_int(0))
        folder = called(_FSMOUNT, ctypes.c_int(made), ctypes.c_uint(_CLOEXEC), ctypes.c_uint(0))
    finally:
        os.close(made)
    try:
        yield folder
    finally:
        os.close(folder)
