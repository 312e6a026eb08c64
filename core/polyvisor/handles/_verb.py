"""What every method of a handle that changes something has in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from polyvisor.errors import InternalError, PolyvisorError

if TYPE_CHECKING:
    from polyvisor.connection import Connection

__all__ = ["verb"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def verb(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """Make a method that changes a domain: refused when read-only, foreign errors turned."""
    operation = method.__name__.replace("_", " ")

    @wraps(method)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        handle: Any = args[0]
        connection: Connection = handle._connection
        connection._check_writable(operation)
        try:
            return method(*args, **kwargs)
        except Exception as error:
            if getattr(error, "_polyvisor_callers_own", False):
                raise  # from a function that was given as ``progress=``
            if not isinstance(error, PolyvisorError):
                raise InternalError(
                    f"{operation}: plugin {connection.plugin!r} let out "
                    f"{type(error).__name__}: {error}; this is a defect of the plugin",
                    operation=operation,
                    plugin=connection.plugin,
                ) from error
            if error.plugin is None:
                error.plugin = connection.plugin or None
            if error.operation is None:
                error.operation = operation
            raise

    return call
