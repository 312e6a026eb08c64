"""The error that everything raises, as libvirt's binding has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_remote.server.failures import encoded
from polyvisor_remote.wire import error_codec

if TYPE_CHECKING:
    from polyvisor.errors import PolyvisorError

__all__ = [
    "libvirtError",
    "registerErrorHandler",
    "told",
    "virGetLastError",
    "virGetLastErrorCode",
    "virGetLastErrorDomain",
    "virGetLastErrorMessage",
    "virResetLastError",
]

_handler: list[Any] = []
_last: list[tuple[Any, ...]] = []


class libvirtError(Exception):  # the name that scripts catch
    """An error with libvirt's number, domain and words.

    Args:
        defmsg: words, where there is no error of libvirt's behind it.
        err: number, domain, message, level, three texts, two numbers.
    """

    def __init__(self, defmsg: str, err: tuple[Any, ...] | None = None) -> None:
        super().__init__(defmsg if err is None else err[2])
        self.err = err
        if err is not None:
            _last[:] = [err]
            if _handler:
                function, context = _handler[0]
                function(context, err)

    def get_error_code(self) -> int | None:
        return None if self.err is None else self.err[0]

    def get_error_domain(self) -> int | None:
        return None if self.err is None else self.err[1]

    def get_error_message(self) -> str | None:
        return None if self.err is None else self.err[2]

    def get_error_level(self) -> int | None:
        return None if self.err is None else self.err[3]

    def get_str1(self) -> str | None:
        return None if self.err is None else self.err[4]

    def get_str2(self) -> str | None:
        return None if self.err is None else self.err[5]

    def get_str3(self) -> str | None:
        return None if self.err is None else self.err[6]

    def get_int1(self) -> int | None:
        return None if self.err is None else self.err[7]

    def get_int2(self) -> int | None:
        return None if self.err is None else self.err[8]


def told(payload: bytes) -> libvirtError:
    """Return what an answer says that went wrong."""
    error = error_codec().decode(payload)
    message = error.message or "unknown error"
    texts = (error.str1, error.str2, error.str3)
    numbers = (error.int1, error.int2)
    return libvirtError(message, (error.code, error.domain, message, error.level, *texts, *numbers))


def of(error: PolyvisorError, scheme: str = "") -> libvirtError:
    """Return an error of ours as libvirt's clients know it."""
    if error.native_code is not None and error.native_message is not None:
        number = int(error.native_code)
        rest = (2, "%s", error.native_message, None, -1, -1)
        return libvirtError(error.native_message, (number, 0, error.native_message, *rest))
    return told(encoded(error, scheme))


def registerErrorHandler(f: Any, ctx: Any) -> int:
    """Have a function called with each error; ``None`` for none."""
    _handler[:] = [] if f is None else [(f, ctx)]
    return 1


def virGetLastError() -> tuple[Any, ...] | None:
    """Return the last error, if there was one."""
    return _last[0] if _last else None


def virGetLastErrorCode() -> int:
    """Return the last error's number, 0 if there was none."""
    return int(_last[0][0]) if _last else 0


def virGetLastErrorDomain() -> int:
    """Return which part of libvirt the last error is of, 0 if there was none."""
    return int(_last[0][1]) if _last else 0


def virGetLastErrorMessage() -> str:
    """Return the last error's words."""
    return str(_last[0][2]) if _last else "no error"


def virResetLastError() -> None:
    """Forget it."""
    _last.clear()
