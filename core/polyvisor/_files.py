"""Files that are whole or not there, and folders that go for good."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from typing import Self

import attrs

from polyvisor.errors import Busy, StorageError

__all__ = [
    "AtomicFile",
    "FileIdentity",
    "GivenFile",
    "part_of",
    "remove_file",
    "remove_part",
    "remove_tree",
    "sync_folder",
]

_SUFFIX = ".polyvisor-part"
_NAME_MAX = 255


@attrs.frozen
class FileIdentity:
    """Tells a file's content from any other that may come to stand at its place.

    The inode alone would not do: file systems give the number of a removed file to the
    next one.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, file: int | str) -> FileIdentity | None:
        """Return the identity of an open file or a path; ``None`` if there is none."""
        try:
            facts = os.stat(file)
        except OSError:
            return None
        return cls(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)


class AtomicFile:
    """A file that appears under its name only when it is whole.

    It is written under a name of its own beside its target, flushed to the disk, and
    renamed. Used as a context manager, it takes away what was not committed; what a killed
    process left behind is taken away when the next one writes to the same target.

    Args:
        path: the target.
        mode: its permissions.

    Attributes:
        path: the target.
        part: where it is written until then.
        fd: descriptor to write through.

    Raises:
        StorageError: it cannot be made.
        Busy: somebody else is writing to the same target.
    """

    def __init__(self, path: str, *, mode: int = 0o600) -> None:
        self.path: str = os.path.abspath(path)
        self.part: str = part_of(self.path)
        self._flushed = False
        self._check()
        try:
            self.fd: int = self._create(mode)
        except OSError as error:
            raise self.failed(error) from error

    def _check(self) -> None:
        """Refuse to put a file in the place of a folder or of a device."""
        if (kind := _other_kind(self.path)) is not None:
            raise StorageError(f"cannot write {self.path}: it is {kind}", path=self.path)

    def _create(self, mode: int) -> int:
        for _ in range(16):
            remove_part(self.path)
            try:
                fd = os.open(
                    self.part,
                    os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW,
                    mode,
                )
            except FileExistsError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)  # Another took it for a leftover in this very moment.
                continue
            if FileIdentity.of(fd) == FileIdentity.of(self.part):
                return fd
            os.close(fd)
        raise self._busy()

    def _busy(self) -> Busy:
        return Busy(f"cannot write {self.path}: somebody else is writing it just now")

    def failed(self, error: OSError) -> StorageError:
        """Return the error to raise when writing failed with ``error``."""
        return StorageError(
            f"cannot write {self.path}: {error.strerror or error}",
            path=self.path,
            native_code=errno.errorcode.get(error.errno or 0),
        )

    def write(self, data: bytes) -> None:
        """Write all of some data.

        Raises:
            StorageError: it cannot be.
        """
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self.fd, rest) :]
        except OSError as error:
            raise self.failed(error) from error

    def flush(self) -> FileIdentity:
        """Bring everything to the disk and return what the finished file is known by.

        Nothing may be written after that.
        """
        try:
            os.fsync(self.fd)
        except OSError as error:
            raise self.failed(error) from error
        self._flushed = True
        identity = FileIdentity.of(self.fd)
        assert identity is not None
        return identity

    def commit(self) -> None:
        """Put the file under its name, in place of what stands there."""
        if not self._flushed:
            self.flush()
        try:
            os.rename(self.part, self.path)
            sync_folder(self.path)
        except OSError as error:
            raise self.failed(error) from error
        self._close()

    def close(self) -> None:
        """Take the file away unless it was committed. A second call does nothing."""
        if self.fd >= 0:
            with suppress(OSError):
                os.unlink(self.part)
            self._close()

    def _close(self) -> None:
        fd = self.fd
        self.fd = -1
        os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class GivenFile(AtomicFile):
    """A file that a person names for a program to write to.

    It is whole or not there either, but links are followed, and what is no plain file, such as
    a pipe or ``/dev/stdout``, is written to as it is.

    Args:
        path: the target.
        mode: permissions of one that is made, less the umask.

    Attributes:
        plain: whether it is a plain file.
    """

    def __init__(self, path: str | os.PathLike[str], *, mode: int = 0o666) -> None:
        given = os.path.abspath(path)
        ours = given.startswith(_OURS)
        self.plain: bool = not ours and _other_kind(given) in (None, _FOLDER)
        super().__init__(os.path.realpath(given) if self.plain else given, mode=mode)

    def _check(self) -> None:
        if self.plain:
            super()._check()

    def _create(self, mode: int) -> int:
        if self.plain:
            return super()._create(mode)
        return os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)

    def commit(self) -> None:
        if self.plain:
            super().commit()
        else:
            self._close()

    def close(self) -> None:
        if self.plain:
            super().close()
        elif self.fd >= 0:
            self._close()


#: Where a process finds what it has open; what stands there is written to, whatever it is.
_OURS = ("/dev/std", "/dev/fd/", "/proc/")
_FOLDER = "a folder"


def _other_kind(path: str) -> str | None:
    """Say what is there if it is no plain file."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return None
    if stat.S_ISREG(mode):
        return None
    return _FOLDER if stat.S_ISDIR(mode) else "no plain file"


def part_of(path: str) -> str:
    """Return where an unfinished file for ``path`` is written."""
    folder, name = os.path.split(path)
    room = _NAME_MAX - len(_SUFFIX) - 1
    raw = os.fsencode(name)
    if len(raw) > room:
        from hashlib import blake2b

        name = os.fsdecode(raw[: room - 17]) + "-" + blake2b(raw, digest_size=8).hexdigest()
    return f"{folder}/.{name}{_SUFFIX}"


def remove_part(path: str) -> None:
    """Remove what a killed process left of an unfinished file for ``path``.

    Raises:
        Busy: it is being written.
        OSError: it cannot be removed.
    """
    part = part_of(path)
    try:
        fd = os.open(part, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if FileIdentity.of(fd) == FileIdentity.of(part):
            os.unlink(part)
    except BlockingIOError as error:
        raise Busy(f"cannot write {path}: somebody else is writing it just now") from error
    finally:
        os.close(fd)


def sync_folder(path: str) -> None:
    """Bring the folder entry of ``path`` to the disk."""
    fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_file(path: str) -> None:
    """Remove ``path`` if it is there.

    Raises:
        StorageError: it cannot be removed.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StorageError(f"cannot remove {path}: {error.strerror}", path=path) from error


def remove_tree(path: str) -> None:
    """Remove a folder of ours with all that is in it; symbolic links are not followed.

    What cannot be removed is left.
    """
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            return
        with os.scandir(path) as entries:
            found = list(entries)
    except OSError:
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            remove_tree(entry.path)
        else:
            with suppress(OSError):
                os.unlink(entry.path)
    with suppress(OSError):
        os.rmdir(path)
