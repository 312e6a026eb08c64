"""Memory encryption and wrapped keys of a guest."""

from __future__ import annotations

from typing import Literal

from polyvisor.model._codecs import ON_OFF, UINT, YES_NO, choices, integer
from polyvisor.model.binding import Element, attr, children, element, value

__all__ = ["KeyWrap", "KeyWrapCipher", "LaunchSecurity"]


@element(kw_only=True)
class KeyWrapCipher(Element):
    """Whether keys of one cipher are wrapped."""

    name: Literal["aes", "dea"] = attr(choices(Literal["aes", "dea"]), required=True)
    state: bool = attr(ON_OFF, required=True)


@element(kw_only=True)
class KeyWrap(Element):
    """Wrapping of protected keys on s390: ``<keywrap>``."""

    ciphers: tuple[KeyWrapCipher, ...] = children(KeyWrapCipher, "cipher")


@element(kw_only=True)
class LaunchSecurity(Element):
    """What keeps the guest's memory from the host; which fields count depends on the type."""

    type: Literal["sev", "s390-pv"] = attr(choices(Literal["sev", "s390-pv"]), required=True)
    kernel_hashes: bool | None = attr(YES_NO, name="kernelHashes")
    cbitpos: int | None = value(UINT)
    reduced_phys_bits: int | None = value(UINT, name="reducedPhysBits")
    policy: int | None = value(integer(0, 2**32 - 1, "#06x"))
    handle: int | None = value(UINT)
    #: Base64.
    dh_cert: str | None = value(name="dhCert")
    #: Base64.
    session: str | None = value()
