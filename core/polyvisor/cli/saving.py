"""Commands that save domains and bring them back."""

from __future__ import annotations

from polyvisor.cli._declare import argument, echo, option, path
from polyvisor.cli._session import command, domain_argument, session

__all__: list[str] = []

_SAVED_STATE = (
    option("--running", "state", flag_value="running", help="Let it run when restored."),
    option("--paused", "state", flag_value="paused", help="Leave it paused when restored."),
)
_BYPASS_CACHE = option("--bypass-cache", is_flag=True, help="Keep it out of the host's cache.")


def _paused(state: str | None) -> bool | None:
    return None if state is None else state == "paused"


@command("save")
@domain_argument
@argument("file", type=path())
@option("--xml", "xml", type=path(), help="Store the definition in this file instead.")
@_SAVED_STATE[0]
@_SAVED_STATE[1]
@_BYPASS_CACHE
@option("--verbose", is_flag=True, help="Show progress even without a terminal.")
def save_command(
    domain: str, file: str, xml: str | None, state: str | None, bypass_cache: bool, verbose: bool
) -> None:
    """Save the running DOMAIN to FILE and stop it."""
    from polyvisor.cli.domains import read_spec

    found = session().domain(domain)
    name = found.name
    spec = None if xml is None else read_spec(xml)
    with session().progress("save", verbose=verbose) as progress:
        found.save(
            file,
            spec=spec,
            paused=_paused(state),
            bypass_cache=bypass_cache,
            progress=progress,
        )
    session().done(f"Domain '{name}' saved to {file}", uuid=found.uuid, file=file)


@command("restore")
@argument("file", type=path())
@option("--xml", "xml", type=path(), help="Use the definition in this file instead.")
@_SAVED_STATE[0]
@_SAVED_STATE[1]
@_BYPASS_CACHE
@option("--verbose", is_flag=True, help="Show progress even without a terminal.")
def restore_command(
    file: str, xml: str | None, state: str | None, bypass_cache: bool, verbose: bool
) -> None:
    """Start the domain saved in FILE; the file stays."""
    from polyvisor.cli.domains import read_spec

    spec = None if xml is None else read_spec(xml)
    with session().progress("restore", verbose=verbose) as progress:
        found = session().connection.domains.restore(
            file,
            spec=spec,
            paused=_paused(state),
            bypass_cache=bypass_cache,
            progress=progress,
        )
    session().done(f"Domain restored from {file}", uuid=found.uuid, name=found.name)


@command("save-image-dumpxml")
@argument("file", type=path())
def save_image_dumpxml_command(file: str) -> None:
    """Print the definition inside the save image FILE."""
    import attrs

    from polyvisor.saveimage import inspect

    header = inspect(file)
    data = attrs.asdict(header, filter=lambda field, _value: field.name != "cookie")
    session().facts(data, lambda: echo(header.xml))


@command("save-image-define")
@argument("file", type=path())
@argument("xml", type=path())
@_SAVED_STATE[0]
@_SAVED_STATE[1]
def save_image_define_command(file: str, xml: str, state: str | None) -> None:
    """Put the definition in the file XML into the save image FILE."""
    from polyvisor.cli.domains import read_spec
    from polyvisor.saveimage import change_definition

    change_definition(file, read_spec(xml), running=_running(state))
    session().done(f"State file {file} updated.", file=file)


def _running(state: str | None) -> bool | None:
    return None if state is None else state == "running"


@command("save-image-edit")
@argument("file", type=path())
@_SAVED_STATE[0]
@_SAVED_STATE[1]
def save_image_edit_command(file: str, state: str | None) -> None:
    """Change the definition inside the save image FILE in an editor."""
    import sys

    import click

    from polyvisor.errors import InvalidArgument
    from polyvisor.model import DomainSpec
    from polyvisor.saveimage import change_definition, inspect

    text = inspect(file).xml
    while True:
        text = click.edit(text, extension=".xml") or text
        try:
            changed = change_definition(file, DomainSpec.from_xml(text), running=_running(state))
        except InvalidArgument as error:
            if not sys.stdin.isatty():
                raise
            echo(error.message, err=True)
            if not click.confirm("Edit it again?", err=True):
                raise
            continue
        break
    what = "edited." if changed else "not changed."
    session().done(f"State file {file} {what}", file=file, changed=changed)


@command("managedsave")
@domain_argument
@_SAVED_STATE[0]
@_SAVED_STATE[1]
@_BYPASS_CACHE
@option("--verbose", is_flag=True, help="Show progress even without a terminal.")
def managedsave_command(domain: str, state: str | None, bypass_cache: bool, verbose: bool) -> None:
    """Save DOMAIN and stop it; its next start goes on from there."""
    found = session().domain(domain)
    with session().progress("managed save", verbose=verbose) as progress:
        found.managed_save(paused=_paused(state), bypass_cache=bypass_cache, progress=progress)
    session().done(f"Domain '{found.name}' state saved by polyvisor", uuid=found.uuid)


@command("managedsave-remove")
@domain_argument
def managedsave_remove_command(domain: str) -> None:
    """Drop DOMAIN's managed save image."""
    found = session().domain(domain)
    had = found.has_managed_save
    found.remove_managed_save()
    what = "Removed managedsave image for domain" if had else "There is no image of domain"
    session().done(f"{what} '{found.name}'", uuid=found.uuid)
