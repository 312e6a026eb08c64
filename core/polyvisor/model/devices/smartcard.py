"""Smart card readers."""

from __future__ import annotations

from typing import Literal

from polyvisor.model._codecs import choices
from polyvisor.model.binding import attr, child, children, element, inner, value, values
from polyvisor.model.devices import Device
from polyvisor.model.devices.chardev import ChardevLog, ChardevSource, ChardevTarget, ChardevType

__all__ = ["Smartcard"]

SmartcardMode = Literal["host", "host-certificates", "passthrough"]


@element(kw_only=True)
class Smartcard(Device):
    """A smart card reader; which fields count depends on the mode."""

    mode: SmartcardMode = attr(choices(SmartcardMode), required=True)
    #: For ``passthrough``.
    type: ChardevType | None = attr(choices(ChardevType))
    sources: tuple[ChardevSource, ...] = children(ChardevSource, "source")
    protocol: str | None = inner("protocol", "type")
    log: ChardevLog | None = child(ChardevLog)
    target: ChardevTarget | None = child(ChardevTarget)
    #: For ``host-certificates``: three names.
    certificates: tuple[str, ...] = values(name="certificate")
    database: str | None = value()
