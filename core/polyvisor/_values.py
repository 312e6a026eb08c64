"""Converters for fields of frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

__all__ = ["frozen_mapping"]

_T = TypeVar("_T")


def frozen_mapping(mapping: Mapping[str, _T]) -> Mapping[str, _T]:
    """Return a read-only view of ``mapping``."""
    return MappingProxyType(dict(mapping))
