"""The driver that uses any libvirtd or polyvisord, here or on another host.

``reaching``   from a URI to a server: which program, socket or certificate
``pipe``       bytes to and from it; ``channel``: calls and answers over that
``link``       a channel that is opened anew when it breaks; ``login``: who we are
``failures``   libvirt's error numbers as our errors
``driver``     the driver; ``support``: what the server can, by asking it
``domains``    domains and their life; ``events``: what is told of them
``saving``     images; ``snapshots``; ``changing``: devices, resources, words, cores; ``tuning``
``seat``       consoles, screens, agents; ``objects``: networks and the like; ``storage``
``migration``  both sides of it
``stream``     data that follows a call
``jobs``       how far a long call is, and stopping it
"""

from __future__ import annotations

__all__: list[str] = []
