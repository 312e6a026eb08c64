"""The driver ``test``: a simulated host in this process, as libvirt's test driver has it.

All connections to ``test:///default`` that are open at one time are to the same host; it
begins anew once the last was closed. Each connection to a node file is to a host of its
own (``testOpenDefault`` and ``testOpenFromFile``, ``src/test/test_driver.c``).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from polyvisor.errors import AuthError, UriError
from polyvisor.state import Home
from polyvisor_sim.driver import SimulatorDriver, refuse_strange
from polyvisor_sim.hypervisor import SimHypervisor
from polyvisor_sim.rack import ProcessRack

if TYPE_CHECKING:
    from polyvisor.driver import OpenContext
    from polyvisor.events import Event
    from polyvisor.host import HostInfo
    from polyvisor.model import DomainSpec
    from polyvisor.support import SupportTable
    from polyvisor.uri import ConnectionUri
    from polyvisor_sim.node import StartingDomain, World

__all__ = ["TestDriver"]

_ARCHITECTURE = "i686"


class _Host:
    """A host in this process.

    Args:
        world: what its node file says; ``None`` for the default host.

    Attributes:
        home: where its domains are.
        rack: where their machines are.
        hypervisor: runs them.
        connections: how many are open.
    """

    def __init__(self, world: World | None) -> None:
        self.world = world
        self.home = Home.in_memory()
        self.rack = ProcessRack(self.home.bells)
        self.hypervisor = SimHypervisor(self.rack, arch=_ARCHITECTURE)
        self.connections = 0
        self._objects_are_there = False
        self._seeding = threading.Lock()

    def objects_home(self) -> Home:
        """Return the home once it holds the objects that the host begins with."""
        with self._seeding:
            if not self._objects_are_there:
                self._put_objects()
                self._objects_are_there = True
        return self.home

    def _put_objects(self) -> None:
        from attrs import evolve

        from polyvisor.state import boot_id

        if self.world is not None:
            begun = self.world.objects
        else:
            from polyvisor_sim.defaultobjects import records

            begun = records()
        for record in begun:
            self.home.store.put_object(evolve(record, boot_id=boot_id()))


# The host of test:///default while there are connections to it.
_default: _Host | None = None
_lock = threading.Lock()


class TestDriver(SimulatorDriver):
    """``test:///default`` and ``test:///path/node.xml``."""

    __test__ = False  # not what pytest takes it for
    _host: _Host | None = None

    @classmethod
    def open(cls, uri: ConnectionUri, context: OpenContext) -> Self:
        """Open the default host, or one that a file in libvirt's node format describes."""
        global _default
        refuse_strange(uri)
        if uri.path in ("", "/"):
            raise UriError(f"{uri}: say which; test:///default, or test:///PATH of a node file")
        if uri.path != "/default":
            from polyvisor_sim.node import read_world

            return cls._connect(str(uri), _new_host(read_world(uri.path)), context)
        with _lock:
            if _default is None:
                from polyvisor_sim.default import begin

                _default = _Host(None)
                begin(_default.home, _default.rack, _default.hypervisor.clock())
            return cls._connect("test:///default", _default, context)

    @classmethod
    def _connect(cls, uri: str, host: _Host, context: OpenContext) -> Self:
        if host.world is not None:
            _check_user(host.world, context)
        driver = cls(uri, host.hypervisor, host.home, context)
        driver.migration = None
        driver._host = host
        host.connections += 1
        return driver

    def close(self) -> None:
        """Leave the host; the last one to do so takes it with it."""
        global _default
        super().close()
        with _lock:
            host, self._host = self._host, None
            if host is None:
                return
            host.connections -= 1
            if not host.connections:
                host.rack.close()
                if host is _default:
                    _default = None

    def objects_home(self) -> Home:
        """Return where the host's objects are kept."""
        assert self._host is not None
        return self._host.objects_home()

    def host(self) -> HostInfo:
        """Return the facts that the host began with."""
        assert self._host is not None
        if self._host.world is not None:
            return self._host.world.host
        from polyvisor_sim.default import facts

        return facts()

    def support(self) -> SupportTable:
        """Return what works on this connection."""
        from polyvisor_sim.support import TEST

        return TEST

    def capabilities(self) -> str:
        """Return what libvirt's test driver prints."""
        from polyvisor_sim.capabilities import capabilities
        from polyvisor_sim.default import CELLS

        assert self._host is not None
        return capabilities(CELLS if self._host.world is None else ())


def _new_host(world: World) -> _Host:
    """Return a host with the domains of a world, running as it says."""
    from polyvisor.driver import OpenContext

    host = _Host(world)
    # Nobody is told of what was there before anybody looked.
    quietly = TestDriver("test:///", host.hypervisor, host.home, OpenContext(hooks=_NoHooks()))
    for domain in world.domains:
        _begin(quietly, domain)
    return host


def _begin(driver: SimulatorDriver, domain: StartingDomain) -> None:
    from polyvisor.driver import DomainOptions, SaveOptions
    from polyvisor.jobs import Job

    options = DomainOptions(paused=domain.paused)
    if not domain.persistent:
        driver.domains.create(domain.spec, options)
        return
    uuid = driver.domains.define(domain.spec)
    if domain.active or domain.managed_save:
        driver.domains.start(uuid, options)
    if domain.managed_save:
        assert driver.save is not None
        driver.save.managed_save(uuid, SaveOptions(), Job("managed save"))


def _check_user(world: World, context: OpenContext) -> None:
    """Ask for a name and a password, as libvirt does, if the node file has ``<auth>``.

    Raises:
        AuthError: the settings ``user`` and ``password`` are not those of a user.
    """
    if not world.users:
        return
    user, password = (context.settings.get(key) for key in ("user", "password"))
    if user in world.users and world.users[user] in (None, password):
        return
    what = "no user is given" if user is None else f"user {user!r} or the password is wrong"
    raise AuthError(
        f"test: the node file asks who you are, and {what}; set user and password in the "
        f"connection's settings"
    )


class _NoHooks:
    """Hooks that nobody listens to."""

    def domain_starting(self, uri: str, spec: DomainSpec) -> DomainSpec:
        return spec

    def event(self, uri: str, event: Event) -> None:
        return
