"""What a device that comes later needs open: network devices and the kernel's helpers.

QEMU is given each over the monitor under a name (``getfd``), which stands in the device's
options where a number would on a command line.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from polyvisor.errors import Unsupported
from polyvisor_qemu.qmp import QmpError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polyvisor.local import Guest
    from polyvisor_qemu.changing import ChangingQemu
    from polyvisor_qemu.cmdline import CommandLine
    from polyvisor_qemu.qmp import Monitor

__all__ = ["handed"]

Option = tuple[str, dict[str, Any]]

_NUMBERED = ("fd", "fds", "vhostfd", "vhostfds")


@contextmanager
def handed(
    hypervisor: ChangingQemu,
    guest: Guest,
    monitor: Monitor,
    line: CommandLine,
    options: list[Option],
) -> Iterator[tuple[list[Option], list[str]]]:
    """Hand over what a device's options name by number; give the options with names instead.

    What QEMU has not taken when the block is left is closed there.

    Args:
        hypervisor: whose settings and secrets there are.
        guest: the guest.
        monitor: its monitor.
        line: the command line of the whole machine, which says what each number is.
        options: the device's own.

    Yields:
        The options, and the names of TAP devices that were made.

    Raises:
        Unsupported: it is a secret, which QEMU reads from what it was started with only.
    """
    if any(f"/proc/self/fd/{number}" in json.dumps(options) for number in line.descriptors):
        raise Unsupported(
            f"attach a device to {guest.name!r}: it needs a secret handed over when QEMU starts; "
            f"stop the guest first",
            feature="devices.attach",
            domain=guest.name,
        )
    numbers = [
        int(number)
        for option, values in options
        if option == "netdev"
        for key in _NUMBERED
        for number in re.findall(r"\d+", values.get(key) or "")
    ]
    if not numbers:
        yield options, []
        return
    from polyvisor_qemu.cmdline.opening import open_all

    assert guest.run_dir is not None
    opened = open_all(line, guest.spec, guest.run_dir, hypervisor.host(), only=numbers)
    names = {number: f"polyvisor-{number}" for number in opened.fds}
    with ExitStack() as stack:
        for fd in opened.fds.values():
            stack.callback(os.close, fd)
        for number, fd in opened.fds.items():
            monitor.execute("getfd", fds=(fd,), fdname=names[number])
            stack.callback(_forget, monitor, names[number])
        yield [_named(one, names) for one in options], list(opened.taps.values())


def _forget(monitor: Monitor, name: str) -> None:
    with suppress(QmpError):  # QEMU has taken it
        monitor.execute("closefd", fdname=name)


def _named(option: Option, names: dict[int, str]) -> Option:
    kind, values = option
    if kind != "netdev":
        return option
    return kind, {
        key: re.sub(r"\d+", lambda found: names[int(found[0])], value)
        if key in _NUMBERED
        else value
        for key, value in values.items()
    }
