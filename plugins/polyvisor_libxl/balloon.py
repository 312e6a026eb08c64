"""Making room: the control domain gives up memory for a domain that is to start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from polyvisor.errors import ConfigError, HypervisorError

if TYPE_CHECKING:
    from polyvisor_libxl.context import Context

__all__ = ["make_room", "wanted"]

#: How often the control domain is asked, and seconds for it to answer; xl has as many:
#: ``freemem`` of tools/xl/xl_vmcontrol.c.
_TRIES, _PATIENCE = 3, 10
#: The control domain is not brought below this, in bytes.
_LEAST = 128 << 20


def wanted(settings: Mapping[str, Any], command_line: str) -> bool:
    """Say whether the control domain is to give up memory.

    As ``autoballoon`` of xl.conf(5): with ``"auto"`` it is unless Xen's command line gives it a
    fixed amount.

    Raises:
        ConfigError: the setting is none of ``true``, ``false`` and ``"auto"``.
    """
    setting = settings.get("autoballoon", "auto")
    if isinstance(setting, bool):
        return setting
    if setting != "auto":
        raise ConfigError(
            f'autoballoon is true, false or "auto", not {setting!r}',
            key="plugins.libxl.autoballoon",
        )
    return not any(word.startswith("dom0_mem=") for word in command_line.split())


def make_room(context: Context, json: str, name: str, settings: Mapping[str, Any]) -> None:
    """Free the memory that a domain needs, if the settings say so.

    Raises:
        HypervisorError: there is not enough even so.
    """
    if not wanted(settings, context.command_line()):
        return
    need = context.memory_needed(json, name)
    for _ in range(_TRIES):
        free = context.memory_free()
        if free >= need:
            return
        control = context.domain(0)
        target = control.memory - (need - free) if control is not None else 0
        if target < _LEAST:
            break
        context.set_memory(0, "Domain-0", target)
        if context.wait_for_memory(need, _PATIENCE):
            return
    raise HypervisorError(
        f"start {name!r}: it needs {need >> 20} MiB, {context.memory_free() >> 20} MiB are free "
        f"and the control domain gives up no more; stop a domain, or give this one less memory",
        domain=name,
        operation="start",
    )
