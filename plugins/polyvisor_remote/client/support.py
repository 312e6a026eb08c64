"""What a server can, learnt by asking it.

A server answers a call for a domain that does not exist in two ways: that there is none such,
if its driver has the function, or that the function is not supported. So each feature is tried
on a domain that nobody has, which changes nothing. What is asked is asked once.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from polyvisor.errors import Denied, PolyvisorError
from polyvisor.support import FEATURES, Support, SupportStatus, SupportTable
from polyvisor_remote.client.channel import NO_FILES
from polyvisor_remote.client.failures import RPC, UNSUPPORTED
from polyvisor_remote.server.numbers import Feature, Migrate

if TYPE_CHECKING:
    from polyvisor_remote.client.link import Link

__all__ = ["Server"]

_NOBODY = ("", uuid4().bytes, -1)


def _migrating(flag: Migrate) -> tuple[Any, ...]:
    """Return what is called to learn whether a migration can have a flag."""
    return ("domain_migrate_begin3_params", _NOBODY, [], int(Migrate.LIVE | flag))


#: What is called to learn of a feature: procedure and arguments.
_PROBES: Mapping[str, tuple[Any, ...]] = {
    "domains.define": ("domain_define_xml", "<domain/>"),
    "domains.transient": ("domain_create_xml", "<domain/>", 0),
    "domains.start": ("domain_create", _NOBODY),
    "domains.start-paused": ("domain_create_with_flags", _NOBODY, 1),
    "domains.shutdown": ("domain_shutdown", _NOBODY),
    "domains.destroy": ("domain_destroy", _NOBODY),
    "domains.reboot": ("domain_reboot", _NOBODY, 0),
    "domains.reset": ("domain_reset", _NOBODY, 0),
    "domains.suspend": ("domain_suspend", _NOBODY),
    "domains.autostart": ("domain_set_autostart", _NOBODY, 0),
    "domains.rename": ("domain_rename", _NOBODY, "other", 0),
    "domains.lifecycle": ("domain_set_lifecycle_action", _NOBODY, 0, 0, 0),
    "domains.stats": ("connect_get_all_domain_stats", [_NOBODY], 1, 0),
    "domains.dump": ("domain_core_dump", _NOBODY, "/nonexistent", 0),
    "domains.debug": ("domain_memory_peek", _NOBODY, 0, 1, 2),
    "domains.metadata": ("domain_set_metadata", _NOBODY, 1, None, None, None, 0),
    "domains.tuning": ("domain_get_scheduler_parameters_flags", _NOBODY, 16, 0),
    "save.file": ("domain_save", _NOBODY, "/nonexistent"),
    "save.managed": ("domain_managed_save", _NOBODY, 0),
    "migration.live": ("domain_migrate_begin3_params", _NOBODY, [], 1),
    "migration.stopped": ("domain_migrate_begin3_params", _NOBODY, [], 0),
    "migration.offline": ("connect_supports_feature", int(Feature.MIGRATION_OFFLINE)),
    "migration.timeout": ("domain_migrate_begin3_params", _NOBODY, [], 1),
    "migration.limits": ("domain_migrate_set_max_downtime", _NOBODY, 300, 0),
    "migration.post-copy": _migrating(Migrate.POSTCOPY),
    "migration.storage": _migrating(Migrate.NON_SHARED_DISK),
    "migration.auto-converge": _migrating(Migrate.AUTO_CONVERGE),
    "migration.compression": _migrating(Migrate.COMPRESSED),
    "migration.parallel": _migrating(Migrate.PARALLEL),
    "migration.tls": _migrating(Migrate.TLS),
    "migration.abort-on-error": _migrating(Migrate.ABORT_ON_ERROR),
    "migration.steering": ("domain_migrate_set_max_speed", _NOBODY, 1, 0),
    "migration.peer-to-peer": ("connect_supports_feature", int(Feature.MIGRATION_P2P)),
    "migration.tunnelled": ("domain_migrate_prepare_tunnel3_params", [], b"", 1 | 4),
    "snapshots.memory": ("domain_snapshot_create_xml", _NOBODY, "<domainsnapshot/>", 0),
    "snapshots.disk": ("domain_snapshot_create_xml", _NOBODY, "<domainsnapshot/>", 16),
    "snapshots.revert": ("domain_revert_to_snapshot", ("none", _NOBODY), 0),
    "checkpoints": ("domain_list_all_checkpoints", _NOBODY, 0, 0),
    "backup": ("domain_backup_get_xml_desc", _NOBODY, 0),
    "block.jobs": ("domain_get_block_job_info", _NOBODY, "vda", 0),
    "devices.attach": ("domain_attach_device_flags", _NOBODY, "<disk/>", 1),
    "devices.memory": ("domain_set_memory_flags", _NOBODY, 1024, 1),
    "devices.vcpus": ("domain_set_vcpus_flags", _NOBODY, 1, 1),
    "devices.iothreads": ("domain_add_iothread", _NOBODY, 1, 1),
    "console.serial": ("domain_open_console", _NOBODY, None, 0),
    "console.screenshot": ("domain_screenshot", _NOBODY, 0, 0),
    "console.send-key": ("domain_send_key", _NOBODY, 0, 0, [1], 0),
    "console.graphics": ("domain_open_graphics_fd", _NOBODY, 0, 0),
    "guest.agent": ("qemu:domain_agent_command", _NOBODY, "{}", 1, 0),
    "host.cpus": ("connect_compare_cpu", "<cpu/>", 0),
    "host.memory": ("node_get_free_pages", [4], 0, 1, 0),
    "host.figures": ("node_get_cpu_stats", -1, 0, 0),
    "storage": ("connect_num_of_storage_pools",),
    "networks": ("connect_num_of_networks",),
    "interfaces": ("connect_num_of_interfaces",),
    "nwfilters": ("connect_num_of_nwfilters",),
    "node-devices": ("node_num_of_devices", None, 0),
    "secrets": ("connect_num_of_secrets",),
    "events": ("connect_supports_feature", int(Feature.EVENT_CALLBACK)),
}
#: What the driver has no part for.
_UNDONE = tuple(feature for feature in FEATURES if feature not in _PROBES)
_MISSING = "the client for libvirt's protocol does not do this yet"
#: Why not, where it is known.
_REASONS = {
    "save.edit": "images are files of the server's host; read and change them there",
}


class Server:
    """What the server of a link can.

    Args:
        link: the link.

    Attributes:
        nobody: a domain that does not exist, as the protocol names it.
    """

    nobody = _NOBODY

    def __init__(self, link: Link) -> None:
        self._link = link
        self._known: dict[str, str | None] = {}
        self._lock = threading.Lock()

    def can(self, feature: str) -> bool:
        """Say whether the server can do something; asks it if nobody has before."""
        return self._lacks(feature) is None

    def table(self) -> SupportTable:
        """Return all answers; what was never asked is asked at once."""
        with self._lock:
            unknown = [feature for feature in _PROBES if feature not in self._known]
            answers = self._link.call_all([_PROBES[feature] for feature in unknown])
            for feature, answer in zip(unknown, answers, strict=True):
                self._known[feature] = self._reason(feature, answer)
        return SupportTable(
            {
                feature: (
                    SupportStatus.SUPPORTED
                    if reason is None
                    else Support(SupportStatus.UNSUPPORTED, reason)
                )
                for feature in _PROBES
                for reason in (self._known[feature],)
            }
            | {feature: _REASONS.get(feature, _MISSING) for feature in _UNDONE}
        )

    def _lacks(self, feature: str) -> str | None:
        with self._lock:
            if feature not in self._known:
                (answer,) = self._link.call_all([_PROBES[feature]])
                self._known[feature] = self._reason(feature, answer)
            return self._known[feature]

    def _reason(self, feature: str, answer: Any) -> str | None:
        if feature == "console.graphics" and not self._link.files:
            return NO_FILES
        return _reason(answer)


def _reason(answer: Any) -> str | None:
    """Return why something does not work, of what a server answered when it was tried."""
    if isinstance(answer, Denied):
        return None  # The function is there, and it is not for us.
    if isinstance(answer, PolyvisorError):
        unknown = "unsupported flags" in (answer.native_message or "")
        if answer.native_code in (UNSUPPORTED, RPC) or unknown:
            return f"the server answers: {answer.native_message}"
        return None
    if hasattr(answer, "supported") and not answer.supported:
        return "the server answers that it has no such feature"
    return None
