"""Asking polkit whether a local client may come in, as libvirtd does (``auth_unix_rw = "polkit"``).

polkit's own program ``pkcheck`` asks for us; the actions are libvirt's, so that the rules that a
host has for libvirtd hold here too.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from polyvisor_remote.server.failures import Failure

__all__ = ["MANAGE", "MONITOR", "ask", "started"]

#: Actions of ``org.libvirt.unix.policy``: on a socket, and on a read-only one.
MANAGE, MONITOR = "org.libvirt.unix.manage", "org.libvirt.unix.monitor"
#: ``VIR_ERR_AUTH_FAILED``, ``AUTH_CANCELLED``, ``AUTH_UNAVAILABLE``.
_FAILED, _CANCELLED, _UNAVAILABLE = 45, 79, 94
#: Questions at the same time, of one user and in all: a person may take long to answer.
_OF_ONE, _OF_ALL = 2, 8
#: Seconds after which is looked whether the client still waits.
_LOOK = 0.5

_asked: Counter[int] = Counter()
_lock = threading.Lock()


def started(pid: int) -> int:
    """Return when a process began, as proc(5) has it; 0 if it is gone."""
    with suppress(OSError, IndexError, ValueError), open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])
    return 0


def ask(action: str, pid: int, began: int, uid: int, gone: Callable[[], bool]) -> None:
    """Return if polkit lets a process do something, maybe after it has asked a person.

    Args:
        action: what it wants to do.
        pid: the process.
        began: when it began; see :func:`started`.
        uid: whose it is.
        gone: says whether nobody waits for the answer any more.

    Raises:
        Failure: polkit does not, or cannot be asked.
    """
    if not began:
        raise Failure(_FAILED, f"the process {pid} is gone, so that polkit cannot be asked of it")
    with _lock:
        if _asked[uid] >= _OF_ONE or _asked.total() >= _OF_ALL:
            raise Failure(_UNAVAILABLE, "polkit is asked of others meanwhile; try again")
        _asked[uid] += 1
    try:
        code, said = _run(action, f"{pid},{began},{uid}", gone)
    finally:
        with _lock:
            _asked[uid] -= 1
    if code == 0:
        return
    if code == 1:
        raise Failure(_FAILED, "access denied by policy")
    if code == 2:
        raise Failure(_UNAVAILABLE, f"no polkit agent available to authenticate action '{action}'")
    if code == 3:
        raise Failure(_CANCELLED, "user cancelled authentication process")
    raise Failure(_FAILED, f"polkit cannot be asked: {said}")


def _run(action: str, subject: str, gone: Callable[[], bool]) -> tuple[int, str]:
    """Run pkcheck; return its status (see its manual page) and what it said."""
    command = ["pkcheck", "--action-id", action, "--process", subject, "--allow-user-interaction"]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError as error:
        return 127, f"pkcheck: {error.strerror}; is polkit installed?"
    with process:
        while True:
            try:
                _, errors = process.communicate(timeout=_LOOK)
            except subprocess.TimeoutExpired:
                if gone():
                    process.kill()
                continue
            words = " ".join(errors.decode(errors="replace").split())
            return process.returncode, words or f"pkcheck ended with {process.returncode}"
