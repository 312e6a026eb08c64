"""Changing a definition in an editor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.cli._declare import choice, option
from polyvisor.cli._documents import FORMS, written
from polyvisor.cli._editing import edited
from polyvisor.cli._session import command, domain_argument, session
from polyvisor.errors import OperationInvalid

if TYPE_CHECKING:
    from polyvisor.domain import Domain

__all__: list[str] = []


@command("edit")
@domain_argument
@option("--as", "form", type=choice(*FORMS), default="xml", help="The form to edit it in.")
@option("--validate", is_flag=True, help="Hold it against libvirt's RELAX NG schema too.")
def edit_command(domain: str, form: str, validate: bool) -> None:
    """Change DOMAIN's definition in an editor ($VISUAL, $EDITOR).

    A text that is refused is opened again; if it is given up, it stays in a file that is named.
    """
    found = session().domain(domain)
    name, before = found.name, found.xml(inactive=True)
    text = written(found.spec(inactive=True), form)

    def keep(now: bytes) -> None:
        _define(found, before, now, form, validate)

    how = "edited" if edited(name, text, form, keep) else "not changed"
    session().done(f"Domain '{name}' {how}", uuid=found.uuid)


def _define(found: Domain, before: str, now: bytes, form: str, validate: bool) -> None:
    from polyvisor.model import DomainSpec

    source: DomainSpec | bytes = now
    if form != "xml":
        source = DomainSpec.from_toml(now) if form == "toml" else DomainSpec.from_json(now)
    spec = source if isinstance(source, DomainSpec) else DomainSpec.from_xml(source)
    if spec.uuid != found.uuid:
        raise OperationInvalid("the UUID is another now; a domain keeps its own")
    if found.xml(inactive=True) != before:
        raise OperationInvalid("somebody else has changed the definition meanwhile")
    session().connection.domains.define(source, validate=validate)
