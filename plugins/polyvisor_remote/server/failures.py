"""Errors as libvirt's clients know them: a number, a domain, and words."""

from __future__ import annotations

import re

from polyvisor.errors import InternalError, PolyvisorError, SpecError
from polyvisor_remote.wire import error_codec

__all__ = ["Failure", "encoded", "function_name", "unsupported"]

# virErrorNumber and virErrorDomain (libvirt/virterror.h)
NO_SUPPORT = 3
RPC = 39
CPU_INCOMPATIBLE = 91
FROM_RPC = 7
FROM_REMOTE = 13
_FROM_NWFILTER = 33
#: From elsewhere, libvirt's clients take these numbers for others of a libvirt of 2009.
_OF_FILTERS = frozenset({61, 62, 63})
LEVEL_ERROR = 2
#: Characters of an error that are sent.
_WORDS_MAX = 65536

#: What libvirt puts before the words that belong to a number (``virErrorMsg``).
PREFIXES = {
    1: "internal error",
    3: "this function is not supported by the connection driver",
    5: "no connection driver available for",
    8: "invalid argument",
    9: "operation failed",
    27: "XML error",
    29: "operation forbidden",
    33: "failed to load configuration",
    35: "XML document failed to validate against schema",
    42: "Domain not found",
    43: "Network not found",
    45: "authentication failed",
    49: "Storage pool not found",
    50: "Storage volume not found",
    53: "Node device not found",
    55: "Requested operation is not valid",
    57: "Interface not found",
    62: "Network filter not found",
    66: "Secret not found",
    67: "unsupported configuration",
    68: "Timed out during operation",
    70: "Hook script execution failed",
    72: "Domain snapshot not found",
    74: "argument unsupported",
    78: "operation aborted",
    79: "authentication cancelled",
    80: "metadata not found",
    84: "Operation not supported",
    86: "Guest agent is not responding",
    88: "access denied",
    91: "the CPU is incompatible with host CPU",
    94: "authentication unavailable",
    103: "Domain checkpoint not found",
    104: "Domain backup job id not found",
}
#: ``virErrorDomain`` by the name of the plugin or the driver.
DOMAINS = {
    "test": 12,
    "qemu": 10,
    "lxc": 17,
    "xen": 41,
    "libxl": 41,
    "vbox": 25,
    "bhyve": 57,
    "esx": 28,
    "hyperv": 43,
    "phyp": 29,
}
_WORDS = {
    "Xml": "XML",
    "Uri": "URI",
    "Uuid": "UUID",
    "Cpu": "CPU",
    "Id": "ID",
    "Os": "OS",
    "Vcpus": "Vcpus",
    "Nwfilter": "NWFilter",
    "Nwfilters": "NWFilters",
    "Iothread": "IOThread",
    "Nmi": "NMI",
    "Mac": "MAC",
    "Tls": "TLS",
    "Sev": "SEV",
    "Fsinfo": "FSInfo",
    "Dhcp": "DHCP",
    "Fsfreeze": "FSFreeze",
    "Fsthaw": "FSThaw",
    "Fstrim": "FSTrim",
    "Ssh": "SSH",
}
#: A set of numbers that is none is no fault of the document to libvirt, but of an argument
#: (``virBitmapParse``).
_NO_SET = re.compile(r"('[^']*') is not a set of numbers")
_INVALID_ARG = 8


class Failure(PolyvisorError):
    """An error of the daemon itself, with libvirt's number.

    Args:
        number: ``virErrorNumber``.
        message: words, without libvirt's prefix.
        source: ``virErrorDomain``.
    """

    code = "remote"

    def __init__(self, number: int, message: str, *, source: int = FROM_REMOTE) -> None:
        super().__init__(message, libvirt_number=number)
        self.source = source


def function_name(procedure: str, home: str = "remote") -> str:
    """Return the C function that a procedure stands for, as libvirt's errors name it.

    Args:
        procedure: its name.
        home: its program; those of QEMU and LXC have that in the function's name.
    """
    words = [word.capitalize() for word in procedure.split("_")]
    if home != "remote":
        words.insert(1, home.capitalize())
    return "vir" + "".join(_WORDS.get(word, word) for word in words)


def unsupported(procedure: str, home: str = "remote") -> Failure:
    """Return the error for what a connection has no part for."""
    return Failure(NO_SUPPORT, function_name(procedure, home))


def encoded(error: BaseException, scheme: str = "") -> bytes:
    """Return the payload of a reply that says what went wrong.

    Args:
        error: what was raised.
        scheme: of the connection, for the error's domain.
    """
    if not isinstance(error, PolyvisorError):
        error = InternalError(f"{type(error).__name__}: {error}; this is a defect")
    number = error.libvirt_number
    text = error.message
    if isinstance(error, SpecError) and (wrong := _NO_SET.search(text)) is not None:
        number, text = _INVALID_ARG, f"Failed to parse bitmap {wrong[1]}"
    words = text[:_WORDS_MAX].replace("\0", "\\0")
    prefix = PREFIXES.get(number)
    message = words if prefix is None else f"{prefix}: {words}"
    source = error.source if isinstance(error, Failure) else DOMAINS.get(scheme, FROM_REMOTE)
    if number in _OF_FILTERS:
        source = _FROM_NWFILTER
    template = "%s" if prefix is None else f"{prefix}: %s"
    return error_codec().encode(
        (number, source, message, LEVEL_ERROR, None, template, words, None, -1, -1, None)
    )
