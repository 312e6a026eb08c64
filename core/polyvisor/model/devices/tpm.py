"""Trusted platform modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from polyvisor.model._codecs import YES_NO, choices
from polyvisor.model.binding import Element, attr, child, element, flag, inner
from polyvisor.model.devices import Device

if TYPE_CHECKING:
    from polyvisor.model.devices.disk_source import ReservationsSource

__all__ = ["PcrBanks", "Tpm", "TpmBackend"]

TpmModel = Literal["tpm-tis", "tpm-crb", "tpm-spapr", "spapr-tpm-proxy"]


@element(kw_only=True)
class PcrBanks(Element):
    """Which PCR banks are active."""

    sha1: bool = flag()
    sha256: bool = flag()
    sha384: bool = flag()
    sha512: bool = flag()


@element(kw_only=True)
class TpmBackend(Element):
    """What stands behind it."""

    type: Literal["passthrough", "emulator", "external"] | None = attr(
        choices(Literal["passthrough", "emulator", "external"])
    )
    version: Literal["1.2", "2.0"] | None = attr(choices(Literal["1.2", "2.0"]))
    persistent_state: bool | None = attr(YES_NO)
    device: str | None = inner("device", "path")
    source: ReservationsSource | None = child(".devices.disk_source:ReservationsSource")
    #: UUID of the secret.
    encryption: str | None = inner("encryption", "secret")
    active_pcr_banks: PcrBanks | None = child(PcrBanks)


@element(kw_only=True)
class Tpm(Device):
    """A trusted platform module."""

    model: TpmModel | None = attr(choices(TpmModel))
    backend: TpmBackend | None = child(TpmBackend)
