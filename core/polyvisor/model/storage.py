"""What storage pools and volumes have in common."""

from __future__ import annotations

import re
from typing import Any

from polyvisor.model._codecs import Codec, Fault, integer
from polyvisor.model.binding import Element, element, value

__all__ = ["FILE_MODE", "OWNER", "Permissions", "sanitized", "set_defaults"]

_octal = re.compile(r"[0-7]{1,6}").fullmatch


def _read_mode(text: str) -> int:
    if _octal(text.strip()) is None or (mode := int(text, 8)) > 0o777:
        raise Fault(f"{text!r} is not a mode of a file", "use three octal digits, as in 0644")
    return mode


def _write_mode(mode: int) -> str:
    if not isinstance(mode, int) or not 0 <= mode <= 0o777:
        raise Fault(f"{mode!r} is not a mode of a file", "use a number from 0 to 0o777")
    return f"0{mode:o}"


#: Permission bits, written as libvirt does: ``0644``.
FILE_MODE = Codec(
    _read_mode, _write_mode, schema={"type": "integer", "minimum": 0, "maximum": 0o777}
)
#: A user or group id; -1: nobody in particular, which libvirt once wrote itself.
OWNER = integer(-1, 2**32 - 1)


@element(kw_only=True)
class Permissions(Element):
    """Who owns a file or directory, and its mode."""

    mode: int | None = value(FILE_MODE)
    owner: int | None = value(OWNER)
    group: int | None = value(OWNER)
    label: str | None = value()

    def kept(self) -> Permissions | None:
        """Return what says something: an id of -1 is as good as none."""
        nobody = (-1, 2**32 - 1)
        owner = None if self.owner in nobody else self.owner
        group = None if self.group in nobody else self.group
        rest = Permissions(mode=self.mode, owner=owner, group=group, label=self.label)
        return None if rest == Permissions() else rest


def sanitized(path: str) -> str:
    """Return a path with single slashes and none at its end, as libvirt keeps it.

    A URI stays, and so do two slashes at the start, which POSIX lets mean something
    (virFileSanitizePath, virfile.c).
    """
    if "://" in path or len(path) < 2:
        return path
    start = "//" if path.startswith("//") and path[2:3] not in {"", "/"} else ""
    return start + re.sub("//+", "/", path[len(start) :]).rstrip("/") or "/"


def set_defaults(value: Any, **fields: Any) -> None:
    """Set fields of a value that is being made."""
    for name, given in fields.items():
        object.__setattr__(value, name, given)
