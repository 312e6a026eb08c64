"""Run virt-manager, and in it press what a person presses who makes a guest of a disk.

``python3 manager_wizard.py DISK NAME MEMORY OPTION...`` with the interpreter that virt-manager's
own program names. The rest of the options is virt-manager's. Each button is pressed with GTK's own
signal, on the page where it is, once it can be pressed; all that comes of it is virt-manager's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

sys.path.insert(0, "/usr/share/virt-manager")

EVERY = 200
"""Milliseconds from one look at virt-manager to the next."""

START, INSTALL, MEMORY, FINISH = 0, 1, 2, 4
"""Pages, as ``createvm.py`` numbers them; an import has none for storage."""


def presses(disk: str, name: str, memory: int) -> Iterator[None]:
    """Make a guest, as far as is possible until each yield.

    Args:
        disk: the image that is imported.
        name: what the guest is to be called.
        memory: its memory in MiB.
    """
    import virtinst
    from virtManager.createvm import vmmCreateVM
    from virtManager.manager import vmmManager
    from virtManager.vmwindow import vmmVMWindow

    while vmmManager._instance is None or not connected():
        yield
    vmmManager._instance.widget("vm-new").emit("clicked")
    while not (vmmCreateVM._instance and vmmCreateVM._instance.conn):
        yield
    wizard = vmmCreateVM._instance
    yield from turned(wizard, START, {"method-import": lambda it: it.set_active(True)})
    wizard._os_list.select_os(virtinst.OSDB.lookup_os("generic"))
    yield from turned(wizard, INSTALL, {"install-import-entry": lambda it: it.set_text(disk)})
    yield from turned(wizard, MEMORY, {"mem": lambda it: it.set_value(memory)})
    yield from turned(wizard, FINISH, {"create-vm-name": lambda it: it.set_text(name)})
    while not vmmVMWindow._instances:
        yield
    (window,) = vmmVMWindow._instances.values()
    while not window._console._viewer or not window._console._viewer.console_is_open():
        yield
    while (size := window._console._viewer.console_get_desktop_resolution()) is None:
        yield
    print(f"hand: sees a screen of {size[0]}x{size[1]}", flush=True)


def connected() -> bool:
    """Say whether the connection is there, with all that is first asked of it."""
    from virtManager.connmanager import vmmConnectionManager

    found = vmmConnectionManager.get_instance().conns.values()
    return any(one.is_active() for one in found)


def turned(wizard: Any, page: int, filled: dict[str, Any]) -> Iterator[None]:
    """Fill in a page, and press what leads on until the page is another."""
    pages = wizard.widget("create-pages")
    while pages.get_current_page() != page:
        yield
    for name, fill in filled.items():
        fill(wizard.widget(name))
    button = wizard.widget("create-finish" if page == FINISH else "create-forward")
    while not (button.get_sensitive() and button.get_visible()):
        yield
    print(f"hand: presses {button.get_label()} on page {page}", flush=True)
    button.emit("clicked")


def main() -> None:
    """Run virt-manager with a hand in its loop."""
    disk, name, memory, *options = sys.argv[1:]
    sys.argv[1:] = options
    import gi

    gi.require_version("Gtk", "3.0")
    from gi.repository import GLib
    from virtManager import virtmanager

    hand = presses(disk, name, int(memory))

    def look() -> bool:
        return next(hand, StopIteration) is None

    GLib.timeout_add(EVERY, look)
    virtmanager.runcli()


if __name__ == "__main__":
    main()
