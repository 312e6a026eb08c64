"""What a guest has on the host's network that does not go with its QEMU, and how it goes.

TAP devices go with whoever has them open. Devices of macvtap and ports of a virtual switch do
not: each is noted in the guest's run folder before it is made, so that whoever finds the guest
ended, or its start cut off, can remove it.
"""

from __future__ import annotations

import errno
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from polyvisor.errors import HypervisorError
from polyvisor_qemu.cmdline import netlink

if TYPE_CHECKING:
    from collections.abc import Collection

    from polyvisor.model import DomainSpec
    from polyvisor.model.devices.interface import InterfaceIp, InterfaceRoute

__all__ = ["forget", "note", "release", "release_strays", "start", "stop"]


#: What kernels say of an address that another device on the same one has.
_TAKEN = (errno.EBUSY, errno.EADDRINUSE)


def _path(run_dir: str) -> str:
    return f"{run_dir}/wires"


def _noted(run_dir: str | None) -> list[dict[str, Any]]:
    if run_dir is None:
        return []
    try:
        with open(_path(run_dir), encoding="ascii") as file:
            lines = list(file)
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        with suppress(ValueError):  # a killed process has not made what it did not end to write
            found.append(json.loads(line))
    return found


def note(run_dir: str, name: str, kind: str, **facts: Any) -> None:
    """Note something that is about to be made.

    Args:
        run_dir: the guest's run folder.
        name: the network device's name.
        kind: ``macvtap``, ``port`` (of a switch) or ``addresses``.
        facts: what it takes to find it again, as JSON has it.
    """
    with open(_path(run_dir), "a", encoding="ascii") as file:
        # It stands on a line of its own, whatever a killed process wrote.
        file.write(f"\n{json.dumps({'name': name, 'kind': kind, **facts})}\n")


def forget(run_dir: str, name: str) -> None:
    """Forget what was noted of a device, which is not there."""
    _keep(run_dir, [one for one in _noted(run_dir) if one["name"] != name])


def _keep(run_dir: str, left: list[dict[str, Any]]) -> None:
    beside = f"{_path(run_dir)}.new"
    with open(beside, "w", encoding="ascii") as file:
        file.writelines(f"{json.dumps(one)}\n" for one in left)
    os.replace(beside, _path(run_dir))


def release(run_dir: str | None, names: Collection[str] | None = None) -> None:
    """Remove what a guest, which is gone, has on the network.

    What cannot be removed is left: the guest is gone all the same.

    Args:
        run_dir: its run folder.
        names: of which devices; ``None``: all.
    """
    noted = _noted(run_dir)
    going = [one for one in noted if names is None or one["name"] in names]
    if run_dir is None or not going:
        return
    for one in reversed(going):
        if one["kind"] == "macvtap":
            with suppress(OSError):
                _remove(one)
        elif one["kind"] == "port":
            from polyvisor_qemu.cmdline.switches import remove_port

            remove_port(one["name"], one["uuid"], one["timeout"])
    _keep(run_dir, [one for one in noted if one not in going])


def release_strays(run_dir: str | None, spec: DomainSpec) -> None:
    """Remove what belongs to no interface of a guest any more."""
    used = {one.target for one in spec.devices.interfaces}
    release(run_dir, {one["name"] for one in _noted(run_dir) if one["name"] not in used})


def _remove(one: dict[str, Any]) -> None:
    link = netlink.find(one["name"])
    lower = netlink.find(one["lower"])
    if link is None or lower is None or (link.kind, link.lower) != ("macvtap", lower.index):
        return
    # Another guest's of the same name has another address, as has one that was there before.
    if link.address in (one["mac"], one["was"]):
        netlink.delete(link.index)


def start(run_dir: str | None, what: str, names: Collection[str] | None = None) -> None:
    """Let devices of a guest run, as its vCPUs begin to (qemuInterfaceStartDevice).

    Until then they are silent: a guest that arrives by migration runs elsewhere still.

    Args:
        run_dir: its run folder.
        what: what they are to run for, for the error.
        names: which; ``None``: all.

    Raises:
        HypervisorError: the kernel refuses.
    """
    for one in _noted(run_dir):
        if names is not None and one["name"] not in names:
            continue
        try:
            if one["kind"] == "macvtap":
                lower = netlink.find(one["lower"])
                if lower is not None and not lower.running:
                    netlink.set_running(lower.index, True)
                link = netlink.find(one["name"])
                if link is None:
                    raise HypervisorError(
                        f"{what}: the network device {one['name']}, which was made for it on "
                        f"{one['lower']}, is gone; destroy the domain and start it anew"
                    )
                netlink.set_running(link.index, True, all_groups=one["all_groups"])
            elif one["kind"] == "addresses":
                _addressed(one)
        except (OSError, ValueError) as error:
            words = error.strerror if isinstance(error, OSError) else str(error)
            told = "cannot give {} its addresses" if one["kind"] == "addresses" else "cannot run {}"
            hint = ""
            if one["kind"] == "macvtap" and isinstance(error, OSError) and error.errno in _TAKEN:
                hint = f"; another device on {one['lower']} has the address {one['mac']}"
            raise HypervisorError(
                f"{what}: {told.format('the network device ' + one['name'])}: {words}{hint}"
            ) from error


def _addressed(one: dict[str, Any]) -> None:
    from polyvisor.model.devices.interface import InterfaceIp, InterfaceRoute

    link = netlink.find(one["name"])
    if link is None:
        raise ValueError("there is no such device")
    ips: list[InterfaceIp] = [InterfaceIp(**given) for given in one["ips"]]
    routes: list[InterfaceRoute] = [InterfaceRoute(**given) for given in one["routes"]]
    for ip in ips:
        netlink.add_address(link.index, ip)
    for route in routes:
        netlink.add_route(link.index, route)


def stop(run_dir: str | None) -> None:
    """Silence devices of a guest whose vCPUs stand still (qemuInterfaceStopDevice).

    Raises:
        HypervisorError: the kernel refuses.
    """
    for one in _noted(run_dir):
        if one["kind"] != "macvtap":
            continue
        names = [one["name"], *([one["lower"]] if one["mode"] == "passthrough" else [])]
        for name in names:
            with suppress(OSError):  # it may be gone
                link = netlink.find(name)
                if link is not None:
                    netlink.set_running(link.index, False)
