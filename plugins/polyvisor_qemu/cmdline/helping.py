"""Processes beside QEMU: an emulated TPM, a server of shared folders.

We listen at a helper's socket before QEMU starts, so QEMU connects at once, and hand the
listening socket to the helper only after QEMU is there. A helper ends when QEMU's connection
does: none is left over, wherever the one that starts all this is killed.
"""

from __future__ import annotations

import os
import shutil
from socket import socketpair
from typing import TYPE_CHECKING

from polyvisor.errors import HypervisorError
from polyvisor_qemu.cmdline.opening import ours, secret_of
from polyvisor_qemu.process import Process, spawn

if TYPE_CHECKING:
    from polyvisor.model import DomainSpec
    from polyvisor_qemu.cmdline.host import Host
    from polyvisor_qemu.cmdline.words import CommandLine
    from polyvisor_qemu.owning import Owning

__all__ = ["Helpers"]

#: Number under which a helper has its listening socket.
_FD = 3
#: Number under which it has its secret.
_KEY = 4


class Helpers:
    """The helpers of one guest that is being started.

    Args:
        made: its command line.
        spec: its definition, for messages.
        run_dir: its run folder.
        log: file that helpers write what they have to say to.
        host: where secrets are.
        owning: the user that guests run as, if it is not ours; helpers do if they can.

    Raises:
        HypervisorError: a program is missing; says what to install.
    """

    def __init__(
        self,
        made: CommandLine,
        spec: DomainSpec,
        run_dir: str,
        log: str,
        host: Host,
        owning: Owning | None = None,
    ) -> None:
        from polyvisor_qemu.qmp import listen

        self._log = log
        self._spec = spec
        self._listening: list[tuple[list[str], dict[int, int]]] = []
        #: What QEMU is to have open of theirs, by its numbers.
        self.peers: dict[int, int] = {}
        try:
            for helper in made.helpers:
                program = shutil.which(helper.words[0])
                if program is None:
                    raise HypervisorError(
                        f"start {spec.name!r}: {helper.program} is not installed; "
                        f"apt install {helper.package}",
                        domain=spec.name,
                    )
                for folder in helper.folders:
                    os.makedirs(ours(folder, run_dir), mode=0o700, exist_ok=True)
                    if owning is not None and helper.plain:
                        owning.keep(ours(folder, run_dir))
                as_user = owning.words() if owning is not None and helper.plain else []
                words = [
                    ours(word, run_dir).replace("{fd}", str(_FD)).replace("{key}", str(_KEY))
                    for word in helper.words[1:]
                ]
                fds: dict[int, int] = {}
                self._listening.append(([*as_user, program, *words], fds))
                if helper.peer is not None:
                    qemus, theirs = socketpair()
                    self.peers[helper.peer] = qemus.detach()
                    fds[_FD] = theirs.detach()
                else:
                    socket = ours(helper.socket, run_dir)
                    fds[_FD] = listen(socket).detach()
                    if owning is not None:
                        owning.own(socket)
                if helper.secret is not None:
                    fds[_KEY] = secret_of(helper.secret, spec, host)
        except BaseException:
            self.close()
            raise

    def start(self) -> list[Process]:
        """Start them, now that QEMU is there to be served."""
        found = []
        for words, fds in self._listening:
            try:
                found.append(spawn(words, fds=fds, log=self._log))
            except OSError as error:
                raise HypervisorError(
                    f"start {self._spec.name!r}: cannot run {words[0]}: {error.strerror}",
                    domain=self._spec.name,
                ) from error
        return found

    def close(self) -> None:
        """Let go of the sockets; who serves at them has them."""
        for fd in self.peers.values():
            os.close(fd)
        for _, fds in self._listening:
            for fd in fds.values():
                os.close(fd)
