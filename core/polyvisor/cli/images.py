"""Commands about save images, whatever their format: inspect, verify, convert."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from polyvisor.cli._declare import group
from polyvisor.cli._session import command, session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from polyvisor.saveimage import Inspection

__all__: list[str] = []

_STDIN, _STDOUT = 0, 1


def _image(function: Callable[..., None]) -> Callable[..., None]:
    """Add the argument FILE and the option that names its format."""
    named = click.option(
        "--format", "form", metavar="NAME", help="Do not recognise the format, it is this one."
    )
    return click.argument("file", type=click.Path(allow_dash=True))(named(function))


def _source(file: str) -> str | int:
    return _STDIN if file == "-" else file


@group("image")
def image_command() -> None:
    """Look into save images; FILE may be - for the standard input."""


@command("inspect")
@_image
@click.option(
    "--map",
    "picture",
    type=click.Path(dir_okay=False),
    metavar="OUT.png",
    help="Draw the guest's memory by kind of page.",
)
def inspect_command(file: str, form: str | None, picture: str | None) -> None:
    """Print what FILE holds: header, records, pages."""
    from polyvisor.saveimage import examine

    found = examine(_source(file), memory=picture is not None, form=form)
    if picture is not None:
        _draw(found, file, picture)
    header, facts = _header(found), dict(found.facts)
    session().facts({**header, **facts}, lambda: _print({**header, **facts}))


def _header(found: Inspection) -> dict[str, Any]:
    from polyvisor.errors import SpecError

    header = found.header
    facts: dict[str, Any] = {"format": header.format}
    if header.version:
        facts["version"] = header.version
    if header.xml:
        from polyvisor.model import DomainSpec

        try:
            spec = DomainSpec.from_xml(header.xml)
        except SpecError as error:
            facts["definition"] = f"not one that can be read: {error}"
        else:
            facts.update(domain=spec.name, uuid=str(spec.uuid), memory=spec.memory)
    facts["header_byte_order"] = header.byte_order
    if header.stream_version is not None:
        facts["header_stream_version"] = header.stream_version
    if header.was_running is not None:
        facts["was_running"] = header.was_running
    facts["compression"] = header.compression
    facts["stream_offset"] = header.stream_offset
    return facts


def _print(facts: Mapping[str, Any]) -> None:
    plain = [(name, value) for name, value in facts.items() if not isinstance(value, list)]
    session().pairs(
        [(name.replace("_", " ").capitalize(), _words(name, value)) for name, value in plain]
    )
    for name, rows in facts.items():
        if isinstance(rows, list) and rows:
            click.echo()
            _table(name, rows)


def _words(name: str, value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value // 1024} KiB" if name == "memory" else value


def _table(name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    click.echo(f"{name.replace('_', ' ').capitalize()}:")
    headers = [key.replace("_", " ").capitalize() for key in rows[0]]
    session().table(headers, [list(row.values()) for row in rows])


def _draw(found: Inspection, file: str, target: str) -> None:
    from polyvisor._files import GivenFile
    from polyvisor.errors import Unsupported
    from polyvisor.saveimage import picture

    if found.memory is None:
        raise Unsupported(
            f"{file}: the format {found.header.format!r} does not say which page is of what kind"
        )
    name = _header(found).get("domain", file)
    data = picture(found.memory, title=f"Memory of {name}")
    with GivenFile(target) as out:
        out.write(data)
        out.commit()


@command("verify")
@_image
@click.option("--strict", is_flag=True, help="Count what receivers pass over as well.")
@click.option("--limit", default=100, show_default=True, help="Stop after so many faults.")
def verify_command(file: str, form: str | None, strict: bool, limit: int) -> None:
    """Hold FILE against every rule of its format; exit code 1 if it is not sound."""
    import attrs

    from polyvisor.saveimage import verify

    found = verify(_source(file), strict=strict, limit=max(1, limit), form=form)
    if not found.ok:
        session().exit_code = 1

    def plain() -> None:
        for finding in found.findings:
            kind = "remark" if finding.tolerated and not strict else "fault"
            click.echo(f"{file}: {kind}: {finding}")
        if session().quiet:
            return
        count = len(found.faults)
        verdict = "sound" if found.ok else f"{count} fault{'s' if count != 1 else ''}"
        what = f"{found.records} records" if found.records else "its header"
        end = "" if found.complete else ", as far as it could be followed"
        click.echo(f"{file}: {found.format}: {verdict} ({what}, {found.checked} bytes{end})")

    session().facts({**attrs.asdict(found), "ok": found.ok}, plain)


@command("convert")
@_image
@click.option("--to", required=True, metavar="FORMAT", help="Format wanted, such as xl.")
@click.option(
    "-o",
    "--output",
    type=click.Path(allow_dash=True),
    default="-",
    help="Write there instead of to the standard output.",
)
def convert_command(file: str, form: str | None, to: str, output: str) -> None:
    """Write FILE in another format, or an old one's stream as a new one's."""
    import sys

    from polyvisor.errors import InvalidArgument
    from polyvisor.saveimage import convert

    if output == "-" and sys.stdout.isatty():
        raise InvalidArgument("an image is not for a terminal: name a file with -o")
    convert(_source(file), _STDOUT if output == "-" else output, to, form=form)
    if output != "-":
        session().done(f"Image {file} written to {output} as {to}", file=output, format=to)


image_command.add(inspect_command, verify_command, convert_command)
