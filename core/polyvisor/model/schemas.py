"""Holding a document against libvirt's RELAX NG schemas.

The schemas are libvirt's data and come with it: they are read from where it is installed, or
from a folder of one's own. What they say of a fault is what libxml2 says, which is less than
what reading says (``from_xml`` of a document); they find what reading carries
along because it does not know it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from polyvisor.errors import SchemaError, StorageError
from polyvisor.model.check import Finding

if TYPE_CHECKING:
    from polyvisor.model._xml import Source

__all__ = ["PLACES", "ensure_valid", "schema_folder", "validate"]

#: Where libvirt's packages put them.
PLACES = (
    "/usr/share/libvirt/schemas",
    "/usr/local/share/libvirt/schemas",
    "/opt/homebrew/share/libvirt/schemas",
)
#: Schema by root element.
_SCHEMAS = {
    "domain": "domain",
    "domainbackup": "domainbackup",
    "domainCapabilities": "domaincaps",
    "domaincheckpoint": "domaincheckpoint",
    "domainsnapshot": "domainsnapshot",
    "capabilities": "capability",
    "cpu": "cpu",
    "device": "nodedev",
    "filter": "nwfilter",
    "filterbinding": "nwfilterbinding",
    "interface": "interface",
    "network": "network",
    "networkport": "networkport",
    "pool": "storagepool",
    "secret": "secret",
    "storagepoolCapabilities": "storagepoolcaps",
    "volume": "storagevol",
}


def schema_folder(folder: str | os.PathLike[str] | None = None) -> str:
    """Return the folder of the schemas.

    Args:
        folder: one's own; ``None``: ``$POLYVISOR_SCHEMAS``, else where libvirt has them.

    Raises:
        StorageError: there are none; says where they were looked for.
    """
    named = folder or os.environ.get("POLYVISOR_SCHEMAS")
    places: Iterable[str] = (os.fspath(named),) if named else PLACES
    for place in places:
        if os.path.isfile(os.path.join(place, "domain.rng")):
            return place
    where = " or ".join(places)
    raise StorageError(
        f"no RELAX NG schemas in {where}; install libvirt's (Debian: libvirt-daemon, libvirt0 or "
        "libvirt-dev), or name the folder with POLYVISOR_SCHEMAS or schemas in polyvisor.toml",
        path=where,
    )


def validate(
    source: Source, *, folder: str | os.PathLike[str] | None = None
) -> tuple[Finding, ...]:
    """Return all that a document breaks of its schema; the root element says which that is.

    Args:
        source: XML as text or bytes, or the path of a file.
        folder: of the schemas; see :func:`schema_folder`.

    Raises:
        XmlSyntaxError: it is not well-formed, or hostile.
        SchemaError: there is no schema for such a document.
        StorageError: there are no schemas, or the file cannot be read.
    """
    from polyvisor.model._xml import parse, read_source

    data = read_source(source)
    # Within our limits, and without a document type, it is safe for the other parser too.
    root = parse(data)
    name = _SCHEMAS.get(root.tag)
    if name is None:
        raise SchemaError(
            f"there is no schema for <{root.tag}>; there are some for {', '.join(_SCHEMAS)}",
            element=root.tag,
            fault="unknown root element",
        )
    path = os.path.join(schema_folder(folder), f"{name}.rng")
    schema = _compiled(path, os.stat(path).st_mtime_ns if os.path.exists(path) else 0)
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, encoding="utf-8"
    )
    document = etree.fromstring(_undeclared(data), parser)
    if schema.validate(document):
        return ()
    found = (
        Finding(
            "relax-ng",
            (entry.path or root.tag).lstrip("/"),
            entry.message,
            line=entry.line or None,
        )
        for entry in schema.error_log
    )
    return tuple(dict.fromkeys(found))


def ensure_valid(
    source: Source, *, folder: str | os.PathLike[str] | None = None, operation: str = "validate"
) -> None:
    """Refuse a document that breaks its schema.

    Args:
        source: as for :func:`validate`.
        folder: as for :func:`validate`.
        operation: what it was needed for.

    Raises:
        SchemaError: the last finding in words, which is the innermost; all in ``findings``.
        XmlSyntaxError: as for :func:`validate`.
        StorageError: as for :func:`validate`.
    """
    found = validate(source, folder=folder)
    if not found:
        return
    # The elements around it fail because of it.
    worst = max(found, key=lambda finding: finding.element.count("/"))
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    raise SchemaError(
        f"{operation}: {worst}{more}",
        line=worst.line,
        element=worst.element,
        fault=worst.fault,
        rule=worst.rule,
        findings=found,
        operation=operation,
    )


def _undeclared(data: bytes) -> bytes:
    """Return a document without the encoding that it declares, since it is UTF-8 by now."""
    if data.lstrip()[:5] == b"<?xml":
        # Blanks in its place keep lines and columns.
        end = data.index(b"?>") + 2
        return bytes(10 if byte == 10 else 32 for byte in data[:end]) + data[end:]
    return data


@lru_cache(maxsize=32)
def _compiled(path: str, _changed: int) -> Any:
    from lxml import etree

    parser = etree.XMLParser(no_network=True, resolve_entities=False)
    try:
        return etree.RelaxNG(etree.parse(path, parser))
    except (OSError, etree.LxmlError) as error:
        raise StorageError(f"cannot use the schema {path}: {error}", path=path) from error
