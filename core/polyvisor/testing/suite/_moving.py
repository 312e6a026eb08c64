"""Migration: exactly one side has the domain, whatever fails."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import polyvisor
from polyvisor.errors import (
    AlreadyExists,
    Cancelled,
    InvalidArgument,
    MigrationError,
    OperationInvalid,
)
from polyvisor.model import DomainSpec
from polyvisor.states import DomainState, StateReason
from polyvisor.testing._target import Target, requires
from polyvisor.testing.suite._saving import consecutive

if TYPE_CHECKING:
    from polyvisor.connection import Connection
    from polyvisor.domain import Domain
    from polyvisor.jobs import JobProgress

__all__ = ["TestMigration"]

_PHASES = (
    ("begin", "source"),
    ("prepare", "destination"),
    ("perform", "source"),
    ("finish", "destination"),
)


@requires("migration.live")
class TestMigration:
    """A domain moves between two hosts."""

    def test_live(self, host: Connection, peer: Connection, domain: Domain, target: Target) -> None:
        """It runs on over there without losing a count; here it is off."""
        domain.start()
        if target.ticks is not None:
            target.wait_for_ticks(domain, 3)
        reports: list[JobProgress] = []
        moved = domain.migrate(peer, progress=reports.append)
        assert moved.connection is peer
        assert moved.uuid == domain.uuid
        assert moved.status() == polyvisor.DomainStatus(DomainState.RUNNING, StateReason.MIGRATED)
        assert domain.status() == polyvisor.DomainStatus(DomainState.SHUTOFF, StateReason.MIGRATED)
        assert reports
        if target.ticks is not None:
            assert consecutive(list(target.wait_for_ticks(moved, 3)))
        back = moved.migrate(host, undefine_source=True)
        assert back == domain
        assert not list(peer.domains)
        if target.ticks is not None:
            assert consecutive(list(target.wait_for_ticks(back, 3)))
        domain.destroy()

    @requires("migration.storage")
    def test_its_disks_come_along(
        self, peer: Connection, domain: Domain, target: Target, tmp_path: Path
    ) -> None:
        """What is on its disks is where its definition over there says, made if it was not."""
        domain.start()
        xml = domain.spec().to_xml()
        copies: dict[str, Path] = {}
        for disk in domain.spec().devices.disks:
            file = disk.source.file if disk.source is not None else None
            if file is not None and not disk.readonly and not disk.shareable:
                copies[file] = tmp_path / f"copy-{len(copies)}"
                xml = xml.replace(file, str(copies[file]))
        if not copies:
            pytest.skip("the target's least machine has no disk of its own")
        reports: list[JobProgress] = []
        moved = domain.migrate(
            peer, copy_storage="all", spec=DomainSpec.from_xml(xml), progress=reports.append
        )
        assert moved.state is DomainState.RUNNING
        assert not domain.active
        if target.ticks is not None:
            assert consecutive(list(target.wait_for_ticks(moved, 3)))
        assert max(report.disk_processed for report in reports) > 0
        for file, copy in copies.items():
            assert copy.stat().st_size > 0
            assert Path(file).exists()
        moved.destroy()

    @requires("migration.peer-to-peer")
    def test_peer_to_peer(self, peer: Connection, domain: Domain, target: Target) -> None:
        """The source opens the destination itself; the handle belongs to our connection."""
        domain.start()
        moved = domain.migrate(peer, peer_to_peer=True)
        assert moved.connection is peer
        assert moved.state is DomainState.RUNNING

    @requires("migration.tunnelled", "migration.peer-to-peer")
    def test_tunnelled(self, peer: Connection, domain: Domain, target: Target) -> None:
        """The stream comes inside the connection; no other way in is opened."""
        domain.start()
        moved = domain.migrate(peer, peer_to_peer=True, tunnelled=True)
        assert moved.state is DomainState.RUNNING
        assert not domain.active
        if target.ticks is not None:
            assert consecutive(list(target.wait_for_ticks(moved, 3)))

    def test_by_uri(self, peer: Connection, domain: Domain, target: Target) -> None:
        """A destination may be named instead of opened."""
        domain.start()
        moved = domain.migrate(peer.uri)
        assert peer.domains[domain.uuid].state is DomainState.RUNNING
        moved.connection.close()

    @requires("migration.stopped")
    def test_stopped_and_paused(self, peer: Connection, domain: Domain) -> None:
        """A domain can be moved standing still, and be left so over there."""
        domain.start()
        moved = domain.migrate(peer, live=False, paused=True)
        assert moved.state is DomainState.PAUSED
        moved.resume()
        assert moved.status().state is DomainState.RUNNING

    def test_a_paused_domain_stays_paused(self, peer: Connection, domain: Domain) -> None:
        """Moving does not wake it."""
        domain.start()
        domain.suspend()
        assert domain.migrate(peer).state is DomainState.PAUSED

    @requires("migration.limits")
    def test_limits_that_are_kept(self, peer: Connection, domain: Domain) -> None:
        """They are set beforehand, told, and stand in no migration's way."""
        domain.start()
        domain.set_migration_limits(bandwidth=1 << 40)
        domain.set_migration_limits(downtime=1)
        limits = domain.migration_limits()
        assert (limits.bandwidth, limits.downtime) == (1 << 40, 1)
        assert domain.migrate(peer).state is DomainState.RUNNING

    @pytest.mark.parametrize(
        ("feature", "means"),
        [
            ("migration.limits", {"bandwidth": 1 << 40, "downtime": 1}),
            ("migration.timeout", {"timeout": 600}),
            ("migration.auto-converge", {"auto_converge": True, "auto_converge_initial": 30}),
            ("migration.compression", {"compression": ["xbzrle"], "xbzrle_cache": 1 << 26}),
            ("migration.parallel", {"parallel": True, "parallel_connections": 2}),
            ("migration.abort-on-error", {"abort_on_error": True}),
        ],
    )
    def test_by_other_means(
        self,
        host: Connection,
        peer: Connection,
        domain: Domain,
        target: Target,
        feature: str,
        means: dict[str, Any],
    ) -> None:
        """However it is sent, it runs on over there without losing a count."""
        if not (host.support.usable(feature) and peer.support.usable(feature)):
            pytest.skip(f"{feature} is not claimed")
        domain.start()
        if target.ticks is not None:
            target.wait_for_ticks(domain, 3)
        moved = domain.migrate(peer, **means)
        assert moved.state is DomainState.RUNNING
        if target.ticks is not None:
            assert consecutive(list(target.wait_for_ticks(moved, 3)))

    def test_a_time_limit_that_aborts(self, peer: Connection, domain: Domain) -> None:
        """When the time is up it is cancelled, and the domain runs on where it was."""
        domain.start()
        with pytest.raises(Cancelled, match="not done after 0"):
            domain.migrate(
                peer,
                timeout=0,
                timeout_action="abort",
                progress=lambda progress: time.sleep(0.2),
            )
        assert domain.state is DomainState.RUNNING
        assert not list(peer.domains)

    @pytest.mark.parametrize(
        ("wrong", "told"),
        [
            ({"copy_storage": "some"}, "copy_storage is all or incremental"),
            ({"timeout_action": "panic"}, "timeout_action is suspend or post-copy or abort"),
            ({"auto_converge": True, "auto_converge_initial": 100}, "from 1 to 99, not 100"),
            ({"parallel_connections": 2}, "does nothing without parallel"),
            ({"timeout": 1, "timeout_action": "post-copy"}, "does nothing without post_copy"),
        ],
    )
    def test_options_that_make_no_sense(
        self, peer: Connection, domain: Domain, wrong: dict[str, Any], told: str
    ) -> None:
        """They are refused in words before anything is touched."""
        domain.start()
        with pytest.raises(InvalidArgument, match=told):
            domain.migrate(peer, **wrong)
        assert domain.state is DomainState.RUNNING

    @requires("migration.offline")
    def test_offline(self, peer: Connection, domain: Domain) -> None:
        """The definition of a domain that does not run moves alone."""
        moved = domain.migrate(peer, offline=True, live=False, undefine_source=True)
        assert moved.state is DomainState.SHUTOFF
        assert moved.info().persistent
        with pytest.raises(polyvisor.errors.NotFound):
            domain.info()

    def test_persistence(self, host: Connection, peer: Connection, target: Target) -> None:
        """It is as persistent over there as was asked."""
        domain = host.domains.create(target.spec("guest"))
        moved = domain.migrate(peer, persistent=True)
        assert moved.info().persistent
        assert not list(host.domains)

    def test_inactive_is_refused(self, peer: Connection, domain: Domain) -> None:
        """A live migration needs a running domain."""
        with pytest.raises(OperationInvalid):
            domain.migrate(peer)

    def test_to_itself(self, host: Connection, target: Target, domain: Domain) -> None:
        """A host is no destination for its own domains."""
        domain.start()
        with pytest.raises(OperationInvalid, match="same host"):
            domain.migrate(host)
        assert domain.state is DomainState.RUNNING
        domain.destroy()

    def test_the_name_is_taken(self, peer: Connection, target: Target, domain: Domain) -> None:
        """Another domain of that name over there is in the way and is not touched."""
        other = peer.domains.define(target.spec("guest"))
        domain.start()
        with pytest.raises((AlreadyExists, MigrationError), match="guest"):
            domain.migrate(peer)
        assert domain.state is DomainState.RUNNING
        assert list(peer.domains) == [other]
        domain.destroy()

    @pytest.mark.parametrize(("phase", "side"), _PHASES)
    def test_a_phase_that_fails(
        self,
        host: Connection,
        peer: Connection,
        domain: Domain,
        target: Target,
        phase: str,
        side: str,
    ) -> None:
        """Whichever phase fails before ownership passes, the source runs on as before."""
        domain.start()
        if target.ticks is not None:
            target.wait_for_ticks(domain, 2)
        connection = host if side == "source" else peer
        part = connection.driver.migration
        assert part is not None
        original = getattr(part, phase)

        def fail(*args: object, **options: object) -> object:
            if options.get("cancelled"):
                return original(*args, **options)
            raise polyvisor.errors.OperationFailed("pulled the plug")

        setattr(part, phase, fail)
        try:
            with pytest.raises(polyvisor.errors.OperationFailed, match="pulled the plug"):
                domain.migrate(peer)
        finally:
            delattr(part, phase)
        assert domain.state is DomainState.RUNNING
        assert not [found for found in peer.domains if found.active]
        if target.ticks is not None:
            assert consecutive(list(target.wait_for_ticks(domain, 2)))
        moved = domain.migrate(peer)
        assert moved.state is DomainState.RUNNING
        assert not domain.active

    @pytest.mark.parametrize(
        "stop", [Cancelled("enough"), ZeroDivisionError("its own")], ids=["cancelled", "failing"]
    )
    def test_cancelling(
        self, peer: Connection, domain: Domain, target: Target, stop: Exception
    ) -> None:
        """What a progress function raises cancels, reaches the caller, and all is as before."""
        domain.start()

        def cancel(progress: JobProgress) -> None:
            raise stop

        with pytest.raises(type(stop)) as caught:
            domain.migrate(peer, progress=cancel)
        assert caught.value is stop
        assert domain.state is DomainState.RUNNING
        assert not [found for found in peer.domains if found.active]
        if target.ticks is not None:
            assert consecutive(list(target.wait_for_ticks(domain, 2)))
        domain.destroy()
