"""Handles of secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.families import Collection, Defined

if TYPE_CHECKING:
    from polyvisor.connection import Connection
    from polyvisor.driver import Secrets
    from polyvisor.model import SecretSpec

__all__ = ["Secret", "SecretCollection"]


class Secret(Defined):
    """A handle of a secret."""

    __slots__ = ()

    _part: Secrets

    def spec(self) -> SecretSpec:
        """Return its definition, which does not hold its value."""
        from polyvisor.model import SecretSpec

        return SecretSpec.from_xml(self.xml())

    def value(self) -> bytes:
        """Return its value.

        Raises:
            NotFound: it has none yet.
            Denied: it is private, or the connection is read-only.
        """
        from polyvisor.errors import Denied

        self._connection._check_writable("get the value of a secret")
        if self.spec().private:
            raise Denied(
                f"the secret {self.key} is private: its value is given to domains, not to callers",
                libvirt_number=67,
            )
        return self._part.value(self.key)

    def set_value(self, value: bytes) -> None:
        """Give it a value."""
        self._connection._check_writable("set the value of a secret")
        self._part.set_value(self.key, value)


class SecretCollection(Collection[Secret]):
    """The secrets of a connection."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(
            connection, "secrets", lambda: connection._driver.secrets, Secret, _document
        )

    def for_use(self, kind: str, usage: str) -> Secret:
        """Return the secret for a use.

        Args:
            kind: ``"volume"``, ``"ceph"``, ``"iscsi"``, ``"tls"`` or ``"vtpm"``.
            usage: what it is for.

        Raises:
            NotFound: there is none.
        """
        part = self.part
        return Secret(self._connection, part, part.by_usage(kind, usage).key)


def _document() -> type[SecretSpec]:
    from polyvisor.model import SecretSpec

    return SecretSpec
