"""Commands for storage pools, volumes and secrets."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import attrs

from polyvisor.cli._declare import argument, echo, option, path
from polyvisor.cli._families import Family, read_document, yes_no
from polyvisor.cli._pools import POOLS, pool_option, volume_of
from polyvisor.cli._session import command, session

if TYPE_CHECKING:
    from polyvisor.cli._declare import Command

__all__: list[str] = []

_SECRETS = Family("secret", "secret", lambda connection: connection.secrets)

pool_list_command: Command = POOLS.list()
pool_define_command: Command = POOLS.define()
pool_create_command: Command = POOLS.create()
pool_start_command: Command = POOLS.verb("start", "started", "Start a defined storage pool.")
pool_destroy_command: Command = POOLS.verb(
    "destroy", "destroyed", "Stop a storage pool; what is in it stays."
)
pool_undefine_command: Command = POOLS.verb(
    "undefine", "has been undefined", "Forget a storage pool's definition."
)
pool_delete_command: Command = POOLS.verb(
    "delete", "deleted", "Remove what lies below a storage pool."
)
pool_refresh_command: Command = POOLS.verb(
    "refresh", "refreshed", "Look through a storage pool anew."
)
pool_autostart_command: Command = POOLS.autostart()
pool_dumpxml_command: Command = POOLS.dumpxml()
pool_edit_command: Command = POOLS.edit()
pool_name_command: Command = POOLS.name()
pool_uuid_command: Command = POOLS.uuid()


@command("pool-build")
@argument("name")
@option("--overwrite", is_flag=True, help="Destroy what is there already.")
def pool_build_command(name: str, overwrite: bool) -> None:
    """Make what lies below a storage pool: its folder, file system or partition table."""
    POOLS.object(name).build(overwrite=overwrite)
    session().done(f"Storage pool {name} built", name=name)


@command("pool-info")
@argument("name")
def pool_info_command(name: str) -> None:
    """Print facts about a storage pool."""
    pool = POOLS.object(name)
    summary, info = pool.summary(), pool.info()
    rows = [
        ("Name", summary.name),
        ("UUID", str(summary.uuid)),
        ("State", str(info.state)),
        ("Persistent", yes_no(summary.persistent)),
        ("Autostart", yes_no(summary.autostart)),
        ("Capacity", _size(info.capacity)),
        ("Allocation", _size(info.allocation)),
        ("Available", _size(info.available)),
    ]
    session().facts({**attrs.asdict(summary), **attrs.asdict(info)}, lambda: session().pairs(rows))


# Volumes


@command("vol-list")
@argument("pool")
def vol_list_command(pool: str) -> None:
    """List the volumes of POOL."""
    found = POOLS.object(pool).volumes()
    session().facts(
        [attrs.asdict(one.ref) for one in found],
        lambda: session().table(["Name", "Path"], [[one.name, one.path] for one in found]),
    )


@command("vol-create")
@argument("pool")
@argument("file", type=path())
def vol_create_command(pool: str, file: str) -> None:
    """Make a volume in POOL from FILE."""
    found = POOLS.object(pool)
    with session().progress("create volume") as progress:
        made = found.create_volume(read_document(file), progress=progress)
    session().done(f"Vol {made.name} created from {file}", **attrs.asdict(made.ref))


@command("vol-create-as")
@argument("pool")
@argument("name")
@argument("capacity")
@option("--allocation", metavar="SIZE", help="Room to take at once.")
@option("--format", "kind", help="Format of the image: raw, qcow2 …")
def vol_create_as_command(
    pool: str, name: str, capacity: str, allocation: str | None, kind: str | None
) -> None:
    """Make a volume in POOL with a NAME and a CAPACITY such as 10G."""
    from typing import Any

    from polyvisor.model import StorageVolumeSpec

    form: dict[str, Any] = {"name": name, "capacity": capacity}
    if allocation is not None:
        form["allocation"] = allocation
    if kind is not None:
        form["target"] = {"format": kind}
    found = POOLS.object(pool)
    with session().progress("create volume") as progress:
        made = found.create_volume(StorageVolumeSpec.from_dict(form), progress=progress)
    session().done(f"Vol {made.name} created", **attrs.asdict(made.ref))


@command("vol-delete")
@argument("volume")
@pool_option
def vol_delete_command(volume: str, pool: str | None) -> None:
    """Remove VOLUME and what it holds."""
    volume_of(volume, pool).delete()
    session().done(f"Vol {volume} deleted", name=volume)


@command("vol-dumpxml")
@argument("volume")
@pool_option
def vol_dumpxml_command(volume: str, pool: str | None) -> None:
    """Print the document of VOLUME."""
    text = volume_of(volume, pool).xml()
    session().facts({"xml": text}, lambda: echo(text))


@command("vol-info")
@argument("volume")
@pool_option
def vol_info_command(volume: str, pool: str | None) -> None:
    """Print facts about VOLUME."""
    found = volume_of(volume, pool)
    info = found.info()
    rows = [
        ("Name", found.name),
        ("Type", info.type),
        ("Capacity", _size(info.capacity)),
        ("Allocation", _size(info.allocation)),
    ]
    session().facts(
        {**attrs.asdict(found.ref), **attrs.asdict(info)}, lambda: session().pairs(rows)
    )


@command("vol-path")
@argument("volume")
@pool_option
def vol_path_command(volume: str, pool: str | None) -> None:
    """Print where domains find VOLUME."""
    path = volume_of(volume, pool).path
    session().facts({"path": path}, lambda: echo(path))


@command("vol-resize")
@argument("volume")
@argument("capacity")
@pool_option
@option("--allocate", is_flag=True, help="Take the room at once.")
@option("--shrink", is_flag=True, help="It may become smaller.")
def vol_resize_command(
    volume: str, capacity: str, pool: str | None, allocate: bool, shrink: bool
) -> None:
    """Give VOLUME another CAPACITY, such as 20G."""
    from polyvisor.model import StorageVolumeSpec

    size = StorageVolumeSpec.from_dict({"name": volume, "capacity": capacity}).capacity
    volume_of(volume, pool).resize(size, allocate=allocate, shrink=shrink)
    session().done(f"Size of volume '{volume}' successfully changed to {capacity}", name=volume)


@command("vol-wipe")
@argument("volume")
@pool_option
def vol_wipe_command(volume: str, pool: str | None) -> None:
    """Overwrite the content of VOLUME with zeros."""
    found = volume_of(volume, pool)
    with session().progress("wipe volume") as progress:
        found.wipe(progress=progress)
    session().done(f"Vol {volume} wiped", name=volume)


def _size(count: int) -> str:
    """Return a number of bytes as virsh prints it."""
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.2f} {unit}"


# Secrets

secret_list_command: Command = _SECRETS.plain_list(
    "UUID", "Usage", row=lambda one: [one.key, one.name]
)
secret_undefine_command: Command = _SECRETS.verb(
    "undefine", "deleted", "Forget a secret and its value."
)
secret_dumpxml_command: Command = _SECRETS.dumpxml()


@command("secret-define")
@argument("file", type=path())
def secret_define_command(file: str) -> None:
    """Define a secret from FILE; its value is set with secret-set-value."""
    made = session().connection.secrets.define(read_document(file))
    session().done(f"Secret {made.key} created", key=made.key)


@command("secret-set-value")
@argument("secret")
@option("--file", "source", type=path(), required=True, help='"-": from standard input.')
@option("--plain", is_flag=True, help="The file holds the value itself, not base64.")
def secret_set_value_command(secret: str, source: str, plain: bool) -> None:
    """Give SECRET the value in a file; arguments can be seen by others, so none is taken."""
    import base64
    import binascii
    from pathlib import Path

    from polyvisor.errors import InvalidArgument, StorageError

    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise StorageError(f"cannot read {source}: {error.strerror}", path=source) from error
    if not plain:
        try:
            data = base64.b64decode(data.strip(), validate=True)
        except binascii.Error as error:
            raise InvalidArgument(
                f"{source} does not hold base64: {error}; give --plain for the value itself"
            ) from error
    _SECRETS.object(secret).set_value(data)
    session().done("Secret value set", key=secret)


@command("secret-get-value")
@argument("secret")
@option("--plain", is_flag=True, help="Print the value itself, not base64.")
def secret_get_value_command(secret: str, plain: bool) -> None:
    """Print the value of SECRET in base64."""
    import base64

    value = _SECRETS.object(secret).value()
    text = base64.b64encode(value).decode()

    def show() -> None:
        if plain:
            sys.stdout.buffer.write(value)
        else:
            echo(text)

    session().facts({"value": text}, show)
