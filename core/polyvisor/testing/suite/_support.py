"""The support table holds what it says, and events tell what happened."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import polyvisor
from polyvisor.errors import PolyvisorError, Unsupported
from polyvisor.events import Event, EventKind
from polyvisor.support import FEATURES, SupportStatus
from polyvisor.testing._target import Target, requires

if TYPE_CHECKING:
    from polyvisor.connection import Connection
    from polyvisor.domain import Domain

__all__ = ["TestEvents", "TestSupport"]

#: How to try a feature on a running domain; what the table denies must refuse.
_ATTEMPTS: dict[str, Callable[[Domain, Path], object]] = {
    "domains.dump": lambda domain, path: domain.dump(path / "core"),
    "domains.debug": lambda domain, path: domain.debug.memory(0, 16),
    "domains.metadata": lambda domain, path: domain.set_title("title"),
    "domains.rename": lambda domain, path: domain.rename("other"),
    "domains.lifecycle": lambda domain, path: domain.set_lifecycle_action("reboot", "destroy"),
    "save.file": lambda domain, path: domain.save(path / "image"),
    "save.managed": lambda domain, path: domain.managed_save(),
    "snapshots.memory": lambda domain, path: domain.snapshots.create("one"),
    "migration.live": lambda domain, path: _migrate(domain),
    "migration.stopped": lambda domain, path: _migrate(domain, live=False),
    "migration.offline": lambda domain, path: _migrate(domain, offline=True),
    "migration.peer-to-peer": lambda domain, path: _migrate(domain, peer_to_peer=True),
    "migration.tunnelled": lambda domain, path: _migrate(domain, tunnelled=True),
    "migration.post-copy": lambda domain, path: _migrate(domain, post_copy=True),
    "migration.storage": lambda domain, path: _migrate(domain, copy_storage="all"),
    "migration.limits": lambda domain, path: _migrate(domain, bandwidth=1 << 30),
    "migration.timeout": lambda domain, path: _migrate(domain, timeout=60),
    "migration.auto-converge": lambda domain, path: _migrate(domain, auto_converge=True),
    "migration.compression": lambda domain, path: _migrate(domain, compression=["xbzrle"]),
    "migration.parallel": lambda domain, path: _migrate(domain, parallel=True),
    "migration.tls": lambda domain, path: _migrate(domain, tls=True),
    "migration.abort-on-error": lambda domain, path: _migrate(domain, abort_on_error=True),
    "migration.steering": lambda domain, path: domain.steer_migration(downtime=1),
    "checkpoints": lambda domain, path: domain.checkpoints.create(),
    "devices.attach": lambda domain, path: domain.attach_device("<disk/>"),
    "devices.memory": lambda domain, path: domain.set_memory(1 << 20),
    "devices.vcpus": lambda domain, path: domain.set_vcpus(1),
    "devices.iothreads": lambda domain, path: domain.add_iothread(1),
    "backup": lambda domain, path: domain.backup.begin(),
    "block.jobs": lambda domain, path: domain.disks.job("vda"),
    "console.serial": lambda domain, path: domain.open_console(),
    "console.screenshot": lambda domain, path: domain.screenshot(path / "picture"),
    "console.send-key": lambda domain, path: domain.send_keys([30]),
    "console.graphics": lambda domain, path: domain.open_graphics(0),
    "guest.agent": lambda domain, path: domain.agent.ping(),
    "events": lambda domain, path: domain.connection.events(timeout=0),
    "host.figures": lambda domain, path: domain.connection.host_times(),
    "host.cpus": lambda domain, path: domain.connection.compare_cpu("<cpu/>"),
    "host.memory": lambda domain, path: domain.connection.free_pages(),
    "storage": lambda domain, path: list(domain.connection.storage_pools),
    "networks": lambda domain, path: list(domain.connection.networks),
    "interfaces": lambda domain, path: list(domain.connection.interfaces),
    "node-devices": lambda domain, path: list(domain.connection.node_devices),
    "secrets": lambda domain, path: list(domain.connection.secrets),
    "nwfilters": lambda domain, path: list(domain.connection.nwfilters),
}


def _migrate(domain: Domain, **options: Any) -> Domain:
    return domain.migrate(domain.connection.uri, **options)


class TestSupport:
    """What the table claims is tested elsewhere; here is the table itself."""

    def test_every_answer_has_a_reason(self, host: Connection) -> None:
        """All features are answered; what is not supported says why."""
        table = host.support
        assert set(table) == set(FEATURES)
        for feature, answer in table.items():
            if answer.status is not SupportStatus.SUPPORTED:
                assert answer.reason, feature
            if answer.status is SupportStatus.VERSIONED:
                assert answer.since, feature

    @pytest.mark.parametrize("feature", _ATTEMPTS)
    def test_what_is_not_claimed_refuses(
        self, domain: Domain, feature: str, tmp_path: Path
    ) -> None:
        """An unclaimed feature raises ``Unsupported`` with the table's reason.

        Devices can be changed in anybody's definition, so there the words are the operation's.
        """
        answer = domain.connection.support[feature]
        if answer.usable:
            pytest.skip("claimed, so tested by its own tests")
        domain.start()
        with pytest.raises(Unsupported) as caught:
            _ATTEMPTS[feature](domain, tmp_path)
        said = caught.value.feature
        # A driver that cannot migrate at all says that first.
        assert said == feature or (said or "").partition(".")[0] == "migration"
        assert said is not None
        assert not domain.connection.support.usable(said)
        told = domain.connection.support[said]
        if told.status is not SupportStatus.UNKNOWN and not said.startswith("devices."):
            assert told.reason in caught.value.message
        domain.destroy()

    @requires("host.figures")
    def test_host_figures(self, host: Connection) -> None:
        """Times are counted, free memory is part of all; what is not there is refused."""
        # The kernel corrects its counts of idle time, downwards too.
        times = host.host_times()
        assert times.user + times.system > 0
        assert min(times.user, times.system, times.idle, times.iowait) >= 0
        assert host.host_times(0).user <= host.host_times().user
        memory = host.host_memory()
        assert 0 < memory.free <= memory.total
        assert host.host_memory(0).total <= memory.total
        with pytest.raises(PolyvisorError):
            host.host_times(1 << 20)
        with pytest.raises(PolyvisorError):
            host.host_memory(1 << 20)

    @requires("host.cpus")
    def test_cpus_are_compared(self, host: Connection) -> None:
        """The host's own CPU is identical to it, and the best that it and itself have in common.

        A guest that forbids a feature of the host, or is of no known model, is not had.
        """
        from polyvisor.host import CpuMatch
        from polyvisor.model.host_cpu import cpus_in

        (own,) = cpus_in(host.capabilities())
        assert host.compare_cpu(own).match is CpuMatch.IDENTICAL
        found = host.baseline_cpu([own, own])
        name = found.model.name if found.model is not None else None
        assert name
        assert host.compare_cpu(found.to_xml()).match is not CpuMatch.INCOMPATIBLE
        forbidden = found.features[0].name
        wished = f"<cpu><model>{name}</model><feature policy='forbid' name='{forbidden}'/></cpu>"
        refused = host.compare_cpu(wished)
        assert refused.match is CpuMatch.INCOMPATIBLE
        assert forbidden is not None
        assert forbidden in refused.reason
        with pytest.raises(PolyvisorError):
            host.compare_cpu("<cpu><model>no such model</model></cpu>")

    @requires("host.memory")
    def test_pages_are_counted(self, host: Connection) -> None:
        """By their size, of a node and of all; what is not there is refused."""
        free = host.free_pages()
        assert list(free) == sorted(free)
        assert sum(size * count for size, count in free.items()) > 0
        assert list(host.free_pages(0)) == list(free)
        with pytest.raises(PolyvisorError):
            host.free_pages(1 << 20)
        with pytest.raises(PolyvisorError):
            host.reserve_pages(3 << 20, 1)

    def test_host_facts(self, host: Connection) -> None:
        """The host has a name, an architecture, memory and CPUs."""
        facts = host.host
        assert facts.hostname
        assert facts.hypervisor
        assert facts.architecture
        assert facts.memory > 0
        assert facts.cpus > 0
        assert host.capabilities().lstrip().startswith("<capabilities>")

    def test_the_canonical_uri_opens_the_same_host(self, host: Connection, target: Target) -> None:
        """``Connection.uri`` leads back to where it came from."""
        if not target.shared:
            pytest.skip("each connection of the target has its own domains")
        host.domains.define(target.spec("guest"))
        with polyvisor.open(host.uri) as again:
            assert again.uri == host.uri
            assert "guest" in again.domains

    def test_errors_carry_data(self, host: Connection) -> None:
        """An error has a code, a libvirt number and the plugin's name."""
        with pytest.raises(PolyvisorError) as caught:
            host.domains["no such domain"]
        assert caught.value.code == "not-found"
        assert caught.value.libvirt_number == 42
        assert "no such domain" in str(caught.value)


@requires("events")
class TestEvents:
    """Events come in order, and none is left out."""

    def test_a_life_in_events(self, host: Connection, target: Target) -> None:
        """Each change is one event with libvirt's detail, in the order of the changes."""
        stream = host.events(timeout=10 * target.slow)
        domain = host.domains.define(target.spec("watched"))
        domain.start()
        domain.suspend()
        domain.resume()
        domain.destroy()
        domain.undefine()
        seen: list[Event] = []
        for event in stream:
            if event.domain.uuid == domain.uuid:
                seen.append(event)
                if event.kind is EventKind.UNDEFINED:
                    break
        assert [(event.kind, event.detail) for event in seen] == [
            (EventKind.DEFINED, "added"),
            (EventKind.STARTED, "booted"),
            (EventKind.SUSPENDED, "paused"),
            (EventKind.RESUMED, "unpaused"),
            (EventKind.STOPPED, "destroyed"),
            (EventKind.UNDEFINED, "removed"),
        ]
        numbers = [event.sequence for event in seen]
        assert numbers == sorted(set(numbers))
        assert all(event.time.tzinfo is not None for event in seen)
        assert all(event.domain.name == "watched" for event in seen)

    @requires("domains.rename")
    def test_a_new_name_in_events(self, host: Connection, target: Target) -> None:
        """The old name goes, and the new one comes."""
        domain = host.domains.define(target.spec("watched"))
        stream = host.events(timeout=10 * target.slow)
        domain.rename("called-otherwise")
        heard = [next(stream), next(stream)]
        assert [(event.kind, event.detail, event.domain.name) for event in heard] == [
            (EventKind.UNDEFINED, "renamed", "watched"),
            (EventKind.DEFINED, "renamed", "called-otherwise"),
        ]

    def test_each_listener_hears_everything(self, host: Connection, target: Target) -> None:
        """Several streams at once each give every event."""
        streams = [host.events(timeout=10 * target.slow) for _ in range(3)]
        heard: list[list[str]] = [[] for _ in streams]

        def listen(index: int) -> None:
            for event in streams[index]:
                heard[index].append(f"{event.kind} {event.domain.name}")
                if event.kind is EventKind.UNDEFINED and event.domain.name == "n9":
                    return

        threads = [threading.Thread(target=listen, args=(i,)) for i in range(len(streams))]
        for thread in threads:
            thread.start()
        for number in range(10):
            host.domains.define(target.spec(f"n{number}")).undefine()
        for thread in threads:
            thread.join(30 * target.slow)
        expected = [
            f"{kind} n{number}" for number in range(10) for kind in ("defined", "undefined")
        ]
        assert heard == [expected] * 3

    def test_the_timeout_ends_the_stream(self, host: Connection) -> None:
        """A stream without events ends by itself after its timeout."""
        assert list(host.events(timeout=0.05)) == []

    def test_another_connections_changes_are_heard(self, host: Connection, target: Target) -> None:
        """Whoever causes a change, all listeners of the host hear of it."""
        if not target.shared:
            pytest.skip("each connection of the target has its own domains")
        stream = host.events(timeout=10 * target.slow)
        with polyvisor.open(target.uri) as other:
            other.domains.define(target.spec("elsewhere"))
        assert next(stream).domain.name == "elsewhere"
