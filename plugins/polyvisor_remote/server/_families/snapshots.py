"""Snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.driver import SnapshotOptions
from polyvisor.errors import NotFound
from polyvisor.jobs import Job
from polyvisor.model import SnapshotSpec
from polyvisor.support import SupportStatus
from polyvisor_remote.server._families.arguments import check_flags
from polyvisor_remote.server._families.moments import (
    in_moments_words,
    need_none,
    need_parent,
)
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import NO_SUPPORT, Failure, unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from polyvisor.driver import SnapshotInfo, Snapshots
    from polyvisor_remote.server.session import Session

# virDomainSnapshotListFlags; for the children of one, the first bit means all below it
_ROOTS = _DESCENDANTS = 1
_METADATA, _LEAVES, _NO_LEAVES, _NO_METADATA = 2, 4, 8, 16
_INACTIVE, _ACTIVE, _DISK_ONLY, _INTERNAL, _EXTERNAL, _TOPOLOGICAL = (
    1 << bit for bit in range(5, 11)
)
_LIST = 2047
# virDomainSnapshotRevertFlags
_RUNNING, _PAUSED, _FORCE = 1, 2, 4
# virDomainSnapshotDeleteFlags
_CHILDREN, _METADATA_ONLY, _CHILDREN_ONLY = 1, 2, 4
# virDomainSnapshotCreateFlags; all at once or nothing is how it always is, and every document
# is validated
_REDEFINE, _CURRENT, _FORGET, _HALT, _DISKS, _REUSE, _QUIESCE, _ATOMIC, _LIVE, _VALIDATE = (
    1 << bit for bit in range(10)
)
_CREATE = 1023


def _part(session: Session, procedure: str) -> Snapshots:
    part = session.driver.snapshots
    if part is None:
        raise unsupported(procedure)
    return part


def _find(session: Session, snap: Any, procedure: str) -> SnapshotInfo:
    part = _part(session, procedure)
    for one in part.list(session.uuid(snap.dom)):
        if one.name == snap.name:
            return one
    raise _missing(snap.name)


def _missing(name: str) -> NotFound:
    return NotFound(f"no domain snapshot with matching name '{name}'", kind="snapshot", key=name)


def _chosen(found: Sequence[SnapshotInfo], flags: int) -> list[SnapshotInfo]:
    """Return the snapshots that pass the filters; ours have metadata."""
    parents = {one.parent for one in found}
    tests: list[Callable[[SnapshotInfo], bool]] = []
    if flags & (_METADATA | _NO_METADATA) == _NO_METADATA:
        return []
    if (leaf := flags & (_LEAVES | _NO_LEAVES)) in (_LEAVES, _NO_LEAVES):
        tests.append(lambda one: (one.name not in parents) == (leaf == _LEAVES))
    if state := flags & (_INACTIVE | _ACTIVE | _DISK_ONLY):
        tests.append(lambda one: bool(state & _state_of(one)))
    if (place := flags & (_INTERNAL | _EXTERNAL)) in (_INTERNAL, _EXTERNAL):
        tests.append(lambda one: one.external == (place == _EXTERNAL))
    return [one for one in found if all(test(one) for test in tests)]


def _state_of(one: SnapshotInfo) -> int:
    return {"shut off": _INACTIVE, "disk-snapshot": _DISK_ONLY}.get(one.state, _ACTIVE)


def _listed(session: Session, dom: Any, flags: int, function: str) -> list[SnapshotInfo]:
    check_flags(flags, _LIST, function)
    found = _part(session, "domain_list_all_snapshots").list(session.uuid(dom))
    roots = [one for one in found if one.parent is None] if flags & _ROOTS else found
    names = {one.name for one in roots}
    return [one for one in _chosen(found, flags) if one.name in names]


def _below(session: Session, snap: Any, flags: int, function: str) -> list[SnapshotInfo]:
    check_flags(flags, _LIST, function)
    _find(session, snap, "domain_snapshot_list_all_children")
    found = _part(session, "domain_snapshot_list_all_children").list(session.uuid(snap.dom))
    wanted = {snap.name}
    below: set[str] = set()
    while wanted:
        fresh = {one.name for one in found if one.parent in wanted} - below
        below |= fresh
        wanted = fresh if flags & _DESCENDANTS else set()
    return [one for one in _chosen(found, flags) if one.name in below]


@serves("domain_snapshot_create_xml", slow=True)
def create_xml(session: Session, arguments: Any) -> tuple[Any]:
    """Take one."""
    flags = arguments.flags
    check_flags(flags, _CREATE, "virDomainSnapshotCreateXML")
    if flags & _FORGET and flags & _REDEFINE:
        raise Failure(8, "redefine and no metadata flags are mutually exclusive")
    options = SnapshotOptions(
        spec=SnapshotSpec.from_xml(arguments.xml_desc),
        disk_only=bool(flags & _DISKS),
        live=bool(flags & _LIVE),
        reuse=bool(flags & _REUSE),
        halt=bool(flags & _HALT),
        redefine=bool(flags & _REDEFINE),
        current=bool(flags & _CURRENT),
    )
    part = _part(session, "domain_snapshot_create_xml")
    if options.disk_only:
        _need_disk_only(session)
    uuid, wanted = session.uuid(arguments.dom), options.spec
    assert wanted is not None
    if options.redefine:
        known = [one.name for one in part.list(uuid)]
        need_parent(wanted.name, wanted.parent.name if wanted.parent else None, known)
    elif session.driver.checkpoints is not None:
        need_none(session.driver.checkpoints.list(uuid), "snapshot", "checkpoint")
    snapshots = session.connection.domains[uuid].snapshots
    with in_moments_words(wanted.name):
        made = snapshots.create(options=options, quiesce=bool(flags & _QUIESCE))
    if flags & _FORGET:
        snapshots.delete(made.name, metadata_only=True)
    return ((made.name, arguments.dom),)


def _need_disk_only(session: Session) -> None:
    """Refuse what the driver denies, before a domain is looked for."""
    answer = session.connection.support["snapshots.disk"]
    if answer.status in (SupportStatus.UNSUPPORTED, SupportStatus.NOT_IMPLEMENTED):
        raise Failure(NO_SUPPORT, answer.reason)


@serves("domain_snapshot_get_xml_desc")
def get_xml_desc(session: Session, arguments: Any) -> tuple[str]:
    """Return one as XML."""
    from polyvisor_remote.server._families.definitions import without_secrets

    check_flags(arguments.flags, 1, "virDomainSnapshotGetXMLDesc")
    _find(session, arguments.snap, "domain_snapshot_get_xml_desc")
    part = _part(session, "domain_snapshot_get_xml_desc")
    xml = part.xml(session.uuid(arguments.snap.dom), arguments.snap.name)
    if not arguments.flags and "passwd=" in xml:
        from polyvisor.connection import as_spec

        begin, end = xml.index("<domain"), xml.rindex("</domain>") + len("</domain>")
        if xml.startswith("<domainsnapshot", begin):
            begin = xml.index("<domain", begin + 1)
        xml = xml[:begin] + without_secrets(as_spec(xml[begin:end])).to_xml() + xml[end:]
    return (xml,)


@serves("domain_snapshot_num")
def num(session: Session, arguments: Any) -> tuple[int]:
    """Count them."""
    return (len(_listed(session, arguments.dom, arguments.flags, "virDomainSnapshotNum")),)


@serves("domain_snapshot_list_names")
def list_names(session: Session, arguments: Any) -> tuple[list[str]]:
    """Name them."""
    found = _listed(session, arguments.dom, arguments.flags, "virDomainSnapshotListNames")
    return ([one.name for one in found][: max(0, arguments.maxnames)],)


@serves("domain_list_all_snapshots")
def list_all(session: Session, arguments: Any) -> tuple[list[Any], int]:
    """Return them, or how many they are."""
    found = _listed(session, arguments.dom, arguments.flags, "virDomainListAllSnapshots")
    if not arguments.need_results:
        return [], len(found)
    return [(one.name, arguments.dom) for one in found], len(found)


@serves("domain_snapshot_num_children")
def num_children(session: Session, arguments: Any) -> tuple[int]:
    """Count those that grew from one."""
    flags = arguments.flags
    return (len(_below(session, arguments.snap, flags, "virDomainSnapshotNumChildren")),)


@serves("domain_snapshot_list_children_names")
def list_children_names(session: Session, arguments: Any) -> tuple[list[str]]:
    """Name those that grew from one."""
    flags = arguments.flags
    found = _below(session, arguments.snap, flags, "virDomainSnapshotListChildrenNames")
    return ([one.name for one in found][: max(0, arguments.maxnames)],)


@serves("domain_snapshot_list_all_children")
def list_all_children(session: Session, arguments: Any) -> tuple[list[Any], int]:
    """Return those that grew from one."""
    snap, flags = arguments.snapshot, arguments.flags
    found = _below(session, snap, flags, "virDomainSnapshotListAllChildren")
    if not arguments.need_results:
        return [], len(found)
    return [(one.name, snap.dom) for one in found], len(found)


@serves("domain_snapshot_lookup_by_name")
def lookup_by_name(session: Session, arguments: Any) -> tuple[Any]:
    """Find one."""
    check_flags(arguments.flags, 0, "virDomainSnapshotLookupByName")
    part = _part(session, "domain_snapshot_lookup_by_name")
    if all(one.name != arguments.name for one in part.list(session.uuid(arguments.dom))):
        raise _missing(arguments.name)
    return ((arguments.name, arguments.dom),)


def _current(session: Session, dom: Any, procedure: str) -> str | None:
    found = _part(session, procedure).list(session.uuid(dom))
    return next((one.name for one in found if one.current), None)


@serves("domain_has_current_snapshot")
def has_current(session: Session, arguments: Any) -> tuple[int]:
    """Say whether the domain's state grew from one."""
    check_flags(arguments.flags, 0, "virDomainHasCurrentSnapshot")
    name = _current(session, arguments.dom, "domain_has_current_snapshot")
    return (int(name is not None),)


@serves("domain_snapshot_current")
def current(session: Session, arguments: Any) -> tuple[Any]:
    """Return the one that the domain's state grew from."""
    check_flags(arguments.flags, 0, "virDomainSnapshotCurrent")
    name = _current(session, arguments.dom, "domain_snapshot_current")
    if name is None:
        raise Failure(72, "the domain does not have a current snapshot")
    return ((name, arguments.dom),)


@serves("domain_snapshot_is_current")
def is_current(session: Session, arguments: Any) -> tuple[int]:
    """Say whether it is that one."""
    check_flags(arguments.flags, 0, "virDomainSnapshotIsCurrent")
    return (int(_find(session, arguments.snap, "domain_snapshot_is_current").current),)


@serves("domain_snapshot_has_metadata")
def has_metadata(session: Session, arguments: Any) -> tuple[int]:
    """Say that it is described beside its data, as all of ours are."""
    check_flags(arguments.flags, 0, "virDomainSnapshotHasMetadata")
    _find(session, arguments.snap, "domain_snapshot_has_metadata")
    return (1,)


@serves("domain_snapshot_get_parent")
def get_parent(session: Session, arguments: Any) -> tuple[Any]:
    """Return the one that it grew from."""
    check_flags(arguments.flags, 0, "virDomainSnapshotGetParent")
    snap = arguments.snap
    found = _find(session, snap, "domain_snapshot_get_parent")
    if found.parent is None:
        raise Failure(72, f"snapshot '{snap.name}' does not have a parent")
    return ((found.parent, snap.dom),)


@serves("domain_revert_to_snapshot", slow=True)
def revert(session: Session, arguments: Any) -> None:
    """Go back to one."""
    flags = arguments.flags
    check_flags(flags, _RUNNING | _PAUSED | _FORCE, "virDomainRevertToSnapshot")
    if flags & _RUNNING and flags & _PAUSED:
        raise Failure(8, "running and paused flags are mutually exclusive")
    _find(session, arguments.snap, "domain_revert_to_snapshot")
    paused = bool(flags & _PAUSED) if flags & (_RUNNING | _PAUSED) else None
    part = _part(session, "domain_revert_to_snapshot")
    with Job("snapshot revert") as job:
        part.revert(session.uuid(arguments.snap.dom), arguments.snap.name, job, paused=paused)


@serves("domain_snapshot_delete", slow=True)
def delete(session: Session, arguments: Any) -> None:
    """Remove one, those that grew from it, or both."""
    flags, snap = arguments.flags, arguments.snap
    check_flags(flags, _CHILDREN | _METADATA_ONLY | _CHILDREN_ONLY, "virDomainSnapshotDelete")
    metadata_only = bool(flags & _METADATA_ONLY)
    part = _part(session, "domain_snapshot_delete")
    _find(session, snap, "domain_snapshot_delete")
    uuid = session.uuid(snap.dom)
    if not flags & _CHILDREN_ONLY:
        children = bool(flags & _CHILDREN)
        part.delete(uuid, snap.name, children=children, metadata_only=metadata_only)
        return
    for one in part.list(uuid):
        if one.parent == snap.name:
            part.delete(uuid, one.name, children=True, metadata_only=metadata_only)
