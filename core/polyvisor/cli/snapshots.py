"""Commands for snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.cli._declare import argument, echo, option, path
from polyvisor.cli._session import command, domain_argument, session

if TYPE_CHECKING:
    from polyvisor.driver import SnapshotInfo

__all__: list[str] = []


def _taken(snapshot: SnapshotInfo) -> None:
    session().done(f"Domain snapshot {snapshot.name} created", name=snapshot.name)


@command("snapshot-create")
@domain_argument
@argument("xmlfile", type=path(), required=False)
def snapshot_create_command(domain: str, xmlfile: str | None) -> None:
    """Take a snapshot of DOMAIN, named and described in XMLFILE if that is given."""
    name = description = None
    if xmlfile is not None:
        from pathlib import Path

        from polyvisor.errors import SchemaError
        from polyvisor.model import RawXml

        text = RawXml.parse(Path(xmlfile).read_bytes())
        import re

        if not text.startswith("<domainsnapshot"):
            raise SchemaError(f"{xmlfile}: a snapshot's document starts with <domainsnapshot>")
        names = re.search(r"<name>([^<]*)</name>", text)
        words = re.search(r"<description>([^<]*)</description>", text)
        name = names[1] if names else None
        description = words[1] if words else None
    found = session().domain(domain)
    with session().progress("snapshot") as progress:
        _taken(found.snapshots.create(name, description=description, progress=progress))


@command("snapshot-create-as")
@domain_argument
@argument("name", required=False)
@argument("description", required=False)
def snapshot_create_as_command(domain: str, name: str | None, description: str | None) -> None:
    """Take a snapshot of DOMAIN with a NAME and DESCRIPTION."""
    found = session().domain(domain)
    with session().progress("snapshot") as progress:
        _taken(found.snapshots.create(name, description=description, progress=progress))


@command("snapshot-list")
@domain_argument
@option("--parent", is_flag=True, help="Show what each grew from.")
@option("--name", "names", is_flag=True, help="Print names alone.")
def snapshot_list_command(domain: str, parent: bool, names: bool) -> None:
    """List DOMAIN's snapshots, oldest first."""
    import attrs

    found = session().domain(domain).snapshots.list()

    def plain() -> None:
        if names:
            for snapshot in found:
                echo(snapshot.name)
            return
        headers = ["Name", "Creation Time", "State"]
        rows = [
            [s.name, s.created.astimezone().strftime("%Y-%m-%d %H:%M:%S %z"), str(s.state)]
            for s in found
        ]
        if parent:
            headers.append("Parent")
            for row, snapshot in zip(rows, found, strict=True):
                row.append(snapshot.parent or "")
        session().table(headers, rows)

    session().facts([attrs.asdict(snapshot) for snapshot in found], plain)


@command("snapshot-revert")
@domain_argument
@argument("snapshot")
@option("--running", "state", flag_value="running", help="Let it run then.")
@option("--paused", "state", flag_value="paused", help="Leave it paused then.")
def snapshot_revert_command(domain: str, snapshot: str, state: str | None) -> None:
    """Put DOMAIN back into the state of SNAPSHOT."""
    found = session().domain(domain)
    with session().progress("snapshot revert") as progress:
        found.snapshots.revert(
            snapshot, paused=None if state is None else state == "paused", progress=progress
        )
    session().done(f"Domain snapshot {snapshot} reverted", name=snapshot)


@command("snapshot-delete")
@domain_argument
@argument("snapshot")
@option("--children", is_flag=True, help="Remove those that grew from it too.")
def snapshot_delete_command(domain: str, snapshot: str, children: bool) -> None:
    """Remove SNAPSHOT of DOMAIN."""
    session().domain(domain).snapshots.delete(snapshot, children=children)
    session().done(f"Domain snapshot {snapshot} deleted", name=snapshot)


@command("snapshot-dumpxml")
@domain_argument
@argument("snapshot")
def snapshot_dumpxml_command(domain: str, snapshot: str) -> None:
    """Print SNAPSHOT of DOMAIN as XML."""
    text = session().domain(domain).snapshots.xml(snapshot)
    session().facts({"xml": text}, lambda: echo(text))
