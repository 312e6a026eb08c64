"""What save images of Xen share, whichever header stands before the stream."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, BinaryIO, ClassVar

import attrs

from polyvisor.errors import SaveImageError
from polyvisor.saveimage import (
    ConvertsImages,
    Finding,
    ImageHeader,
    Inspection,
    InspectsStream,
    SaveFormat,
    Verification,
    VerifiesStream,
)

if TYPE_CHECKING:
    from polyvisor_libxl.streams.report import Figures, Report

__all__ = ["LEGACY", "MIGRATION_V2", "XenImage"]

#: Versions of the stream: that of Xen 4.5 and older, and that of all since.
LEGACY, MIGRATION_V2 = 1, 2


class XenImage(SaveFormat, InspectsStream, VerifiesStream, ConvertsImages):
    """An image with a Xen stream behind its header."""

    converts_to: ClassVar[tuple[str, ...]] = ("libvirt-libxl", "xl", "libxl-stream")

    @abstractmethod
    def bare_header(self, image: BinaryIO, *, path: str) -> ImageHeader:
        """Read the header; a definition that is not XML is left as it is."""

    @abstractmethod
    def header_for(self, header: ImageHeader) -> bytes:
        """Return a header of this format, for migration V2, that says what another says.

        Args:
            header: of any format of Xen's, with whatever definition that has.

        Raises:
            SaveImageError: it has no definition, or one that this format cannot say.
        """

    def inspect(self, image: BinaryIO, *, path: str, memory: bool) -> Inspection:
        """See :meth:`polyvisor.saveimage.InspectsStream.inspect`."""
        from polyvisor_libxl.streams.report import Figures, Report

        figures, report = Figures(memory=memory), Report()
        header = self.bare_header(image, path=path)
        _walk(image, header, report, figures)
        worst = report.worst
        if not report.complete and worst is not None:
            raise SaveImageError(f"{path}: {worst}", path=path, offset=worst.offset)
        facts = dict(figures.plain())
        if report.findings:
            facts["findings"] = len(report.findings)
        return Inspection(header, facts, figures.memory)

    def verify(self, image: BinaryIO, *, path: str, strict: bool, limit: int) -> Verification:
        """See :meth:`polyvisor.saveimage.VerifiesStream.verify`."""
        from polyvisor_libxl.streams.report import Figures, Report

        report = Report(strict=strict, limit=limit)
        try:
            header = self.bare_header(image, path=path)
        except SaveImageError as error:
            at = error.offset or 0
            words = error.message.removeprefix(f"{path}: ")
            finding = Finding("image.header", at, "header", words)
            return Verification(self.name, strict, (finding,), at, complete=False)
        end = _walk(image, header, report, Figures())
        findings = tuple(report.findings)
        return Verification(self.name, strict, findings, end, report.records, report.complete)

    def convert(self, image: BinaryIO, out: BinaryIO, to: str, *, path: str) -> None:
        """See :meth:`polyvisor.saveimage.ConvertsImages.convert`."""
        from polyvisor.saveimage import open_format
        from polyvisor_libxl.streams.convert import to_migration_v2
        from polyvisor_libxl.streams.source import open_source

        found = self.bare_header(image, path=path)
        header = attrs.evolve(found, stream_version=MIGRATION_V2)
        target = open_format(to)
        assert isinstance(target, XenImage)
        out.write(target.header_for(header))
        source = open_source(image, found.stream_offset)
        to_migration_v2(source, out, path=path, stated=found.stream_version)


def _walk(image: BinaryIO, header: ImageHeader, report: Report, figures: Figures) -> int:
    from polyvisor_libxl.streams.source import open_source
    from polyvisor_libxl.streams.walk import walk

    source = open_source(image, header.stream_offset)
    walk(source, report, figures, stated=header.stream_version)
    return source.position
