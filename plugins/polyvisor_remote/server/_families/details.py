"""What else is known of a domain: processors, words about it, whether it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_remote.server._families.arguments import check_flags
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure, unsupported

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.model import DomainSpec
    from polyvisor_remote.server.session import Session

# virDomainModificationImpact, and what virDomainVcpuFlags adds
_LIVE, _CONFIG, _MAXIMUM = 1, 2, 4
# virDomainMetadataType
_DESCRIPTION, _TITLE, _ELEMENT = 0, 1, 2
_INVALID, _NO_METADATA = 55, 80


def _spec(session: Session, uuid: UUID, flags: int) -> DomainSpec:
    """Return the live definition or the kept one, as flags say.

    Raises:
        Failure: there is no such definition.
    """
    domains = session.driver.domains
    one = domains.summary(uuid)
    if flags & _LIVE and not one.state.active:
        raise Failure(_INVALID, "domain is not running")
    if flags & _CONFIG and not one.persistent:
        raise Failure(_INVALID, "transient domains do not have any persistent config")
    return domains.spec(uuid, inactive=bool(flags & _CONFIG) or not one.state.active)


@serves("domain_get_vcpus_flags")
def get_vcpus_flags(session: Session, arguments: Any) -> tuple[int]:
    """Return how many vCPUs there are, or may be."""
    flags = arguments.flags
    check_flags(flags, _LIVE | _CONFIG | _MAXIMUM, "virDomainGetVcpusFlags")
    spec = _spec(session, session.uuid(arguments.dom), flags)
    if flags & _MAXIMUM and spec.vcpu is not None:
        return (spec.vcpu.count,)
    return (spec.vcpus,)


@serves("domain_get_max_vcpus")
def get_max_vcpus(session: Session, arguments: Any) -> tuple[int]:
    """Return how many vCPUs there may be."""
    spec = session.driver.domains.spec(session.uuid(arguments.dom))
    return (spec.vcpus if spec.vcpu is None else spec.vcpu.count,)


@serves("domain_get_metadata")
def get_metadata(session: Session, arguments: Any) -> tuple[str]:
    """Return the title, the description, or the element of a namespace."""
    check_flags(arguments.flags, _LIVE | _CONFIG, "virDomainGetMetadata")
    spec = _spec(session, session.uuid(arguments.dom), arguments.flags)
    if arguments.type == _ELEMENT:
        words = spec.metadata_of(arguments.uri or "")
    elif arguments.type in (_DESCRIPTION, _TITLE):
        words = spec.description if arguments.type == _DESCRIPTION else spec.title
    else:
        raise unsupported("domain_get_metadata")
    if words is None:
        raise Failure(_NO_METADATA, "Requested metadata element is not present")
    return (words,)


@serves("domain_set_metadata", slow=True)
def set_metadata(session: Session, arguments: Any) -> None:
    """Set the title, the description, or the element of a namespace."""
    flags = arguments.flags
    check_flags(flags, _LIVE | _CONFIG, "virDomainSetMetadata")
    part = session.driver.annotations
    if part is None or arguments.type not in (_DESCRIPTION, _TITLE, _ELEMENT):
        raise unsupported("domain_set_metadata")
    uuid = session.uuid(arguments.dom)
    active = session.driver.domains.status(uuid).state.active
    live = bool(flags & _LIVE) if flags else active
    config = bool(flags & _CONFIG) if flags else not active
    words = arguments.metadata
    if arguments.type == _ELEMENT:
        uri = arguments.uri or ""
        part.set_metadata(uuid, uri, arguments.key, words, live=live, config=config)
    else:
        kind = "title" if arguments.type == _TITLE else "description"
        part.set_text(uuid, kind, words, live=live, config=config)


@serves("domain_get_security_label")
def get_security_label(session: Session, arguments: Any) -> tuple[bytes, int]:
    """Return the empty label that libvirt has for guests that no security driver labels."""
    session.driver.domains.summary(session.uuid(arguments.dom))
    return b"", 0


@serves("domain_get_security_label_list")
def get_security_label_list(session: Session, arguments: Any) -> tuple[list[Any], int]:
    """Return no label: no security driver labels guests."""
    session.driver.domains.summary(session.uuid(arguments.dom))
    return [], 0


@serves("domain_get_control_info")
def get_control_info(session: Session, arguments: Any) -> tuple[int, int, int]:
    """Say whether the guest can be controlled: it can unless a job holds it."""
    check_flags(arguments.flags, 0, "virDomainGetControlInfo")
    uuid = session.uuid(arguments.dom)
    if not session.driver.domains.status(uuid).state.active:
        raise Failure(_INVALID, "domain is not running")
    job = session.driver.domains.job(uuid)
    return (0, 0, 0) if job is None else (1, 0, int(job.elapsed * 1000))
