"""What a driver can be told in ``polyvisor.toml``."""

from __future__ import annotations

from types import UnionType
from typing import Any

import attrs

__all__ = ["Setting"]


@attrs.frozen
class Setting:
    """One key of ``[plugins.NAME]``, as :attr:`DriverInfo.settings` declares it.

    Attributes:
        name: the key.
        type: what its value is, of the types that TOML has: ``str``, ``bool``, ``int``,
            ``float`` (whole numbers too), ``list``, ``dict``, or a union such as
            ``bool | str``. Opening refuses any other; what else a value must be, the driver
            checks.
        default: what is in force where the key is missing; ``None``: nothing, or what
            ``help`` says.
        help: what it does, with its unit, in Markdown on one line.
    """

    name: str
    type: type | UnionType
    default: Any
    help: str
