"""Loading what a plugin refers to, and asking it, without trust that it comes back."""

from __future__ import annotations

import sys
import threading
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import pluggy

from polyvisor.errors import PluginError

if TYPE_CHECKING:
    from polyvisor.driver import Usability

__all__ = ["PROBE_SECONDS", "Manager", "ask", "describe", "load_object"]

#: Seconds that a probe may take.
PROBE_SECONDS = 10.0


def load_object(reference: str, plugin: str) -> Any:
    """Import what ``"module:attribute"`` refers to.

    Args:
        reference: the reference.
        plugin: whose it is, for the error.

    Raises:
        PluginError: it cannot be imported; says which module or name is missing.
    """
    module_name, _, attribute = reference.partition(":")
    try:
        __import__(module_name)
        value = sys.modules[module_name]
        for part in attribute.split(".") if attribute else ():
            value = getattr(value, part)
    except Exception as error:  # whatever a foreign module raises
        raise PluginError(
            f"plugin {plugin!r}: cannot load {reference}: {describe(error)}", plugin=plugin
        ) from error
    return value


class Manager(pluggy.PluginManager):
    """Looks for hooks among names that can be hooks, not among all that a module has."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        if not name.startswith("polyvisor_"):
            return None
        if type(plugin) is ModuleType:  # Almost all are; what pluggy looks into they cannot have.
            function = vars(plugin).get(name)
            if type(function) is FunctionType:
                return getattr(function, f"{self.project_name}_impl", None)
        return super().parse_hookimpl_opts(plugin, name)


def ask(reference: str, plugin: str, timeout: float) -> Usability:
    """Return what a probe answers; one that hangs is left behind.

    Args:
        reference: the probe.
        plugin: whose it is.
        timeout: seconds that it is given.
    """
    from polyvisor.driver import Usability

    answers: list[Usability] = []

    def run() -> None:
        answers.append(_probed(reference, plugin))

    # It must not keep the process from ending.
    asking = threading.Thread(target=run, name=f"polyvisor-probe-{plugin}", daemon=True)
    asking.start()
    asking.join(timeout)
    if answers:
        return answers[0]
    return Usability(
        False,
        f"its probe did not answer within {timeout:g} s",
        f"disable the plugin {plugin!r} until that is settled",
    )


def _probed(reference: str, plugin: str) -> Usability:
    from polyvisor.driver import Usability

    try:
        result = load_object(reference, plugin)()
    except PluginError as error:
        return Usability(False, error.message)
    except BaseException as error:  # noqa: BLE001 - a foreign probe may raise anything
        return Usability(False, f"its probe failed: {describe(error)}")
    if not isinstance(result, Usability):
        return Usability(False, f"its probe returned {type(result).__name__}, not Usability")
    return result


def describe(error: BaseException) -> str:
    """Return an exception in words."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
