"""libvirt's wire protocol: polyvisord, which serves any plugin to libvirt's own clients.

``wire``    the protocol without sockets: declared procedures, codecs, framing
"""

from __future__ import annotations

__all__ = ["polyvisor_api"]

#: Version of the plugin interface that this was written for.
polyvisor_api = 1
