"""Commands that move the content of volumes, and tell their names; pools of a few words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO

import attrs

from polyvisor.cli._declare import argument, echo, option, path
from polyvisor.cli._pools import POOLS, pool_option, volume_of
from polyvisor.cli._session import command, session
from polyvisor.cli._where import size
from polyvisor.errors import InvalidArgument

__all__: list[str] = []

_CHUNK = 1 << 20

_offset = option("--offset", default="0", metavar="SIZE", help="Where in the volume to begin.")
_length = option("--length", metavar="SIZE", help="How much; all of it unless it is said.")


def _copy(source: BinaryIO, write: Callable[[bytes], object], length: int | None) -> int:
    """Copy bytes until there are no more, or as many as are wanted; return how many."""
    done = 0
    while length is None or done < length:
        piece = source.read(_CHUNK if length is None else min(_CHUNK, length - done))
        if not piece:
            break
        write(piece)
        done += len(piece)
    return done


@command("vol-upload")
@argument("volume")
@argument("file", type=path())
@pool_option
@_offset
@_length
def vol_upload_command(
    volume: str, file: str, pool: str | None, offset: str, length: str | None
) -> None:
    """Write what is in FILE into VOLUME."""
    found = volume_of(volume, pool)
    begin, most = size(offset, unit=1), None if length is None else size(length, unit=1)
    with open(file, "rb") as source, found.open(write=True) as target:
        target.seek(begin)
        done = _copy(source, target.write, most)
    session().done(f"{done} bytes were written into {found.name}", **attrs.asdict(found.ref))


@command("vol-download")
@argument("volume")
@argument("file", type=path())
@pool_option
@_offset
@_length
def vol_download_command(
    volume: str, file: str, pool: str | None, offset: str, length: str | None
) -> None:
    """Write what is in VOLUME into FILE."""
    from polyvisor._files import GivenFile

    found = volume_of(volume, pool)
    begin, most = size(offset, unit=1), None if length is None else size(length, unit=1)
    with found.open() as source, GivenFile(file) as target:
        source.seek(begin)
        done = _copy(source, target.write, most)
        target.commit()
    session().done(f"{done} bytes of {found.name} were written", **attrs.asdict(found.ref))


@command("vol-clone")
@argument("volume")
@argument("name", metavar="NEWNAME")
@pool_option
def vol_clone_command(volume: str, name: str, pool: str | None) -> None:
    """Copy VOLUME as NEWNAME, into the same pool."""
    from polyvisor.model import StorageVolumeSpec

    found = volume_of(volume, pool)
    form = StorageVolumeSpec.from_xml(found.xml())
    # Where the copy is, the pool says.
    target = attrs.evolve(form.target, path=None) if form.target is not None else None
    form = attrs.evolve(form, name=name, key=None, target=target)
    home = session().connection.storage_pools[found.ref.pool]
    with session().progress("clone volume") as progress:
        made = home.create_volume(form, clone=found, progress=progress)
    session().done(f"Vol {made.name} cloned from {found.name}", **attrs.asdict(made.ref))


@command("vol-key")
@argument("volume")
@pool_option
def vol_key_command(volume: str, pool: str | None) -> None:
    """Print the key of VOLUME."""
    key = volume_of(volume, pool).ref.key
    session().facts({"key": key}, lambda: echo(key))


@command("vol-name")
@argument("volume")
def vol_name_command(volume: str) -> None:
    """Print the name of VOLUME, which is given by path or key."""
    name = volume_of(volume, None).name
    session().facts({"name": name}, lambda: echo(name))


@command("vol-pool")
@argument("volume")
@option("--uuid", is_flag=True, help="The pool's UUID, not its name.")
def vol_pool_command(volume: str, uuid: bool) -> None:
    """Print in which pool VOLUME is, which is given by path or key."""
    home = POOLS.object(volume_of(volume, None).ref.pool).summary()
    text = str(home.uuid) if uuid else home.name
    session().facts({"pool": text}, lambda: echo(text))


# Pools


def _form(name: str, kind: str, target: str | None) -> Any:
    from polyvisor.model import StoragePoolSpec

    if kind == "dir" and target is None:
        raise InvalidArgument("a storage pool of type dir needs --target")
    form: dict[str, Any] = {"name": name, "type": kind}
    if target is not None:
        form["target"] = {"path": target}
    return StoragePoolSpec.from_dict(form)


_target = option("--target", metavar="FOLDER", help="Where its volumes are on the host.")


@command("pool-define-as")
@argument("name")
@argument("kind", metavar="TYPE")
@_target
def pool_define_as_command(name: str, kind: str, target: str | None) -> None:
    """Define a storage pool NAME of TYPE; others than dir need pool-define with a document."""
    session().connection.storage_pools.define(_form(name, kind, target))
    session().done(f"Pool {name} defined", name=name)


@command("pool-create-as")
@argument("name")
@argument("kind", metavar="TYPE")
@_target
def pool_create_as_command(name: str, kind: str, target: str | None) -> None:
    """Start a transient storage pool NAME of TYPE; see pool-define-as."""
    session().connection.storage_pools.create(_form(name, kind, target))
    session().done(f"Pool {name} created", name=name)
