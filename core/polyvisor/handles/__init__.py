"""What hangs on a :class:`~polyvisor.domain.Domain`, by subject."""

from __future__ import annotations

from polyvisor._lazy import attach

__all__: list[str] = []

# Where they live; imported when they are first asked for.
__getattr__, __dir__ = attach(__name__, {})
