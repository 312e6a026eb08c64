"""Image files: which format they have, how large they look to a guest, and making them.

Magic numbers are those of each format's own specification; for qcow2 ``docs/interop/qcow2.txt``
of QEMU. What is more than a number in a fixed place is asked of ``qemu-img``, with the format
stated, so that no content is guessed at twice.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from polyvisor.errors import Cancelled, StorageError, Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polyvisor.jobs import Job

__all__ = ["Image", "convert", "copy_content", "make", "probe", "resize"]

#: (format, position, magic); the first that is there counts.
_MAGICS: tuple[tuple[str, int, bytes], ...] = (
    ("qcow2", 0, b"QFI\xfb\0\0\0\x02"),
    ("qcow2", 0, b"QFI\xfb\0\0\0\x03"),
    ("qcow", 0, b"QFI\xfb\0\0\0\x01"),
    ("qed", 0, b"QED\0"),
    ("luks", 0, b"LUKS\xba\xbe"),
    ("vmdk", 0, b"KDMV"),
    ("vpc", 0, b"conectix"),
    ("vdi", 64, b"\x7f\x10\xda\xbe"),
    ("iso", 32769, b"CD001"),
)
_HEAD = 32774
_COPY_AT_ONCE = 16 << 20


class Image(NamedTuple):
    """What a look at an image file showed.

    Attributes:
        format: its format; what has no magic number is ``"raw"``.
        capacity: the size that a guest sees, in bytes.
        allocation: bytes taken on the disk.
        backing: what it is an overlay of, as it stands in the image.
    """

    format: str
    capacity: int
    allocation: int
    backing: str | None = None


def probe(path: str) -> Image:
    """Look at an image file.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            facts = os.fstat(fd)
            head = os.pread(fd, _HEAD, 0)
            kind = _format(head)
            size = os.lseek(fd, 0, os.SEEK_END)
            backing = None
            if kind == "qcow2" and len(head) >= 72:
                size, backing = _qcow2(fd, head)
        finally:
            os.close(fd)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}", path=path) from error
    if kind in ("qcow", "qed", "vmdk", "vpc", "vdi"):
        size = _asked(path, kind, size)
    return Image(kind, size, facts.st_blocks * 512, backing)


def _format(head: bytes) -> str:
    for kind, position, magic in _MAGICS:
        if head.startswith(magic, position):
            return kind
    return "raw"


def _qcow2(fd: int, head: bytes) -> tuple[int, str | None]:
    """Return the virtual size of a qcow2 image, and its backing file."""
    offset, length, _bits, size = struct.unpack_from(">QIIQ", head, 8)
    if not offset or not 0 < length <= 1023 or offset > 1 << 32:
        return size, None
    return size, os.fsdecode(os.pread(fd, length, offset))


def _asked(path: str, kind: str, otherwise: int) -> int:
    """Return the virtual size that qemu-img finds; ``otherwise`` where there is none."""
    import json

    tool = shutil.which("qemu-img")
    if tool is None:
        return otherwise
    done = subprocess.run(
        [tool, "info", "-f", kind, "--output=json", "--force-share", "--", path],
        capture_output=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        return otherwise
    return int(json.loads(done.stdout)["virtual-size"])


def make(
    path: str,
    kind: str,
    capacity: int,
    *,
    backing: tuple[str, str] | None = None,
    options: Sequence[str] = (),
) -> None:
    """Make an image that is not raw at ``path``, which exists and is empty.

    Args:
        path: the file.
        kind: its format.
        capacity: in bytes.
        backing: path and format of what it is to be an overlay of.
        options: of the format, each as ``"name=value"``.

    Raises:
        Unsupported: ``qemu-img`` is not installed.
        StorageError: it could not be made; qemu-img's own words are in it.
    """
    words = ["create", "-q", "-f", kind]
    for option in options:
        words += ["-o", option.replace(",", ",,")]
    if backing is not None:
        words += ["-b", backing[0], "-F", backing[1]]
    _run([*words, "--", path, str(capacity)], path)


def convert(source: str, source_kind: str, path: str, kind: str, job: Job) -> None:
    """Write the content of one image into a new one of another format.

    Raises:
        Unsupported: ``qemu-img`` is not installed.
        StorageError: it could not be written.
        Cancelled: the job was cancelled.
    """
    _run(["convert", "-q", "-f", source_kind, "-O", kind, "--", source, path], path, job)


def resize(path: str, kind: str, capacity: int, *, shrink: bool) -> None:
    """Give an image that is not raw another capacity.

    Raises:
        Unsupported: ``qemu-img`` is not installed.
        StorageError: it could not be changed.
    """
    words = ["resize", "-q", "-f", kind]
    if shrink:
        words.append("--shrink")
    _run([*words, "--", path, str(capacity)], path)


def _run(words: Sequence[str], path: str, job: Job | None = None) -> None:
    tool = shutil.which("qemu-img")
    if tool is None:
        raise Unsupported(
            "images that are not raw are made with qemu-img, which is not installed; "
            "apt install qemu-utils",
            feature="storage",
        )
    process = subprocess.Popen(
        [tool, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        if job is not None:
            _wait(process, job)
        _, said = process.communicate()
    except BaseException:
        process.kill()
        process.communicate()
        raise
    if process.returncode != 0:
        message = said.decode(errors="replace").strip().removeprefix("qemu-img: ")
        raise StorageError(
            f"qemu-img could not write {path}: {message}",
            path=path,
            native_code=process.returncode,
            native_message=message,
        )


def _wait(process: subprocess.Popen[bytes], job: Job) -> None:
    """Wait for a process or for the job to be cancelled, whichever comes first."""
    import select

    pidfd = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(job.fileno(), select.POLLIN)
        poll.poll()
        if job.cancelled:
            raise Cancelled(f"{job.operation}: cancelled on request", operation=job.operation)
    finally:
        os.close(pidfd)


def copy_content(source: int, target: int, size: int, job: Job) -> None:
    """Copy ``size`` bytes between files in the kernel, sparse where the source is.

    Raises:
        OSError: reading or writing failed.
        Cancelled: the job was cancelled.
    """
    job.report("copy", total=size, processed=0, remaining=size)
    offset = 0
    while offset < size:
        job.check()
        try:
            start = os.lseek(source, offset, os.SEEK_DATA)
        except OSError:  # There is no more data, only a hole.
            break
        end = min(os.lseek(source, start, os.SEEK_HOLE), size)
        while start < end:
            job.check()
            count = os.copy_file_range(
                source, target, min(end - start, _COPY_AT_ONCE), start, start
            )
            if not count:
                return
            start += count
            job.report("copy", processed=start, remaining=size - start)
        offset = end
    job.report("copy", processed=size, remaining=0)
