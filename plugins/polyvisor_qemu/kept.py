"""Where things are that guests keep from start to start: UEFI variables, emulated TPMs.

Those of guests that run as another user are in a folder beside our own state, to which that user
may come; our state stays closed to it, since secrets are in it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from polyvisor_qemu.cmdline import Host

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec

__all__ = ["bring", "folders", "tpm_state", "variables"]


def folders(state: str, *, another: bool) -> tuple[str, str]:
    """Return the folder that counts, and the one that would.

    Args:
        state: the folder of our own state.
        another: whether guests run as another user.
    """
    places = state, f"{state}.guests"
    return (places[1], places[0]) if another else places


def _host(folder: str) -> Host:
    return Host(nvram=f"{folder}/nvram", tpm=f"{folder}/tpm")


def variables(state: str, spec: DomainSpec, *, another: bool) -> str | None:
    """Return the file of UEFI variables that we chose for a guest, if there is one."""
    paths = [_host(one).variables(spec) for one in folders(state, another=another)]
    return next((path for path in paths if os.path.isfile(path)), None)


def tpm_state(state: str, spec: DomainSpec, *, another: bool) -> str | None:
    """Return the folder of a guest's emulated TPM, if there is one."""
    paths = [_host(one).tpm_folder(spec) for one in folders(state, another=another)]
    return next((path for path in paths if os.path.isdir(path)), None)


def bring(state: str, spec: DomainSpec, *, another: bool) -> None:
    """Move what a guest that is about to start kept as another user's to where it counts."""
    wanted, other = (_host(one) for one in folders(state, another=another))
    for before, path in (
        (other.variables(spec), wanted.variables(spec)),
        (other.tpm_folder(spec), wanted.tpm_folder(spec)),
    ):
        if os.path.exists(before) and not os.path.exists(path):
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            os.rename(before, path)
