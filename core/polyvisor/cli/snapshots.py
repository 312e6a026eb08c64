"""Commands for snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.cli._declare import argument, echo, option, path
from polyvisor.cli._session import command, domain_argument, quiesce_option, session
from polyvisor.errors import InvalidArgument

if TYPE_CHECKING:
    from polyvisor.driver import SnapshotInfo, SnapshotOptions
    from polyvisor.model import SnapshotSpec
    from polyvisor.model.snapshot import SnapshotDisk, SnapshotMemory

__all__: list[str] = []

_DISK_ONLY = option("--disk-only", is_flag=True, help="Keep the disks alone, not the memory.")
_LIVE = option("--live", is_flag=True, help="Let it run while its memory goes into a file.")
_REUSE = option("--reuse-external", is_flag=True, help="The new images are there already.")
_FORGET = option("--no-metadata", is_flag=True, help="Keep no record of it, only what it made.")
_HALT = option("--halt", is_flag=True, help="Stop the domain afterwards.")


def _taken(snapshot: SnapshotInfo) -> None:
    session().done(f"Domain snapshot {snapshot.name} created", name=snapshot.name)


@command("snapshot-create")
@domain_argument
@argument("xmlfile", type=path(), required=False)
@option("--redefine", is_flag=True, help="Put back what snapshot-dumpxml printed.")
@option("--current", is_flag=True, help="With --redefine: the domain's state grew from it.")
@_DISK_ONLY
@_LIVE
@_REUSE
@_HALT
@quiesce_option
@_FORGET
@option("--atomic", is_flag=True, help="All disks or none, as always.")
def snapshot_create_command(
    domain: str,
    xmlfile: str | None,
    redefine: bool,
    current: bool,
    disk_only: bool,
    live: bool,
    reuse_external: bool,
    halt: bool,
    quiesce: bool,
    no_metadata: bool,
    atomic: bool,
) -> None:
    """Take a snapshot of DOMAIN, as described in XMLFILE if that is given."""
    from polyvisor.driver import SnapshotOptions

    spec = None
    if xmlfile is not None:
        from pathlib import Path

        from polyvisor.model import SnapshotSpec

        spec = SnapshotSpec.from_xml(Path(xmlfile))
    _take(
        domain,
        None,
        None,
        SnapshotOptions(
            spec=spec,
            disk_only=disk_only,
            live=live,
            reuse=reuse_external,
            halt=halt,
            redefine=redefine,
            current=current,
        ),
        quiesce=quiesce,
        forget=no_metadata,
    )


@command("snapshot-create-as")
@domain_argument
@argument("name", required=False)
@argument("description", required=False)
@option("--print-xml", is_flag=True, help="Print the document and take none.")
@_DISK_ONLY
@_LIVE
@_REUSE
@_HALT
@quiesce_option
@_FORGET
@option("--atomic", is_flag=True, help="All disks or none, as always.")
@option("--memspec", metavar="[file=]FILE[,snapshot=KIND]", help="Where the memory goes.")
@option(
    "--diskspec",
    "diskspecs",
    multiple=True,
    metavar="DISK[,snapshot=KIND][,driver=FORMAT][,file=FILE]",
    help="What is done with a disk; can be given several times.",
)
def snapshot_create_as_command(
    domain: str,
    name: str | None,
    description: str | None,
    print_xml: bool,
    disk_only: bool,
    live: bool,
    reuse_external: bool,
    halt: bool,
    quiesce: bool,
    no_metadata: bool,
    atomic: bool,
    memspec: str | None,
    diskspecs: tuple[str, ...],
) -> None:
    """Take a snapshot of DOMAIN with a NAME and DESCRIPTION."""
    spec = _described(memspec, diskspecs) if memspec or diskspecs else None
    if print_xml:
        import attrs

        from polyvisor.model import SnapshotSpec

        spec = attrs.evolve(spec or SnapshotSpec(), name=name, description=description)
        text = spec.to_xml()
        session().facts({"xml": text}, lambda: echo(text, nl=False))
        return
    from polyvisor.driver import SnapshotOptions

    _take(
        domain,
        name,
        description,
        SnapshotOptions(spec=spec, disk_only=disk_only, live=live, reuse=reuse_external, halt=halt),
        quiesce=quiesce,
        forget=no_metadata,
    )


def _take(
    domain: str,
    name: str | None,
    description: str | None,
    options: SnapshotOptions,
    *,
    quiesce: bool,
    forget: bool,
) -> None:
    if forget and options.redefine:
        raise InvalidArgument("--redefine puts a record back, which --no-metadata would not keep")
    snapshots = session().domain(domain).snapshots
    with session().progress("snapshot") as progress:
        made = snapshots.create(
            name, description=description, options=options, quiesce=quiesce, progress=progress
        )
    if forget:
        snapshots.delete(made.name, metadata_only=True)
    _taken(made)


def _described(memspec: str | None, diskspecs: tuple[str, ...]) -> SnapshotSpec:
    """Return a snapshot as virsh's options describe it."""
    from polyvisor.model import SnapshotSpec
    from polyvisor.model.snapshot import SnapshotDisks

    disks = tuple(_disk(one) for one in diskspecs)
    return SnapshotSpec(
        memory=None if memspec is None else _memory(memspec),
        disk_list=SnapshotDisks(disks=disks) if disks else None,
    )


def _memory(text: str) -> SnapshotMemory:
    from polyvisor.model.snapshot import SnapshotMemory

    said = words(text, "--memspec", "file", ("file", "snapshot"))
    kind = said.get("snapshot") or ("external" if "file" in said else None)
    return SnapshotMemory(snapshot=kind, file=said.get("file"))  # type: ignore[arg-type]


def _disk(text: str) -> SnapshotDisk:
    from polyvisor.model.devices.disk_source import DiskSource
    from polyvisor.model.snapshot import SnapshotDisk, SnapshotDiskDriver

    said = words(text, "--diskspec", "name", ("name", "snapshot", "driver", "file"))
    file, form = said.get("file"), said.get("driver")
    return SnapshotDisk(
        name=said["name"],
        snapshot=said.get("snapshot"),  # type: ignore[arg-type]
        driver=None if form is None else SnapshotDiskDriver(type=form),
        source=None if file is None else DiskSource(file=file),
    )


def words(text: str, where: str, first: str, known: tuple[str, ...]) -> dict[str, str]:
    """Read ``A,key=value``; a comma in a value is doubled, as in virsh."""
    found: dict[str, str] = {}
    parts = text.replace(",,", "\0").split(",")
    for place, part in enumerate(parts):
        key, given, value = part.replace("\0", ",").partition("=")
        if not given and place == 0:
            key, value = first, key
        if key not in known or not value:
            from polyvisor.errors import InvalidArgument

            raise InvalidArgument(
                f"{where} {text!r}: {part!r} is not understood; known are {', '.join(known)}"
            )
        found[key] = value
    if first == "name" and "name" not in found:
        from polyvisor.errors import InvalidArgument

        raise InvalidArgument(f"{where} {text!r}: name the disk first")
    return found


@command("snapshot-list")
@domain_argument
@option("--parent", is_flag=True, help="Show what each grew from.")
@option("--name", "names", is_flag=True, help="Print names alone.")
@option("--tree", is_flag=True, help="Draw how they grew.")
def snapshot_list_command(domain: str, parent: bool, names: bool, tree: bool) -> None:
    """List DOMAIN's snapshots, oldest first."""
    import attrs

    found = session().domain(domain).snapshots.list()

    def plain() -> None:
        if names:
            for snapshot in found:
                echo(snapshot.name)
            return
        if tree:
            _draw(found, None, "")
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


def _draw(found: object, parent: str | None, indent: str) -> None:
    from collections.abc import Sequence
    from typing import cast

    snapshots = cast("Sequence[SnapshotInfo]", found)
    for one in snapshots:
        if one.parent == parent:
            echo(f"{indent}{'+- ' if indent else ''}{one.name}{' *' if one.current else ''}")
            _draw(snapshots, one.name, f"{indent}  ")


def _present(domain: str) -> SnapshotInfo:
    from polyvisor.errors import NotFound

    found = session().domain(domain)
    for one in found.snapshots.list():
        if one.current:
            return one
    raise NotFound(f"the domain {found.name!r} has no current snapshot", kind="snapshot")


@command("snapshot-current")
@domain_argument
@option("--name", "names", is_flag=True, help="Print its name alone.")
def snapshot_current_command(domain: str, names: bool) -> None:
    """Print the snapshot that DOMAIN's state grew from."""
    name = _present(domain).name
    if names:
        session().facts({"name": name}, lambda: echo(name))
        return
    text = session().domain(domain).snapshots.xml(name)
    session().facts({"name": name, "xml": text}, lambda: echo(text, nl=False))


@command("snapshot-info")
@domain_argument
@argument("snapshot")
def snapshot_info_command(domain: str, snapshot: str) -> None:
    """Print facts about SNAPSHOT of DOMAIN."""
    import attrs

    found = session().domain(domain)
    every = found.snapshots.list()
    one = next((each for each in every if each.name == snapshot), None)
    if one is None:
        found.snapshots.xml(snapshot)  # says that there is none
        return
    below = [each for each in every if each.parent == snapshot]
    rows: list[tuple[str, object]] = [
        ("Name", one.name),
        ("Domain", found.name),
        ("Current", "yes" if one.current else "no"),
        ("State", str(one.state)),
        ("Location", "external" if one.external else "internal"),
        ("Parent", one.parent or "-"),
        ("Children", str(len(below))),
    ]
    session().facts(
        {**attrs.asdict(one), "children": [each.name for each in below]},
        lambda: session().pairs(rows),
    )


@command("snapshot-parent")
@domain_argument
@argument("snapshot")
def snapshot_parent_command(domain: str, snapshot: str) -> None:
    """Print what SNAPSHOT of DOMAIN grew from."""
    from polyvisor.errors import NotFound

    found = session().domain(domain)
    found.snapshots.xml(snapshot)
    parent = next(one.parent for one in found.snapshots.list() if one.name == snapshot)
    if parent is None:
        raise NotFound(f"snapshot {snapshot!r} has no parent", kind="snapshot", key=snapshot)
    session().facts({"name": parent}, lambda: echo(parent))


@command("snapshot-revert")
@domain_argument
@argument("snapshot", required=False)
@option("--current", is_flag=True, help="To the one that its state grew from.")
@option("--running", "state", flag_value="running", help="Let it run then.")
@option("--paused", "state", flag_value="paused", help="Leave it paused then.")
def snapshot_revert_command(
    domain: str, snapshot: str | None, current: bool, state: str | None
) -> None:
    """Put DOMAIN back into the state of SNAPSHOT."""
    snapshot = _which(domain, snapshot, current)
    found = session().domain(domain)
    with session().progress("snapshot revert") as progress:
        found.snapshots.revert(
            snapshot, paused=None if state is None else state == "paused", progress=progress
        )
    session().done(f"Domain snapshot {snapshot} reverted", name=snapshot)


def _which(domain: str, snapshot: str | None, current: bool) -> str:
    if (snapshot is None) != current:
        from click import UsageError

        raise UsageError("give either a SNAPSHOT or --current")
    return snapshot if snapshot is not None else _present(domain).name


@command("snapshot-delete")
@domain_argument
@argument("snapshot", required=False)
@option("--current", is_flag=True, help="The one that its state grew from.")
@option("--children", is_flag=True, help="Remove those that grew from it too.")
@option("--children-only", is_flag=True, help="Remove those that grew from it, but not itself.")
@option("--metadata", is_flag=True, help="Forget it and leave images and files as they are.")
def snapshot_delete_command(
    domain: str,
    snapshot: str | None,
    current: bool,
    children: bool,
    children_only: bool,
    metadata: bool,
) -> None:
    """Remove SNAPSHOT of DOMAIN."""
    snapshot = _which(domain, snapshot, current)
    found = session().domain(domain)
    with session().progress("snapshot delete") as progress:
        if children_only:
            found.snapshots.xml(snapshot)
            for one in found.snapshots.list():
                if one.parent == snapshot:
                    found.snapshots.delete(
                        one.name, children=True, metadata_only=metadata, progress=progress
                    )
        else:
            found.snapshots.delete(
                snapshot, children=children, metadata_only=metadata, progress=progress
            )
    session().done(
        f"Domain snapshot {snapshot} {'children ' if children_only else ''}deleted", name=snapshot
    )


@command("snapshot-dumpxml")
@domain_argument
@argument("snapshot")
def snapshot_dumpxml_command(domain: str, snapshot: str) -> None:
    """Print SNAPSHOT of DOMAIN as XML."""
    text = session().domain(domain).snapshots.xml(snapshot)
    session().facts({"xml": text}, lambda: echo(text))
