"""What definitions of machines are read from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeAlias

from polyvisor.errors import InvalidArgument, SpecError

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

    #: What describes a machine: a spec, XML as text or bytes, or the path of a file.
    SpecSource: TypeAlias = DomainSpec | str | bytes | os.PathLike[str]

__all__ = ["as_spec"]


def as_spec(source: SpecSource) -> DomainSpec:
    """Return the definition that a source gives; see :meth:`DomainCollection.define`.

    Raises:
        SpecError: it is wrong.
        InvalidArgument: it is a ``str`` that is not XML.
    """
    from polyvisor.model import DomainSpec

    if isinstance(source, DomainSpec):
        return source
    if isinstance(source, str) and not source.lstrip().startswith("<"):
        raise InvalidArgument(
            f"this is not XML: {source[:60]!r}; give a file as pathlib.Path, not as str"
        )
    if not isinstance(source, os.PathLike):
        return DomainSpec.from_xml(source)
    from polyvisor.model.paths import anchored

    path = os.fspath(source)
    try:
        return anchored(DomainSpec.from_xml(source), os.path.dirname(path))
    except SpecError as error:
        if path not in error.message:
            error.message = f"{path}: {error.message}"
        raise
