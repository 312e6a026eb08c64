"""The firmware of a guest, chosen among those that are described on the host.

The descriptions are QEMU's (docs/interop/firmware.json): files of JSON, the first in order of
name that fits counts, and one in a stronger folder hides one of the same name in a weaker.
"""

from __future__ import annotations

import json
import os
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import attrs

from polyvisor_qemu.cmdline.context import refused

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.cmdline.host import Host

__all__ = ["FAMILIES", "described", "with_firmware"]

#: What a machine type that is an alias stands for (docs/interop/firmware.json has patterns).
FAMILIES = {"pc": "pc-i440fx-any", "q35": "pc-q35-any", "virt": "virt-any"}


def with_firmware(spec: DomainSpec, host: Host, arch: str, machine: str) -> DomainSpec:
    """Return a definition with its firmware's files.

    Args:
        spec: the definition.
        host: where descriptions of firmware, and guests' variables, are.
        arch: the guest's architecture.
        machine: its machine type.

    Raises:
        SemanticError: there is no firmware as it asks for.
    """
    from polyvisor.model.os import Loader, Nvram

    os_ = spec.os
    if os_.firmware_name is not None and (os_.loader is None or not os_.loader.path):
        found = next((one for one in described(host) if _fits(one, spec, arch, machine)), None)
        if found is None:
            raise refused(
                spec,
                "domain/os",
                f"no {os_.firmware_name} firmware on this host is what it asks for; install one "
                f"(on Debian: apt install ovmf, or qemu-efi-aarch64), or name it in <loader>",
            )
        mapping = found["mapping"]
        given = os_.loader or Loader()
        if mapping["device"] == "memory":
            loader = attrs.evolve(given, type="rom", path=mapping["filename"])
            return attrs.evolve(spec, os=attrs.evolve(os_, loader=loader, firmware_name=None))
        loader = attrs.evolve(
            given, type="pflash", readonly=True, path=mapping["executable"]["filename"]
        )
        template = mapping.get("nvram-template", {}).get("filename")
        if "requires-smm" in found.get("features", ()):
            loader = attrs.evolve(loader, secure=True)
            spec = _with_smm(spec)
        nvram = os_.nvram
        if template is not None and mapping.get("mode", "split") == "split":
            nvram = attrs.evolve(nvram or Nvram(), template=template)
        spec = attrs.evolve(
            spec, os=attrs.evolve(os_, loader=loader, nvram=nvram, firmware_name=None)
        )
        if template is None:
            return spec
    return _with_variables(spec, host)


def _with_variables(spec: DomainSpec, host: Host) -> DomainSpec:
    """Give firmware that keeps variables a file for them."""
    from polyvisor.model.os import Nvram

    loader, nvram = spec.os.loader, spec.os.nvram
    if loader is None or loader.type != "pflash" or loader.readonly is not True:
        return spec
    if loader.stateless or (nvram is not None and (nvram.path or nvram.source is not None)):
        return spec
    nvram = attrs.evolve(nvram or Nvram(), path=host.variables(spec))
    return attrs.evolve(spec, os=attrs.evolve(spec.os, nvram=nvram))


def _with_smm(spec: DomainSpec) -> DomainSpec:
    from polyvisor.model.features import Features, Smm

    features = spec.features or Features()
    return attrs.evolve(spec, features=attrs.evolve(features, smm=Smm(state=True)))


def described(host: Host) -> list[dict[str, Any]]:
    """Return the descriptions of firmware on a host, in the order in which they count."""
    files: dict[str, str] = {}
    for folder in reversed(host.firmware):
        if os.path.isdir(folder):
            files |= {n: f"{folder}/{n}" for n in os.listdir(folder) if n.endswith(".json")}
    found = []
    for name in sorted(files):
        try:
            with open(files[name], encoding="utf-8") as file:
                one = json.load(file)
        except (OSError, ValueError):
            # A file that is empty hides one in a weaker folder; a broken one is no firmware.
            continue
        if isinstance(one, dict) and "mapping" in one and "targets" in one:
            found.append(one)
    return found


def _fits(one: dict[str, Any], spec: DomainSpec, arch: str, machine: str) -> bool:
    """Say whether a description is of what a definition asks for."""
    os_ = spec.os
    kind = {"efi": "uefi", "bios": "bios"}[os_.firmware_name or "efi"]
    if kind not in one.get("interface-types", ()):
        return False
    name = FAMILIES.get(machine, machine)
    if not any(
        target["architecture"] == arch
        and any(fnmatchcase(name, pattern) for pattern in target["machines"])
        for target in one["targets"]
    ):
        return False
    has = set(one.get("features", ()))
    asked = {f.name: f.enabled for f in os_.firmware.features} if os_.firmware is not None else {}
    if os_.loader is not None and os_.loader.secure is not None:
        asked["secure-boot"] = os_.loader.secure
    if any((name in has) is not bool(state) for name, state in asked.items()):
        return False
    mapping = one["mapping"]
    if mapping["device"] == "flash":
        if mapping["executable"].get("format", "raw") != "raw":
            return False
        stateless = mapping.get("mode", "split") == "stateless"
        wanted = os_.loader.stateless if os_.loader is not None else None
        return stateless is bool(wanted) if wanted is not None else not stateless
    return bool(mapping["device"] == "memory")
