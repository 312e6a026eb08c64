"""Saving domains into images and restoring them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor.connection import as_spec
from polyvisor.driver import SaveOptions
from polyvisor.jobs import Job
from polyvisor_remote.server._families.arguments import check_flags
from polyvisor_remote.server._families.definitions import shown
from polyvisor_remote.server.dispatch import serves
from polyvisor_remote.server.failures import Failure, function_name, unsupported
from polyvisor_remote.wire import mapping

if TYPE_CHECKING:
    from polyvisor.driver import Save
    from polyvisor_remote.server.session import Session

# virDomainSaveRestoreFlags
_BYPASS_CACHE, _RUNNING, _PAUSED = 1, 2, 4
_KNOWN = _BYPASS_CACHE | _RUNNING | _PAUSED


def _part(session: Session, procedure: str) -> Save:
    part = session.driver.save
    if part is None:
        raise unsupported(procedure)
    return part


def _options(flags: int, xml: str | None, function: str) -> SaveOptions:
    check_flags(flags, _KNOWN, function)
    if flags & _RUNNING and flags & _PAUSED:
        raise Failure(8, "running and paused flags are mutually exclusive")
    paused = bool(flags & _PAUSED) if flags & (_RUNNING | _PAUSED) else None
    return SaveOptions(
        paused=paused,
        spec=None if xml is None else as_spec(xml),
        bypass_cache=bool(flags & _BYPASS_CACHE),
    )


def _save(session: Session, dom: Any, path: str, options: SaveOptions) -> None:
    with Job("save") as job:
        _part(session, "domain_save").save(session.uuid(dom), path, options, job)


def _restore(session: Session, path: str, options: SaveOptions) -> None:
    with Job("restore") as job:
        _part(session, "domain_restore").restore(path, options, job)


@serves("domain_save", slow=True)
def save(session: Session, arguments: Any) -> None:
    """Save one and stop it."""
    _save(session, arguments.dom, arguments.to, SaveOptions())


@serves("domain_save_flags", slow=True)
def save_flags(session: Session, arguments: Any) -> None:
    """Save one in a certain way."""
    options = _options(arguments.flags, arguments.dxml, "virDomainSaveFlags")
    _save(session, arguments.dom, arguments.to, options)


@serves("domain_save_params", slow=True)
def save_params(session: Session, arguments: Any) -> None:
    """Save one in a way that named parameters say."""
    given = mapping(arguments.params)
    options = _options(arguments.flags, given.get("dxml"), "virDomainSaveParams")
    if "file" not in given:
        raise Failure(8, "virDomainSaveParams: no file is named")
    _save(session, arguments.dom, given["file"], options)


@serves("domain_restore", slow=True)
def restore(session: Session, arguments: Any) -> None:
    """Start what is saved in an image."""
    _restore(session, arguments.from_, SaveOptions())


@serves("domain_restore_flags", slow=True)
def restore_flags(session: Session, arguments: Any) -> None:
    """Start what is saved in an image, in a certain way."""
    options = _options(arguments.flags, arguments.dxml, "virDomainRestoreFlags")
    _restore(session, arguments.from_, options)


@serves("domain_restore_params", slow=True)
def restore_params(session: Session, arguments: Any) -> None:
    """Start what is saved in an image, in a way that named parameters say."""
    given = mapping(arguments.params)
    options = _options(arguments.flags, given.get("dxml"), "virDomainRestoreParams")
    if "file" not in given:
        raise Failure(8, "virDomainRestoreParams: no file is named")
    _restore(session, given["file"], options)


@serves("domain_save_image_get_xml_desc")
def save_image_get_xml_desc(session: Session, arguments: Any) -> tuple[str]:
    """Return the definition in an image."""
    from polyvisor.saveimage import inspect

    check_flags(arguments.flags, 1, "virDomainSaveImageGetXMLDesc")
    _part(session, "domain_save_image_get_xml_desc")
    return (shown(inspect(arguments.file).xml, secure=bool(arguments.flags)),)


def _change(session: Session, path: str, xml: str | None, flags: int, procedure: str) -> None:
    """Put another definition, or another state to come back in, into an image."""
    from polyvisor.saveimage import change_definition, inspect

    options = _options(flags & ~_BYPASS_CACHE, xml, function_name(procedure))
    check_flags(flags, _RUNNING | _PAUSED, function_name(procedure))
    spec = options.spec or as_spec(inspect(path).xml)
    paused = options.paused
    change_definition(path, spec, running=None if paused is None else not paused)


@serves("domain_save_image_define_xml", slow=True)
def save_image_define_xml(session: Session, arguments: Any) -> None:
    """Put another definition into an image."""
    _part(session, "domain_save_image_define_xml")
    procedure = "domain_save_image_define_xml"
    _change(session, arguments.file, arguments.dxml, arguments.flags, procedure)


@serves("domain_managed_save_define_xml", slow=True)
def managed_save_define_xml(session: Session, arguments: Any) -> None:
    """Put another definition into the managed save image."""
    procedure = "domain_managed_save_define_xml"
    path = _part(session, procedure).managed_save_path(session.uuid(arguments.dom))
    if path is None:
        raise Failure(55, "domain does not have managed save image")
    _change(session, path, arguments.dxml, arguments.flags, procedure)


@serves("domain_managed_save", slow=True)
def managed_save(session: Session, arguments: Any) -> None:
    """Save one so that its next start resumes it."""
    options = _options(arguments.flags, None, "virDomainManagedSave")
    with Job("managed save") as job:
        part = _part(session, "domain_managed_save")
        part.managed_save(session.uuid(arguments.dom), options, job)


@serves("domain_has_managed_save_image")
def has_managed_save_image(session: Session, arguments: Any) -> tuple[int]:
    """Say whether the next start resumes."""
    check_flags(arguments.flags, 0, "virDomainHasManagedSaveImage")
    path = _part(session, "domain_has_managed_save_image").managed_save_path(
        session.uuid(arguments.dom)
    )
    return (int(path is not None),)


@serves("domain_managed_save_remove", slow=True)
def managed_save_remove(session: Session, arguments: Any) -> None:
    """Drop the image."""
    check_flags(arguments.flags, 0, "virDomainManagedSaveRemove")
    _part(session, "domain_managed_save_remove").remove_managed_save(session.uuid(arguments.dom))


@serves("domain_managed_save_get_xml_desc")
def managed_save_get_xml_desc(session: Session, arguments: Any) -> tuple[str]:
    """Return the definition in the image."""
    from polyvisor.saveimage import inspect

    check_flags(arguments.flags, 1, "virDomainManagedSaveGetXMLDesc")
    part = _part(session, "domain_managed_save_get_xml_desc")
    path = part.managed_save_path(session.uuid(arguments.dom))
    if path is None:
        raise Failure(55, "domain does not have managed save image")
    return (shown(inspect(path).xml, secure=bool(arguments.flags)),)
