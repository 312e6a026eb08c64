"""What a connection can do, feature by feature, with a reason a person can read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType

import attrs

__all__ = ["FEATURES", "Support", "SupportStatus", "SupportTable"]


class SupportStatus(StrEnum):
    """The five answers of the support table."""

    SUPPORTED = "supported"
    UNSUPPORTED = "unsupported"  # the hypervisor cannot
    NOT_IMPLEMENTED = "not implemented"  # the plugin does not yet
    VERSIONED = "versioned"  # from some hypervisor version on
    UNKNOWN = "unknown"


@attrs.frozen
class Support:
    """One answer.

    Attributes:
        status: which of the five.
        reason: why, in words; empty only for ``supported``.
        since: for ``versioned``: the first hypervisor version that can.
        usable: whether it works on this connection, now; derived from the status
            unless given (a versioned feature on a new enough hypervisor is usable).
    """

    status: SupportStatus
    reason: str = ""
    since: str | None = None
    usable: bool = attrs.field(
        default=attrs.Factory(lambda self: self.status is SupportStatus.SUPPORTED, takes_self=True)
    )


#: Every feature that the support table knows, with what it means.
FEATURES: Mapping[str, str] = MappingProxyType(
    {
        "domains.define": "define and undefine persistent domains",
        "domains.transient": "create a domain that exists only while it runs",
        "domains.start": "start a defined domain",
        "domains.start-paused": "start a domain with its vCPUs stopped",
        "domains.shutdown": "ask the guest to shut down",
        "domains.destroy": "stop a domain at once",
        "domains.reboot": "ask the guest to reboot",
        "domains.reset": "reset the machine at once",
        "domains.suspend": "stop and continue a domain's vCPUs",
        "domains.autostart": "mark a domain to be started with the host",
        "domains.rename": "give a domain that is off another name",
        "domains.lifecycle": "change what happens when a guest powers off, reboots or crashes",
        "domains.stats": "figures of a running domain",
        "domains.dump": "write the memory of a running domain into a file for a debugger",
        "domains.debug": "send commands to a hypervisor's own monitor, look into memory and disks",
        "domains.metadata": "change the title, description and metadata of a domain",
        "domains.tuning": "pin vCPUs, weigh and limit a domain's share of the host",
        "save.file": "save a running domain to an image file and restore it",
        "save.managed": "save into an image that the next start resumes from",
        "save.edit": "read and change the definition inside a save image",
        "migration.live": "migrate a running domain to another host while it runs",
        "migration.stopped": "migrate a running domain with its vCPUs stopped meanwhile",
        "migration.offline": "move the definition of a domain that does not run",
        "migration.peer-to-peer": "let the source drive the migration itself",
        "migration.tunnelled": "carry the migration stream inside the connection",
        "migration.post-copy": "switch to the destination before all memory is there",
        "migration.storage": "copy disks together with memory",
        "migration.limits": "limit the bandwidth and the downtime of a migration",
        "migration.timeout": "bring a migration to its end after a time, by stopping the guest",
        "migration.auto-converge": "slow down a guest that writes faster than can be sent",
        "migration.compression": "pack the migration stream",
        "migration.parallel": "send a guest over several connections at once",
        "migration.tls": "encrypt the migration stream",
        "migration.abort-on-error": "give a migration up if the guest's disks fail meanwhile",
        "migration.steering": "change a migration that is under way",
        "snapshots.memory": "snapshots of a running domain with its memory",
        "snapshots.disk": "snapshots of a domain's disks alone",
        "snapshots.revert": "go back to a snapshot",
        "checkpoints": "mark points in time for incremental backup",
        "devices.attach": "attach and detach devices of a running domain",
        "devices.memory": "change the memory of a running domain",
        "devices.vcpus": "change the number of vCPUs of a running domain",
        "devices.iothreads": "add, remove and set the I/O threads of a running domain",
        "backup": "back up the disks of a running domain, in full or what has changed",
        "block.jobs": "copy, commit, pull and resize disks of a running domain",
        "console.serial": "connect to a domain's serial console",
        "console.screenshot": "take a picture of a domain's screen",
        "console.send-key": "send keys to a domain",
        "console.graphics": "connect a viewer's socket to a domain's display",
        "guest.agent": "talk to an agent inside the guest",
        "storage": "storage pools and volumes",
        "networks": "virtual networks",
        "interfaces": "the host's own network interfaces",
        "nwfilters": "rules for the traffic of domains",
        "node-devices": "the host's devices",
        "secrets": "secrets for disks and consoles",
        "host.figures": "what the host's CPUs and memory are used for now",
        "host.cpus": "compare CPUs with the host's, and find what several have in common",
        "host.memory": "count the host's free pages, keep huge ones, and merge equal ones",
        "events": "a stream of events",
    }
)

_UNKNOWN = Support(SupportStatus.UNKNOWN, "the plugin does not say")


class SupportTable(Mapping[str, Support]):
    """Feature → :class:`Support`, for all of :data:`FEATURES`.

    Args:
        answers: what the plugin states; a value is a :class:`Support`, or just a
            :class:`SupportStatus`, or a string, which is the reason of a
            ``not implemented``.

    Raises:
        KeyError: an answer names a feature that :data:`FEATURES` does not have.
    """

    def __init__(self, answers: Mapping[str, Support | SupportStatus | str]) -> None:
        table = dict.fromkeys(FEATURES, _UNKNOWN)
        for feature, answer in answers.items():
            if feature not in table:
                raise KeyError(f"no feature {feature!r} in polyvisor.support.FEATURES")
            if isinstance(answer, SupportStatus):
                answer = Support(answer)
            elif isinstance(answer, str):
                answer = Support(SupportStatus.NOT_IMPLEMENTED, answer)
            table[feature] = answer
        self._table = table

    def __getitem__(self, feature: str) -> Support:
        return self._table[feature]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def usable(self, feature: str) -> bool:
        """Say whether ``feature`` works on this connection now."""
        return self._table[feature].usable
