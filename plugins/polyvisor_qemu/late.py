"""Parts of the driver that are imported when they are first asked for."""

from __future__ import annotations

from typing import Any

__all__ = ["Late"]


class Late:
    """An attribute of a driver whose class is imported on first use and made for the driver.

    Args:
        module: the module below this package.
        name: the class in it; it takes the driver.
    """

    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._class = name

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, driver: Any, owner: type) -> Any:
        if driver is None:
            return None  # as of a driver without the part
        from importlib import import_module

        made = getattr(import_module(f"polyvisor_qemu.{self._module}"), self._class)(driver)
        # The parts hold no state: of two threads that come at once, either's will do.
        return vars(driver).setdefault(self._name, made)
