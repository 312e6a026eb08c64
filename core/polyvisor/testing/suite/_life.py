"""Definitions and the life of a domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

import polyvisor
from polyvisor.errors import (
    AlreadyExists,
    ConnectionClosed,
    Denied,
    NotFound,
    OperationInvalid,
    PolyvisorError,
    SpecError,
)
from polyvisor.states import DomainState, StateReason
from polyvisor.testing._target import Target, requires

if TYPE_CHECKING:
    from polyvisor.connection import Connection
    from polyvisor.domain import Domain

__all__ = ["ODD_NAMES", "TestDefinitions", "TestLife"]

#: Names that are allowed and that careless code trips over.
ODD_NAMES = (
    "with space",
    "-leading-dash",
    "comma,equals=quote'\"",
    "ünï-✓-名前",
    "a.b:c@d%20+e",
    "$(touch x)`;&|<>",
    "12345",
    "n" * 200,
)


class TestDefinitions:
    """A definition is kept, found, changed and forgotten."""

    @requires("domains.define")
    def test_a_defined_domain_is_found_by_name_and_uuid(
        self, host: Connection, domain: Domain
    ) -> None:
        """Name, UUID and UUID text all lead to the same domain."""
        assert domain.name == "guest"
        assert host.domains["guest"] == domain
        assert host.domains[domain.uuid] == domain
        assert host.domains[str(domain.uuid)] == domain
        assert host.domains.find("guest") == domain
        assert list(host.domains) == [domain]
        assert len(host.domains) == 1
        assert "guest" in host.domains
        assert "other" not in host.domains

    @requires("domains.define")
    def test_a_defined_domain_is_shut_off_and_persistent(self, domain: Domain) -> None:
        """A new definition does not run, has no number, and is kept."""
        info = domain.info()
        assert info.state is DomainState.SHUTOFF
        assert info.id is None
        assert info.persistent
        assert not info.autostart
        assert not info.managed_save
        assert not domain.active

    @requires("domains.define")
    def test_a_definition_reads_as_it_was_written(
        self, host: Connection, target: Target, domain: Domain
    ) -> None:
        """What was stated is in the definition, and defining it again changes nothing."""
        wanted = target.spec("guest")
        spec = domain.spec()
        assert (spec.name, spec.memory, spec.type) == (wanted.name, wanted.memory, wanted.type)
        assert spec.uuid == domain.uuid
        text = domain.xml()
        assert host.domains.define(text) == domain
        assert domain.xml() == text
        assert polyvisor.DomainSpec.from_xml(text) == spec

    @requires("domains.define")
    def test_what_is_not_understood_is_kept(self, host: Connection, target: Target) -> None:
        """Title, description and foreign metadata come back as they were."""
        text = target.spec("guest").to_xml()
        extra = (
            "<title>a title</title><description>mehr als\nein Wort</description>"
            "<metadata><x:y xmlns:x='urn:x' a='1'>t</x:y></metadata>"
        )
        domain = host.domains.define(text.replace("</name>", f"</name>{extra}", 1))
        kept = domain.xml()
        assert "<title>a title</title>" in kept
        assert "mehr als\nein Wort" in kept
        assert "urn:x" in kept

    @requires("domains.define")
    def test_a_definition_can_be_changed(
        self, host: Connection, target: Target, domain: Domain
    ) -> None:
        """Defining the same name and UUID again replaces the definition."""
        changed = attrs.evolve(domain.spec(), title="changed")
        assert host.domains.define(changed) == domain
        assert domain.spec().title == "changed"
        assert len(host.domains) == 1

    @requires("domains.define")
    def test_a_name_belongs_to_one_uuid(
        self, host: Connection, target: Target, domain: Domain
    ) -> None:
        """Neither a name nor a UUID can be taken from another domain."""
        from uuid import uuid4

        with pytest.raises(AlreadyExists, match="guest"):
            host.domains.define(attrs.evolve(domain.spec(), uuid=uuid4()))
        with pytest.raises(AlreadyExists):
            host.domains.define(attrs.evolve(domain.spec(), name="other"))
        assert [found.name for found in host.domains] == ["guest"]

    @requires("domains.define")
    @pytest.mark.parametrize("name", ODD_NAMES, ids=range(len(ODD_NAMES)))
    def test_odd_names(self, host: Connection, target: Target, name: str) -> None:
        """Odd but allowed names are kept to the letter, and such domains run."""
        domain = host.domains.define(target.spec(name))
        assert domain.name == name
        assert host.domains[name] == domain
        domain.start()
        assert domain.state is DomainState.RUNNING
        domain.destroy()

    @pytest.mark.parametrize("name", ["", "a/b", "a\nb", "   ", "x" * 10_240])
    @requires("domains.define")
    def test_impossible_names(self, host: Connection, target: Target, name: str) -> None:
        """Names that no hypervisor could keep are refused, and nothing is kept."""
        text = target.spec("guest").to_xml().replace(">guest<", f">{name}<", 1)
        with pytest.raises(SpecError):
            host.domains.define(text)
        assert not list(host.domains)

    @requires("domains.define")
    def test_undefine_forgets(self, host: Connection, domain: Domain) -> None:
        """An undefined domain is gone, and its handle says so."""
        domain.undefine()
        assert not list(host.domains)
        for ask in (lambda: domain.name, domain.info, domain.xml, domain.start, domain.undefine):
            with pytest.raises(NotFound):
                ask()
        with pytest.raises(NotFound, match="guest"):
            host.domains["guest"]

    @requires("domains.define")
    def test_summaries_are_ordered_by_name(self, host: Connection, target: Target) -> None:
        """The list of facts is ordered and tells active from inactive."""
        for name in ("c", "a", "b"):
            host.domains.define(target.spec(name))
        host.domains["b"].start()
        assert [line.name for line in host.domains.summaries()] == ["a", "b", "c"]
        assert [line.name for line in host.domains.summaries(inactive=False)] == ["b"]
        assert [line.name for line in host.domains.summaries(active=False)] == ["a", "c"]
        assert [found.name for found in host.domains.list(inactive=False)] == ["b"]
        host.domains["b"].destroy()

    @requires("domains.define", "domains.rename")
    def test_a_domain_gets_another_name(self, host: Connection, domain: Domain) -> None:
        """It is the same domain, found by its new name alone; names stay unique."""
        uuid, before = domain.uuid, domain.name
        domain.rename("called-otherwise")
        assert (domain.name, domain.uuid) == ("called-otherwise", uuid)
        assert host.domains["called-otherwise"] == domain
        assert domain.spec().name == "called-otherwise"
        assert before not in host.domains
        for impossible in ("called-otherwise", "", "a/b"):
            with pytest.raises(PolyvisorError):
                domain.rename(impossible)
        domain.start()
        with pytest.raises(PolyvisorError):
            domain.rename(before)
        domain.destroy()
        domain.rename(before)
        assert domain.name == before

    @requires("domains.define", "domains.lifecycle")
    def test_what_happens_at_the_end_is_changed(self, domain: Domain) -> None:
        """Of the definition, and of the guest, each without the other."""
        domain.set_lifecycle_action("reboot", "destroy", config=True)
        assert domain.spec(inactive=True).on_reboot == "destroy"
        domain.start()
        domain.set_lifecycle_action("reboot", "restart")
        assert domain.spec().on_reboot == "restart"
        assert domain.spec(inactive=True).on_reboot == "destroy"
        for event, action in (("nothing", "destroy"), ("reboot", "nothing")):
            with pytest.raises(PolyvisorError):
                domain.set_lifecycle_action(event, action)
        domain.destroy()

    @requires("domains.define", "domains.autostart")
    def test_autostart_is_remembered(self, domain: Domain) -> None:
        """The autostart mark can be set and taken away."""
        domain.set_autostart()
        assert domain.info().autostart
        domain.set_autostart(False)
        assert not domain.info().autostart

    @requires("domains.define")
    def test_a_read_only_connection_changes_nothing(self, target: Target, domain: Domain) -> None:
        """Reading works, every change is denied."""
        with polyvisor.open(target.uri, readonly=True) as reading:
            if not target.shared:
                pytest.skip("each connection of the target has its own domains")
            seen = reading.domains["guest"]
            assert seen.name == "guest"
            for change in (seen.start, seen.undefine, seen.destroy, seen.managed_save):
                with pytest.raises(Denied, match="read-only"):
                    change()
            with pytest.raises(Denied):
                reading.domains.define(target.spec("other"))

    def test_a_closed_connection_says_so(self, target: Target) -> None:
        """After closing, every use is ``ConnectionClosed``; closing again is nothing."""
        connection = polyvisor.open(target.uri)
        connection.close()
        connection.close()
        with pytest.raises(ConnectionClosed):
            connection.domains.list()
        with pytest.raises(ConnectionClosed):
            _ = connection.host


class TestLife:
    """A domain starts, stands still, goes on and stops."""

    @requires("domains.start", "domains.destroy")
    def test_start_and_destroy(self, host: Connection, domain: Domain) -> None:
        """A started domain runs and has a number; a destroyed one is off and keeps neither."""
        domain.start()
        assert domain.status() == polyvisor.DomainStatus(DomainState.RUNNING, StateReason.BOOTED)
        number = domain.id
        assert number is not None
        assert host.domains[number] == domain
        assert domain.spec().id == number
        assert domain.spec(inactive=True).id is None
        domain.destroy()
        assert domain.status() == polyvisor.DomainStatus(DomainState.SHUTOFF, StateReason.DESTROYED)
        assert domain.id is None
        with pytest.raises(NotFound):
            host.domains[number]

    @requires("domains.start")
    def test_it_starts_again_and_again(self, domain: Domain) -> None:
        """Each start makes a new guest with a new number."""
        numbers = []
        for _ in range(3):
            domain.start()
            numbers.append(domain.id)
            domain.destroy()
        assert len(set(numbers)) == 3

    @requires("domains.start")
    def test_wrong_moments(self, domain: Domain) -> None:
        """What needs the other state is ``OperationInvalid`` and changes nothing."""
        verbs = [domain.destroy, domain.shutdown, domain.suspend, domain.resume]
        if domain.connection.support.usable("domains.reset"):
            verbs.append(domain.reset)
        for verb in verbs:
            with pytest.raises(OperationInvalid):
                verb()
        domain.start()
        with pytest.raises(OperationInvalid, match="guest"):
            domain.start()
        with pytest.raises(OperationInvalid):
            domain.resume()
        assert domain.state is DomainState.RUNNING
        domain.destroy()

    @requires("domains.suspend")
    def test_suspend_and_resume(self, domain: Domain, target: Target) -> None:
        """A suspended guest does nothing; a resumed one goes on where it stood."""
        domain.start()
        if target.ticks is not None:
            target.wait_for_ticks(domain, 2)
        domain.suspend()
        assert domain.status() == polyvisor.DomainStatus(DomainState.PAUSED, StateReason.USER)
        with pytest.raises(OperationInvalid):
            domain.suspend()
        if target.ticks is not None:
            import time

            still = target.ticks(domain)
            time.sleep(0.3)
            assert target.ticks(domain) == still
        domain.resume()
        assert domain.status() == polyvisor.DomainStatus(DomainState.RUNNING, StateReason.UNPAUSED)
        if target.ticks is not None:
            seen = target.wait_for_ticks(domain, 2)
            assert list(seen) == list(range(seen[0], seen[0] + len(seen)))
        domain.destroy()

    @requires("domains.start-paused")
    def test_start_paused(self, domain: Domain) -> None:
        """A domain started paused stands still until it is resumed."""
        domain.start(paused=True)
        assert domain.state is DomainState.PAUSED
        domain.resume()
        assert domain.status().state is DomainState.RUNNING
        domain.destroy()

    @requires("domains.shutdown", "events")
    def test_shutdown(self, domain: Domain, target: Target) -> None:
        """A guest that is asked to shut down does, and waiting for it ends."""
        if not target.shuts_down:
            pytest.skip("the target's guest does not answer a shutdown request")
        domain.start()
        domain.shutdown()
        status = domain.wait(timeout=30 * target.slow)
        assert status == polyvisor.DomainStatus(DomainState.SHUTOFF, StateReason.SHUTDOWN)

    @requires("domains.reboot")
    def test_reboot(self, domain: Domain, target: Target) -> None:
        """A reboot is asked for and not waited for; a stopped domain has none; it goes on."""
        with pytest.raises(OperationInvalid):
            domain.reboot()
        domain.start()
        if target.ticks is not None:
            target.wait_for_ticks(domain, 1)
        domain.reboot()
        assert domain.active
        domain.destroy()
        assert not domain.active

    @requires("domains.reset")
    def test_reset(self, domain: Domain, target: Target) -> None:
        """A reset guest begins again from the start."""
        domain.start()
        if target.ticks is not None:
            target.wait_for_ticks(domain, 3)
        domain.reset()
        assert domain.state is DomainState.RUNNING
        if target.ticks is not None:
            import time

            deadline = time.monotonic() + 20 * target.slow
            while list(target.ticks(domain)).count(0) < 2:
                assert time.monotonic() < deadline, "the guest did not begin again"
                time.sleep(0.01)
        domain.destroy()

    @requires("domains.transient")
    def test_a_transient_domain_is_forgotten(self, host: Connection, target: Target) -> None:
        """A domain that was only created is gone when it stops."""
        domain = host.domains.create(target.spec("passing"))
        info = domain.info()
        assert info.state is DomainState.RUNNING
        assert not info.persistent
        domain.destroy()
        assert not list(host.domains)

    @requires("domains.transient", "domains.define")
    def test_definitions_come_and_go_while_it_runs(self, host: Connection, target: Target) -> None:
        """Undefining a running domain makes it transient, defining it makes it stay."""
        domain = host.domains.define(target.spec("guest"))
        domain.start()
        domain.undefine()
        assert domain.state is DomainState.RUNNING
        assert not domain.info().persistent
        host.domains.define(domain.spec())
        assert domain.info().persistent
        domain.destroy()
        assert list(host.domains) == [domain]

    @requires("domains.define")
    def test_a_new_definition_counts_from_the_next_start(
        self, host: Connection, domain: Domain
    ) -> None:
        """The running domain keeps its own definition."""
        domain.start()
        host.domains.define(attrs.evolve(domain.spec(inactive=True), title="next"))
        assert domain.spec().title is None
        assert domain.spec(inactive=True).title == "next"
        domain.destroy()
        domain.start()
        assert domain.spec().title == "next"
        domain.destroy()

    @requires("domains.stats")
    def test_stats_have_libvirts_names(self, domain: Domain) -> None:
        """State, memory and vCPUs are there under the names of domstats."""
        domain.start()
        stats = domain.stats()
        assert stats["state.state"] == 1
        assert stats["balloon.maximum"] == domain.info().max_memory // 1024
        assert stats["vcpu.current"] == domain.info().vcpus
        domain.destroy()

    @requires("domains.start")
    def test_it_outlives_the_connection(self, target: Target) -> None:
        """A domain runs on when the connection that started it is closed."""
        if not target.shared:
            pytest.skip("each connection of the target has its own domains")
        with polyvisor.open(target.uri) as first:
            started = first.domains.define(target.spec("staying"))
            started.start()
            number = started.id
        with polyvisor.open(target.uri) as second:
            found = second.domains["staying"]
            assert found.state is DomainState.RUNNING
            assert found.id == number
            found.destroy()
            found.undefine()
