"""Configurations in a hypervisor's own language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.connection import as_spec
from polyvisor_remote.server._families.arguments import check_flags
from polyvisor_remote.server.dispatch import serves

if TYPE_CHECKING:
    from polyvisor_remote.server.session import Session


@serves("connect_domain_xml_from_native", slow=True)
def from_native(session: Session, arguments: Any) -> tuple[str]:
    """Return the definition that a configuration describes."""
    from polyvisor.native import open_format

    check_flags(arguments.flags, 0, "virConnectDomainXMLFromNative")
    form = open_format(arguments.nativeFormat)
    text = arguments.nativeConfig.encode("utf-8", "surrogateescape")
    return (form.read(text, path="(sent)").to_xml(),)


@serves("connect_domain_xml_to_native", slow=True)
def to_native(session: Session, arguments: Any) -> tuple[str]:
    """Return a definition as a configuration."""
    from polyvisor.native import open_format

    check_flags(arguments.flags, 0, "virConnectDomainXMLToNative")
    return (open_format(arguments.nativeFormat).write(as_spec(arguments.domainXml)),)
