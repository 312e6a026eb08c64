"""The folders of one host."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

import attrs

from polyvisor.errors import InvalidArgument, StorageError

if TYPE_CHECKING:
    from polyvisor.uri import ConnectionUri

__all__ = ["Roots", "private_folder"]


@attrs.frozen
class Roots:
    """Where a driver keeps things; nothing is made before it is needed.

    Attributes:
        config: what people edit.
        state: the database, locks, save images and snapshots.
        run: sockets and folders of running guests; gone after a reboot.
        log: logs.
        override: the folder that everything was moved under, or ``None``.
    """

    config: str
    state: str
    run: str
    log: str
    override: str | None = None

    @classmethod
    def of(
        cls,
        plugin: str,
        scope: Literal["system", "session"],
        path: str | None = None,
        *,
        root: str | os.PathLike[str] | None = None,
    ) -> Roots:
        """Return the folders for ``plugin``.

        Args:
            plugin: the plugin's short name.
            scope: ``"system"``: ``/etc``, ``/var/lib``, ``/run``, ``/var/log``;
                ``"session"``: the user's folders as the XDG base directory
                specification has them.
            path: name of one host among several of this plugin, such as ``"a"`` of
                ``sim:///a``; any text.
            root: folder under which everything goes instead; ``None``: what the
                environment variable ``POLYVISOR_ROOT`` says, if it is set.

        Raises:
            StorageError: a folder that must be private belongs to somebody else.
        """
        tail = plugin if path is None else f"{plugin}/{_folder_name(path)}"
        override = os.fspath(root) if root is not None else os.environ.get("POLYVISOR_ROOT")
        if override:
            override = os.path.abspath(override)
            base = f"{override}/{scope}"
            return cls(
                f"{base}/etc", f"{base}/lib/{tail}", f"{base}/run/{tail}", f"{base}/log/{tail}",
                override,
            )  # fmt: skip
        if scope == "system":
            return cls(
                "/etc/polyvisor",
                f"/var/lib/polyvisor/{tail}",
                f"/run/polyvisor/{tail}",
                f"/var/log/polyvisor/{tail}",
            )
        return cls(
            f"{_xdg('XDG_CONFIG_HOME', '.config')}/polyvisor",
            f"{_xdg('XDG_DATA_HOME', '.local/share')}/polyvisor/{tail}",
            f"{_runtime_dir()}/polyvisor/{tail}",
            f"{_xdg('XDG_STATE_HOME', '.local/state')}/polyvisor/{tail}/log",
        )

    def with_agreed_run(self) -> Roots:
        """Return the same with the run folder that all processes of the user agree on.

        One started by cron or ``su`` has no ``XDG_RUNTIME_DIR``, another has: the first to
        come leaves a link beside the database, which the others follow.
        """
        if self.override is not None or self.state.startswith("/var/lib/"):
            return self
        link = f"{private_folder(self.state)}/run"
        for _ in range(8):
            try:
                there = os.readlink(link)
            except FileNotFoundError:
                there = None
            if there is not None:
                if _is_private(there):
                    return attrs.evolve(self, run=there)
                os.unlink(link)  # a session that has ended took it along
            private_folder(self.run)
            with suppress(FileExistsError):
                os.symlink(self.run, link)
        return self

    def canonical(self, uri: ConnectionUri) -> str:
        """Return ``uri`` so that any process of this user comes to these folders by it."""
        query = {name: value for name, value in uri.query.items() if name != "root"}
        if self.override is not None:
            query["root"] = self.override
        return str(attrs.evolve(uri, query=query))


def private_folder(path: str) -> str:
    """Make ``path`` and what is missing above it, for its owner alone, and return it.

    Raises:
        StorageError: it cannot be made.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        private_folder(os.path.dirname(path))
        return private_folder(path)
    except OSError as error:
        raise StorageError(
            f"cannot make the folder {path}: {error.strerror}; make it, or move polyvisor's "
            f"files with the environment variable POLYVISOR_ROOT",
            path=path,
        ) from error
    return path


def _folder_name(path: str) -> str:
    """Turn any text into one name of a folder, different texts into different names."""
    from polyvisor.uri import quoted

    name = quoted(path.strip("/"), safe="")
    if not name:
        raise InvalidArgument("the name of a host cannot be empty")
    if name.startswith("."):  # "." and ".." would leave the folder
        name = f"%2E{name[1:]}"
    if len(name) > 200:
        raise InvalidArgument(f"the name of a host is too long: {path[:40]!r}…")
    return name


def _xdg(variable: str, default: str) -> str:
    # The specification has relative paths ignored.
    value = os.environ.get(variable, "")
    return value if value.startswith("/") else os.path.expanduser(f"~/{default}")


def _runtime_dir() -> str:
    uid = os.getuid()
    for candidate in (os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{uid}"):
        if candidate.startswith("/") and _is_private(candidate):
            return candidate
    folder = f"{os.environ.get('TMPDIR', '/tmp').rstrip('/')}/polyvisor-{uid}"  # noqa: S108
    private_folder(folder)
    if not _is_private(folder):
        raise StorageError(
            f"the folder {folder} does not belong to this user, or others may enter it; "
            f"remove it, or set XDG_RUNTIME_DIR",
            path=folder,
        )
    return folder


def _is_private(folder: str) -> bool:
    try:
        facts = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o077
