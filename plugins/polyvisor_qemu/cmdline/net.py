"""Network interfaces: the guest's device and what it is plugged into on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polyvisor_qemu.cmdline.words import Peer, SwitchPort, Tap, Vhost, joined

if TYPE_CHECKING:
    from polyvisor_qemu.cmdline.context import Context

__all__ = ["interfaces"]

_MODELS = {"virtio": "virtio-net", "virtio-transitional": "virtio-net",
           "virtio-non-transitional": "virtio-net", "netfront": None}  # fmt: skip
_OFFLOADS_HOST = {"csum": "csum", "gso": "gso", "tso4": "host_tso4", "tso6": "host_tso6",
                  "ecn": "host_ecn", "ufo": "host_ufo", "mrg_rxbuf": "mrg_rxbuf"}  # fmt: skip
_OFFLOADS_GUEST = {"csum": "guest_csum", "tso4": "guest_tso4", "tso6": "guest_tso6",
                   "ecn": "guest_ecn", "ufo": "guest_ufo"}  # fmt: skip


def interfaces(c: Context) -> None:
    """Add all network interfaces."""
    passed = 0
    for number, one in enumerate(c.spec.devices.interfaces):
        if one.type == "hostdev":
            _passed(c, number, one, c.names.interface(number, one, passed))
            passed += 1
            continue
        name = c.names.interface(number, one, 0)
        queues = _backend(c, number, one, name)
        _device(c, one, name, queues)


def _virtio(one: Any) -> bool:
    return (one.model or "").startswith("virtio")


def _backend(c: Context, number: int, one: Any, name: str) -> int:
    """Add what an interface is plugged into; return how many queues it has."""
    host = f"host{name}"
    source = one.source
    queues = (one.driver.queues if one.driver is not None and _virtio(one) else None) or 1
    if one.type == "user":
        _user(c, number, one, host)
        return 1
    if one.type in ("network", "bridge", "ethernet", "direct"):
        _tap(c, number, one, host, queues)
        return queues
    if one.type == "vhostuser":
        if source is None or source.path is None:
            raise c.refuse(f"interface[{number}]/source", "has no path of a socket")
        again = source.reconnect
        c.line.add(
            "chardev",
            joined(
                "socket", id=f"char{name}", path=source.path,
                server=True if source.mode == "server" else None,
                reconnect=again.timeout if again is not None and again.enabled else None,
            ),
        )  # fmt: skip
        c.line.json(
            "netdev",
            {"type": "vhost-user", "chardev": f"char{name}",
             "queues": queues if queues > 1 else None, "id": host},
        )  # fmt: skip
        return queues
    if one.type == "vdpa":
        device = source.dev if source is not None else None
        c.line.json("netdev", {"type": "vhost-vdpa", "vhostdev": device, "id": host})
        return queues
    if one.type in ("server", "client", "mcast", "udp") and source is not None:
        address = f"{source.address_text or ''}:{source.port}"
        word = {"server": "listen", "client": "connect"}.get(one.type, one.type)
        values: dict[str, Any] = {word: address}
        if one.type == "udp" and source.local is not None:
            values["localaddr"] = f"{source.local.address or ''}:{source.local.port}"
        c.line.json("netdev", {"type": "socket", **values, "id": host})
        return 1
    if one.type == "null":
        c.line.json("netdev", {"type": "hubport", "id": host, "hubid": number})
        return 1
    raise c.refuse(f"interface[{number}]", f"type {one.type!r} is not run by QEMU; use 'user'")


def _user(c: Context, number: int, one: Any, host: str) -> None:
    """Add a network of QEMU's own, or of passt, which is started before it."""
    if one.backend is not None and one.backend.type == "passt":
        from polyvisor_qemu.cmdline.passt import passt

        peer = c.line.descriptor(Peer())
        c.line.helpers.append(passt(c, number, one, peer))
        c.line.json(
            "netdev",
            {"type": "stream", "server": False, "addr": {"type": "fd", "str": str(peer)},
             "id": host},
        )  # fmt: skip
        return
    values: dict[str, Any] = {"type": "user"}
    for ip in one.ips:
        if ip.family == "ipv6" or ":" in (ip.address or ""):
            values |= {"ipv6-prefix": ip.address, "ipv6-prefixlen": ip.prefix}
        else:
            values["net"] = f"{ip.address}/{ip.prefix}" if ip.prefix else ip.address
    c.line.json("netdev", {**values, "id": host})


def _tap(c: Context, number: int, one: Any, host: str, queues: int) -> None:
    """Add a TAP device, whose queues are opened before QEMU starts."""
    source = one.source
    bridge = None
    if one.type == "bridge":
        bridge = source.bridge if source is not None else None
    elif one.type == "network":
        bridge = c.host.network_bridge(source.network if source is not None else None)
        if bridge is None:
            raise c.refuse(
                f"interface[{number}]",
                "there is no network of this name with a bridge; use 'bridge' or 'user'",
            )
    mode = None
    if one.type == "direct":
        bridge = source.dev if source is not None else None
        mode = (source.mode if source is not None else None) or "vepa"
    tap = Tap(
        interface=number,
        device=one.target,
        bridge=bridge,
        managed=one.target_managed is not False or one.type != "ethernet",
        queues=queues,
        mode=mode,
        mac=one.mac.address if one.mac is not None else None,
        mtu=one.mtu,
        headers=_virtio(one) or one.model in ("e1000e", "vmxnet3"),
        isolated=bool(one.port_isolated),
        port=_port(c, one),
        unmade=_unmade(one, mode),
        trusted=bool(one.trust_guest_rx_filters),
        ips=source.ips if source is not None and one.type == "ethernet" else (),
        routes=source.routes if source is not None and one.type == "ethernet" else (),
        path=(one.backend.tap if one.backend is not None else None) or "/dev/net/tun",
        script=one.script if one.type == "ethernet" else None,
        bandwidth=one.bandwidth,
    )
    fds = [str(c.line.descriptor(tap)) for _ in range(queues)]
    values: dict[str, Any] = {"type": "tap"}
    values |= {"fd": fds[0]} if queues == 1 else {"fds": ":".join(fds)}
    path = _vhost(c, one)
    if path is not None:
        helpers = [str(c.line.descriptor(Vhost(path))) for _ in range(queues)]
        values["vhost"] = True
        values |= {"vhostfd": helpers[0]} if queues == 1 else {"vhostfds": ":".join(helpers)}
    if one.tune is not None and one.tune.sndbuf is not None:
        values["sndbuf"] = one.tune.sndbuf
    c.line.json("netdev", {**values, "id": host})


def _port(c: Context, one: Any) -> SwitchPort | None:
    """Return what a port of Open vSwitch is to be, if the interface is one."""
    if one.virtualport is None or one.virtualport.type != "openvswitch":
        return None
    told = one.virtualport.parameters
    return SwitchPort(
        interface=told.interfaceid if told is not None else None,
        profile=told.profileid if told is not None else None,
        vlan=one.vlan,
        timeout=c.host.setting("ovs_timeout", 5),
    )


def _unmade(one: Any, mode: str | None) -> str | None:
    """Return why an interface is not plugged in as it is described, if it is not."""
    port = one.virtualport.type if one.virtualport is not None else None
    if port == "openvswitch" and mode is not None:
        return "a port of Open vSwitch is of type 'bridge'; use that, or leave <virtualport> out"
    if port not in (None, "none", "openvswitch"):
        name = {"midonet": "MidoNet"}.get(port, port)
        return f"ports of {name} are not made by this driver; leave <virtualport> out"
    if one.vlan is not None and one.vlan.tags and port != "openvswitch":
        # virDomainActualNetDefValidate
        return (
            "VLANs are those of a port of Open vSwitch; leave <vlan> out and use a bridge that "
            "is in the VLAN"
        )
    return None


def _vhost(c: Context, one: Any) -> str | None:
    """Return where the kernel's helper is, if one is to help (qemuInterfaceOpenVhostNet)."""
    asked = one.driver.name if one.driver is not None else None
    if c.spec.type != "kvm" or asked == "qemu" or not _virtio(one):
        return None
    path = (one.backend.vhost if one.backend is not None else None) or "/dev/vhost-net"
    # If it must be there, whoever opens it says that it is not.
    return path if asked == "vhost" or c.host.helps(path) else None


def _device(c: Context, one: Any, name: str, queues: int) -> None:
    """Add the guest's device (qemuBuildNicDevProps)."""
    values: dict[str, Any] = {"netdev": f"host{name}"}
    if one.mac is not None:
        values["mac"] = one.mac.address
    driver = one.driver
    if _virtio(one) and driver is not None:
        values |= {
            "tx": {"iothread": "bh", "timer": "timer"}.get(driver.txmode or ""),
            "ioeventfd": driver.ioeventfd, "event_idx": driver.event_idx,
            "rx_queue_size": driver.rx_queue_size, "tx_queue_size": driver.tx_queue_size,
            "rss": driver.rss, "hash": driver.rss_hash_report,
        }  # fmt: skip
        for held, words in ((driver.host, _OFFLOADS_HOST), (driver.guest, _OFFLOADS_GUEST)):
            for field, word in words.items():
                if held is not None:
                    values[word] = getattr(held, field)
    if _virtio(one):
        if queues > 1:
            values |= {"mq": True, "vectors": 2 * queues + 2}
        values["host_mtu"] = one.mtu
        if one.teaming is not None and one.teaming.type == "persistent":
            values["failover"] = True
    if one.boot is None:
        values["bootindex"] = c.boot.pop("network", None)
    if one.link == "down":
        c.line.commands.append(("set_link", {"name": name, "up": False}))
    model = one.model or "virtio"
    if _virtio(one):
        c.virtio("virtio-net", one, name, **values)
    else:
        c.device(_MODELS.get(model, model) or model, one, name, **values)


def _passed(c: Context, number: int, one: Any, name: str) -> None:
    """Add a PCI function of the host as an interface."""
    at = one.source.address if one.source is not None else None
    if at is None or at.type != "pci":
        raise c.refuse(f"interface[{number}]/source", "has no PCI address")
    where = f"{at.domain or 0:04x}:{at.bus or 0:02x}:{at.slot or 0:02x}.{at.function or 0:x}"
    pair = one.teaming.persistent if one.teaming is not None else None
    c.device("vfio-pci", one, name, host=where, failover_pair_id=pair)
