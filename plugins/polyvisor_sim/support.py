"""What works on the simulator, and why the rest does not."""

from __future__ import annotations

from polyvisor.support import Support, SupportStatus, SupportTable

__all__ = ["SIM", "TEST"]

_CANNOT = SupportStatus.UNSUPPORTED
_NO_DISKS = Support(_CANNOT, "simulated guests never open their disks")
_NO_SCREEN = Support(_CANNOT, "simulated guests have neither screen nor keyboard")
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
            "domains.stats",
            "save.file",
            "save.managed",
            "save.edit",
            "snapshots.memory",
            "snapshots.revert",
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
    "checkpoints": _NO_DISKS,
    "block.jobs": _NO_DISKS,
    "devices.attach": "the devices of a running guest cannot be changed yet",
    "devices.memory": "the memory of a running guest cannot be changed yet",
    "devices.vcpus": "the vCPUs of a running guest cannot be changed yet",
    "console.serial": "a serial port can only be a file so far",
    "console.screenshot": _NO_SCREEN,
    "console.send-key": _NO_SCREEN,
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
        "migration.tunnelled": "the stream has a socket of its own so far",
        "migration.post-copy": "a guest runs where all of its memory is, so far",
        "migration.storage": _NO_DISKS,
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
            ),
            _ALONE,
        ),
    }
)
