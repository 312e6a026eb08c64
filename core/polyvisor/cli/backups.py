"""Commands for checkpoints and backups."""

from __future__ import annotations

from polyvisor.cli._declare import argument, echo, option, path
from polyvisor.cli._session import command, domain_argument, quiesce_option, session

__all__: list[str] = []


def _read(file: str) -> str:
    from polyvisor.cli._documents import load

    return load(file, form="xml").data.decode()


def _made(name: str) -> None:
    session().done(f"Domain checkpoint {name} created", name=name)


@command("checkpoint-create")
@domain_argument
@argument("xmlfile", type=path(), required=False)
@option("--redefine", is_flag=True, help="Put back what checkpoint-dumpxml printed.")
@quiesce_option
def checkpoint_create_command(
    domain: str, xmlfile: str | None, redefine: bool, quiesce: bool
) -> None:
    """Make a checkpoint of DOMAIN, as described in XMLFILE if that is given."""
    xml = "<domaincheckpoint/>" if xmlfile is None else _read(xmlfile)
    _made(session().domain(domain).checkpoints.create(xml, redefine=redefine, quiesce=quiesce))


@command("checkpoint-create-as")
@domain_argument
@argument("name", required=False)
@argument("description", required=False)
@option("--print-xml", is_flag=True, help="Print the document and make none.")
@option(
    "--diskspec",
    "diskspecs",
    multiple=True,
    metavar="DISK[,checkpoint=KIND][,bitmap=NAME]",
    help="What is done with a disk; can be given several times.",
)
@quiesce_option
def checkpoint_create_as_command(
    domain: str,
    name: str | None,
    description: str | None,
    print_xml: bool,
    diskspecs: tuple[str, ...],
    quiesce: bool,
) -> None:
    """Make a checkpoint of DOMAIN with a NAME and DESCRIPTION."""
    from polyvisor.cli.snapshots import words
    from polyvisor.model import CheckpointSpec
    from polyvisor.model.checkpoint import CheckpointDisk, CheckpointDisks

    disks = []
    for one in diskspecs:
        said = words(one, "--diskspec", "name", ("name", "checkpoint", "bitmap"))
        disks.append(
            CheckpointDisk(
                name=said["name"],
                checkpoint=said.get("checkpoint"),  # type: ignore[arg-type]
                bitmap=said.get("bitmap"),
            )
        )
    text = CheckpointSpec(
        name=name,
        description=description,
        disk_list=CheckpointDisks(disks=tuple(disks)) if disks else None,
    ).to_xml()
    if print_xml:
        session().facts({"xml": text}, lambda: echo(text, nl=False))
        return
    _made(session().domain(domain).checkpoints.create(text, quiesce=quiesce))


@command("checkpoint-list")
@domain_argument
@option("--name", "names", is_flag=True, help="Print names alone.")
def checkpoint_list_command(domain: str, names: bool) -> None:
    """List DOMAIN's checkpoints, oldest first."""
    from datetime import UTC, datetime

    from polyvisor.model import CheckpointSpec

    points = session().domain(domain).checkpoints
    found = [CheckpointSpec.from_xml(points.xml(name)) for name in points.list()]

    def plain() -> None:
        if names:
            for one in found:
                echo(one.name)
            return
        rows = [
            [
                one.name or "",
                datetime.fromtimestamp(one.creation_time or 0, UTC)
                .astimezone()
                .strftime("%Y-%m-%d %H:%M:%S %z"),
            ]
            for one in found
        ]
        session().table(["Name", "Creation Time"], rows)

    facts = [
        {
            "name": one.name,
            "created": one.creation_time,
            "parent": one.parent.name if one.parent is not None else None,
            "description": one.description,
        }
        for one in found
    ]
    session().facts(facts, plain)


@command("checkpoint-dumpxml")
@domain_argument
@argument("checkpoint")
@option("--size", is_flag=True, help="Tell how much has changed since.")
@option("--no-domain", is_flag=True, help="Leave the domain's definition out.")
def checkpoint_dumpxml_command(domain: str, checkpoint: str, size: bool, no_domain: bool) -> None:
    """Print CHECKPOINT of DOMAIN as XML."""
    text = session().domain(domain).checkpoints.xml(checkpoint, sizes=size)
    if no_domain:
        import attrs

        from polyvisor.model import CheckpointSpec

        text = attrs.evolve(CheckpointSpec.from_xml(text), domain=None).to_xml()
    session().facts({"xml": text}, lambda: echo(text, nl=False))


@command("checkpoint-parent")
@domain_argument
@argument("checkpoint")
def checkpoint_parent_command(domain: str, checkpoint: str) -> None:
    """Print the checkpoint of DOMAIN that came before CHECKPOINT."""
    from polyvisor.errors import NotFound
    from polyvisor.model import CheckpointSpec

    parent = CheckpointSpec.from_xml(session().domain(domain).checkpoints.xml(checkpoint)).parent
    if parent is None:
        raise NotFound(f"checkpoint {checkpoint!r} has no parent", kind="checkpoint")
    session().facts({"name": parent.name}, lambda: echo(parent.name))


@command("checkpoint-delete")
@domain_argument
@argument("checkpoint")
@option("--children", is_flag=True, help="Remove those that came after it too.")
@option("--metadata", is_flag=True, help="Forget it and leave the disks as they are.")
def checkpoint_delete_command(domain: str, checkpoint: str, children: bool, metadata: bool) -> None:
    """Remove CHECKPOINT of DOMAIN."""
    session().domain(domain).checkpoints.delete(
        checkpoint, children=children, metadata_only=metadata
    )
    session().done(f"Domain checkpoint {checkpoint} deleted", name=checkpoint)


@command("backup-begin")
@domain_argument
@argument("backupxml", type=path(), required=False)
@argument("checkpointxml", type=path(), required=False)
@option("--reuse-external", is_flag=True, help="The files that take it are there already.")
def backup_begin_command(
    domain: str, backupxml: str | None, checkpointxml: str | None, reuse_external: bool
) -> None:
    """Begin a backup of DOMAIN's disks; domjobinfo tells how far it is, domjobabort ends it.

    BACKUPXML says where to and since when, CHECKPOINTXML which checkpoint is made at the same
    moment; without the former every disk is copied beside itself.
    """
    session().domain(domain).backup.begin(
        "<domainbackup/>" if backupxml is None else _read(backupxml),
        checkpoint=None if checkpointxml is None else _read(checkpointxml),
        reuse=reuse_external,
    )
    session().done("Backup started", domain=domain)


@command("backup-dumpxml")
@domain_argument
def backup_dumpxml_command(domain: str) -> None:
    """Print the backup of DOMAIN that goes on as XML."""
    text = session().domain(domain).backup.xml()
    session().facts({"xml": text}, lambda: echo(text, nl=False))
