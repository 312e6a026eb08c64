"""Checkpoints and backups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.errors import NotFound
from polyvisor_remote.server._families.arguments import check_flags, need
from polyvisor_remote.server._families.definitions import without_secrets
from polyvisor_remote.server._families.moments import (
    in_moments_words,
    need_none,
    need_parent,
)
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure, function_name

if TYPE_CHECKING:
    from polyvisor.driver import Checkpoints
    from polyvisor.model import CheckpointSpec
    from polyvisor_remote.server.session import Session

# virDomainCheckpointCreateFlags
_REDEFINE, _QUIESCE, _VALIDATE = 1, 2, 4
# virDomainCheckpointXMLFlags
_SECURE, _NO_DOMAIN, _SIZE = 1, 2, 4
# virDomainCheckpointListFlags; for the children of one, the first bit means all below it
_ROOTS = _DESCENDANTS = 1
_TOPOLOGICAL, _LEAVES, _NO_LEAVES = 2, 4, 8
_LIST = 15
# virDomainCheckpointDeleteFlags
_CHILDREN, _METADATA_ONLY, _CHILDREN_ONLY = 1, 2, 4
#: ``VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL``.
_REUSE = 1
#: ``VIR_ERR_NO_DOMAIN_CHECKPOINT`` and ``VIR_ERR_NO_DOMAIN_BACKUP``.
_NO_CHECKPOINT, _NO_BACKUP = 103, 104


def _part(session: Session, procedure: str) -> Checkpoints:
    return need(session.driver.checkpoints, procedure)


def _parents(session: Session, dom: Any, procedure: str) -> dict[str, str | None]:
    """Return the domain's checkpoints, each with its parent, parents first."""
    part, uuid = _part(session, procedure), session.uuid(dom)
    found: dict[str, str | None] = {}
    for name in part.list(uuid):
        parent = _read(part.xml(uuid, name)).parent
        found[name] = None if parent is None else parent.name
    return found


def _read(xml: str) -> CheckpointSpec:
    from polyvisor.model import CheckpointSpec

    return CheckpointSpec.from_xml(xml)


def _need_known(known: dict[str, str | None], name: str) -> None:
    if name not in known:
        raise NotFound(
            f"no domain checkpoint with matching name '{name}'", kind="checkpoint", key=name
        )


def _chosen(found: dict[str, str | None], among: set[str], flags: int) -> list[str]:
    parents = set(found.values())
    leaf = flags & (_LEAVES | _NO_LEAVES)
    return [
        name
        for name in found
        if name in among
        and (leaf not in (_LEAVES, _NO_LEAVES) or (name not in parents) == (leaf == _LEAVES))
    ]


@serves("domain_checkpoint_create_xml", slow=True)
def create_xml(session: Session, arguments: Any) -> tuple[Any]:
    """Make one, or take one back that was read from elsewhere."""
    flags = arguments.flags
    check_flags(flags, _REDEFINE | _QUIESCE | _VALIDATE, "virDomainCheckpointCreateXML")
    _part(session, "domain_checkpoint_create_xml")
    if flags & _REDEFINE and flags & _QUIESCE:
        raise Failure(8, "redefine and quiesce flags are mutually exclusive")
    uuid, wanted = session.uuid(arguments.dom), _read(arguments.xml_desc)
    if flags & _REDEFINE:
        known = _parents(session, arguments.dom, "domain_checkpoint_create_xml")
        need_parent(wanted.name, wanted.parent.name if wanted.parent else None, known)
    elif session.driver.snapshots is not None:
        need_none(session.driver.snapshots.list(uuid), "checkpoint", "snapshot")
    with in_moments_words(wanted.name):
        name = session.connection.domains[uuid].checkpoints.create(
            arguments.xml_desc, redefine=bool(flags & _REDEFINE), quiesce=bool(flags & _QUIESCE)
        )
    return ((name, arguments.dom),)


@serves("domain_checkpoint_get_xml_desc", slow=True)
def get_xml_desc(session: Session, arguments: Any) -> tuple[str]:
    """Return one as XML."""
    import attrs

    from polyvisor.model import DomainSpec

    flags, one = arguments.flags, arguments.checkpoint
    check_flags(flags, _SECURE | _NO_DOMAIN | _SIZE, "virDomainCheckpointGetXMLDesc")
    part, uuid = _part(session, "domain_checkpoint_get_xml_desc"), session.uuid(one.dom)
    xml = part.xml(uuid, one.name, sizes=bool(flags & _SIZE))
    if flags & _NO_DOMAIN:
        return (attrs.evolve(_read(xml), domain=None).to_xml(),)
    if not flags & _SECURE and "passwd=" in xml:
        spec = _read(xml)
        definition = spec.domain
        if definition is not None and isinstance(definition, DomainSpec):
            spec = attrs.evolve(spec, domain=without_secrets(definition))
        return (spec.to_xml(),)
    return (xml,)


@serves("domain_list_all_checkpoints")
def list_all(session: Session, arguments: Any) -> tuple[list[Any], int]:
    """Return them, or how many they are."""
    check_flags(arguments.flags, _LIST, "virDomainListAllCheckpoints")
    found = _parents(session, arguments.dom, "domain_list_all_checkpoints")
    roots = {name for name, parent in found.items() if parent is None}
    among = roots if arguments.flags & _ROOTS else set(found)
    chosen = [(name, arguments.dom) for name in _chosen(found, among, arguments.flags)]
    return (chosen if arguments.need_results else []), len(chosen)


@serves("domain_checkpoint_list_all_children")
def list_all_children(session: Session, arguments: Any) -> tuple[list[Any], int]:
    """Return those that came after one."""
    one, flags = arguments.checkpoint, arguments.flags
    check_flags(flags, _LIST, "virDomainCheckpointListAllChildren")
    found = _parents(session, one.dom, "domain_checkpoint_list_all_children")
    _need_known(found, one.name)
    among: set[str] = set()
    for name, parent in found.items():
        if parent == one.name or (flags & _DESCENDANTS and parent in among):
            among.add(name)
    chosen = [(name, one.dom) for name in _chosen(found, among, flags)]
    return (chosen if arguments.need_results else []), len(chosen)


@serves("domain_checkpoint_lookup_by_name")
def lookup_by_name(session: Session, arguments: Any) -> tuple[Any]:
    """Find one."""
    check_flags(arguments.flags, 0, "virDomainCheckpointLookupByName")
    found = _parents(session, arguments.dom, "domain_checkpoint_lookup_by_name")
    _need_known(found, arguments.name)
    return ((arguments.name, arguments.dom),)


@serves("domain_checkpoint_get_parent")
def get_parent(session: Session, arguments: Any) -> tuple[Any]:
    """Return the one that came before."""
    one = arguments.checkpoint
    check_flags(arguments.flags, 0, "virDomainCheckpointGetParent")
    found = _parents(session, one.dom, "domain_checkpoint_get_parent")
    _need_known(found, one.name)
    if (parent := found[one.name]) is None:
        raise Failure(_NO_CHECKPOINT, f"checkpoint '{one.name}' does not have a parent")
    return ((parent, one.dom),)


@serves("domain_checkpoint_delete", slow=True)
def delete(session: Session, arguments: Any) -> None:
    """Remove one, those that came after it, or both."""
    flags, one = arguments.flags, arguments.checkpoint
    check_flags(flags, _CHILDREN | _METADATA_ONLY | _CHILDREN_ONLY, "virDomainCheckpointDelete")
    if flags & _CHILDREN and flags & _CHILDREN_ONLY:
        raise Failure(8, "children and children_only flags are mutually exclusive")
    part, uuid = _part(session, "domain_checkpoint_delete"), session.uuid(one.dom)
    found = _parents(session, one.dom, "domain_checkpoint_delete")
    _need_known(found, one.name)
    only = bool(flags & _METADATA_ONLY)
    if not flags & _CHILDREN_ONLY:
        part.delete(uuid, one.name, children=bool(flags & _CHILDREN), metadata_only=only)
        return
    for name, parent in found.items():
        if parent == one.name:
            part.delete(uuid, name, children=True, metadata_only=only)


@serves("domain_backup_begin", slow=True)
def backup_begin(session: Session, arguments: Any) -> None:
    """Begin a backup."""
    check_flags(arguments.flags, _REUSE, function_name("domain_backup_begin"))
    need(session.driver.backups, "domain_backup_begin").begin(
        session.uuid(arguments.dom),
        arguments.backup_xml,
        arguments.checkpoint_xml,
        reuse=bool(arguments.flags & _REUSE),
    )


@serves("domain_backup_get_xml_desc")
def backup_get_xml_desc(session: Session, arguments: Any) -> tuple[str]:
    """Return the backup that goes on."""
    check_flags(arguments.flags, 0, "virDomainBackupGetXMLDesc")
    part = need(session.driver.backups, "domain_backup_get_xml_desc")
    try:
        return (part.xml(session.uuid(arguments.dom)),)
    except NotFound as error:
        raise Failure(_NO_BACKUP, error.message) from error
