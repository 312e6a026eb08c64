"""One form for all that libxl takes as the same."""

from __future__ import annotations

from typing import Any

from polyvisor.errors import SpecError

__all__ = ["normalised"]

#: How deep structures go, and then some.
MOST_DEPTH = 16

#: Fields that moved out of the part for one kind of guest (``deprecated_by``, libxl_types.idl);
#: libxl takes both places.
MOVED = {
    "type.hvm": ("apic", "acpi", "timer_mode", "nested_hvm"),
    "type.pv": ("kernel", "cmdline", "ramdisk", "bootloader", "bootloader_args"),
}
#: Defaults that are no emptiness (``init_val``); ``None`` for a field that has none of these.
DEFAULTS: dict[str, tuple[Any, ...]] = {
    "devid": (-1,),
    "ctrl": (-1,),
    "rdm_policy": ("invalid",),
    "policy": ("invalid",),
    "on_poweroff": ("destroy",),
    "on_reboot": ("destroy",),
    "on_watchdog": ("destroy",),
    "on_crash": ("destroy",),
    "on_soft_reset": ("destroy",),
    "weight": (-1,),
    "cap": (-1,),
    "period": (-1,),
    "budget": (-1,),
    "extratime": (-1,),
    "slice": (-1,),
    "latency": (-1,),
    "timer_mode": ("unknown",),
    "hdtype": ("ide",),
    "max_grant_frames": (2**32 - 1,),
    "max_maptrack_frames": (2**32 - 1,),
    "max_grant_version": (-1, 2**32 - 1),
}
#: Words that stand for nothing being said, in any field.
NOTHING = ("unknown", "default", "<default>", "LIBXL_MEMKB_DEFAULT", 2**64 - 1)
#: Numbers of which zero is one.
COUNTED = {"devid", "ctrl", "weight", "cap", "max_grant_frames"}
#: Parts that say something by being there.
KEPT = ("type.", "connection.")


def normalised(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration without defaults, and with moved fields where they are now.

    Two configurations with the same result are the same to libxl.

    Args:
        config: ``libxl_domain_config`` as JSON.

    Raises:
        SpecError: it is deeper than any such configuration.
    """
    _shallow(config, MOST_DEPTH)
    config = dict(config)
    build = config.get("b_info")
    if isinstance(build, dict):
        config["b_info"] = _moved(build)
    return _plain_map(config)


def _shallow(value: Any, left: int) -> None:
    if not isinstance(value, (dict, list)):
        return
    if not left:
        fault = f"it has structures more than {MOST_DEPTH} deep"
        raise SpecError(f"libxl's configuration: {fault}", fault=fault)
    for held in value.values() if isinstance(value, dict) else value:
        _shallow(held, left - 1)


def _moved(build: dict[str, Any]) -> dict[str, Any]:
    build = dict(build)
    for part, names in MOVED.items():
        if not isinstance(build.get(part), dict):
            continue
        held = dict(build[part])
        for name in names:
            if name in held:
                build.setdefault(name, held.pop(name))
        build[part] = held
    cpuid = build.get("cpuid")
    if isinstance(cpuid, dict) and not cpuid.get("msr") and isinstance(cpuid.get("cpuid"), list):
        build["cpuid"] = cpuid["cpuid"]  # as libxl before 4.18 wrote it
    return build


def _plain_map(config: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in config.items():
        plain = _plain(value)
        if (plain in ({}, []) and name.startswith(KEPT)) or not _is_default(name, plain):
            found[name] = plain
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return _plain_map(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _is_default(name: str, value: Any) -> bool:
    if value is None or value is False or value in ("", {}, []):
        return True
    if isinstance(value, (dict, list)):
        return False
    if value == 0 and not isinstance(value, bool):
        return name not in COUNTED
    return value in NOTHING or value in DEFAULTS.get(name, ())
