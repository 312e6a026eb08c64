"""The binding between attrs classes and XML: declare a class, and it reads and writes itself.

A class is declared field by field, in the order in which libvirt prints::

    @element(kw_only=True)
    class DiskTarget(Element):
        dev: str | None = attr()                                  # <target dev='vda'
        bus: DiskBus | None = attr(choices(DiskBus))              #         bus='virtio'/>

    @element(kw_only=True)
    class Disk(Element):
        type: DiskType = attr(choices(DiskType), default="file")  # <disk type='file'>
        target: DiskTarget | None = child(DiskTarget)             #   <target .../>
        iotune: IoTune | None = child(".disk_tune:IoTune")        #   imported when first met
        serial: str | None = value()                              #   <serial>WD-1</serial>
        readonly: bool = flag()                                   #   <readonly/>
        acpi: str | None = inner("acpi", "model")                 #   <acpi model='x'/>
        hosts: tuple[Host, ...] = children(Host, "host")          #   <host/> any number of times

A class whose fields are not written in the order of declaration says which stands behind
which: ``XML_BEHIND = {"driver": "mac"}``; where that depends on a field's value,
``XML_BEHIND_WHEN = ("type", "hostdev", {"driver": "mac"})``.  Children of a namespace of its
own are declared with the prefix that libvirt writes, ``child(Options, "fs:mount_opts")``, in
a class that says
``XML_NAMESPACES = {"fs": "http://libvirt.org/schemas/storagepool/fs/1.0"}``.

What libvirt makes explicit when it reads, a class makes explicit in ``__attrs_post_init__``,
which is called however an instance comes about.  Fields that cannot stand together are
refused in ``_refuse``, which is called when an instance is read from XML or written to it.

Every class has ``extra``: whatever stood in the XML and is not declared.  It is
None as a rule, compared and written back.

Reader and writer of a class are made when the class is first met.  Reading is
one pass over the children with one dictionary look-up each; the only code
generated is the statement that fills the slots, since a loop over setters would
cost more than all the rest.

Equal text is read once: a plain document is cut into elements that are the same
object wherever they stand (:mod:`~polyvisor.model._lexer`), and what was read
from one stays with it, as what was written of a value stays with the value.  So
a class must make the same of the same element each time: its codecs,
``__attrs_post_init__`` and ``_refuse`` look at nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from polyvisor.errors import SchemaError
from polyvisor.model._codecs import Fault
from polyvisor.model._declare import (
    Binding,
    Choice,
    Element,
    Extra,
    attr,
    beside,
    bindings_of,
    child,
    children,
    element,
    flag,
    inner,
    inners,
    resolve,
    size,
    subtree,
    text,
    value,
    values,
)
from polyvisor.model._lexer import NotPlain, lex
from polyvisor.model._node import Node, line_of, path_of
from polyvisor.model._reader import readers
from polyvisor.model._writer import writers
from polyvisor.model._xml import RawXml, Source, parse, read_source

__all__ = [
    "Binding",
    "Choice",
    "Element",
    "Extra",
    "RawXml",
    "Source",
    "attr",
    "beside",
    "bindings_of",
    "child",
    "children",
    "element",
    "flag",
    "inner",
    "inners",
    "read_document",
    "resolve",
    "size",
    "subtree",
    "text",
    "value",
    "values",
    "write_document",
]

E = TypeVar("E", bound=Element)


def read_document(
    cls: type[E],
    source: Source,
    tag: str,
    *,
    what: str = "document",
    prepare: Callable[[Node, bytes], None] | None = None,
) -> E:
    """Return the value of a whole document.

    Args:
        cls: class of the root element.
        source: XML as text or bytes, or the path of a file.
        tag: tag that the root must have.
        what: what is read, for the message.
        prepare: called with the root and the document before they are read, to change nodes.

    Raises:
        XmlSyntaxError: it is not well-formed, or hostile.
        SchemaError: it is not what the classes allow.
    """
    result: E
    data = source if isinstance(source, str) else read_source(source)
    if prepare is None:
        try:
            shared = lex(data if isinstance(data, str) else data.decode())
            if shared.tag == tag:
                result = readers[cls](shared, b"")
                return result
        except (NotPlain, UnicodeDecodeError, Fault):
            # The careful parser reads it, or says what is wrong and where.
            pass
    if isinstance(data, str):
        data = read_source(data)
    root = parse(data)
    if root.tag != tag:
        line = line_of(data, root)
        raise SchemaError(
            f"line {line}: the root element is <{root.tag}>, a {what} starts with <{tag}>",
            line=line,
            element=root.tag,
            fault=f"root element is <{root.tag}>",
        )
    if prepare is not None:
        prepare(root, data)
    try:
        result = readers[cls](root, data)
    except Fault as fault:
        node = fault.node or root
        line, path = line_of(data, node), path_of(root, node)
        raise _schema_error(fault, path, line) from None
    return result


def write_document(value: Element, tag: str, indent: str = "") -> str:
    """Return a value as XML text in libvirt's layout.

    Args:
        value: the root.
        tag: its tag.
        indent: what stands before every line.

    Raises:
        SchemaError: a field holds what XML or the schema cannot.
    """
    try:
        return writers[value.__class__](value, indent, tag)
    except Fault as fault:
        raise _schema_error(fault, "/".join(fault.trail) or tag, None) from None


def _schema_error(fault: Fault, path: str, line: int | None) -> SchemaError:
    where = f"line {line}: {path}" if line else path
    at = f" attribute {fault.attribute}" if fault.attribute else ""
    advice = f"; {fault.advice}" if fault.advice else ""
    return SchemaError(
        f"{where}:{at}{':' if at else ''} {fault.fault}{advice}",
        line=line,
        element=path,
        fault=fault.fault,
    )
