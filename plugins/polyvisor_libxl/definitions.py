"""The definition in an image of Xen's: XML, libxl's JSON, or a configuration of xl.

What is in a JSON document or a configuration, and what of a definition they can say, is the
matter of :mod:`polyvisor_libxl.domconfig` and of the native format ``xen-xl``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from polyvisor.errors import SaveImageError, SpecError

if TYPE_CHECKING:
    from polyvisor.saveimage import ImageHeader

__all__ = ["json_of", "xml_of"]


def xml_of(header: ImageHeader, *, path: str = "save image") -> str:
    """Return the definition that an image has, as XML.

    Args:
        header: of the image.
        path: for error messages.

    Raises:
        SaveImageError: it has none, or one that is damaged.
    """
    if header.xml:
        return header.xml
    if not header.native:
        raise SaveImageError(
            f"{path}: it has no definition, only a stream; give one with --xml to restore it",
            path=path,
        )
    from polyvisor.native import open_format
    from polyvisor_libxl.domconfig import from_json

    try:
        if header.native.lstrip().startswith("{"):
            spec = from_json(json.loads(header.native))
        else:
            spec = open_format("xen-xl").read(header.native.encode(), path=path)
    except (ValueError, RecursionError, SpecError) as error:
        raise SaveImageError(
            f"{path}: the configuration in it is damaged: {error}", path=path, offset=52
        ) from error
    return spec.to_xml()


def json_of(xml: str) -> str:
    """Return a definition as libxl's JSON.

    Raises:
        SpecError: it is none that Xen could run.
    """
    from polyvisor.model import DomainSpec
    from polyvisor_libxl.domconfig import to_json

    return json.dumps(to_json(DomainSpec.from_xml(xml)), indent=4)
