"""Changing domains: devices, virtual CPUs, memory, what is written down; and their cores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from polyvisor.driver import Annotations, Devices, Dumps, Resources
from polyvisor.errors import InvalidArgument, Unsupported
from polyvisor.model.cpuset import compact
from polyvisor_remote.client.jobs import watched
from polyvisor_remote.wire import params
from polyvisor_remote.wire.params import INT, UINT, ULLONG

if TYPE_CHECKING:
    from uuid import UUID

    from polyvisor.jobs import Job
    from polyvisor_remote.client.driver import RemoteDriver

__all__ = ["RemoteAnnotations", "RemoteDevices", "RemoteDumps", "RemoteResources", "impact"]

# virDomainModificationImpact; VIR_DOMAIN_VCPU_MAXIMUM and VIR_DOMAIN_MEM_MAXIMUM
_LIVE, _CONFIG, _MAXIMUM = 1, 2, 4
#: ``virDomainMetadataType``.
_KINDS = {"description": 0, "title": 1}
_ELEMENT = 2
#: Values of I/O threads (``VIR_DOMAIN_IOTHREAD_POLL_MAX_NS`` and its like).
_IOTHREAD = {
    "poll_max_ns": ULLONG,
    "poll_grow": UINT,
    "poll_shrink": UINT,
    "thread_pool_min": INT,
    "thread_pool_max": INT,
}
# virDomainCoreDumpFlags
_CRASH, _DUMP_LIVE, _RESET, _MEMORY_ONLY = 1, 2, 8, 16
#: ``virDomainCoreDumpFormat``.
_FORMATS = {"raw": 0, "kdump-zlib": 1, "kdump-lzo": 2, "kdump-snappy": 3, "win-dmp": 4}


def impact(*, live: bool, config: bool) -> int:
    """Return the flags for what is to change."""
    return (_LIVE if live else 0) | (_CONFIG if config else 0)


class RemoteDevices(Devices):
    """Devices of a server's domains."""

    def __init__(self, driver: RemoteDriver) -> None:
        self._call = driver.domains.call

    def attach(self, uuid: UUID, xml: str, *, live: bool, config: bool) -> None:
        """Have one added."""
        self._call(uuid, "domain_attach_device_flags", xml, impact(live=live, config=config))

    def detach(self, uuid: UUID, xml: str, *, live: bool, config: bool) -> None:
        """Have one removed."""
        self._call(uuid, "domain_detach_device_flags", xml, impact(live=live, config=config))

    def detach_alias(self, uuid: UUID, alias: str, *, live: bool, config: bool) -> None:
        """Have one removed."""
        self._call(uuid, "domain_detach_device_alias", alias, impact(live=live, config=config))

    def update(self, uuid: UUID, xml: str, *, live: bool, config: bool) -> None:
        """Have one changed."""
        self._call(uuid, "domain_update_device_flags", xml, impact(live=live, config=config))


@contextmanager
def _of(feature: str) -> Iterator[None]:
    """Have an error of a server that cannot do something name the feature."""
    try:
        yield
    except Unsupported as error:
        error.feature = error.feature or feature
        raise


class RemoteResources(Resources):
    """Virtual CPUs and memory of a server's domains; the protocol counts memory in KiB."""

    def __init__(self, driver: RemoteDriver) -> None:
        self._call = driver.domains.call

    def set_vcpus(self, uuid: UUID, count: int, *, live: bool, config: bool) -> None:
        """Have so many on."""
        flags = impact(live=live, config=config)
        with _of("devices.vcpus"):
            self._call(uuid, "domain_set_vcpus_flags", count, flags)

    def enable_vcpus(
        self, uuid: UUID, numbers: AbstractSet[int], enabled: bool, *, live: bool, config: bool
    ) -> None:
        """Have certain ones on, or off."""
        flags = impact(live=live, config=config)
        with _of("devices.vcpus"):
            named = compact(sorted(numbers))
            self._call(uuid, "domain_set_vcpu", named, int(enabled), flags)

    def set_memory(self, uuid: UUID, size: int, *, live: bool, config: bool) -> None:
        """Have so much given."""
        flags = impact(live=live, config=config)
        with _of("devices.memory"):
            self._call(uuid, "domain_set_memory_flags", size // 1024, flags)

    def set_memory_stats_period(
        self, uuid: UUID, seconds: int, *, live: bool, config: bool
    ) -> None:
        """Have a balloon tell so often."""
        flags = impact(live=live, config=config)
        self._call(uuid, "domain_set_memory_stats_period", seconds, flags)

    def add_iothread(self, uuid: UUID, number: int, *, live: bool, config: bool) -> None:
        """Have one added."""
        self._call(uuid, "domain_add_iothread", number, impact(live=live, config=config))

    def remove_iothread(self, uuid: UUID, number: int, *, live: bool, config: bool) -> None:
        """Have one removed."""
        self._call(uuid, "domain_del_iothread", number, impact(live=live, config=config))

    def set_iothread(
        self, uuid: UUID, number: int, values: Mapping[str, int], *, live: bool, config: bool
    ) -> None:
        """Have one's values set."""
        unknown = next((name for name in values if name not in _IOTHREAD), None)
        if unknown is not None:
            raise InvalidArgument(
                f"set I/O thread: there is no {unknown!r}; use {', '.join(_IOTHREAD)}"
            )
        flags = impact(live=live, config=config)
        typed = params(values, _IOTHREAD)
        self._call(uuid, "domain_set_iothread_params", number, typed, flags)

    def set_max_vcpus(self, uuid: UUID, count: int, *, live: bool, config: bool) -> None:
        """Have so many allowed."""
        flags = impact(live=live, config=config) | _MAXIMUM
        self._call(uuid, "domain_set_vcpus_flags", count, flags)

    def set_max_memory(self, uuid: UUID, size: int, *, live: bool, config: bool) -> None:
        """Have so much allowed."""
        flags = impact(live=live, config=config) | _MAXIMUM
        self._call(uuid, "domain_set_memory_flags", size // 1024, flags)


class RemoteAnnotations(Annotations):
    """What is written down about a server's domains."""

    def __init__(self, driver: RemoteDriver) -> None:
        self._call = driver.domains.call

    def set_text(
        self, uuid: UUID, kind: str, text: str | None, *, live: bool, config: bool
    ) -> None:
        """Have a title or description written down."""
        self._set(uuid, _KINDS[kind], text, None, None, impact(live=live, config=config))

    def set_metadata(
        self, uuid: UUID, uri: str, prefix: str | None, xml: str | None, *, live: bool, config: bool
    ) -> None:
        """Have an element of a namespace written down."""
        self._set(uuid, _ELEMENT, xml, prefix, uri, impact(live=live, config=config))

    def _set(self, uuid: UUID, *arguments: Any) -> None:
        self._call(uuid, "domain_set_metadata", *arguments)


class RemoteDumps(Dumps):
    """Cores of a server's domains, in files of its host."""

    def __init__(self, driver: RemoteDriver) -> None:
        self._driver = driver

    def dump(
        self,
        uuid: UUID,
        path: str,
        job: Job,
        *,
        live: bool = False,
        crash: bool = False,
        reset: bool = False,
        memory_only: bool = False,
        core_format: str = "raw",
    ) -> None:
        """Have a core written."""
        if core_format not in _FORMATS:
            raise Unsupported(
                f"dump: {core_format!r} is none of {', '.join(_FORMATS)}", feature="domains.dump"
            )
        flags = (
            (_DUMP_LIVE if live else 0)
            | (_CRASH if crash else 0)
            | (_RESET if reset else 0)
            | (_MEMORY_ONLY if memory_only else 0)
        )
        asked: tuple[Any, ...] = ("domain_core_dump", path, flags)
        if core_format != "raw":
            asked = ("domain_core_dump_with_format", path, _FORMATS[core_format], flags)
        watched(self._driver, uuid, job, lambda: self._driver.domains.call(uuid, *asked))
