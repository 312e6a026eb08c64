"""passt, which gives a guest the host's network as ordinary sockets (passt(1), qemuPasstStart).

It has one end of a pair of connected sockets and QEMU the other, so it ends when QEMU does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_qemu.cmdline.words import Helper

if TYPE_CHECKING:
    from polyvisor_qemu.cmdline.context import Context

__all__ = ["passt"]


def passt(c: Context, number: int, one: Any, peer: int) -> Helper:
    """Return the passt of an interface.

    Args:
        c: the definition.
        number: the interface's place, for messages.
        one: the interface.
        peer: QEMU's number of its end.

    Raises:
        SemanticError: a forwarded port is of neither TCP nor UDP.
    """
    words = ["passt", "--foreground", "--quiet", "--fd", "{fd}"]
    if one.mac is not None:
        words += ["--mac-addr", one.mac.address]
    if one.mtu:
        words += ["--mtu", str(one.mtu)]
    if one.source is not None and one.source.dev:
        words += ["--interface", one.source.dev]
    if one.backend.log_file:
        words += ["--log-file", one.backend.log_file]
    else:
        words += ["--stderr"]
    for ip in one.ips:
        if ip.address:
            words += ["--address", ip.address]
            if ip.prefix and ":" not in ip.address:
                words += ["--netmask", str(ip.prefix)]
    for forward in one.port_forwards:
        option = {"tcp": "--tcp-ports", "udp": "--udp-ports"}.get(forward.proto or "")
        if option is None:
            raise c.refuse(f"interface[{number}]/portForward", "proto is neither tcp nor udp")
        words += [option, _ports(forward)]
    return Helper("passt", "", tuple(words), (), "passt", peer=peer)


def _ports(forward: Any) -> str:
    """Return ports of the host and the guest's as passt reads them."""
    at = ""
    if forward.address:
        at = f"{forward.address}{f'%{forward.dev}' if forward.dev else ''}/"
    return at + (",".join(map(_range, forward.ranges)) or "all")


def _range(one: Any) -> str:
    text = f"{'~' if one.exclude else ''}{one.start}{f'-{one.end}' if one.end else ''}"
    if one.to:
        text += f":{one.to}{f'-{one.end + one.to - one.start}' if one.end else ''}"
    return text
