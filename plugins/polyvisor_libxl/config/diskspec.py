"""xl's language for disks: ``"format=raw,vdev=xvda,access=rw,target=/dev/vg/root"``.

xl-disk-configuration(5) and its grammar, tools/libs/util/libxlu_disk_l.l: named values and
flags in any order, or target, format, vdev and access by position; a named target takes
all the rest.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DiskText", "parse_disk"]

FORMATS = frozenset({"raw", "qcow", "qcow2", "vhd", "qed", "empty"})
BACKENDS = frozenset({"phy", "tap", "qdisk", "standalone"})
ACCESS = {"r": False, "ro": False, "rw": True, "w": True, "": True, "!": True}
#: Prefixes of the target that say what ``format`` and ``script`` say today.
_PREFIX = re.compile(
    r"(?:(?P<format>raw|qcow2?|vhd)|(?P<script>iscsi|e?nbd|drbd)"
    r"|tapdisk|tap2?|aio|ioemu|file|phy):"
)
_FOREIGN = re.compile(r"[a-z][a-z0-9]*:(?![a-z0-9])")
#: What has no place in a definition, with the value that changes nothing.
UNSAYABLE = {"script": "", "specification": "xen"}


@attrs.define
class DiskText:
    """What a text says of a disk; ``None``: nothing."""

    target: str | None = None
    format: str | None = None
    vdev: str | None = None
    writable: bool = True
    shared: bool = False
    backend: str | None = None
    cdrom: bool = False
    domain: str | None = None
    discard: bool | None = None


def parse_disk(text: str, fail: Callable[[str], NoReturn]) -> DiskText:
    """Return what a text says of a disk.

    Args:
        text: the text.
        fail: raises the error for a fault.
    """
    disk = DiskText()
    rest = text
    prefixed = access = False
    while rest := rest.lstrip(" \t\n"):
        if rest.startswith("target="):
            if disk.target:
                fail(f"the target of disk {text!r} is named twice")
            disk.target = rest[7:]
            break
        if found := _PREFIX.match(rest):
            prefixed = True
            if found["script"]:
                fail(f"disk {text!r} needs a script, for which a definition has no place")
            if found["format"]:
                _format(disk, found["format"], text, fail)
            rest = rest[found.end() :]
            continue
        if found := _FOREIGN.match(rest):
            fail(f"disk {text!r}: {found[0]!r} is no prefix that xl knows")
        word, _, rest = rest.partition(",")
        if "=" in word:
            key, _, value = word.partition("=")
            _named(disk, key, value, text, fail)
        elif not _flag(disk, word):
            if disk.target is None:
                disk.target = word
            elif not prefixed and disk.format is None:
                if disk.target or not _with_type(disk, word, text, fail):
                    _format(disk, word, text, fail)
                else:
                    disk.format = "empty"
            elif disk.vdev is None:
                if not _with_type(disk, word, text, fail):
                    disk.vdev = word
            elif not access:
                access = True
                _access(disk, word, text, fail)
            else:
                fail(f"disk {text!r} has more parts than target, format, vdev and access")
    if not disk.vdev:
        fail(f"disk {text!r} does not say under which name the guest sees it; add vdev=NAME")
    if disk.cdrom:
        disk.writable = False
        if not disk.target:
            disk.format = "empty"
    elif disk.target is None:
        fail(f"disk {text!r} does not say what is on it; add target=FILE")
    return disk


def _flag(disk: DiskText, word: str) -> bool:
    if word == "cdrom":
        disk.cdrom = True
    elif word in {"discard", "no-discard"}:
        disk.discard = word == "discard"
    else:
        return word in {"direct-io-safe", "trusted", "no-colo"}
    return True


def _named(
    disk: DiskText, key: str, value: str, text: str, fail: Callable[[str], NoReturn]
) -> None:
    if key == "format":
        _format(disk, value, text, fail)
    elif key == "access":
        _access(disk, value, text, fail)
    elif key == "devtype":
        if value not in {"cdrom", "disk"}:
            fail(f"disk {text!r}: devtype is {value!r} and can be cdrom or disk")
        disk.cdrom = value == "cdrom"
    elif key == "backendtype":
        if value not in BACKENDS:
            known = ", ".join(sorted(BACKENDS))
            fail(f"disk {text!r}: backendtype is {value!r} and can be {known}")
        if value == "standalone":
            fail(f"disk {text!r}: a definition has no place for backendtype 'standalone'")
        if disk.backend not in {None, value}:
            fail(f"disk {text!r} has two backends, {disk.backend!r} and {value!r}")
        disk.backend = value
    elif key == "vdev":
        if disk.vdev:
            fail(f"the name of disk {text!r} in the guest is given twice")
        disk.vdev = value
    elif key == "backend":
        if disk.domain:
            fail(f"the driver domain of disk {text!r} is named twice")
        disk.domain = value or None
    elif value != UNSAYABLE.get(key):
        known = "" if key in UNSAYABLE else " or xl does not know it"
        fail(f"disk {text!r}: a definition has no place for {key!r}{known}")


def _format(disk: DiskText, value: str, text: str, fail: Callable[[str], NoReturn]) -> None:
    value = "vhd" if value == "xvhd" else value or "raw"
    if value not in FORMATS:
        fail(f"disk {text!r}: format is {value!r} and can be {', '.join(sorted(FORMATS))}")
    if disk.format not in {None, value}:
        fail(f"disk {text!r} has two formats, {disk.format!r} and {value!r}")
    disk.format = value


def _access(disk: DiskText, value: str, text: str, fail: Callable[[str], NoReturn]) -> None:
    if value not in ACCESS:
        fail(f"disk {text!r}: access is {value!r} and can be rw or ro")
    disk.writable = ACCESS[value]
    disk.shared = value == "!"


def _with_type(disk: DiskText, word: str, text: str, fail: Callable[[str], NoReturn]) -> bool:
    """Take ``"hdc:cdrom"``, the older way to say ``devtype``."""
    name, colon, kind = word.rpartition(":")
    if not colon:
        return False
    if kind not in {"cdrom", "disk"}:
        fail(f"disk {text!r}: {kind!r} is no type of disk")
    disk.vdev, disk.cdrom = name, kind == "cdrom"
    return True
