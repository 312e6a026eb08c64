"""What libxl calls back: its log, its progress, and its end of a connection."""

from __future__ import annotations

from typing import Any

__all__ = ["install_callbacks"]


def install_callbacks(module: Any) -> None:
    """Let libxl's callbacks reach their context; once for each module."""
    if getattr(module, "polyvisor_callbacks", None):
        return
    ffi = module.ffi

    def text(pointer: Any) -> str:
        return str(ffi.string(pointer).decode("utf-8", "replace"))

    def pv_log(handle: Any, level: int, error: int, context: Any, message: Any) -> None:
        ffi.from_handle(handle).message(level, error, text(context), text(message))

    def pv_progress(handle: Any, what: Any, done: int, total: int) -> None:
        ffi.from_handle(handle).advanced(text(what), done, total)

    def pv_disaster(handle: Any, message: Any, error: int) -> None:
        ffi.from_handle(handle).broke(text(message), error)

    for callback in (pv_log, pv_progress, pv_disaster):
        ffi.def_extern()(callback)
    module.polyvisor_callbacks = True
