"""Block nodes: where the bytes of a disk are, and in which format (qemu_block.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from polyvisor_qemu.cmdline.context import Context

__all__ = ["CACHES", "Image", "Nodes", "cache_of", "chain", "port_of", "storage"]

#: Cache modes: direct, no-flush, and whether the guest sees a write-back cache.
CACHES = {
    "none": (True, False, True),
    "writethrough": (False, False, False),
    "writeback": (False, False, True),
    "directsync": (True, False, False),
    "unsafe": (False, True, True),
}
_PORTS = {"http": 80, "https": 443, "ftp": 21, "ftps": 990, "tftp": 69, "iscsi": 3260, "nbd": 10809,
          "ssh": 22, "gluster": 24007, "rbd": 6789, "sheepdog": 7000, "vxhs": 9999}  # fmt: skip


@attrs.frozen
class Image:
    """One image of a chain."""

    #: ``file``, ``block``, ``network`` …
    kind: str
    source: Any
    format: str
    #: The layer that it is in the chain: 0 is what the guest writes to.
    depth: int
    #: Size of the cache of its tables in bytes.
    metadata_cache: int | None = None
    #: Whether the chain is said to end here.
    last: bool = False


class Nodes:
    """Gives images their numbers, as libvirt does: the last disk's first (qemu_process.c)."""

    def __init__(self, spec: Any) -> None:
        self._chains: dict[int, list[tuple[int, Image]]] = {}
        given = [
            image.source.index
            for disk in spec.devices.disks
            for image in chain(disk)
            if image.source is not None and image.source.index
        ]
        self._last = max(given, default=0)
        for place in reversed(range(len(spec.devices.disks))):
            disk = spec.devices.disks[place]
            if disk.type == "vhostuser" or (disk.target and disk.target.bus == "sd"):
                continue
            self._chains[place] = [
                ((image.source.index if image.source is not None else None) or self.next(), image)
                for image in chain(disk)
            ]

    def next(self) -> int:
        """Return the next number that no image has."""
        self._last += 1
        return self._last

    def of(self, place: int) -> list[tuple[int, Image]]:
        """Return the images of the disk at a place, the top one first, with their numbers."""
        return self._chains.get(place, [])


def chain(disk: Any) -> list[Image]:
    """Return the images of a disk, the one that the guest writes to first."""
    driver = disk.driver
    cache = driver.metadata_cache if driver is not None else None
    source = disk.source
    if source is not None and source.encryption is None and disk.encryption is not None:
        source = attrs.evolve(source, encryption=disk.encryption)
    if source is not None and source.auth is None and disk.auth is not None:
        source = attrs.evolve(source, auth=disk.auth)
    first = disk.type
    if first == "volume" and source is not None:
        # Its file is found when the guest starts; until then its names stand for it.
        first, source = "file", attrs.evolve(source, file=f"{source.pool}/{source.volume}")
    found = [
        Image(first, source, (driver.type if driver is not None else None) or "raw", 0,
              cache.max_size if cache is not None else None)
    ]  # fmt: skip
    below = disk.backing_store
    while below is not None:
        if below.type is None and below.source is None:
            found[-1] = attrs.evolve(found[-1], last=True)
            break
        kind = below.format.type if below.format is not None else None
        cache = below.format.metadata_cache if below.format is not None else None
        found.append(
            Image(below.type or "file", below.source, kind or "raw", len(found),
                  cache.max_size if cache is not None else None)
        )  # fmt: skip
        below = below.backing_store
    return found


def storage(c: Context, place: int, disk: Any, images: list[tuple[int, Image]]) -> str | None:
    """Add the block nodes of a disk and return the name of the top one.

    Args:
        c: the definition.
        place: which disk it is, for messages.
        disk: the disk.
        images: its chain with numbers, as :meth:`Nodes.of` returns it.

    Raises:
        SemanticError: there is nothing that the disk could be, or QEMU has no such storage.
    """
    top = images[0][1]
    if not _there(top):
        if disk.device in ("cdrom", "floppy"):
            return None
        raise c.refuse(f"disk[{place}]/source", "is missing; say which file it is")
    below: str | None = None
    for number, image in reversed(images):
        below = _image(c, place, disk, number, image, below)
    driver = disk.driver
    if driver is not None and driver.copy_on_read and not disk.readonly:
        name = f"libvirt-CoR-{disk.target.dev}"
        c.line.json(
            "blockdev",
            {"driver": "copy-on-read", "node-name": name, "file": below, "discard": "unmap"},
        )
        return name
    return below


def cache_of(disk: Any) -> str | None:
    """Return the cache mode of a disk: one that is shared is not cached."""
    cache = disk.driver.cache if disk.driver is not None else None
    if cache in (None, "default") and disk.shareable and not disk.readonly:
        return "none"
    return cache


def _there(image: Image) -> bool:
    source = image.source
    if source is None:
        return False
    if image.kind in ("network", "nvme"):
        return True
    return bool({"file": source.file, "block": source.dev, "dir": source.dir,
                 "volume": source.volume}.get(image.kind))  # fmt: skip


def _image(c: Context, place: int, disk: Any, number: int, image: Image, below: str | None) -> str:
    """Add the two nodes of an image and return the name of the upper one."""
    name = f"libvirt-{number}"
    driver = disk.driver
    cache = cache_of(disk)
    flags: dict[str, Any] = {}
    # Of an image below only the flags for direct access and flushing are the disk's own.
    if cache in CACHES:
        direct, no_flush, _ = CACHES[cache]
        flags = {"cache": {"direct": direct, "no-flush": no_flush}}
    readonly = image.depth > 0 or disk.readonly or disk.device == "cdrom" or image.kind == "dir"
    node = _place(c, place, disk, name, image)
    if image.kind in ("file", "block") and driver is not None and driver.io is not None:
        node["aio"] = driver.io
    c.line.json(
        "blockdev",
        {**node, "node-name": f"{name}-storage", **flags, "auto-read-only": True,
         "discard": "unmap"},
    )  # fmt: skip
    upper: dict[str, Any] = {"node-name": f"{name}-format", "read-only": readonly, **flags}
    if image.depth == 0 and driver is not None:
        upper["discard"] = driver.discard
        zeroes: str | None = driver.detect_zeroes
        if zeroes == "unmap" and driver.discard != "unmap":
            zeroes = "on"
        upper["detect-zeroes"] = zeroes
    upper |= _format(c, name, image)
    upper["file"] = f"{name}-storage"
    if below is not None:
        upper["backing"] = below
    c.line.json("blockdev", upper)
    if image.last and image.format not in ("raw", "luks"):
        # JSON's null says that nothing is below, whatever the image itself says.
        c.line.args[-1] = f'{c.line.args[-1][:-1]},"backing":null}}'
    return f"{name}-format"


def _format(c: Context, name: str, image: Image) -> dict[str, Any]:
    """Return how an image is read (qemuBlockStorageSourceGetFormatProps)."""
    crypt = image.source.encryption
    if crypt is not None and crypt.engine == "librbd":
        crypt = None
    key = None
    if crypt is not None and crypt.secrets and crypt.format in ("luks", "luks2", "qcow"):
        key = c.secret(f"{name}-format-encryption-secret0", crypt.secrets[0])
    if image.format == "raw":
        if crypt is not None:
            return {"driver": "luks", "key-secret": key}
        values: dict[str, Any] = {"driver": "raw"}
        slices = image.source.slices
        if slices is not None and slices.slices:
            values |= {"offset": slices.slices[0].offset, "size": slices.slices[0].size}
        return values
    driver = {"iso": "raw", "dir": "raw", "fat": "raw", "bochs": "bochs"}.get(
        image.format, image.format
    )
    values = {"driver": driver}
    if key is not None:
        form = {"qcow": "aes"}.get(crypt.format, "luks")
        values["encrypt"] = {"format": form, "key-secret": key}
    if image.metadata_cache and driver == "qcow2":
        values["cache-size"] = image.metadata_cache
    return values


def _place(c: Context, place: int, disk: Any, name: str, image: Image) -> dict[str, Any]:
    """Return where an image's bytes are (qemuBlockStorageSourceGetBackendProps)."""
    source = image.source
    if image.kind == "file":
        return {"driver": "file", "filename": source.file}
    if image.kind == "block":
        node: dict[str, Any] = {"driver": "host_device", "filename": source.dev}
        if disk.device == "cdrom" and c.host.is_drive(source.dev or ""):
            node["driver"] = "host_cdrom"
        if source.reservations is not None:
            node["pr-manager"] = _reservations(c, name, source.reservations)
        return node
    if image.kind == "dir":
        return {
            "driver": "vvfat", "dir": source.dir, "floppy": disk.device == "floppy", "rw": False,
        }  # fmt: skip
    if image.kind == "nvme" and source.address is not None:
        at = source.address
        parts = [int(str(getattr(at, part) or "0"), 0) for part in ("domain", "bus", "slot")]
        device = f"{parts[0]:04x}:{parts[1]:02x}:{parts[2]:02x}.{int(str(at.function or '0'), 0):x}"
        return {"driver": "nvme", "device": device, "namespace": source.namespace}
    if image.kind == "network":
        from polyvisor_qemu.cmdline.protocols import network

        found = network(c, name, source, disk)
        if found is not None:
            return found
    raise c.refuse(
        f"disk[{place}]/source", f"a disk of type {image.kind!r} is not supported by QEMU as it is"
    )


def _reservations(c: Context, node: str, given: Any) -> str:
    """Add who reserves a SCSI disk for good (qemuBuildPRManagerInfoProps)."""
    managed = given.managed
    name = "pr-helper0" if managed else f"pr-helper-{node}-storage"
    if not (managed and any(f'"id":"{name}"' in word for word in c.line.args)):
        path = f"{c.host.run}/pr-helper0.sock" if managed else given.source.path
        c.object_("pr-manager-helper", name, path=path)
    return name


def port_of(protocol: str, host: Any) -> str:
    """Return the port of a server, that of its protocol if none is said."""
    return host.port or str(_PORTS.get(protocol, 0))
