"""What can be done with a save image, whatever its format: examine, verify, convert, edit."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import attrs

from polyvisor.errors import (
    InternalError,
    InvalidArgument,
    SaveImageError,
    SemanticError,
    StorageError,
    Unsupported,
)
from polyvisor.saveimage._abilities import (
    ConvertsImages,
    EditsDefinition,
    InspectsStream,
    VerifiesStream,
)
from polyvisor.saveimage._findings import Finding, Inspection, Verification
from polyvisor.saveimage._registry import SaveFormat, identify, open_format

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor.plugins import Registry

__all__ = ["change_definition", "convert", "examine", "verify"]

#: A file, or a descriptor, which may be that of a pipe.
Source = str | os.PathLike[str] | int

#: As many first bytes of a pipe are waited for before its format is judged.
_HEAD = 64
_CHUNK = 8 << 20


def examine(
    image: Source,
    *,
    memory: bool = False,
    form: str | None = None,
    plugins: Registry | None = None,
) -> Inspection:
    """Say what an image holds.

    Args:
        image: a path, or a descriptor that stands at the first byte (a pipe will do).
        memory: also say of which kind each page of the guest is, where the format can.
        form: name of the format; ``None`` to recognise it.
        plugins: as for :func:`open_format`.

    Raises:
        StorageError: it cannot be read.
        SaveImageError: it is damaged or of no known format.
    """
    with _opened(image, form, plugins) as (found, file, path):
        if isinstance(found, InspectsStream):
            return found.inspect(file, path=path, memory=memory)
        return Inspection(found.read_header(file, path=path), {})


def verify(
    image: Source,
    *,
    strict: bool = False,
    limit: int = 100,
    form: str | None = None,
    plugins: Registry | None = None,
) -> Verification:
    """Check an image against the rules of its format.

    Of a format without a check of its own the header is read.

    Args:
        image: as for :func:`examine`.
        strict: hold it to the letter, also where hypervisors are known to be lenient.
        limit: stop after so many faults, and keep as many remarks.
        form: as for :func:`examine`.
        plugins: as for :func:`open_format`.

    Raises:
        StorageError: it cannot be read.
        SaveImageError: it is of no known format.
    """
    with _opened(image, form, plugins) as (found, file, path):
        if isinstance(found, VerifiesStream):
            return found.verify(file, path=path, strict=strict, limit=limit)
        try:
            header = found.read_header(file, path=path)
        except SaveImageError as error:
            where = error.offset or 0
            fault = error.message.removeprefix(f"{path}: ")
            finding = Finding(f"{found.name}.header", where, "", fault)
            return Verification(found.name, strict, (finding,), where, complete=False)
        return Verification(found.name, strict, (), header.stream_offset)


def convert(
    image: Source,
    target: str | os.PathLike[str] | int,
    to: str,
    *,
    form: str | None = None,
    plugins: Registry | None = None,
) -> None:
    """Write an image in another format, chunk by chunk, in constant memory.

    A target that is a path appears when it is whole; it may be the image itself.

    Args:
        image: as for :func:`examine`.
        target: a path, or a descriptor (a pipe will do).
        to: name of the format wanted.
        form: as for :func:`examine`.
        plugins: as for :func:`open_format`.

    Raises:
        InvalidArgument: images of this format cannot be made into such.
        SaveImageError: it is damaged, or has something that ``to`` cannot say.
        StorageError: it cannot be read, or the target not be written.
    """
    from polyvisor.saveimage._files import writing

    with _opened(image, form, plugins) as (found, file, path):
        open_format(to, plugins)  # A name that nobody knows is said first.
        known = found.converts_to if isinstance(found, ConvertsImages) else ()
        if not isinstance(found, ConvertsImages) or to not in known:
            can = f"only into {', '.join(known)}" if known else "into nothing"
            raise InvalidArgument(
                f"{path}: an image of the format {found.name!r} cannot be made into one of "
                f"{to!r}, {can}"
            )
        with writing(target, like=image) as out:
            found.convert(file, out, to, path=path)


def change_definition(
    path: str | os.PathLike[str],
    spec: DomainSpec,
    *,
    running: bool | None = None,
    plugins: Registry | None = None,
) -> bool:
    """Put another definition into an image; the guest must not notice the change.

    The image is written anew beside its place and then put there, so that whatever
    happens there is always one that is whole.

    Args:
        path: the image.
        spec: the definition that is to stand in it.
        running: whether the guest is to run when it is restored; ``None`` as it says now.
        plugins: as for :func:`open_format`.

    Returns:
        Whether anything was changed.

    Raises:
        SemanticError: ``spec`` describes another machine than the one the guest knows.
        Unsupported: the format cannot be edited.
        SaveImageError: the image is damaged, or has no place for it.
        StorageError: it cannot be read or written.
    """
    from polyvisor.model import DomainSpec
    from polyvisor.model.diff import abi_difference
    from polyvisor.saveimage._files import copy_rest, writing

    with _opened(path, None, plugins) as (found, file, name):
        header = found.read_header(file, path=name)
        if not isinstance(found, EditsDefinition):
            raise Unsupported(
                f"{name}: definitions in images of the format {found.name!r} cannot be changed",
                feature="save.edit",
            )
        old = DomainSpec.from_xml(header.xml)
        if spec.uuid is None:
            spec = attrs.evolve(spec, uuid=old.uuid)
        difference = abi_difference(old, spec)
        if difference is not None:
            raise SemanticError(
                f"{name}: the given definition is another machine than the one the guest "
                f"knows: {difference}",
                domain=old.name,
                operation="change the save image's definition",
                element=difference.path,
            )
        wanted = header
        if running is not None and running != (header.was_running is not False):
            wanted = attrs.evolve(header, was_running=running)
        if spec == old and wanted == header:
            return False
        before = found.with_definition(wanted, spec.to_xml())
        with writing(os.path.realpath(path), like=path) as out:
            out.write(before)
            out.flush()
            copy_rest(file, header.stream_offset, out)
    return True


@contextmanager
def _opened(
    source: Source, form: str | None, plugins: Registry | None
) -> Iterator[tuple[SaveFormat, BinaryIO, str]]:
    """Give format, image and what to call it in messages; what cannot be read is said."""
    path = f"descriptor {source}" if isinstance(source, int) else os.fspath(source)
    try:
        with _open(source) as file:
            if form is not None:
                yield open_format(form, plugins), file, path
            else:
                yield identify(file, path=path, plugins=plugins), file, path
    except OSError as error:
        raise StorageError(
            f"cannot read the save image {path}: {error.strerror or error}", path=path
        ) from error


def _open(source: Source) -> BinaryIO:
    if not isinstance(source, int):
        source = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    else:
        source = os.dup(source)
    if stat.S_ISREG(os.fstat(source).st_mode):
        return open(source, "rb")
    return io.BufferedReader(_Piped(source))


class _Piped(io.RawIOBase):
    """A pipe whose first read gives enough of it to recognise a format by."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._first: bytes | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._fd

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer)
        if self._first is None:
            self._first = head = self._head()
            size = min(len(head), len(view))
            if size < len(head):
                raise InternalError("the first read of a pipe was shorter than a header")
            view[:size] = head[:size]
            return size
        return os.readv(self._fd, [view])

    def _head(self) -> bytes:
        head = b""
        while len(head) < _HEAD and (more := os.read(self._fd, _HEAD - len(head))):
            head += more
        return head

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._fd)
