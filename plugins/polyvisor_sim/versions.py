"""The versions of the simulator's stream; :mod:`polyvisor_sim.stream` has what they differ in."""

from __future__ import annotations

__all__ = ["VERSIONS"]

#: Versions that can be read and written.
VERSIONS = (1, 2)
