"""Commands that turn hypervisors' own configurations into XML and back."""

from __future__ import annotations

from polyvisor.cli._declare import argument, echo, option, path
from polyvisor.cli._session import command, session

__all__: list[str] = []


@command("domxml-from-native")
@argument("format_", metavar="FORMAT")
@argument("file", type=path())
def domxml_from_native_command(format_: str, file: str) -> None:
    """Print the machine that FILE, a configuration in FORMAT, describes as XML.

    FORMAT is named as in virsh, such as xen-xl; `polyvisor --json plugins` lists them.
    """
    from polyvisor import native

    text = native.load(file, format_).to_xml()
    session().facts({"xml": text}, lambda: echo(text, nl=not text.endswith("\n")))


@command("domxml-to-native")
@argument("format_", metavar="FORMAT")
@argument("file", type=path(), required=False)
@option("--domain", help="Take the definition of this domain.")
@option("--xml", "xml", type=path(), help="Take the definition in this file.")
def domxml_to_native_command(
    format_: str, file: str | None, domain: str | None, xml: str | None
) -> None:
    """Print a machine's definition, of FILE or of a domain, as a configuration in FORMAT."""
    from polyvisor import native

    if file is not None and xml is not None:
        from click import UsageError

        raise UsageError("give either FILE or --xml")
    xml = xml if file is None else file
    if (domain is None) == (xml is None):
        from click import UsageError

        raise UsageError("give either FILE or --domain")
    found = native.open_format(format_)
    if xml is not None:
        from polyvisor.cli.domains import read_spec

        spec = read_spec(xml)
    else:
        assert domain is not None
        spec = session().domain(domain).spec(inactive=True)
    text = found.write(spec)
    session().facts({"config": text}, lambda: echo(text, nl=not text.endswith("\n")))
