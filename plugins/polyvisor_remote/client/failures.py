"""What a server answers instead of a result, as our errors.

The numbers are those that our errors have (``virErrorNumber``, libvirt/virterror.h); only what
several of ours share, and what none has, stands in a table here. The words are libvirt's
without those that belong to a number, which the daemon puts before them by the same table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor import errors
from polyvisor_remote.server.failures import PREFIXES
from polyvisor_remote.wire import error_codec

if TYPE_CHECKING:
    from polyvisor.errors import PolyvisorError
    from polyvisor_remote.wire import Procedure

__all__ = ["RPC", "UNSUPPORTED", "kind_of", "refusal"]

#: "This function is not supported by the connection driver", and "unknown procedure".
UNSUPPORTED, RPC = 3, 39

#: Kind of object by the number that says that there is none.
_MISSING = {number: kind for kind, number in errors.NotFound.NUMBERS.items()} | {
    7: "domain",
    36: "network",
    46: "storage pool",
    47: "storage volume",
    52: "node device",
    58: "interface",
    61: "nwfilter",
    65: "secret",
    71: "snapshot",
    80: "metadata",
    99: "device",
    101: "nwfilter binding",
    102: "checkpoint",
    104: "backup",
}
#: What a number means. Where several of our errors have one number, that which a server says
#: with it most; which of them was meant is seen in :data:`_WORDS`.
_KINDS: dict[int, type[PolyvisorError]] = {
    1: errors.HypervisorError,
    3: errors.Unsupported,
    5: errors.UriError,
    6: errors.ConnectError,
    8: errors.InvalidArgument,
    9: errors.OperationFailed,
    16: errors.SpecError,
    27: errors.SpecError,
    28: errors.AlreadyExists,
    29: errors.Denied,
    33: errors.ConfigError,
    35: errors.XmlSyntaxError,
    37: errors.AlreadyExists,
    38: errors.OperationFailed,
    39: errors.Unsupported,
    44: errors.InvalidArgument,
    45: errors.AuthError,
    55: errors.OperationInvalid,
    59: errors.InvalidArgument,
    67: errors.SemanticError,
    68: errors.Busy,
    70: errors.Vetoed,
    74: errors.InvalidArgument,
    77: errors.OperationInvalid,
    78: errors.Cancelled,
    79: errors.AuthError,
    81: errors.OperationInvalid,
    82: errors.InvalidArgument,
    83: errors.OperationInvalid,
    84: errors.Unsupported,
    86: errors.HypervisorError,
    87: errors.Busy,
    88: errors.Denied,
    90: errors.AlreadyExists,
    91: errors.SemanticError,
    92: errors.SchemaError,
    94: errors.AuthError,
}
_PATTERNS = (
    (9, ("already exists", "already defined", "belongs to", "already belongs", "exists already",
         "is already in use", "active already", "has a snapshot", "is taken"),
     errors.AlreadyExists),
    (55, ("is already active as", "domain with this UUID is active already"), errors.AlreadyExists),
    (68, ("Timed out", "timed out", "was still active", "did not"), errors.Timeout),
    (1, ("is in use by a block job",), errors.OperationInvalid),
    (8, ("does not have an active block job",), errors.OperationInvalid),
    (1, ("cannot find character device", "cannot find default console",
         "cannot find console device",
         "No graphics backend with index"), errors.NotFound),
    (9, ("Active console session exists",), errors.Busy),
    (55, ("no such screen",), errors.NotFound),
    (74, ("agent is not configured",), errors.OperationInvalid),
)  # fmt: skip


#: Procedures whose failure is that of an image, and those whose trouble with files is storage's.
_IMAGES = ("domain_restore", "domain_save_image")
_FILES = ("domain_restore", "domain_save", "domain_core_dump", "storage_")
_FAILED, _SYSTEM = 9, 38


def kind_of(number: int, words: str, procedure: str = "") -> type[PolyvisorError]:
    """Return which of our errors stands for a number and words of libvirt's.

    Args:
        number: ``virErrorNumber``.
        words: the message.
        procedure: what was called.
    """
    if number in _MISSING:
        return errors.NotFound
    for numbered, patterns, kind in _PATTERNS:
        if number == numbered and any(pattern in words for pattern in patterns):
            return kind
    if number == _FAILED and procedure.startswith(_IMAGES):
        return errors.SaveImageError
    if number == _SYSTEM and procedure.startswith(_FILES):
        return errors.StorageError
    return _KINDS.get(number, errors.OperationFailed)


def refusal(procedure: Procedure, payload: bytes) -> PolyvisorError:
    """Return what a server raised instead of a result.

    Args:
        procedure: what was called.
        payload: its answer, whose status was ``ERROR``.
    """
    told = error_codec().decode(payload)
    number: int = told.code
    words: str = told.message or "the server gives no reason"
    prefix = PREFIXES.get(number)
    if prefix is not None:
        words = words.removeprefix(f"{prefix}: ")
    if number == 68:
        words = words.removeprefix("cannot acquire state change lock: ")
    facts: dict[str, Any] = {
        "libvirt_number": number,
        "native_code": number,
        "native_message": told.message,
    }
    if told.dom is not None:
        facts["domain"] = told.dom.name
    kind = kind_of(number, words, procedure.name)
    if number in (UNSUPPORTED, RPC):
        words = f"the server cannot do this: {told.message}"
    if kind is errors.NotFound:
        facts["kind"] = _MISSING.get(number, "device")
    elif number in (UNSUPPORTED, RPC):
        facts["operation"] = procedure.name
    return kind(words, **facts)
