"""Commands for the host's devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyvisor.cli._declare import argument, echo, option
from polyvisor.cli._families import Family
from polyvisor.cli._session import command, session

if TYPE_CHECKING:
    from polyvisor.cli._declare import Command
    from polyvisor.node_devices import NodeDevice

__all__: list[str] = []

_DEVICES = Family("nodedev", "node device", lambda connection: connection.node_devices)

nodedev_dumpxml_command: Command = _DEVICES.dumpxml()
nodedev_create_command: Command = _DEVICES.create()


def _device(name: str) -> NodeDevice:
    return session().connection.node_devices[name]


@command("nodedev-list")
@option("--cap", metavar="WORDS", help="Only those that are one of these, by commas.")
@option("--tree", is_flag=True, help="As a tree: what hangs on what.")
def nodedev_list_command(cap: str | None, tree: bool) -> None:
    """List the host's devices."""
    wanted = set(cap.split(",")) if cap is not None else None
    found = [
        device
        for device in session().connection.node_devices
        if wanted is None or wanted & set(device.capabilities)
    ]

    def plain() -> None:
        if tree:
            _tree({device.key: device.parent for device in found})
            return
        for device in found:
            echo(device.key)

    session().facts(
        [
            {"name": one.key, "parent": one.parent, "capabilities": list(one.capabilities)}
            for one in found
        ],
        plain,
    )


def _tree(parents: dict[str, str | None], top: str | None = None, indent: int = 0) -> None:
    for name, parent in parents.items():
        if parent == top or (top is None and parent not in parents):
            echo(f"{' ' * indent}{name}")
            _tree(parents, name, indent + 2)


@command("nodedev-detach")
@argument("name")
@option("--driver", default=None, help="The host's driver that hands it on; vfio if none is named.")
def nodedev_detach_command(name: str, driver: str | None) -> None:
    """Take the PCI device NAME from the host, so that a guest can have it."""
    _device(name).detach(driver)
    session().done(f"Device {name} detached", name=name)


@command("nodedev-reattach")
@argument("name")
def nodedev_reattach_command(name: str) -> None:
    """Give the PCI device NAME back to the host."""
    _device(name).reattach()
    session().done(f"Device {name} re-attached", name=name)


@command("nodedev-reset")
@argument("name")
def nodedev_reset_command(name: str) -> None:
    """Reset the PCI device NAME."""
    _device(name).reset()
    session().done(f"Device {name} reset", name=name)


@command("nodedev-destroy")
@argument("name")
def nodedev_destroy_command(name: str) -> None:
    """Remove the device NAME, which was made of another."""
    _device(name).destroy()
    session().done(f"Destroyed node device '{name}'", name=name)
