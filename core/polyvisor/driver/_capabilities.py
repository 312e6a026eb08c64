"""The least ``<capabilities>`` document that libvirt's clients accept."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polyvisor.host import HostInfo

__all__ = ["minimal_capabilities"]


def minimal_capabilities(host: HostInfo) -> str:
    """Return capabilities made of the facts in ``host`` (libvirt's ``formatcaps``)."""
    from polyvisor.model import escape_attribute, escape_text

    topology = f"<topology sockets='{host.sockets}' cores='{host.cores}' threads='{host.threads}'/>"
    return (
        "<capabilities>\n"
        "  <host>\n"
        "    <cpu>\n"
        f"      <arch>{escape_text(host.architecture)}</arch>\n"
        f"      {topology}\n"
        "    </cpu>\n"
        "  </host>\n"
        "  <guest>\n"
        "    <os_type>hvm</os_type>\n"
        f"    <arch name='{escape_attribute(host.architecture)}'/>\n"
        "  </guest>\n"
        "</capabilities>\n"
    )
