"""Xen's migration streams, which are also what stands in save images: read without Xen.

``tables``
    the numbers of the formats, with their sources.
``source``
    a stream that is read once, from a file, a pipe or memory, its page bodies stepped over.
``report``
    what is found: faults with rule and position, and the figures that inspection shows.
``rules``
    each rule that is checked, by name.
``libxl``, ``libxc``, ``pages``, ``legacy``
    the walkers.
``convert``
    legacy streams into migration V2.
"""

from __future__ import annotations

__all__: list[str] = []
