"""What a running QEMU is handed open: secrets, sockets, files, network devices.

It is opened by us, as before a start, and goes over the monitor's socket beside a command
(``SCM_RIGHTS``): no value of a secret is ever in a command.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from polyvisor_qemu.qmp import QmpError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polyvisor.model import DomainSpec
    from polyvisor_qemu.cmdline import CommandLine, Host
    from polyvisor_qemu.qmp import Monitor

__all__ = ["Handing"]

#: Properties that take the number of a descriptor, or several with colons between them.
_NUMBERED = ("fd", "fds", "vhostfd", "vhostfds", "str")
_FILE = re.compile(r"/proc/self/fd/(\d+)")
_SET = re.compile(r"/dev/fdset/(\d+)")


class Handing:
    """Hands over what options name by number; as a context, puts away what QEMU has not taken.

    Args:
        monitor: QEMU's monitor.
        line: a command line that asks for the descriptors.
        sets: the numbers of descriptors in its sets of files, by the sets' numbers.
        spec: the definition, for messages.
        run_dir: the guest's run folder.
        host: where secrets are.

    Attributes:
        taps: the host's network devices that were made.
    """

    def __init__(
        self,
        monitor: Monitor,
        line: CommandLine,
        sets: Mapping[int, int],
        spec: DomainSpec,
        run_dir: str,
        host: Host,
    ) -> None:
        self._monitor = monitor
        self._line = line
        self._files = sets
        self._spec = spec
        self._run_dir = run_dir
        self._host = host
        self.taps: tuple[str, ...] = ()
        self._opened: dict[int, int] = {}
        self._names: list[str] = []
        self._sets: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for fd in self._opened.values():
            os.close(fd)
        # What a device uses it has for itself; a name that it took is no more.
        for place in self._sets:
            with suppress(QmpError):
                self._monitor.execute("remove-fd", fdset_id=place)
        for name in self._names:
            with suppress(QmpError):
                self._monitor.execute("closefd", fdname=name)

    def open(self, options: list[tuple[str, dict[str, Any]]]) -> None:
        """Open all that options name.

        Raises:
            PolyvisorError: a secret or a device is not there; says what is in the way.
        """
        from polyvisor_qemu.cmdline.opening import open_all

        wanted = {number for _, values in options for number in self._numbers(values)}
        if wanted:
            opened = open_all(self._line, self._spec, self._run_dir, self._host, only=wanted)
            self._opened, self.taps = opened.fds, tuple(opened.taps.values())

    def _numbers(self, values: Any) -> list[int]:
        """Return which of our descriptors stand in some values."""
        found: list[int] = []
        if isinstance(values, list):
            for one in values:
                found += self._numbers(one)
        elif isinstance(values, dict):
            for key, one in values.items():
                if key in _NUMBERED and isinstance(one, str):
                    found += [int(number) for number in one.split(":") if number.isdecimal()]
                elif isinstance(one, str):
                    if file := _FILE.fullmatch(one):
                        found.append(int(file[1]))
                    elif there := _SET.fullmatch(one):
                        found.append(self._files.get(int(there[1]), -1))
                else:
                    found += self._numbers(one)
        return [one for one in found if one in self._line.descriptors]

    def handed(self, values: Any) -> Any:
        """Return an option's values as QEMU knows what has been handed to it for them."""
        if isinstance(values, list):
            return [self.handed(one) for one in values]
        if not isinstance(values, dict):
            return values
        changed = {}
        for key, one in values.items():
            if key in _NUMBERED and isinstance(one, str):
                changed[key] = ":".join(map(self._by_name, one.split(":")))
            elif isinstance(one, str) and (file := _FILE.fullmatch(one)):
                fd = self._opened.get(int(file[1]))
                changed[key] = one if fd is None else f"/proc/self/fd/{self._add(fd)['fd']}"
            elif isinstance(one, str) and (there := _SET.fullmatch(one)):
                fd = self._opened.get(self._files.get(int(there[1]), -1))
                changed[key] = one if fd is None else f"/dev/fdset/{self._add(fd)['fdset-id']}"
            else:
                changed[key] = self.handed(one)
        return changed

    def _by_name(self, number: str) -> str:
        if not number.isdecimal() or int(number) not in self._opened:
            return number
        name = f"handed-{number}"
        self._monitor.execute("getfd", fdname=name, fds=(self._opened[int(number)],))
        self._names.append(name)
        return name

    def _add(self, fd: int) -> dict[str, int]:
        added: dict[str, int] = self._monitor.execute("add-fd", fds=(fd,))
        self._sets.append(added["fdset-id"])
        return added
