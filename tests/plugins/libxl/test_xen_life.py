"""Guests on Xen that end of themselves, and guests that others have started."""

from __future__ import annotations

import pytest

from polyvisor.errors import (
    AlreadyExists,
    HypervisorError,
    NotFound,
    OperationInvalid,
    Unsupported,
)
from polyvisor.events import EventKind
from polyvisor.states import DomainState, StateReason


def test_the_number_is_xens(domain, hosts):
    """A domain's id is its domid, a new one with each start."""
    first = domain.info().id
    domain.destroy()
    domain.start()
    assert domain.info().id == first + 1
    assert domain.connection.domains[first + 1] == domain


def test_a_reboot_starts_it_anew(domain, hosts):
    """A guest that reboots is a new Xen domain of the same definition, without a daemon."""
    before = domain.info().id
    hosts.ends(domain, "reboot")
    assert domain.state is DomainState.RUNNING
    assert domain.info().id == before + 1


def test_a_reboot_is_heard_of_by_who_listens(domain, hosts):
    """While a process listens, the restart happens at once and is an event."""
    stream = domain.connection.events(timeout=20)
    number = domain.info().id
    hosts.ends(domain, "reboot")
    event = next(stream)
    assert (event.kind, event.domain.uuid) == (EventKind.REBOOT, domain.uuid)
    assert domain.info().id == number + 1


@pytest.mark.parametrize(
    ("more", "reason", "state", "why"),
    [
        ("", "poweroff", DomainState.SHUTOFF, StateReason.SHUTDOWN),
        ("", "crash", DomainState.SHUTOFF, StateReason.CRASHED),
        ("", "watchdog", DomainState.SHUTOFF, StateReason.CRASHED),
        ("<on_poweroff>restart</on_poweroff>", "poweroff", DomainState.RUNNING, None),
        ("<on_reboot>destroy</on_reboot>", "reboot", DomainState.SHUTOFF, StateReason.SHUTDOWN),
        ("<on_crash>restart</on_crash>", "crash", DomainState.RUNNING, None),
        ("<on_reboot>rename-restart</on_reboot>", "reboot", DomainState.RUNNING, None),
        ("<on_crash>preserve</on_crash>", "crash", DomainState.CRASHED, StateReason.PANICKED),
        ("<on_poweroff>preserve</on_poweroff>", "poweroff", DomainState.SHUTDOWN, None),
    ],
)
def test_what_follows_its_end(make_running, hosts, more, reason, state, why):
    """on_poweroff, on_reboot and on_crash are acted upon at the next look."""
    domain = make_running(more)
    hosts.ends(domain, reason)
    status = domain.status()
    assert status.state is state
    assert why is None or status.reason is why
    if domain.active:
        domain.destroy()
    assert not domain.active


@pytest.mark.parametrize(("event", "reason"), [("on_reboot", "reboot"), ("on_crash", "crash")])
def test_the_old_one_is_kept_beside_the_new(make_running, host, hosts, event, reason):
    """With rename-restart the domain that ended stays, under a name and UUID of its own."""
    domain = make_running(f"<{event}>rename-restart</{event}>")
    number = domain.info().id
    hosts.ends(domain, reason)
    assert domain.state is DomainState.RUNNING
    assert domain.info().id == number + 1
    (kept,) = (line for line in host.domains.summaries() if line.uuid != domain.uuid)
    assert kept.name.startswith(f"{domain.name}-2")
    assert kept.id == number
    assert kept.state in (DomainState.SHUTDOWN, DomainState.CRASHED)
    host.domains[number].destroy()
    assert [line.name for line in host.domains.summaries()] == [domain.name]
    assert domain.state is DomainState.RUNNING


def test_one_that_cannot_be_kept_is_restarted(make_running, host, hosts):
    """If libxl cannot keep the old domain, it goes, and the new one runs."""
    domain = make_running("<on_reboot>rename-restart</on_reboot>")
    hosts.fault("libxl_domain_preserve -3")
    hosts.ends(domain, "reboot")
    assert domain.state is DomainState.RUNNING
    assert [line.name for line in host.domains.summaries()] == [domain.name]


def test_a_crash_is_dumped(make_running, hosts):
    """on_crash coredump-destroy leaves a core file in the log folder."""
    domain = make_running("<on_crash>coredump-destroy</on_crash>")
    hosts.ends(domain, "crash")
    assert domain.state is DomainState.SHUTOFF
    assert [path.read_bytes()[:4] for path in hosts.root.rglob("*.core")] == [b"\x7fELF"]


def test_a_restart_that_fails_ends_it(domain, hosts):
    """Where the new domain cannot be made, the old one is off and says why."""
    hosts.ends(domain, "reboot")
    hosts.fault("libxl_domain_create_new -5")
    assert domain.status().state is DomainState.SHUTOFF
    assert domain.status().reason is StateReason.FAILED


def test_a_shutdown_is_waited_for(domain):
    """Waiting ends with the domain."""
    domain.shutdown()
    assert domain.wait(timeout=20).state is DomainState.SHUTOFF


def test_a_shutdown_by_either_way(domain):
    """The guest's Xen drivers are asked, or the button is pressed; a reboot has no button."""
    with pytest.raises(Unsupported, match=r"reboot .* by acpi: libxl has only paravirt"):
        domain.reboot(mode="acpi")
    with pytest.raises(Unsupported, match="by agent: libxl has only acpi and paravirt"):
        domain.shutdown(mode="agent")
    assert domain.active
    domain.shutdown(mode="paravirt")
    assert domain.wait(timeout=20).state is DomainState.SHUTOFF


def test_libxls_words_are_in_the_error(domain, hosts):
    """A call that fails says libxl's code and what it logged."""
    hosts.fault("libxl_domain_pause -9")
    with pytest.raises(HypervisorError, match=r"ERROR_TIMEDOUT: .*asked for") as caught:
        domain.suspend()
    assert caught.value.native_code == "ERROR_TIMEDOUT"


def test_a_failed_start_leaves_nothing(host, hosts):
    """If libxl cannot make the domain, it stays off and can be started later."""
    domain = host.domains.define(hosts.spec())
    hosts.fault("libxl_domain_create_new -5")
    with pytest.raises(HypervisorError, match="ERROR_NOMEM"):
        domain.start()
    assert domain.status().reason is StateReason.FAILED
    hosts.fault()
    domain.start()
    assert domain.state is DomainState.RUNNING


def test_room_is_made_by_the_control_domain(host, hosts):
    """A domain for which there is too little memory even so is refused with the figures."""
    big = host.domains.define(hosts.spec(memory=32 << 20))
    with pytest.raises(HypervisorError, match="needs 32768 MiB"):
        big.start()
    with hosts.open(autoballoon=False) as trusting:
        trusting.domains["guest"].start()


def test_what_others_started_is_there(host, hosts):
    """A domain of another toolstack is listed, looked at and worked with like any other."""
    foreign = hosts.beside().domains.create(hosts.spec("foreign"))
    found = host.domains["foreign"]
    assert found.uuid == foreign.uuid
    assert [line.name for line in host.domains.summaries()] == ["foreign"]
    assert not found.info().persistent
    assert host.domains[found.info().id] == found
    found.suspend()
    assert found.state is DomainState.PAUSED
    found.resume()
    found.destroy()
    with pytest.raises(NotFound):
        host.domains["foreign"]


def test_what_others_started_is_theirs_to_end(host, hosts):
    """A foreign guest that shuts down is left for its own toolstack to clear away."""
    other = hosts.beside()
    foreign = other.domains.create(hosts.spec("foreign"))
    found = host.domains["foreign"]
    hosts.ends(found, "poweroff")
    assert found.state is DomainState.SHUTDOWN
    assert foreign.wait(timeout=20).state is DomainState.SHUTOFF
    assert not list(other.domains)
    assert not list(host.domains)


def test_a_definition_started_elsewhere(host, hosts):
    """A persistent domain that another toolstack starts is active, and persistent still."""
    domain = host.domains.define(hosts.spec())
    hosts.beside().domains.create(domain.spec())
    assert host.domains["guest"].info().id is not None
    assert domain.state is DomainState.RUNNING
    assert domain.info().persistent
    domain.destroy()
    assert domain.state is DomainState.SHUTOFF


def test_a_foreign_namesake_is_told_apart(host, hosts):
    """A foreign domain with the name of a definition of ours is listed with its number."""
    host.domains.define(hosts.spec())
    hosts.beside().domains.create(hosts.spec())
    names = [line.name for line in host.domains.summaries()]
    assert names == ["guest", "guest-1"]


def test_the_control_domain_is_not_ended(host, hosts):
    """Domain-0 is listed, and refuses what would end it."""
    import standinxen

    control = standinxen.library().standin_add_control
    assert control(f"{hosts.root / 'a'}.xen".encode()) == 0
    domain = host.domains["Domain-0"]
    assert (domain.info().id, domain.state) == (0, DomainState.RUNNING)
    for verb in ("destroy", "suspend", "shutdown"):
        with pytest.raises(OperationInvalid, match="control domain"):
            getattr(domain, verb)()
    assert domain.state is DomainState.RUNNING


def test_a_name_on_xen_is_taken(host, hosts):
    """A refusal of libxl's, of a second domain of one name reaches the caller in words."""
    host.domains.create(hosts.spec())
    other = hosts.beside()
    with pytest.raises((HypervisorError, AlreadyExists), match=r"already exists|belongs to"):
        other.domains.create(hosts.spec())


def test_a_guest_that_another_toolstack_has_restarted(host, hosts):
    """A domain of ours that came back under another number is found at the next operation."""
    domain = host.domains.create(hosts.spec())
    other = hosts.beside()
    theirs = other.domains["guest"]
    spec = theirs.spec()
    theirs.destroy()
    other.domains.create(spec)
    domain.suspend()
    assert domain.state is DomainState.PAUSED
    assert domain.info().id == 2
