"""What not every format of save images can; a :class:`SaveFormat` derives from what it can."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, BinaryIO, ClassVar, Self

if TYPE_CHECKING:
    from polyvisor.saveimage._findings import Inspection, Verification
    from polyvisor.saveimage._registry import ImageHeader

__all__ = [
    "ConvertsImages",
    "EditsDefinition",
    "InspectsStream",
    "VerifiesStream",
    "VersionedStream",
]


class VersionedStream(ABC):
    """A format whose header says which version of the hypervisor's stream follows."""

    #: Versions that can be stated; the last is the one written unless told otherwise.
    stream_versions: ClassVar[tuple[int, ...]]

    @abstractmethod
    def writing(self, version: int) -> Self:
        """Return the same format, stating ``version`` in the headers that it writes.

        Raises:
            InvalidArgument: there is no such version.
        """


class EditsDefinition(ABC):
    """A format whose definition can be replaced without touching the stream."""

    @abstractmethod
    def with_definition(self, header: ImageHeader, xml: str) -> bytes:
        """Return what stands before the stream, with another definition in it.

        All else that ``header`` says is kept, the byte order included.

        Args:
            header: as :meth:`~polyvisor.saveimage.SaveFormat.read_header` gave it.
            xml: the definition that is to stand there.

        Raises:
            SaveImageError: the format has no room for it, or cannot say it.
        """


class InspectsStream(ABC):
    """A format that can tell what is in the stream behind the header."""

    @abstractmethod
    def inspect(self, image: BinaryIO, *, path: str, memory: bool) -> Inspection:
        """Go through an image and say what it holds.

        Args:
            image: opened at its first byte; need not be seekable.
            path: for error messages.
            memory: also say of which kind each page of the guest is.

        Raises:
            SaveImageError: it cannot be followed to its end.
        """


class VerifiesStream(ABC):
    """A format that can check the stream behind the header."""

    @abstractmethod
    def verify(self, image: BinaryIO, *, path: str, strict: bool, limit: int) -> Verification:
        """Go through an image and check it against every rule of its specifications.

        What is wrong with it is in the result; no fault of the image is raised. Memory
        use does not grow with the image.

        Args:
            image: opened at its first byte; need not be seekable.
            path: for error messages.
            strict: hold it to the letter, also where hypervisors are known to be lenient.
            limit: stop after so many faults, and keep as many remarks.
        """


class ConvertsImages(ABC):
    """A format whose images can be made into those of another."""

    #: Names of the formats that images of this one can be made into; its own name where
    #: an older version of it can be made into a newer.
    converts_to: ClassVar[tuple[str, ...]]

    @abstractmethod
    def convert(self, image: BinaryIO, out: BinaryIO, to: str, *, path: str) -> None:
        """Write an image in another format, chunk by chunk, while it is read.

        Args:
            image: opened at its first byte; need not be seekable.
            out: written from its present position on; need not be seekable.
            to: one of :attr:`converts_to`.
            path: for error messages.

        Raises:
            SaveImageError: it is damaged, or has something that ``to`` cannot say.
        """
