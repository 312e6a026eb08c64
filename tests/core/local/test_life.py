"""The life of domains that polyvisor keeps itself."""

from __future__ import annotations

import os
import select
import signal
import sqlite3
from contextlib import closing

import pytest

import polyvisor
from polyvisor.driver import DomainOptions
from polyvisor.errors import (
    AlreadyExists,
    Busy,
    HypervisorError,
    InvalidArgument,
    NotFound,
    OperationInvalid,
    SemanticError,
    Timeout,
    Unsupported,
)
from polyvisor.states import DomainState, DomainStatus, StateReason


def test_start_and_destroy(host, domain, toys, count):
    """A started domain has a number, a live definition and a process; destroyed, none."""
    domain.start()
    assert domain.status() == DomainStatus(DomainState.RUNNING, StateReason.BOOTED)
    assert f"id='{domain.id}'" in domain.xml()
    assert "id=" not in domain.xml(inactive=True)
    assert host.domains[domain.id] == domain
    assert len(toys.guest_processes()) == 1
    domain.destroy()
    assert domain.status() == DomainStatus(DomainState.SHUTOFF, StateReason.DESTROYED)
    assert domain.id is None
    assert toys.guest_processes() == []
    assert list((toys.root / "session/run/toy/a").glob("[0-9]*")) == []


def test_numbers_are_never_given_twice(domain):
    """Each start has a number of its own."""
    numbers = []
    for _ in range(3):
        domain.start()
        numbers.append(domain.id)
        domain.destroy()
    assert numbers == sorted(set(numbers))


def test_guests_outlive_the_connection(toys, domain, host, count):
    """A guest runs on when its connection is closed, and another process finds it."""
    domain.start()
    out = toys.run_process("""
        with polyvisor.open(uri) as host:
            domain = host.domains["guest"]
            print(domain.status().state)
            domain.suspend()
    """)
    assert out == "running\n"
    assert domain.status() == DomainStatus(DomainState.PAUSED, StateReason.USER)


def test_a_transient_domain_goes_with_its_guest(host, toys):
    """It is gone once its guest is, by destroy or of itself."""
    domain = host.domains.create(toys.xml())
    assert not domain.info().persistent
    domain.destroy()
    assert list(host.domains) == []
    domain = host.domains.create(toys.xml())
    os.kill(toys.guest_processes()[0], signal.SIGKILL)
    assert domain.wait(timeout=10).state is DomainState.SHUTOFF
    assert list(host.domains) == []
    with pytest.raises(NotFound):
        domain.status()


def test_a_guest_that_ends_of_itself_is_noticed(domain, toys):
    """Whether it shut down or died shows in the reason, and nothing is left of it."""
    domain.start()
    domain.shutdown()
    assert domain.wait(timeout=10) == DomainStatus(DomainState.SHUTOFF, StateReason.SHUTDOWN)
    domain.start()
    os.kill(toys.guest_processes()[0], signal.SIGKILL)
    assert domain.wait(timeout=10) == DomainStatus(DomainState.SHUTOFF, StateReason.CRASHED)
    domain.start()
    assert domain.state is DomainState.RUNNING


def test_ways_to_ask_a_guest(domain):
    """What nobody knows, and what this hypervisor does not, is refused in words."""
    domain.start()
    for verb in (domain.shutdown, domain.reboot):
        with pytest.raises(InvalidArgument, match=r"mode is acpi, agent, .*; not 'politely'"):
            verb(mode="politely")
        with pytest.raises(Unsupported, match="by agent: toy has only its default"):
            verb(mode=["agent", "acpi"])
    assert not domain.reboot_pending
    assert domain.state is DomainState.RUNNING


def test_waiting_has_an_end(domain):
    """Waiting for a guest that does not stop is a ``Timeout``."""
    domain.start()
    with pytest.raises(Timeout, match="still running"):
        domain.wait(timeout=0.05)


def test_what_only_another_state_allows(domain):
    """Each verb refuses the state that it does not fit."""
    for verb in (domain.shutdown, domain.reboot, domain.reset, domain.destroy, domain.suspend):
        with pytest.raises(OperationInvalid, match="not running"):
            verb()
    domain.start()
    with pytest.raises(OperationInvalid, match="already"):
        domain.start()
    with pytest.raises(OperationInvalid, match="running"):
        domain.resume()
    domain.suspend()
    with pytest.raises(OperationInvalid, match="paused"):
        domain.suspend()


def test_a_start_that_fails_leaves_nothing(host, domain, toys, monkeypatch):
    """The domain is off as before, with no process and no folder, and can start later."""
    hypervisor = host.driver.hypervisor

    def fail(guest):
        raise HypervisorError("no CPU for you")

    with monkeypatch.context() as patch:
        patch.setattr(hypervisor, "resume", fail)
        with pytest.raises(HypervisorError, match="no CPU"):
            domain.start()
        with pytest.raises(HypervisorError, match="no CPU"):
            host.domains.create(toys.xml("other"))
    assert domain.status() == DomainStatus(DomainState.SHUTOFF, StateReason.FAILED)
    assert [found.name for found in host.domains] == ["guest"]
    assert toys.guest_processes() == []
    domain.start()


def test_redefining_a_running_domain(host, domain, toys):
    """The new definition counts from the next start."""
    domain.start()
    text = domain.xml(inactive=True).replace("4096", "8192")
    host.domains.define(text)
    assert domain.spec().memory == 4096 << 10
    assert domain.spec(inactive=True).memory == 8192 << 10
    domain.destroy()
    domain.start()
    assert domain.spec().memory == 8192 << 10


def test_undefining_a_running_domain(host, domain, toys):
    """It becomes transient; defining it again makes it persistent."""
    text = domain.xml()
    domain.start()
    domain.undefine()
    assert not domain.info().persistent
    host.domains.define(text)
    assert domain.info().persistent
    domain.undefine()
    domain.destroy()
    assert list(host.domains) == []


def test_create_on_a_persistent_domain(host, domain, toys):
    """It runs with the given definition and keeps its own."""
    text = domain.xml().replace("4096", "8192")
    assert host.domains.create(text) == domain
    assert domain.info().persistent
    assert domain.spec().memory == 8192 << 10
    with pytest.raises(AlreadyExists, match="active"):
        host.domains.create(text)
    domain.destroy()
    assert domain.spec().memory == 4096 << 10


def test_names_and_uuids_are_taken_once(host, domain, toys):
    """A transient domain cannot have the name of another either."""
    with pytest.raises(AlreadyExists, match="guest"):
        host.domains.create(toys.xml())
    with pytest.raises(AlreadyExists, match="belongs to the domain 'guest'"):
        host.domains.create(domain.xml().replace(">guest<", ">other<"))


def test_a_foreign_type(host, toys):
    """A definition for another hypervisor is refused with what runs here."""
    with pytest.raises(SemanticError, match="'qemu'; it runs: toy"):
        host.domains.define(toys.xml().replace("'toy'", "'qemu'"))


def test_a_reboot_of_the_host(domain, toys, monkeypatch):
    """After one, nothing runs any more, whatever process has the number now."""
    domain.start()
    monkeypatch.setattr("polyvisor.local._keeper.boot_id", lambda: "another boot")
    with polyvisor.open(toys.uri) as later:
        found = later.domains["guest"]
        assert found.status() == DomainStatus(DomainState.SHUTOFF, StateReason.UNKNOWN)


def test_autodestroy(toys, host):
    """Such a domain goes with its connection, even if that is killed."""
    with polyvisor.open(toys.uri) as other:
        other.domains.create(toys.xml(), autodestroy=True)
        assert len(list(host.domains)) == 1
    assert list(host.domains) == []
    process = toys.start_process("""
        host = polyvisor.open(uri)
        host.domains.create(xml, autodestroy=True)
        print("created", flush=True)
        sys.stdin.readline()
    """)
    assert process.stdout.readline() == "created\n"
    assert len(list(host.domains)) == 1
    process.kill()
    process.communicate()
    assert list(host.domains) == []
    assert toys.guest_processes() == []


def test_busy_says_who_and_for_how_long(toys, domain):
    """The error names process, operation and since when."""
    process = toys.start_process("""
        host = polyvisor.open(uri)
        with host.driver.hold(host.domains["guest"].uuid, "attach"):
            print("held", flush=True)
            sys.stdin.readline()
    """)
    assert process.stdout.readline() == "held\n"
    context = polyvisor.driver.OpenContext(
        hooks=polyvisor.connection.registry(), settings={"lock_timeout": 0.1}
    )
    import toyvisor

    impatient = toyvisor.ToyDriver.open(polyvisor.uri.ConnectionUri.parse(toys.uri), context)
    with pytest.raises(Busy, match=rf"process {process.pid} \(attach\) since 20.*waited 0.1 s"):
        impatient.domains.start(domain.uuid, DomainOptions())
    impatient.close()
    assert domain.state is DomainState.SHUTOFF, "those who only look do not wait"
    process.kill()
    process.communicate()
    domain.start()


def test_wrong_lock_timeouts_are_told():
    """A setting that is no time is a ``ConfigError``."""
    from polyvisor.errors import ConfigError
    from polyvisor.local._keeper import _seconds

    for value in (-1, "soon", True, None):
        context = polyvisor.driver.OpenContext(hooks=None, settings={"lock_timeout": value})
        with pytest.raises(ConfigError, match="lock_timeout"):
            _seconds(context, "lock_timeout", 30.0)


def test_stats_have_virshs_names(domain):
    """States and reasons are libvirt's numbers, sizes KiB, times nanoseconds."""
    assert domain.stats()["state.state"] == 5
    domain.start()
    assert domain.stats() == {
        "state.state": 1,
        "state.reason": 1,
        "cpu.time": 1_500_000_000,
        "balloon.current": 4096,
        "balloon.maximum": 4096,
        "vcpu.current": 1,
        "vcpu.maximum": 1,
    }


def test_hooks_see_and_steer_starts(host, domain, monkeypatch):
    """A hook may change a definition that starts, and refuse it, but not rename it."""
    import attrs

    from polyvisor.errors import Vetoed

    keeper = host.driver._keeper
    seen = []

    class Hooks:
        def domain_starting(self, uri, spec):
            seen.append(uri)
            return attrs.evolve(spec, **self.changes)

        def event(self, uri, event):
            seen.append(event.kind.value)

    hooks = Hooks()
    monkeypatch.setattr(keeper, "hooks", hooks)
    hooks.changes = {"title": "hooked"}
    domain.start()
    assert domain.spec().title == "hooked"
    assert seen == [host.uri, "started"]
    domain.destroy()
    assert domain.spec().title is None
    hooks.changes = {"name": "other"}
    with pytest.raises(SemanticError, match="hook"):
        domain.start()

    def veto(uri, spec):
        raise Vetoed("not today")

    hooks.domain_starting = veto
    with pytest.raises(Vetoed, match="not today"):
        domain.start()
    assert domain.state is DomainState.SHUTOFF


def test_what_other_processes_change_is_seen(toys, domain, host):
    """What was read before is not taken for what there is, whoever changed it."""
    assert domain.spec().description is None
    for words in ("one", "two"):
        toys.run_process(f"""
            import attrs
            with polyvisor.open(uri) as host:
                spec = host.domains["guest"].spec()
                host.domains.define(attrs.evolve(spec, description={words!r}))
        """)
        assert domain.spec().description == words
        (line,) = host.domains.summaries()
        assert line.uuid == domain.uuid
    toys.run_process("""
        with polyvisor.open(uri) as host:
            host.domains["guest"].start()
    """)
    (line,) = host.domains.summaries()
    assert line.state is DomainState.RUNNING
    assert line.id == domain.id


def test_figures_of_all_domains(toys, domain, host):
    """Figures of all are those of each, of the wanted kinds, ordered by name."""
    domain.start()
    other = host.domains.define(domain.xml(inactive=True).replace("guest", "another").replace(
        str(domain.uuid), "11111111-2222-3333-4444-555555555555"))  # fmt: skip
    everything = host.domains.stats()
    assert [line.name for line, _ in everything] == ["another", "guest"]
    assert everything[0][1] == other.stats()
    assert everything[0][1]["state.state"] == 5
    assert everything[1][1].keys() == domain.stats().keys()
    assert [line.name for line, _ in host.domains.stats(inactive=False)] == ["guest"]
    assert [line.name for line, _ in host.domains.stats(active=False)] == ["another"]
    (guest,) = toys.guest_processes()
    fd = os.pidfd_open(guest)
    try:
        os.kill(guest, signal.SIGKILL)
        assert select.select([fd], [], [], 20)[0]
    finally:
        os.close(fd)
    assert {line.name: figures["state.state"] for line, figures in host.domains.stats()} == {
        "another": 5, "guest": 5,
    }  # fmt: skip


def test_an_earlier_database_is_brought_up_to_date(toys, domain, host):
    """Definitions kept by an earlier version are there, and take changes, after an upgrade."""
    host.close()
    (path,) = toys.root.rglob("domains.sqlite")
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            "ALTER TABLE domains DROP COLUMN job; ALTER TABLE domains DROP COLUMN stamp;"
            "PRAGMA user_version = 2;"
        )
    with polyvisor.open(host.uri) as again:
        same = again.domains["guest"]
        assert same.uuid == domain.uuid
        same.set_autostart(True)
        assert same.info().autostart
