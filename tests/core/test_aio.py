"""The asynchronous face does what the blocking one does, and leaves nothing half done."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

import polyvisor
from polyvisor import aio
from polyvisor.errors import (
    Cancelled,
    ConnectionClosed,
    Denied,
    NotFound,
    Timeout,
)
from polyvisor.jobs import JobControl, JobProgress

T = TypeVar("T")

GUEST = """\
<domain type="sim">
  <name>{name}</name>
  <memory unit="MiB">{memory}</memory>
  <os><type>hvm</type></os>
  <metadata>
    <sim:guest xmlns:sim="urn:polyvisor:sim:1.0" {behaviour}/>
  </metadata>
</domain>
"""
# Most of its memory has been written to, so that saving it takes a second.
FULL = 'ticks-per-second="10" dirty-pages="8192" working-set="32768"'
# Writes faster than a slow migration sends.
BUSY = 'ticks-per-second="1000" dirty-pages="50"'
SLOW = 1_000_000
LIMIT = 60.0


def guest(name: str, memory: int = 4, behaviour: str = "") -> str:
    """Return a machine with so many mebibytes."""
    return GUEST.format(name=name, memory=memory, behaviour=behaviour)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end, within the time limit of a test."""
    return asyncio.run(asyncio.wait_for(coroutine, LIMIT))


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + LIMIT / 2
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


async def interrupted(task: asyncio.Task[Any]) -> BaseException | None:
    """Cancel a task; return what its operation said to it."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    return caught.value.__cause__


@pytest.fixture(autouse=True)
def leaves_nothing_behind() -> Iterator[None]:
    """Assert that no thread and no descriptor is left."""
    threads = set(threading.enumerate())
    descriptors = len(os.listdir("/proc/self/fd"))
    yield
    # A thread has handed its result over a moment before it is gone.
    deadline = time.monotonic() + 20
    while not set(threading.enumerate()) <= threads:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert len(os.listdir("/proc/self/fd")) <= descriptors


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """Hold the URI of a simulated host of the test's own."""
    return f"sim:///a?root={tmp_path}"


@pytest.fixture
def peer(tmp_path: Path) -> str:
    """Hold the URI of another."""
    return f"sim:///b?root={tmp_path}"


def test_a_life(uri: str) -> None:
    """Verbs, properties and collections have the names of the blocking API, and its results."""

    async def main() -> None:
        async with aio.open(uri) as host:
            assert host.uri.startswith("sim:///a")
            assert (await host.host).cpus > 0
            assert (await host.support).usable("save.file")
            domain = await host.domains.define(guest("one"))
            assert isinstance(domain, aio.Domain)
            assert await domain.name == "one"
            assert domain.connection is host
            assert domain == await host.domains["one"]
            assert domain == await host.domains.get(domain.uuid)
            assert await host.domains.get("none", "other") == "other"
            assert await host.domains.contains("one")
            assert not await host.domains.contains("none")
            assert await host.domains.count() == 1
            assert [one async for one in host.domains] == [domain]
            assert await host.domains.list() == [domain]
            await domain.start()
            assert await domain.state is polyvisor.DomainState.RUNNING
            made = await domain.snapshots.create("first")
            assert [one.name for one in await domain.snapshots.list()] == [made.name]
            await domain.destroy()
            await domain.undefine(snapshots=True)
            with pytest.raises(NotFound):
                await domain.info()

    run(main())


def test_families_of_host_objects(uri: str) -> None:
    """Networks and the like are handled alike; what can be set has a method."""
    network = "<network><name>net</name><bridge name='virbr7'/></network>"

    async def main() -> None:
        async with aio.open(uri) as host:
            made = await host.networks.define(network)
            assert isinstance(made, aio.Network)
            assert made == await host.networks["net"]
            await made.set_autostart(True)
            assert await made.autostart
            await made.start()
            assert await made.active
            assert [await one.name async for one in host.networks] == ["net"]
            await made.destroy()
            await made.undefine()
            assert await host.networks.count() == 0

    run(main())


def test_errors_are_those_of_the_blocking_api(uri: str) -> None:
    """An operation raises what it would raise without asyncio, when it is awaited."""

    async def main() -> None:
        with pytest.raises(polyvisor.PolyvisorError):
            await aio.open("nosuch:///")
        async with aio.open(uri, readonly=True) as host:
            with pytest.raises(Denied):
                await host.domains.define(guest("one"))
        host = await aio.open(uri)
        await host.close()
        await host.close()
        assert host.closed
        with pytest.raises(ConnectionClosed):
            await host.domains.list()

    run(main())


def test_a_thousand_operations_at_once(uri: str) -> None:
    """They all come to their end, in few threads, and the loop goes on meanwhile."""
    most = 0

    async def main() -> None:
        nonlocal most
        async with aio.open(uri) as host:
            domains = [await host.domains.create(guest(f"g{number}")) for number in range(10)]
            late = 0.0

            async def watch() -> None:
                nonlocal late, most
                while True:
                    before = time.monotonic()
                    await asyncio.sleep(0.01)
                    late = max(late, time.monotonic() - before)
                    most = max(most, threading.active_count())

            watching = asyncio.create_task(watch())
            wanted: list[Awaitable[Any]] = []
            for number in range(1000):
                domain = domains[number % len(domains)]
                wanted.append(
                    [domain.info, domain.xml, domain.stats, domain.status, domain.job][number % 5]()
                )
            results = await asyncio.gather(*wanted)
            watching.cancel()
            assert len(results) == 1000
            assert all(result.uuid for result in results[0::5])
            assert all(result.startswith("<domain") for result in results[1::5])
            assert late < 5.0
            # The same with operations that change: none is lost, none done twice.
            toggles = [domain.suspend() for domain in domains]
            await asyncio.gather(*toggles)
            assert {str(await domain.state) for domain in domains} == {"paused"}
            await asyncio.gather(*(domain.destroy() for domain in domains))
            assert await host.domains.count() == 0

    run(main())
    assert most < 60


def test_many_lives_at_once(uri: str) -> None:
    """Changes of many domains do not disturb each other, and events tell of all, in order."""
    lives = 40

    async def main() -> None:
        async with aio.open(uri) as host:
            events = host.events(timeout=30)

            async def live(name: str) -> None:
                domain = await host.domains.define(guest(name))
                await domain.start()
                await domain.destroy()
                await domain.undefine()

            await asyncio.gather(*(live(f"g{number}") for number in range(lives)))
            heard: dict[str, list[str]] = {}
            async for event in events:
                heard.setdefault(event.domain.name, []).append(str(event.kind))
                if sum(map(len, heard.values())) == 4 * lives:
                    break
            await events.aclose()
            assert set(map(tuple, heard.values())) == {
                ("defined", "started", "stopped", "undefined")
            }
            assert len(heard) == lives

    run(main())


def test_cancelling_a_save(uri: str, tmp_path: Path) -> None:
    """The job is cancelled, the domain runs on, there is no file; then a save succeeds."""

    async def main() -> None:
        async with aio.open(uri) as host:
            domain = await host.domains.create(guest("big", 512, FULL))
            await asyncio.sleep(0.5)
            seen: list[JobProgress] = []
            task = asyncio.create_task(
                domain.save(tmp_path / "image", compression="gzip", progress=seen.append)
            )
            await until(lambda: bool(seen))
            assert isinstance(await interrupted(task), Cancelled)
            assert await domain.state is polyvisor.DomainState.RUNNING
            assert await domain.job() is None
            assert not list(tmp_path.glob("image*"))
            await domain.save(tmp_path / "image")
            assert not await host.domains.contains("big")
            restored = await host.domains.restore(tmp_path / "image")
            assert await restored.active
            await restored.destroy()

    run(main())


def test_a_timeout_around_a_migration(uri: str, peer: str) -> None:
    """``asyncio.timeout`` ends when the operation has been put right, not before."""

    async def main() -> None:
        async with aio.open(uri) as here, aio.open(peer) as there:
            domain = await here.domains.create(guest("busy", 64, BUSY))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await domain.migrate(there, bandwidth=SLOW)
            assert await domain.job() is None
            assert await domain.state is polyvisor.DomainState.RUNNING
            assert await there.domains.count() == 0
            await domain.destroy()

    run(main())


def test_cancelling_a_migration(uri: str, peer: str) -> None:
    """The domain is on the source as before, and nothing of it is on the destination."""

    async def main() -> None:
        async with aio.open(uri) as here, aio.open(peer) as there:
            domain = await here.domains.create(guest("busy", 64, BUSY))
            seen: list[JobProgress] = []
            task = asyncio.create_task(domain.migrate(there, bandwidth=SLOW, progress=seen.append))
            await until(lambda: any(one.processed for one in seen))
            assert isinstance(await interrupted(task), Cancelled)
            assert await domain.state is polyvisor.DomainState.RUNNING
            assert await there.domains.count() == 0
            moved = await domain.migrate(there)
            assert moved.connection is there
            assert await moved.active
            assert await here.domains.count() == 0
            # To a target that is opened for it, the domain comes with its connection.
            back = await moved.migrate(uri)
            assert back.connection is not here
            assert await back.active
            await back.destroy()
            await back.connection.close()

    run(main())


def test_cancelling_twice(uri: str, peer: str) -> None:
    """However often it is cancelled, the task ends only when the operation has."""

    async def main() -> None:
        async with aio.open(uri) as here, aio.open(peer) as there:
            domain = await here.domains.create(guest("busy", 64, BUSY))
            seen: list[JobProgress] = []
            task = asyncio.create_task(domain.migrate(there, bandwidth=SLOW, progress=seen.append))
            await until(lambda: bool(seen))
            task.cancel()
            await asyncio.sleep(0)
            assert isinstance(await interrupted(task), Cancelled)
            assert await domain.job() is None
            await domain.destroy()

    run(main())


def test_what_has_not_begun_is_taken_back(uri: str, peer: str) -> None:
    """With every thread waiting for a domain, what is cancelled meanwhile is never begun."""

    async def main() -> None:
        async with aio.open(uri) as here, aio.open(peer) as there:
            domain = await here.domains.create(guest("busy", 64, BUSY))
            seen: list[JobProgress] = []
            moving = asyncio.create_task(
                domain.migrate(there, bandwidth=SLOW, progress=seen.append)
            )
            await until(lambda: bool(seen))
            waiting = [asyncio.create_task(domain.set_title(f"t{one}")) for one in range(40)]
            await asyncio.sleep(0)
            last = asyncio.create_task(here.domains.define(guest("never")))
            await asyncio.sleep(0.05)
            assert await interrupted(last) is None
            # A job has a thread of its own, and so has what cancels it.
            assert isinstance(await interrupted(moving), Cancelled)
            await asyncio.gather(*waiting)
            assert not await here.domains.contains("never")
            await domain.destroy()

    run(main())


def test_a_cancelled_opening_leaves_no_connection(uri: str) -> None:
    """A connection or a descriptor that nobody is there to take is closed."""

    async def main() -> None:
        task = asyncio.ensure_future(aio.open(uri))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_a_callback_that_fails_cancels(uri: str, tmp_path: Path) -> None:
    """``progress`` is called in the loop; what it raises stops the job and is raised."""
    threads: set[threading.Thread] = set()

    def fail(progress: JobProgress) -> None:
        threads.add(threading.current_thread())
        raise ZeroDivisionError

    async def main() -> None:
        async with aio.open(uri) as host:
            domain = await host.domains.create(guest("big", 512, FULL))
            await asyncio.sleep(0.5)
            with pytest.raises(ZeroDivisionError):
                await domain.save(tmp_path / "image", compression="gzip", progress=fail)
            assert await domain.active
            await domain.destroy()

    run(main())
    assert threads == {threading.main_thread()}


def test_waiting(uri: str) -> None:
    """Waiting ends with the domain, with its timeout, or with its task; any number may wait."""

    async def main() -> None:
        async with aio.open(uri) as host:
            domain = await host.domains.create(guest("one"))
            with pytest.raises(Timeout, match=r"still active after 0\.7 s"):
                await domain.wait(timeout=0.7)
            waiting = [asyncio.create_task(domain.wait()) for _ in range(50)]
            await asyncio.sleep(0.05)
            assert isinstance(await interrupted(waiting.pop()), Timeout)
            await domain.destroy()
            found = await asyncio.gather(*waiting)
            assert {str(status.state) for status in found} == {"shut off"}

    run(main())


def test_events_are_heard_from_the_call_on(uri: str) -> None:
    """What is begun after ``events()`` is heard, though nobody has asked for an event yet."""

    async def main() -> None:
        async with aio.open(uri) as host:
            async with host.events() as events:
                domain = await host.domains.define(guest("one"))
                # A task that is cancelled while it waits loses nothing.
                assert (await anext(events)).kind is polyvisor.EventKind.DEFINED
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(events), 0.05)
                await domain.undefine()
                assert (await anext(events)).kind is polyvisor.EventKind.UNDEFINED
            assert [event async for event in events] == []
            assert [event async for event in host.events(timeout=0.05)] == []
            mixed = host.events(objects=True)
            network = await host.networks.define("<network><name>net</name></network>")
            assert (await anext(mixed)).kind == "defined"
            await network.undefine()
            left_over = host.events()
            waiting = asyncio.ensure_future(anext(left_over))
            await asyncio.sleep(0.05)
        with pytest.raises(ConnectionClosed):
            await waiting

    run(main())


def test_more_events_than_are_taken(uri: str) -> None:
    """A listener that takes its time gets all, and holds nobody up."""

    async def main() -> None:
        async with aio.open(uri) as host, host.events() as events:
            domain = await host.domains.define(guest("one"))
            for number in range(200):
                await domain.set_title(f"t{number}")
            heard = [(await anext(events)).sequence for _ in range(201)]
            assert heard == list(range(heard[0], heard[0] + 201))
            await domain.undefine()

    run(main())


def test_a_control_given_as_progress(uri: str, tmp_path: Path) -> None:
    """A ``JobControl`` cancels the operation that it was given to, begun or not."""
    with polyvisor.open(uri) as host:
        domain = host.domains.create(guest("big", 64))
        control = JobControl()
        control.cancel("not today")
        with pytest.raises(Cancelled, match="not today"):
            domain.save(tmp_path / "image", progress=control)
        assert domain.active
        second = JobControl(lambda report: second.cancel("enough"))
        with pytest.raises(Cancelled, match="enough"):
            domain.save(tmp_path / "image", progress=second)
        assert not list(tmp_path.glob("image*"))
        domain.destroy()


HANDLES = [name for name in aio.__all__ if name not in ("EventStream", "Opening", "open")]


@pytest.mark.parametrize("name", HANDLES)
def test_both_faces_have_the_same_names(name: str) -> None:
    """Each public name of a blocking handle is there, with the same parameters."""
    face = getattr(aio, name)
    homes = ("connection", "domain", "handles", "families", "storage", "networks", "secrets")
    modules = [__import__(f"polyvisor.{home}", fromlist=["_"]) for home in homes]
    modules.append(__import__("polyvisor.node_devices", fromlist=["_"]))
    blocking = next(getattr(module, name) for module in modules if hasattr(module, name))
    mapping = {"keys", "values", "items"} if hasattr(blocking, "keys") else set()
    names = {one for one in dir(blocking) if not one.startswith("_")} - mapping
    assert not {one for one in names if not hasattr(face, one)}
    for one in names:
        ours = inspect.getattr_static(face, one)
        theirs = inspect.getattr_static(blocking, one)
        if inspect.isfunction(theirs):
            assert list(inspect.signature(ours).parameters) == list(
                inspect.signature(theirs).parameters
            )
            assert inspect.iscoroutinefunction(ours) or one == "events"
    assert inspect.signature(aio.open).parameters == inspect.signature(polyvisor.open).parameters
