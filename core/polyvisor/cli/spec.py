"""Commands for definitions by themselves: convert, compare, check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polyvisor.cli._declare import group
from polyvisor.cli._documents import FORMS, Loaded, forms, kinds, load, written
from polyvisor.cli._session import command, session
from polyvisor.errors import SpecError

if TYPE_CHECKING:
    from polyvisor.model.check import Finding
    from polyvisor.model.diff import Change

__all__: list[str] = []


@group("spec")
def spec_command() -> None:
    """Convert, compare and check definitions; no host is needed.

    FILE is XML, TOML, JSON or a configuration that a plugin knows, "-" is standard input.
    """


class _Form(click.ParamType[str]):
    """A form of definitions; those of plugins are asked for when they are needed."""

    name = "form"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the form's name, if there is one of that name."""
        if value not in FORMS and value not in forms():
            self.fail(f"there is no form {value!r}; there are {', '.join(forms())}", param, ctx)
        return str(value)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return what help shows."""
        return "[" + "|".join((*FORMS, "…")) + "]"


def _from_option(function: Any) -> Any:
    function = click.option(
        "--kind",
        metavar="TAG",
        help="What TOML or JSON defines, such as network.",
    )(function)
    return click.option(
        "--from", "form", type=_Form(), help="The form of FILE, if its name does not say it."
    )(function)


@command("convert")
@click.argument("file", type=click.Path())
@click.option("--to", "wanted", type=_Form(), required=True, help="The form to write.")
@_from_option
@click.option("--normalise", is_flag=True, help="Make explicit what libvirt would.")
def convert_command(
    file: str, wanted: str, form: str | None, kind: str | None, normalise: bool
) -> None:
    """Print FILE in another form; nothing is lost between XML, TOML and JSON."""
    value = load(file, form, kind).value
    if normalise:
        from polyvisor.model import DomainSpec

        value = value.normalised() if isinstance(value, DomainSpec) else value.definition()
    text = written(value, wanted)
    if wanted == "json":
        click.echo(text, nl=False)
    else:
        session().facts({wanted: text}, lambda: click.echo(text, nl=not text.endswith("\n")))


@command("diff")
@click.argument("old", type=click.Path())
@click.argument("new", type=click.Path())
@_from_option
@click.option("--abi", is_flag=True, help="Only the first difference that a guest would notice.")
def diff_command(old: str, new: str, form: str | None, kind: str | None, abi: bool) -> None:
    """Print what must change for OLD to become NEW, and what of it a running domain can.

    Exits with 0 if nothing must, with 1 if something must.
    """
    from polyvisor.model.diff import abi_difference, diff

    if old == new == "-":
        raise click.UsageError("only one of the two can be standard input")
    before, after = load(old, form, kind).value, load(new, form, kind).value
    if before.__class__ is not after.__class__:
        raise click.UsageError(f"{old} is a {before.XML_TITLE}, {new} is a {after.XML_TITLE}")
    if abi:
        first = abi_difference(before, after)
        changes: tuple[Change, ...] = () if first is None else (first,)
    else:
        changes = diff(before, after)

    def plain() -> None:
        words = {True: "live", False: "at the next start", None: "live, if the driver can"}
        for change in changes:
            click.echo(f"{change} ({words[change.live]})")

    session().facts([change.to_dict() for change in changes], plain)
    session().exit_code = 1 if changes else 0


@command("check")
@click.argument("file", type=click.Path())
@_from_option
@click.option("--schema", "against_schema", is_flag=True, help="Hold XML against RELAX NG too.")
@click.option(
    "--schemas", metavar="DIR", help="The folder of libvirt's schemas, if not where libvirt is."
)
def check_command(
    file: str, form: str | None, kind: str | None, against_schema: bool, schemas: str | None
) -> None:
    """Print all that is wrong with FILE, one finding a line.

    Exits with 0 if nothing but warnings was found, else with 1.
    """
    found = _findings(file, form, kind)
    if against_schema or schemas:
        found = [*_schema_findings(file, form, schemas), *found]

    def plain() -> None:
        for finding in found:
            prefix = "" if finding.severity == "error" else f"{finding.severity}: "
            click.echo(f"{prefix}{finding}")
        if not found and not session().quiet:
            click.echo(f"{file}: nothing is wrong")

    session().facts([finding.to_dict() for finding in found], plain)
    session().exit_code = int(any(finding.severity == "error" for finding in found))


def _findings(file: str, form: str | None, kind: str | None) -> list[Finding]:
    from polyvisor.connection import registry
    from polyvisor.model import DomainSpec
    from polyvisor.model.check import Finding, check

    try:
        loaded: Loaded = load(file, form, kind)
    except SpecError as error:
        fault = error.fault or error.message
        advice = error.message.rpartition("; ")[2] if "; " in error.message else ""
        return [Finding(error.code, error.element or "", fault, advice, line=error.line)]
    if not isinstance(loaded.value, DomainSpec):
        return []
    source = loaded.data if loaded.form == "xml" else None
    return [*check(loaded.value, rules=registry().check_rules(), source=source)]


def _schema_findings(file: str, form: str | None, folder: str | None) -> tuple[Finding, ...]:
    from polyvisor.config import load as load_config
    from polyvisor.model.paths import with_absolute_paths
    from polyvisor.model.schemas import validate

    if form not in {None, "xml"} or file == "-":
        raise click.UsageError("only a file of XML can be held against the schema")
    source = with_absolute_paths(Path(file))
    return validate(source, folder=folder or load_config().schemas)


@command("schema")
@click.option("--kind", metavar="TAG", default="domain", help="What is defined.")
def schema_command(kind: str) -> None:
    """Print the JSON Schema of definitions in TOML and JSON, for editors."""
    from polyvisor.model import schema

    known = kinds()
    if kind not in known:
        raise click.UsageError(f"there is no kind {kind!r}; there are {', '.join(sorted(known))}")
    click.echo(json.dumps(schema(known[kind]), indent=2, ensure_ascii=False))


spec_command.add(convert_command, diff_command, check_command, schema_command)
