"""Everything polyvisor raises, as one tree.

::

    PolyvisorError
    ├── ConfigError            polyvisor.toml or an environment variable is wrong
    ├── InvalidArgument        a value given to a call cannot be used
    │   ├── UriError           a connection URI is malformed or its scheme unknown
    │   └── SpecError          a machine definition is wrong
    │       ├── XmlSyntaxError     not well-formed, or hostile
    │       ├── SchemaError        well-formed, but not what the schema allows
    │       └── SemanticError      allowed piece by piece, contradictory as a whole
    ├── PluginError            a plugin cannot be loaded or misbehaves
    │   └── PluginUnusable     a plugin is fine, but its hypervisor is not here
    ├── ConnectError           the hypervisor or daemon cannot be reached
    │   ├── AuthError          it can be reached and refuses us
    │   └── ConnectionClosed   the connection was closed
    ├── NotFound               no such domain, snapshot, pool …
    ├── AlreadyExists          name or UUID is taken
    ├── OperationInvalid       not possible in the domain's present state
    │   └── Busy               another operation holds the domain
    ├── Unsupported            the support table says no; carries its reason
    ├── Denied                 read-only connection, permissions, or a veto
    │   └── Vetoed             a plugin's hook refused
    ├── OperationFailed        it was tried and went wrong
    │   ├── HypervisorError    in the hypervisor's own words
    │   ├── Timeout            it did not happen in the time allowed
    │   ├── Cancelled          somebody cancelled the job
    │   ├── MigrationError     a phase of a migration failed
    │   └── StorageError       a file could not be read or written
    ├── SaveImageError         a save image is damaged, foreign or too new
    └── InternalError          a defect in polyvisor or a plugin

Each class has a stable ``code`` (a lower-case word that scripts may match) and
the libvirt error number (``virErrorNumber`` of ``libvirt/virterror.h``) that
stands for it on the wire.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "AlreadyExists",
    "AuthError",
    "Busy",
    "Cancelled",
    "ConfigError",
    "ConnectError",
    "ConnectionClosed",
    "Denied",
    "HypervisorError",
    "InternalError",
    "InvalidArgument",
    "MigrationError",
    "NotFound",
    "OperationFailed",
    "OperationInvalid",
    "PluginError",
    "PluginUnusable",
    "PolyvisorError",
    "SaveImageError",
    "SchemaError",
    "SemanticError",
    "SpecError",
    "StorageError",
    "Timeout",
    "Unsupported",
    "UriError",
    "Vetoed",
    "XmlSyntaxError",
]


class PolyvisorError(Exception):
    """Base of all errors.

    Args:
        message: what was tried, what is in the way and what to do, in one line.
        domain: name (or UUID text) of the domain concerned.
        operation: the verb that was tried, such as ``"start"``.
        plugin: name of the plugin that raised it.
        native_code: the hypervisor's own error code or class.
        native_message: the hypervisor's own words.
        libvirt_number: a more exact ``virErrorNumber`` than the class's own.
    """

    code: ClassVar[str] = "error"
    libvirt: ClassVar[int] = 1

    def __init__(
        self,
        message: str,
        *,
        domain: str | None = None,
        operation: str | None = None,
        plugin: str | None = None,
        native_code: str | int | None = None,
        native_message: str | None = None,
        libvirt_number: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.domain = domain
        self.operation = operation
        self.plugin = plugin
        self.native_code = native_code
        self.native_message = native_message
        self.libvirt_number: int = type(self).libvirt if libvirt_number is None else libvirt_number

    def __str__(self) -> str:
        return self.message

    def to_dict(self) -> dict[str, Any]:
        """Return the error as plain data for ``--json``; empty fields are left out."""
        data: dict[str, Any] = {"code": self.code, "message": self.message}
        data.update({name: value for name, value in vars(self).items() if value is not None})
        return data


class ConfigError(PolyvisorError):
    """``polyvisor.toml`` or an environment variable is wrong.

    Args:
        message: see :class:`PolyvisorError`.
        file: path of the file, if one is concerned.
        line: 1-based line in it.
        key: the dotted key.
    """

    code = "config"
    libvirt = 33

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        key: str | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.file = file
        self.line = line
        self.key = key


class InvalidArgument(PolyvisorError):
    """A value given to a call cannot be used."""

    code = "invalid-argument"
    libvirt = 8


class UriError(InvalidArgument):
    """A connection URI is malformed, or no plugin claims its scheme."""

    code = "uri"
    libvirt = 5


class SpecError(InvalidArgument):
    """A machine definition is wrong.

    Args:
        message: see :class:`PolyvisorError`; already names line and element.
        line: 1-based line in the document, if it came from text.
        element: path of the element, such as ``"domain/devices/disk[2]/target"``.
        fault: the fault alone, without place and advice.
        rule: the name of the rule that it breaks, if it is one of :mod:`polyvisor.model.check`.
        findings: all that is wrong, each a :class:`polyvisor.model.check.Finding`, where more
            than the first was looked for.
    """

    code = "spec"
    libvirt = 27

    def __init__(
        self,
        message: str,
        *,
        line: int | None = None,
        element: str | None = None,
        fault: str | None = None,
        rule: str | None = None,
        findings: tuple[Any, ...] = (),
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.line = line
        self.element = element
        self.fault = fault
        self.rule = rule
        self.findings = findings

    def to_dict(self) -> dict[str, Any]:
        """Return the error as plain data, its findings too."""
        data = super().to_dict()
        del data["findings"]
        if self.findings:
            data["findings"] = [finding.to_dict() for finding in self.findings]
        return data


class XmlSyntaxError(SpecError):
    """The text is not well-formed XML, or is refused as hostile."""

    code = "xml-syntax"
    libvirt = 35


class SchemaError(SpecError):
    """An element, attribute or value is not what the schema allows."""

    code = "schema"
    libvirt = 27


class SemanticError(SpecError):
    """Each piece is allowed, the whole contradicts itself."""

    code = "semantic"
    libvirt = 67


class PluginError(PolyvisorError):
    """A plugin cannot be loaded, clashes with another, or misbehaves."""

    code = "plugin"
    libvirt = 1


class PluginUnusable(PluginError):
    """The plugin is fine, but what it drives is not usable on this machine.

    The message says why and what to install.
    """

    code = "plugin-unusable"
    libvirt = 5


class ConnectError(PolyvisorError):
    """The hypervisor or daemon cannot be reached."""

    code = "connect"
    libvirt = 38


class AuthError(ConnectError):
    """The other side was reached and refuses us."""

    code = "auth"
    libvirt = 45


class ConnectionClosed(ConnectError):
    """The connection was closed, here or by the other side."""

    code = "closed"
    libvirt = 6


class NotFound(PolyvisorError):
    """There is no such object.

    Args:
        message: see :class:`PolyvisorError`.
        kind: ``"domain"``, ``"snapshot"``, ``"storage pool"`` …
        key: what was looked for.
    """

    code = "not-found"
    libvirt = 42

    #: ``virErrorNumber`` by kind of object.
    NUMBERS: ClassVar[dict[str, int]] = {
        "domain": 42,
        "network": 43,
        "storage pool": 49,
        "storage volume": 50,
        "node device": 53,
        "interface": 57,
        "device": 99,
        "nwfilter": 62,
        "secret": 66,
        "snapshot": 72,
        "checkpoint": 103,
    }

    def __init__(
        self, message: str, *, kind: str = "domain", key: str | None = None, **facts: Any
    ) -> None:
        facts.setdefault("libvirt_number", self.NUMBERS.get(kind, 1))
        super().__init__(message, **facts)
        self.kind = kind
        self.key = key


class AlreadyExists(PolyvisorError):
    """A name or UUID is already taken."""

    code = "already-exists"
    libvirt = 9


class OperationInvalid(PolyvisorError):
    """The operation is not possible in the domain's present state."""

    code = "operation-invalid"
    libvirt = 55


class Busy(OperationInvalid):
    """Another operation holds the domain; the message says which and whose."""

    code = "busy"
    libvirt = 68


class Unsupported(PolyvisorError):
    """The support table says no.

    Args:
        message: see :class:`PolyvisorError`.
        feature: key of the support table.
    """

    code = "unsupported"
    libvirt = 3

    def __init__(self, message: str, *, feature: str | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.feature = feature


class Denied(PolyvisorError):
    """Not allowed: a read-only connection, permissions, or policy."""

    code = "denied"
    libvirt = 29


class Vetoed(Denied):
    """A plugin's hook refused the operation."""

    code = "vetoed"
    libvirt = 70


class OperationFailed(PolyvisorError):
    """It was tried and went wrong."""

    code = "operation-failed"
    libvirt = 9


class HypervisorError(OperationFailed):
    """The hypervisor refused or failed; its own words are in ``native_message``."""

    code = "hypervisor"
    libvirt = 1


class Timeout(OperationFailed):
    """It did not happen in the time allowed."""

    code = "timeout"
    libvirt = 68


class Cancelled(OperationFailed):
    """The job was cancelled."""

    code = "cancelled"
    libvirt = 78


class MigrationError(OperationFailed):
    """A phase of a migration failed.

    Args:
        message: see :class:`PolyvisorError`; says what was undone.
        phase: ``"begin"``, ``"prepare"``, ``"perform"``, ``"finish"`` or ``"confirm"``.
        side: ``"source"`` or ``"destination"``.
        owner: which side holds the domain now: ``"source"`` or ``"destination"``.
    """

    code = "migration"
    libvirt = 9

    def __init__(
        self,
        message: str,
        *,
        phase: str | None = None,
        side: str | None = None,
        owner: str | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.phase = phase
        self.side = side
        self.owner = owner


class StorageError(OperationFailed):
    """A file could not be read or written; nothing half-written is left.

    Args:
        message: see :class:`PolyvisorError`.
        path: the file.
    """

    code = "storage"
    libvirt = 38

    def __init__(self, message: str, *, path: str | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.path = path


class SaveImageError(PolyvisorError):
    """A save image is damaged, of a foreign format, or too new.

    Args:
        message: see :class:`PolyvisorError`.
        path: the image.
        offset: byte position of the fault, from the start of the image.
    """

    code = "save-image"
    libvirt = 9

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        offset: int | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.path = path
        self.offset = offset


class InternalError(PolyvisorError):
    """A defect in polyvisor or in a plugin; worth a report."""

    code = "internal"
    libvirt = 1
