"""qemu-img, for images that no QEMU has open."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any

from polyvisor.errors import PluginUnusable, StorageError

__all__ = ["create_over", "image_facts", "qemu_img"]

#: Seconds that copying the data of an image may take.
_COPYING = 24 * 3600.0


def qemu_img(*words: str, path: str, what: str) -> str:
    """Run qemu-img and return what it prints.

    Args:
        words: its arguments; paths are absolute, so none is taken for an option or a URL.
        path: the image, for the error.
        what: what is done, in words.

    Raises:
        StorageError: it fails, in its own words.
        PluginUnusable: it is not installed.
    """
    program = shutil.which("qemu-img")
    if program is None:
        raise PluginUnusable(
            f"cannot {what} {path}: qemu-img is missing; install it (Debian: qemu-utils)",
            plugin="qemu",
        )
    try:
        done = subprocess.run(
            [program, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_COPYING,
            check=False,
        )
    except OSError as error:
        raise StorageError(f"cannot run {program}: {error.strerror}", path=path) from error
    if done.returncode != 0:
        lines = [line.removeprefix("qemu-img: ") for line in done.stderr.splitlines() if line]
        told = "; ".join(lines) or f"it ended with {done.returncode}"
        raise StorageError(f"cannot {what} {path}: {told}", path=path, native_message=told)
    return done.stdout


def image_facts(path: str) -> dict[str, Any]:
    """Return what qemu-img tells of an image that may be in use.

    Raises:
        StorageError: it cannot be read.
    """
    told = qemu_img("info", "-U", "--output=json", path, path=path, what="read the image")
    facts: dict[str, Any] = json.loads(told)
    return facts


def create_over(path: str, below: str, form: str) -> None:
    """Make a qcow2 image over another, which may be in use.

    Args:
        path: the new image; nothing may be there.
        below: the image below it.
        form: that one's format.

    Raises:
        StorageError: it cannot be made; nothing is left.
    """
    size = raw_size(below) if form == "raw" else image_facts(below)["virtual-size"]
    try:
        with open(path, "xb") as file:
            os.fchmod(file.fileno(), 0o600)
    except OSError as error:
        raise StorageError(f"cannot make {path}: {error.strerror}", path=path) from error
    try:
        qemu_img(
            "create", "-q", "-f", "qcow2", "-u", "-b", below, "-F", form, path, str(size),
            path=path, what="make",
        )  # fmt: skip
    except BaseException:
        os.unlink(path)
        raise


def raw_size(path: str) -> int:
    """Return the size of a raw image or device in bytes.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.seek(0, os.SEEK_END)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}", path=path) from error
