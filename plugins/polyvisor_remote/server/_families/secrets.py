"""Secrets of the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from polyvisor.errors import NotFound
from polyvisor.model import SecretSpec
from polyvisor_remote.server._families.objects import counted
from polyvisor_remote.server._families.routine import Family
from polyvisor_remote.server.failures import Failure

if TYPE_CHECKING:
    from polyvisor.driver import Secrets
    from polyvisor.objects import ObjectSummary

#: ``virSecretUsageType``.
_USAGES = ("none", "volume", "ceph", "iscsi", "tls", "vtpm")
# virConnectListAllSecretsFlags
_EPHEMERAL, _NO_EPHEMERAL, _PRIVATE, _NO_PRIVATE = 1, 2, 4, 8


def secret_reference(part: Secrets, key: str) -> tuple[bytes, int, str]:
    """Return a secret as clients know it: UUID, and what it is for."""
    spec = _spec(part, key)
    usage = spec.usage
    kind = _USAGES.index(usage.type) if usage is not None else 0
    return UUID(key).bytes, kind, (usage.id or "") if usage is not None else ""


def _spec(part: Secrets, key: str) -> SecretSpec:
    return SecretSpec.from_xml(part.xml(key))


def _refer(part: Secrets, one: ObjectSummary) -> tuple[bytes, int, str]:
    return secret_reference(part, one.key)


SECRETS: Family[Secrets] = Family(
    "secret", "secrets", "secret", lambda driver: driver.secrets, refer=_refer
)
SECRETS.serve_uuid_lookup()
SECRETS.serve_definitions(SecretSpec, inactive_xml=False, flagged=False)


@SECRETS.serves("connect_list_all_secrets", flags=None)
def list_all(part: Secrets, arguments: Any) -> tuple[list[Any], int]:
    """Return those that flags choose."""
    flags = arguments.flags
    found = []
    for one in part.summaries():
        spec = _spec(part, one.key)
        passes = [
            yes if value else no
            for yes, no, value in (
                (_EPHEMERAL, _NO_EPHEMERAL, spec.ephemeral),
                (_PRIVATE, _NO_PRIVATE, spec.private),
            )
            if flags & (yes | no)
        ]
        if all(flags & bit for bit in passes):
            found.append(_refer(part, one))
    return counted(found, arguments, 15, "connect_list_all_secrets")


@SECRETS.serves("connect_num_of_secrets")
def num(part: Secrets, arguments: Any) -> tuple[int]:
    """Count them."""
    return (len(part.summaries()),)


@SECRETS.serves("connect_list_secrets")
def list_uuids(part: Secrets, arguments: Any) -> tuple[list[str]]:
    """Return their UUIDs as text."""
    return ([one.key for one in part.summaries()][: max(0, arguments.maxuuids)],)


@SECRETS.serves("secret_lookup_by_usage")
def lookup_by_usage(part: Secrets, arguments: Any) -> tuple[Any]:
    """Find the one for a use."""
    kind, usage = arguments.usageType, arguments.usageID
    try:
        if not 0 < kind < len(_USAGES):
            raise NotFound(f"no use has the number {kind}", kind="secret")
        return (_refer(part, part.by_usage(_USAGES[kind], usage)),)
    except NotFound as error:
        raise SECRETS.missing(f"usage '{usage}'", error) from error


@SECRETS.serves("secret_set_value", slow=True)
def set_value(part: Secrets, arguments: Any) -> None:
    """Give one a value."""
    part.set_value(SECRETS.key(arguments), arguments.value)


@SECRETS.serves("secret_get_value")
def get_value(part: Secrets, arguments: Any) -> tuple[bytes]:
    """Return the value of one that is not private."""
    key = SECRETS.key(arguments)
    if _spec(part, key).private:
        raise Failure(73, "secret is private")
    return (part.value(key),)
