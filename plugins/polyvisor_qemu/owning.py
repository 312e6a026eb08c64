"""Guests as a user without rights: who owns their files while they run, and afterwards.

What a guest's QEMU is to open by its path is given to its user at start and given back to its
owner at the end. Who that was is recorded before anything is changed, with the guests that use
the file, so that whoever comes next can give it back, whatever process was killed.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

import attrs

from polyvisor.errors import ConfigError, HypervisorError, StorageError
from polyvisor.state import ObjectRecord, boot_id

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from polyvisor.model import DomainSpec
    from polyvisor.state import Home

__all__ = ["Owning", "files_of", "files_of_guest", "layers"]

_FAMILY = "qemu-owner"
#: Seconds to wait for others that note down owners; none takes long.
_PATIENCE = 30.0
#: Layers of an image that are followed at most, as many as libvirt does.
_LAYERS = 200
# QEMU's docs/interop/qcow2.txt: magic, where the name of the layer below is and how long it is,
# the length of the header, the extension that says the format of the layer below.
_QCOW2, _BACKING_FORMAT = b"QFI\xfb", 0xE2792ACA


@attrs.frozen
class Owning:
    """The user of guests.

    Attributes:
        home: where it is recorded what belonged to whom.
        uid: the user's number.
        gid: the number of its group.
        name: its name, if it has one: then it is in all groups of its.
        dynamic: whether files are given to it at all.
    """

    home: Home
    uid: int
    gid: int
    name: str | None
    dynamic: bool

    @classmethod
    def of(cls, settings: Mapping[str, Any], home: Home) -> Owning | None:
        """Return what the settings say; ``None`` if guests are ours.

        Raises:
            ConfigError: there is no such user or group, or only root could say so.
        """
        user, group = settings.get("user"), settings.get("group")
        if user is None:
            return None
        try:
            known = pwd.getpwuid(int(user[1:])) if user[:1] == "+" else pwd.getpwnam(user)
            uid, gid, name = known.pw_uid, known.pw_gid, known.pw_name
        except (KeyError, ValueError):
            if not user[1:].isdigit() or user[:1] != "+":
                raise ConfigError(
                    f"the QEMU plugin's setting user is {user!r}, whom this host does not know",
                    key="plugins.qemu.user",
                ) from None
            uid, gid, name = int(user[1:]), int(user[1:]), None
        if group is not None:
            try:
                gid = int(group[1:]) if group[:1] == "+" else grp.getgrnam(group).gr_gid
            except (KeyError, ValueError):
                raise ConfigError(
                    f"the QEMU plugin's setting group is {group!r}, which this host does not know",
                    key="plugins.qemu.group",
                ) from None
        if uid == os.geteuid():
            return None
        if os.geteuid() != 0:
            raise ConfigError(
                f"the QEMU plugin's setting user is {user!r}: only root can run guests as others",
                key="plugins.qemu.user",
            )
        return cls(home, uid, gid, name, bool(settings.get("dynamic_ownership", True)))

    def words(self) -> list[str]:
        """Return what stands before a command line that is to be run as this user.

        Raises:
            HypervisorError: the program for it is missing.
        """
        program = shutil.which("setpriv")
        if program is None:
            raise HypervisorError(
                "cannot run guests as another user: setpriv is missing; apt install util-linux"
            )
        groups = "--clear-groups" if self.name is None else "--init-groups"
        return [
            program, f"--reuid={self.uid}", f"--regid={self.gid}", groups, "--inh-caps=-all",
            "--no-new-privs", "--",
        ]  # fmt: skip

    # Files

    def take(self, uuid: UUID, spec: DomainSpec, variables: Iterable[str]) -> None:
        """Give the files of a guest that is about to start to the user.

        Raises:
            StorageError: the user cannot come to one; says what is in the way.
        """
        for path in [*files_of_guest(spec), *variables]:
            self.give(uuid, path)

    def give(self, uuid: UUID, path: str) -> None:
        """Give one file that a guest uses to the user.

        Raises:
            StorageError: the user cannot come to it.
        """
        path = os.path.realpath(path)
        if not os.path.exists(path):
            return
        self.open_kept(path)
        self._reach(path)
        if not self.dynamic:
            return
        store = self.home.store
        with self.home.locks.acquire(_FAMILY, "give a file away", _PATIENCE):
            there = os.stat(path)
            known = store.object(_FAMILY, path)
            if known is not None and known.data["file"] == [there.st_dev, there.st_ino]:
                data = known.data
            elif there.st_uid == self.uid:
                return
            else:
                data = {
                    "owner": [there.st_uid, there.st_gid],
                    "file": [there.st_dev, there.st_ino],
                    "guests": [],
                }
            guests = sorted({*data["guests"], str(uuid)})
            store.put_object(
                ObjectRecord(
                    _FAMILY, path, path, boot_id=boot_id(), data={**data, "guests": guests}
                )
            )
            os.chown(path, self.uid, self.gid)

    def give_back(self, uuid: UUID, only: Container[str] | None = None) -> None:
        """Give what a guest used back, as far as no other guest uses it.

        Args:
            uuid: the guest's.
            only: the files that it uses no more; ``None``: all, it is gone.
        """
        self._give_back(str(uuid), None, only)

    def settle(self) -> None:
        """Give back what guests used that a restart of the host has ended."""
        self._give_back(None, boot_id())

    def _give_back(
        self, guest: str | None, boot: str | None, only: Container[str] | None = None
    ) -> None:
        store = self.home.store
        if not store.objects(_FAMILY):
            return
        with self.home.locks.acquire(_FAMILY, "give files back", _PATIENCE):
            for known in store.objects(_FAMILY):
                if only is not None and known.key not in only:
                    continue
                left = [one for one in known.data["guests"] if one != guest]
                if boot is not None and known.boot_id != boot:
                    left = []
                if left == known.data["guests"]:
                    continue
                if left:
                    data = {**known.data, "guests": left}
                    store.put_object(attrs.evolve(known, data=data))
                    continue
                with suppress(FileNotFoundError):
                    there = os.stat(known.key, follow_symlinks=False)
                    # Whoever has changed it since knows why.
                    ours = [there.st_dev, there.st_ino] == known.data["file"]
                    if ours and there.st_uid == self.uid:
                        os.chown(known.key, *known.data["owner"], follow_symlinks=False)
                store.remove_object(_FAMILY, known.key)

    def furnish(self, run_dir: str) -> None:
        """Give a run folder with all that is in it to the user: it goes with the guest.

        The folders of ours above it are opened for passing through, to the user's group alone.

        Raises:
            StorageError: the folder that ours are in is closed to it.
        """
        roots = self.home.roots
        assert roots is not None
        self._open_way(run_dir, roots.override or os.path.dirname(roots.run))
        self._reach(run_dir)
        os.chown(run_dir, self.uid, self.gid)
        for name in os.listdir(run_dir):
            os.chown(f"{run_dir}/{name}", self.uid, self.gid, follow_symlinks=False)

    @property
    def folder(self) -> str:
        """The folder for what is kept of guests from start to start, beside our own state.

        That is closed to the user, and must be: secrets are in it.
        """
        from polyvisor_qemu.kept import folders

        assert self.home.roots is not None
        return folders(self.home.roots.state, another=True)[0]

    def open_kept(self, path: str) -> None:
        """Let the user pass through to something below :attr:`folder`."""
        roots = self.home.roots
        assert roots is not None
        if path.startswith(f"{self.folder}/"):
            self._open_way(path, roots.override or os.path.dirname(roots.state))

    def keep(self, folder: str) -> None:
        """Give a folder below :attr:`folder`, with all that is in it, to the user for good.

        Raises:
            StorageError: the folder that ours are in is closed to it.
        """
        self.open_kept(folder)
        self._reach(folder)
        os.chown(folder, self.uid, self.gid, follow_symlinks=False)
        for root, folders, files in os.walk(folder):
            for name in (*folders, *files):
                os.chown(f"{root}/{name}", self.uid, self.gid, follow_symlinks=False)

    def own(self, path: str) -> None:
        """Give something in a run folder to the user: it goes with the guest."""
        os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def _open_way(self, path: str, top: str) -> None:
        """Let the user's group pass through the folders of ours above something."""
        folder = os.path.dirname(path)
        while folder == top or folder.startswith(f"{top}/"):
            there = os.stat(folder)
            if there.st_uid == os.geteuid() and not there.st_mode & 0o077:
                os.chown(folder, -1, self.gid)
                os.chmod(folder, 0o710)  # noqa: S103
            folder = os.path.dirname(folder)

    def _reach(self, path: str) -> None:
        groups = {self.gid}
        if self.name is not None:
            groups |= set(os.getgrouplist(self.name, self.gid))
        folder = os.path.dirname(path)
        while True:
            there = os.stat(folder)
            if there.st_uid == self.uid:
                right = stat.S_IXUSR
            else:
                right = stat.S_IXGRP if there.st_gid in groups else stat.S_IXOTH
            if not there.st_mode & right:
                who = self.name or self.uid
                raise StorageError(
                    f"user {who}, whom guests run as, cannot come to {path}: {folder} is closed to "
                    f"it; put the file elsewhere or open the folder (chmod o+x)",
                    path=path,
                )
            if folder == "/":
                return
            folder = os.path.dirname(folder)


def files_of_guest(spec: DomainSpec) -> Iterator[str]:
    """Give the files that a guest's QEMU opens by path: of devices, and kernels."""
    yield from (path for path in (spec.os.kernel, spec.os.initrd, spec.os.dtb) if path)
    if spec.os.nvram is not None and spec.os.nvram.path:
        yield spec.os.nvram.path
    for field in _FILES:
        for device in getattr(spec.devices, field):
            yield from files_of(field, device)


def files_of(kind: str, device: Any) -> Iterator[str]:
    """Give the files that QEMU opens by path for a device.

    Args:
        kind: the field of ``devices`` that holds it.
        device: the device.
    """
    if kind in _FILES:
        yield from _FILES[kind](device)


def _of_host(device: Any) -> Iterator[str]:
    from polyvisor_qemu.hostnodes import device_files

    if _of_the_host(device):
        yield from device_files(device)


def _of_the_host(device: Any) -> bool:
    """Say whether a device of the guest is one of the host's, as an interface may be."""
    return device.type in ("usb", "pci", "mdev", "hostdev")


def _source(device: Any) -> Iterator[str]:
    path = device.source.path if device.source is not None else None
    if path is not None:
        yield path


def _end(device: Any) -> Iterator[str]:
    """Give the host's device that a port ends at."""
    if device.type == "dev":
        yield from (one.path for one in device.sources if one.path is not None)


def _events(device: Any) -> Iterator[str]:
    source = device.source
    path = None if source is None else source.evdev or source.dev
    if path is not None:
        yield path


def layers(disks: Iterable[Any]) -> Iterator[str]:
    """Give the files of disks, each with those below it."""
    for disk in disks:
        source = disk.source
        path = None if source is None else source.file or source.dev
        kind = disk.driver.type if disk.driver is not None else None
        seen = 0
        while path is not None and seen < _LAYERS:
            yield path
            seen += 1
            # Only what is said to be qcow2 is read as such: in a raw image the guest could write
            # whatever header it likes, and so come to any file.
            below = _below(path) if kind == "qcow2" else None
            path, kind = below if below is not None else (None, None)


_FILES: dict[str, Callable[[Any], Iterator[str]]] = {
    "disks": lambda device: layers([device]),
    "memories": _source,
    "hostdevs": _of_host,
    "interfaces": _of_host,
    "serials": _end,
    "parallels": _end,
    "consoles": _end,
    "channels": _end,
    "inputs": _events,
}


def _below(path: str) -> tuple[str, str | None] | None:
    """Return the layer below a qcow2 image and its format, if the image says them."""
    try:
        with open(path, "rb") as file:
            head = file.read(1 << 16)
    except OSError:
        return None
    if head[:4] != _QCOW2 or len(head) < 104:
        return None
    version = int.from_bytes(head[4:8], "big")
    place, length = int.from_bytes(head[8:16], "big"), int.from_bytes(head[16:20], "big")
    name = os.fsdecode(head[place : place + length]) if place else ""
    if not name or name.startswith("json:") or ":" in name.partition("/")[0]:
        return None
    at = 72 if version < 3 else int.from_bytes(head[100:104], "big")
    form = None
    while at + 8 <= len(head):
        kind = int.from_bytes(head[at : at + 4], "big")
        size = int.from_bytes(head[at + 4 : at + 8], "big")
        if kind == 0:
            break
        if kind == _BACKING_FORMAT:
            form = head[at + 8 : at + 8 + size].decode("ascii", "replace")
        at += 8 + (size + 7) // 8 * 8
    return os.path.join(os.path.dirname(path), name), form
