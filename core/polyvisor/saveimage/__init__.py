"""Save images: a versioned header, the domain's XML, and the hypervisor's own stream.

This is the registry of formats. A format is announced by a plugin with the hook
``polyvisor_save_formats`` and imported when an image of it is met.

A format reads and writes headers (:class:`SaveFormat`). What not every format can is in
classes of its own, to be derived from as well: :class:`VersionedStream`,
:class:`EditsDefinition`, :class:`InspectsStream`, :class:`VerifiesStream`,
:class:`ConvertsImages`. What is done with them, whatever the format, are functions:
:func:`inspect`, :func:`examine`, :func:`verify`, :func:`convert`,
:func:`change_definition`, :func:`picture`. Formats read their headers with
:func:`read_exactly` and :func:`decoded`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor._lazy import attach
from polyvisor.saveimage._registry import (
    FormatInfo,
    ImageHeader,
    SaveFormat,
    identify,
    inspect,
    open_format,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from polyvisor.saveimage._abilities import (
        ConvertsImages,
        EditsDefinition,
        InspectsStream,
        VerifiesStream,
        VersionedStream,
    )
    from polyvisor.saveimage._fields import decoded, read_exactly
    from polyvisor.saveimage._findings import (
        Finding,
        Inspection,
        MemoryKind,
        MemoryMap,
        Verification,
    )
    from polyvisor.saveimage._picture import picture
    from polyvisor.saveimage._tools import change_definition, convert, examine, verify

__all__ = [
    "ConvertsImages",
    "EditsDefinition",
    "Finding",
    "FormatInfo",
    "ImageHeader",
    "Inspection",
    "InspectsStream",
    "MemoryKind",
    "MemoryMap",
    "SaveFormat",
    "Verification",
    "VerifiesStream",
    "VersionedStream",
    "change_definition",
    "convert",
    "decoded",
    "examine",
    "identify",
    "inspect",
    "open_format",
    "picture",
    "read_exactly",
    "verify",
]

# Where the rest lives; imported when it is first asked for.
__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = attach(
    __name__,
    {
        "ConvertsImages": "_abilities",
        "EditsDefinition": "_abilities",
        "Finding": "_findings",
        "Inspection": "_findings",
        "InspectsStream": "_abilities",
        "MemoryKind": "_findings",
        "MemoryMap": "_findings",
        "VerifiesStream": "_abilities",
        "Verification": "_findings",
        "VersionedStream": "_abilities",
        "change_definition": "_tools",
        "convert": "_tools",
        "decoded": "_fields",
        "examine": "_tools",
        "picture": "_picture",
        "read_exactly": "_fields",
        "verify": "_tools",
    },
)
