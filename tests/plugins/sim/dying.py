"""A program whose processes are killed at each step of an operation on simulated hosts.

``dying.py SCENARIO FOLDER`` forks, for N from 0 on, a child that prepares the hosts, one that
does the operation and is ended by SIGKILL before its N-th step, and one that checks what it
left; until an operation outlives its steps. It prints how many there were.
"""

# ruff: noqa: D102 - what the methods of a scenario are for is said once

from __future__ import annotations

import importlib
import os
import pickle
import pkgutil
import signal
import socket
import sys
import threading
import time
from contextlib import closing, contextmanager, suppress
from typing import Any, ClassVar

from deaths import (
    FOLDER,
    GUEST,
    HOST,
    IMAGE,
    MOST_STEPS,
    PEER,
    check_goes_on,
    check_nothing_is_left,
    check_usable,
    die_at,
    in_child,
    note,
    settled,
    ticks,
)

import polyvisor
import polyvisor.local._driver
import polyvisor.model
import polyvisor.state
import polyvisor_sim
from polyvisor.driver import Migration
from polyvisor.errors import ConnectError, PolyvisorError

# Scenarios: what is before, what is done, what must be true then


class Scenario:
    """One operation.

    Args:
        step: the step before which it is killed.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def before(self) -> None:
        """Prepare the hosts."""
        with polyvisor.open(HOST) as host:
            host.domains.define(GUEST)

    def act(self) -> None:
        """Do the operation."""
        with polyvisor.open(HOST) as host:
            self.do(host.domains["guest"])

    def do(self, domain: Any) -> None:
        """Do it to the domain."""

    def after(self) -> None:
        """Check what a process left that did the operation, wholly or in part."""
        with polyvisor.open(HOST) as host:
            self.check(host, settled(host))
            check_nothing_is_left(host)
            check_usable(host)

    def check(self, host: Any, domain: Any) -> None:
        """Check the domain."""


class Running(Scenario):
    """The domain runs before."""

    def before(self) -> None:
        super().before()
        with polyvisor.open(HOST) as host:
            domain = host.domains["guest"]
            domain.start()
            while ticks(domain) < 3:
                time.sleep(0.001)
            note(ticks(domain))


class Define(Scenario):
    """It is as before, or there whole; a host that is new is none the worse."""

    def before(self) -> None:
        pass

    def act(self) -> None:
        with polyvisor.open(HOST) as host:
            host.domains.define(GUEST)

    def check(self, host: Any, domain: Any) -> None:
        assert domain is None or domain.spec().memory == 512 << 10


class Redefine(Scenario):
    """The old definition counts, or the new one."""

    def do(self, domain: Any) -> None:
        domain.connection.domains.define(GUEST.replace("512", "1024"))

    def check(self, host: Any, domain: Any) -> None:
        assert domain.spec().memory in (512 << 10, 1024 << 10)


class Undefine(Running):
    """It is there with its image and its snapshot, or gone with all its files."""

    def before(self) -> None:
        super().before()
        with polyvisor.open(HOST) as host:
            domain = host.domains["guest"]
            domain.snapshots.create("one")
            domain.managed_save()

    def do(self, domain: Any) -> None:
        domain.undefine(managed_save=True, snapshots=True)

    def check(self, host: Any, domain: Any) -> None:
        if domain is None:
            for folder in ("save", "snapshots"):
                path = f"{host.driver.home.roots.state}/{folder}"
                assert not os.path.isdir(path) or os.listdir(path) == []
        else:
            domain.snapshots.revert("one")
            check_goes_on(domain)


class Start(Scenario):
    """It runs, or is off; it is never half there."""

    def do(self, domain: Any) -> None:
        domain.start()

    def check(self, host: Any, domain: Any) -> None:
        assert domain.state in ("running", "shut off"), domain.state
        note(0)
        if domain.state == "running":
            check_goes_on(domain)


class Create(Start):
    """A transient domain runs, or never was."""

    def before(self) -> None:
        pass

    def act(self) -> None:
        with polyvisor.open(HOST) as host:
            host.domains.create(GUEST)

    def check(self, host: Any, domain: Any) -> None:
        if domain is not None:
            super().check(host, domain)


class Destroy(Running):
    """It runs on, or is off."""

    def do(self, domain: Any) -> None:
        domain.destroy()

    def check(self, host: Any, domain: Any) -> None:
        assert domain.state in ("running", "shut off"), domain.state
        if domain.state == "running":
            check_goes_on(domain)


class Suspend(Running):
    """It runs on, or stands still and can go on."""

    def do(self, domain: Any) -> None:
        domain.suspend()

    def check(self, host: Any, domain: Any) -> None:
        if domain.state != "running":
            assert domain.state == "paused"
            domain.resume()
        check_goes_on(domain)


class Save(Running):
    """It runs on beside the earlier file, or is saved whole and off."""

    def before(self) -> None:
        super().before()
        with open(IMAGE, "w") as file:
            file.write("earlier")

    def do(self, domain: Any) -> None:
        domain.save(IMAGE)

    def check(self, host: Any, domain: Any) -> None:
        if domain.state == "shut off":
            assert domain.status().reason == "saved"
            host.domains.restore(IMAGE)
        else:
            with open(IMAGE) as file:
                assert file.read() == "earlier"
        assert domain.state == "running", domain.state
        check_goes_on(domain)


class Restore(Running):
    """It is off beside its image, or goes on from there."""

    def before(self) -> None:
        super().before()
        with polyvisor.open(HOST) as host:
            host.domains["guest"].save(IMAGE)

    def do(self, domain: Any) -> None:
        domain.connection.domains.restore(IMAGE)

    def check(self, host: Any, domain: Any) -> None:
        assert domain.state in ("running", "shut off"), domain.state
        if domain.state == "shut off":
            host.domains.restore(IMAGE)
        check_goes_on(domain)


class ManagedSave(Running):
    """It runs on, or its next start goes on from where it was."""

    def do(self, domain: Any) -> None:
        domain.managed_save()

    def check(self, host: Any, domain: Any) -> None:
        assert domain.state in ("running", "shut off"), domain.state
        if domain.state == "shut off":
            assert domain.has_managed_save
            domain.start()
        check_goes_on(domain)
        assert not domain.has_managed_save


class StartSaved(ManagedSave):
    """It is off beside its image, or goes on from there; nothing is lost between."""

    def before(self) -> None:
        super().before()
        with polyvisor.open(HOST) as host:
            host.domains["guest"].managed_save()

    def do(self, domain: Any) -> None:
        domain.start()


class SnapshotCreate(Running):
    """It runs on, with a snapshot that is whole or without one."""

    def do(self, domain: Any) -> None:
        domain.snapshots.create("one")

    def check(self, host: Any, domain: Any) -> None:
        check_goes_on(domain)
        for snapshot in domain.snapshots.list():
            domain.snapshots.revert(snapshot.name)
            check_goes_on(domain)
        folder = f"{host.driver.home.roots.state}/snapshots/{domain.uuid}"
        files = os.listdir(folder) if os.path.isdir(folder) else []
        assert len(files) == len(domain.snapshots.list())


class SnapshotRevert(Running):
    """It runs as it was, or off, or as in the snapshot; the snapshot stays."""

    def before(self) -> None:
        super().before()
        with polyvisor.open(HOST) as host:
            host.domains["guest"].snapshots.create("one")

    def do(self, domain: Any) -> None:
        domain.snapshots.revert("one")

    def check(self, host: Any, domain: Any) -> None:
        assert domain.state in ("running", "shut off"), domain.state
        if domain.state == "running":
            check_goes_on(domain)
        domain.snapshots.revert("one")
        check_goes_on(domain)
        assert [one.current for one in domain.snapshots.list()] == [True]


class SnapshotDelete(SnapshotRevert):
    """The snapshot is there whole, or gone; its file goes with the next one at the latest."""

    def do(self, domain: Any) -> None:
        domain.snapshots.delete("one")

    def check(self, host: Any, domain: Any) -> None:
        folder = f"{host.driver.home.roots.state}/snapshots/{domain.uuid}"
        check_goes_on(domain)
        if domain.snapshots.list():
            domain.snapshots.revert("one")
            check_goes_on(domain)
        domain.snapshots.create("two")
        assert len(os.listdir(folder)) == len(domain.snapshots.list())


class Migrate(Running):
    """Both sides in one process: exactly one runs the domain, and it goes on counting."""

    options: ClassVar[dict[str, Any]] = {}

    def act(self) -> None:
        with polyvisor.open(HOST) as host, polyvisor.open(PEER) as peer:
            host.domains["guest"].migrate(peer, **self.options)

    def after(self) -> None:
        # Whoever looks first: it must not matter.
        self.look(*((HOST, PEER) if self.step % 2 else (PEER, HOST)))
        for uri in (HOST, PEER):
            with polyvisor.open(uri) as host:
                check_usable(host)

    def look(self, *uris: str) -> None:
        """Check both sides, in this order, and then migrate to and fro."""
        with polyvisor.open(uris[0]) as one, polyvisor.open(uris[1]) as other:
            sides = {side: settled(side) for side in (one, other)}
            states = [str(domain.state) for domain in sides.values() if domain is not None]
            assert states.count("running") == 1, states
            assert set(states) <= {"running", "shut off"}, states
            check_nothing_is_left(one, other)
            (owner,) = [domain for domain in sides.values() if domain and domain.active]
            check_goes_on(owner)
            there = owner.migrate(other if owner.connection is one else one)
            check_goes_on(there)
            note(ticks(there))


class MigrateStopped(Migrate):
    """The same with the guest standing still meanwhile."""

    options: ClassVar[dict[str, Any]] = {"live": False}


class MigrateAway(Migrate):
    """The same when the source forgets the domain then."""

    options: ClassVar[dict[str, Any]] = {"undefine_source": True, "persistent": True}


class Far(Migration):
    """The migration part of a host that is in another process, over a socket."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line.makefile("rwb")

    def _ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        try:
            pickle.dump((name, args, kwargs), self._line)
            self._line.flush()
            answer = pickle.load(self._line)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise ConnectError(f"{name}: the other side has gone") from error
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def prepare(self, *args: Any) -> Any:
        return self._ask("prepare", *args)

    def finish(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask("finish", *args, **kwargs)

    def outcome(self, migration: str) -> Any:
        return self._ask("outcome", migration)

    def begin(self, *args: Any) -> Any:
        raise AssertionError("the destination does not begin")

    perform = confirm = begin


def serve(part: Any, line: socket.socket) -> None:
    """Answer what a :class:`Far` asks, until it hangs up."""
    with line.makefile("rwb") as file, suppress(EOFError, ConnectionError):
        while True:
            name, args, kwargs = pickle.load(file)
            try:
                answer = getattr(part, name)(*args, **kwargs)
            except PolyvisorError as error:
                answer = PolyvisorError(error.message)
            pickle.dump(answer, file)
            file.flush()


@contextmanager
def apart() -> Any:
    """Give the two ends of a line between the two sides."""
    ends = socket.socketpair()
    with closing(ends[0]), closing(ends[1]):
        yield ends


class KilledSource(Migrate):
    """The destination's process lives on, and hears that the source's is gone."""

    def act(self) -> None:
        # Those who serve are no part of what is killed.
        sys.setprofile(None)
        threading.setprofile(None)
        with apart() as (mine, other):
            pid = os.fork()
            if pid == 0:
                mine.close()
                die_at(self.step)
                with polyvisor.open(HOST) as host, polyvisor.open(PEER) as peer:
                    peer.driver.migration = Far(other)
                    host.domains["guest"].migrate(peer)
                os._exit(0)
            other.close()
            with polyvisor.open(PEER) as peer:
                serve(peer.driver.migration, mine)
            ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if ended:
            os.kill(os.getpid(), signal.SIGKILL)


class KilledDestination(KilledSource):
    """The source's process lives on: it has the domain, or learns that it has not any more."""

    def act(self) -> None:
        sys.setprofile(None)
        threading.setprofile(None)
        with apart() as (mine, other):
            pid = os.fork()
            if pid == 0:
                mine.close()
                die_at(self.step)
                with polyvisor.open(PEER) as peer:
                    serve(peer.driver.migration, other)
                os._exit(0)
            other.close()
            with polyvisor.open(HOST) as host, polyvisor.open(PEER) as peer:
                peer.driver.migration = Far(mine)
                with suppress(PolyvisorError):
                    host.domains["guest"].migrate(peer)
            mine.close()
            ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if ended:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Kill at every step."""
    for package in (polyvisor.local, polyvisor.state, polyvisor_sim, polyvisor.model):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(found.name)
    for step in range(MOST_STEPS):
        scenario = SCENARIOS[sys.argv[1]](step)
        assert in_child(scenario.before) == 0, "before"
        ended = in_child(scenario.act, step)
        assert ended in (0, -signal.SIGKILL), f"{ended}: the operation failed at step {step}"
        assert in_child(scenario.after) == 0, f"after being killed at step {step}"
        for name in ("image", "ticks"):
            with suppress(FileNotFoundError):
                os.unlink(f"{FOLDER}/{name}")
        if ended == 0:
            print(step)
            return
    raise AssertionError(f"more than {MOST_STEPS} steps")


SCENARIOS: dict[str, type[Scenario]] = {
    found.__name__: found
    for found in (
        Define, Redefine, Undefine, Start, Create, Destroy, Suspend, Save, Restore, ManagedSave,
        StartSaved, SnapshotCreate, SnapshotRevert, SnapshotDelete, Migrate, MigrateStopped,
        MigrateAway, KilledSource, KilledDestination,
    )
}  # fmt: skip

if __name__ == "__main__":
    main()
