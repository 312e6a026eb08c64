"""What a simulated guest does: the ``<sim:guest>`` element of a definition.

::

    <metadata>
      <sim:guest xmlns:sim="urn:polyvisor:sim:1.0"
                 ticks-per-second="100" dirty-pages="4" working-set="1024" seed="7"
                 shutdown-delay="0.5" ignore-shutdown="no" poweroff-at="0" crash-at="0"/>
    </metadata>

It stands in ``<metadata>`` because libvirt keeps what it finds there, so that a
definition that went through libvirt still says the same. Every attribute may be left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.errors import SchemaError

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

__all__ = ["NAMESPACE", "Parameters"]

#: XML namespace of the element.
NAMESPACE = "urn:polyvisor:sim:1.0"

_MOST = 1 << 40


@attrs.frozen
class Parameters:
    """How a guest behaves.

    Attributes:
        rate: ticks per second of guest time; 0 for a guest that does nothing.
        dirty: pages written with each tick.
        working_set: pages that are written in turn.
        seed: makes the contents of its memory its own.
        ignore_shutdown: whether it ignores requests to shut down or reboot.
        shutdown_delay: seconds of guest time from such a request to its doing so.
        poweroff_at: tick at which it powers itself off; 0: never.
        crash_at: tick at which it crashes; 0: never.
    """

    rate: int = 100
    dirty: int = 4
    working_set: int = 1024
    seed: int = 0
    ignore_shutdown: bool = False
    shutdown_delay: float = 0.0
    poweroff_at: int = 0
    crash_at: int = 0

    @classmethod
    def of(cls, spec: DomainSpec) -> Parameters:
        """Return the parameters in ``spec``, with the usual ones where it says nothing.

        Raises:
            SchemaError: an attribute is unknown or its value not allowed.
        """
        element = spec.metadata_element(NAMESPACE, "guest")
        return cls() if element is None else cls.parse(element.attrib)

    @classmethod
    def parse(cls, attributes: Mapping[str, str]) -> Parameters:
        """Return the parameters that the attributes of a ``<sim:guest>`` state."""
        values: dict[str, Any] = {}
        for name, text in attributes.items():
            known = _ATTRIBUTES.get(name)
            if known is None:
                raise _wrong(name, f"is unknown (known: {', '.join(sorted(_ATTRIBUTES))})")
            field, kind = known
            values[field] = kind(name, text)
        return cls(**values)


def _wrong(name: str, fault: str) -> SchemaError:
    element = "domain/metadata/sim:guest"
    return SchemaError(f"{element}: attribute {name!r} {fault}", element=element, fault=fault)


def _whole(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text[:20]) > _MOST:
        raise _wrong(name, f"is a whole number from 0 to {_MOST}, not {text[:40]!r}")
    return int(text)


def _rate(name: str, text: str) -> int:
    value = _whole(name, text)
    if value > 1_000_000:
        raise _wrong(name, f"is at most 1000000, not {text}")
    return value


def _seconds(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 86400.0:
        raise _wrong(name, f"is a number of seconds from 0 to 86400, not {text[:40]!r}")
    return value


def _yes(name: str, text: str) -> bool:
    if text not in ("yes", "no"):
        raise _wrong(name, f"is 'yes' or 'no', not {text[:40]!r}")
    return text == "yes"


_ATTRIBUTES: Mapping[str, tuple[str, Any]] = {
    "ticks-per-second": ("rate", _rate),
    "dirty-pages": ("dirty", _whole),
    "working-set": ("working_set", _whole),
    "seed": ("seed", _whole),
    "ignore-shutdown": ("ignore_shutdown", _yes),
    "shutdown-delay": ("shutdown_delay", _seconds),
    "poweroff-at": ("poweroff_at", _whole),
    "crash-at": ("crash_at", _whole),
}
