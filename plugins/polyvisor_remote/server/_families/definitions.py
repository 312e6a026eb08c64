"""Definitions of domains: given, asked for, forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from polyvisor.connection import as_spec
from polyvisor.driver import UndefineOptions
from polyvisor.errors import AlreadyExists
from polyvisor_remote.server._families.arguments import check_flags, reference
from polyvisor_remote.server._families.life import destroy_at_end, options
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure, unsupported

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor_remote.server.session import Session

# virDomainXMLFlags
_SECURE, _INACTIVE, _UPDATE_CPU, _MIGRATABLE = 1, 2, 4, 8
# virDomainUndefineFlagsValues
_MANAGED_SAVE, _SNAPSHOTS, _NVRAM, _KEEP_NVRAM, _CHECKPOINTS, _TPM, _KEEP_TPM = (
    1 << bit for bit in range(7)
)
_VALIDATE = 1
_INVALID = 55


def without_secrets(spec: DomainSpec) -> DomainSpec:
    """Return a definition without the passwords of its displays."""
    devices = spec.devices
    if devices is None:
        return spec
    hidden = [
        attrs.evolve(one, passwd=None) if getattr(one, "passwd", None) is not None else one
        for one in devices.graphics
    ]
    return attrs.evolve(spec, devices=attrs.evolve(devices, graphics=tuple(hidden)))


def shown(xml: str, *, secure: bool) -> str:
    """Return a definition as text, with its secrets only if asked for."""
    if secure or "passwd=" not in xml:
        return xml
    return without_secrets(as_spec(xml)).to_xml()


@serves("domain_get_xml_desc")
def get_xml_desc(session: Session, arguments: Any) -> tuple[str]:
    """Return a definition."""
    flags = arguments.flags
    check_flags(flags, _SECURE | _INACTIVE | _UPDATE_CPU | _MIGRATABLE, "virDomainGetXMLDesc")
    xml = session.driver.domains.xml(session.uuid(arguments.dom), inactive=bool(flags & _INACTIVE))
    return (shown(xml, secure=bool(flags & _SECURE)),)


@serves("domain_define_xml", slow=True)
def define_xml(session: Session, arguments: Any) -> tuple[Any]:
    """Keep a definition."""
    return (reference(session, session.driver.domains.define(as_spec(arguments.xml))),)


@serves("domain_define_xml_flags", slow=True)
def define_xml_flags(session: Session, arguments: Any) -> tuple[Any]:
    """Keep a definition; every one is validated."""
    check_flags(arguments.flags, _VALIDATE, "virDomainDefineXMLFlags")
    return (reference(session, session.driver.domains.define(as_spec(arguments.xml))),)


@serves("domain_create_xml", slow=True)
def create_xml(session: Session, arguments: Any) -> tuple[Any]:
    """Start a transient domain."""
    choice = options(arguments.flags, "virDomainCreateXML")
    uuid = session.driver.domains.create(as_spec(arguments.xml_desc), choice)
    destroy_at_end(session, uuid, arguments.flags)
    return (reference(session, uuid),)


@serves("domain_undefine", slow=True)
def undefine(session: Session, arguments: Any) -> None:
    """Forget a definition."""
    session.driver.domains.undefine(session.uuid(arguments.dom), UndefineOptions())


@serves("domain_undefine_flags", slow=True)
def undefine_flags(session: Session, arguments: Any) -> None:
    """Forget a definition and more; what keeps nothing of a kind has nothing to forget."""
    flags = arguments.flags
    known = _MANAGED_SAVE | _SNAPSHOTS | _NVRAM | _KEEP_NVRAM | _CHECKPOINTS | _TPM | _KEEP_TPM
    check_flags(flags, known, "virDomainUndefineFlags")
    session.driver.domains.undefine(
        session.uuid(arguments.dom),
        UndefineOptions(
            managed_save=bool(flags & _MANAGED_SAVE),
            snapshots=bool(flags & _SNAPSHOTS),
            checkpoints=bool(flags & _CHECKPOINTS),
            nvram=_choice(flags, _NVRAM, _KEEP_NVRAM, "undefine and keep nvram"),
            tpm=_choice(flags, _TPM, _KEEP_TPM, "undefine and keep TPM"),
        ),
    )


@serves("domain_rename", slow=True)
def rename(session: Session, arguments: Any) -> tuple[int]:
    """Give a domain that is off another name."""
    check_flags(arguments.flags, 0, "virDomainRename")
    if not session.connection.support.usable("domains.rename"):
        raise unsupported("domain_rename")
    uuid, name = session.uuid(arguments.dom), arguments.new_name
    if not name:
        raise Failure(8, "new_name in virDomainRename must not be NULL")
    if "/" in name:
        raise Failure(27, f"name {name} cannot contain '/'")
    domains = session.driver.domains
    now = domains.summary(uuid)
    if now.state.active:
        raise Failure(_INVALID, "cannot rename active domain")
    if now.managed_save:
        raise Failure(_INVALID, "domain with a managed saved state can't be renamed")
    if now.name == name:
        raise Failure(_INVALID, "Can't rename domain to itself")
    try:
        domains.rename(uuid, name)
    except AlreadyExists as error:
        said = f"domain with name '{name}' already exists"
        raise Failure(_INVALID, said) from error
    return (0,)


def _choice(flags: int, yes: int, no: int, what: str) -> bool | None:
    if flags & yes and flags & no:
        raise Failure(8, f"{what} flags are mutually exclusive")
    return bool(flags & yes) if flags & (yes | no) else None
