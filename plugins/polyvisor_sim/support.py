"""What works on the simulator, and why the rest does not."""

from __future__ import annotations

from polyvisor.support import Support, SupportStatus, SupportTable

__all__ = ["SIM", "TEST"]

_CANNOT = SupportStatus.UNSUPPORTED
_NO_DISKS = Support(_CANNOT, "simulated guests never open their disks")
_ALONE = Support(
    _CANNOT, "guests of test:/// live in this process alone; those of sim:///NAME can migrate"
)

_BOTH: dict[str, Support | SupportStatus | str] = {
    **dict.fromkeys(
        (
            "domains.define",
            "domains.transient",
            "domains.start",
            "domains.start-paused",
            "domains.shutdown",
            "domains.destroy",
            "domains.reboot",
            "domains.reset",
            "domains.suspend",
            "domains.autostart",
            "domains.rename",
            "domains.lifecycle",
            "domains.stats",
            "domains.dump",
            "domains.metadata",
            "domains.tuning",
            "devices.attach",
            "devices.memory",
            "devices.vcpus",
            "devices.iothreads",
            "console.serial",
            "console.screenshot",
            "console.send-key",
            "save.file",
            "save.managed",
            "save.edit",
            "snapshots.memory",
            "snapshots.revert",
            "checkpoints",
            "events",
            "storage",
            "networks",
            "interfaces",
            "nwfilters",
            "node-devices",
            "secrets",
        ),
        SupportStatus.SUPPORTED,
    ),
    "snapshots.disk": _NO_DISKS,
    "backup": _NO_DISKS,
    "block.jobs": _NO_DISKS,
    "console.graphics": Support(_CANNOT, "a simulated screen has no server for viewers"),
    "host.figures": Support(_CANNOT, "a simulated host does nothing"),
    "host.cpus": Support(_CANNOT, "a simulated host has no CPU of any model"),
    "host.memory": Support(_CANNOT, "a simulated host has memory of no pages"),
    "domains.debug": Support(_CANNOT, "a simulated machine has no monitor"),
    "guest.agent": Support(_CANNOT, "nothing runs inside a simulated guest that could answer"),
}

#: For ``sim:///NAME``.
SIM = SupportTable(
    {
        **_BOTH,
        "migration.live": SupportStatus.SUPPORTED,
        "migration.stopped": SupportStatus.SUPPORTED,
        "migration.offline": SupportStatus.SUPPORTED,
        "migration.peer-to-peer": SupportStatus.SUPPORTED,
        "migration.tunnelled": Support(_CANNOT, "both sides talk while a guest moves"),
        "migration.post-copy": "a guest runs where all of its memory is, so far",
        "migration.storage": _NO_DISKS,
        "migration.limits": SupportStatus.SUPPORTED,
        "migration.timeout": SupportStatus.SUPPORTED,
        "migration.auto-converge": "a simulated guest is not slowed down so far",
        "migration.compression": "the stream is not packed so far",
        "migration.parallel": "the stream has one connection so far",
        "migration.tls": "the stream stays on this machine",
        "migration.abort-on-error": _NO_DISKS,
        "migration.steering": "limits are set when a migration begins, so far",
    }
)

#: For ``test:///``.
TEST = SupportTable(
    {
        **_BOTH,
        **dict.fromkeys(
            (
                "migration.live",
                "migration.stopped",
                "migration.offline",
                "migration.peer-to-peer",
                "migration.tunnelled",
                "migration.post-copy",
                "migration.storage",
                "migration.limits",
                "migration.timeout",
                "migration.auto-converge",
                "migration.compression",
                "migration.parallel",
                "migration.tls",
                "migration.abort-on-error",
                "migration.steering",
            ),
            _ALONE,
        ),
    }
)
