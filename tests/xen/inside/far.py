"""A way from one control domain to another, for tests: ``far://ADDRESS/system``.

Calls of a driver's parts are carried to the other host as pickles, over a network that is the
test's own. What matters here is what the two drivers do, not how they are reached.
"""

from __future__ import annotations

import os
import pickle
import socket
import socketserver
import subprocess
import sys
import threading
from typing import Any

from guests import Counter, start_libvirt

import polyvisor
from polyvisor import errors
from polyvisor.driver import Driver, DriverInfo
from polyvisor.hookspecs import hookimpl
from polyvisor.jobs import Job

polyvisor_api = 1
PORT = 7000


@hookimpl
def polyvisor_drivers():
    """Name the driver."""
    return [DriverInfo("far", ("far",), "another control domain", "far:FarDriver")]


class Wire:
    """One connection; one call at a time."""

    def __init__(self, address: str) -> None:
        try:
            self._socket = socket.create_connection((address, PORT), timeout=240)
        except OSError as error:
            raise errors.ConnectError(f"cannot reach {address}: {error}") from error
        self._file = self._socket.makefile("rwb")
        self._mutex = threading.Lock()

    def call(self, *words: Any) -> Any:
        """Have something called over there; return or raise what it does."""
        with self._mutex:
            try:
                pickle.dump(words, self._file)
                self._file.flush()
                good, value = pickle.load(self._file)
            except (OSError, EOFError, pickle.UnpicklingError) as error:
                raise errors.ConnectError(f"the other host is gone: {error}") from error
        if good:
            return value
        name, words = value
        kind = getattr(errors, name, errors.OperationFailed)
        raise kind(words) if kind is not errors.OperationFailed else kind(f"{name}: {words}")

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()


class Part:
    """A part of the driver over there. Jobs stay here."""

    def __init__(self, wire: Wire, name: str) -> None:
        self._wire, self._name = wire, name

    def __getattr__(self, method: str) -> Any:
        def call(*words: Any, **options: Any) -> Any:
            words = tuple("the job" if isinstance(word, Job) else word for word in words)
            return self._wire.call(self._name, method, words, options)

        return call


class FarDriver(Driver):
    """The driver over there."""

    @classmethod
    def open(cls, uri, context):
        """Connect."""
        driver = cls()
        driver.uri = f"far://{uri.host}/system"
        driver.wire = Wire(uri.host)
        driver.domains = Part(driver.wire, "domains")
        driver.migration = Part(driver.wire, "migration")
        return driver

    def close(self):
        """Hang up."""
        self.wire.close()

    def host(self):
        """Ask over there."""
        return self.wire.call("", "host", (), {})

    def support(self):
        """Take what the driver here supports: it is the same."""
        from polyvisor_libxl.driver import LibxlDriver

        return LibxlDriver.support(self)


def serve() -> None:
    """Answer calls, until the process ends.

    Each client has a connection of its own, closed when the client goes, as with a daemon:
    that gives up what the client had prepared.
    """

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with polyvisor.open("xen:///system") as connection:
                self.serve(connection.driver)

        def serve(self, driver: Driver) -> None:
            while True:
                try:
                    part, method, words, options = pickle.load(self.rfile)
                except (EOFError, OSError):
                    return
                try:
                    answer = True, self.answer(driver, part, method, words, options)
                except Exception as error:  # noqa: BLE001 - it goes to who asked
                    answer = False, (type(error).__name__, str(error))
                pickle.dump(answer, self.wfile)
                self.wfile.flush()

        def answer(self, driver: Driver, part: str, method: str, words: Any, options: Any) -> Any:
            if part == "test":
                return _TESTS[method](*words)
            words = tuple(Job("migration") if word == "the job" else word for word in words)
            owner = getattr(driver, part) if part else driver
            return getattr(owner, method)(*words, **options)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("0.0.0.0", PORT), Handler) as server:
        server.serve_forever()


def start_polyvisord(address: str, port: int) -> None:
    """Start polyvisord, unless something listens there."""
    with socket.socket() as one:
        if one.connect_ex((address, port)) == 0:
            return
    words = [sys.executable, "-m", "polyvisor_remote", "--listen", f"tcp:{address}:{port}"]
    subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)


#: What only the tests ask for: what a guest has counted there, daemons, and a death in so many
#: seconds.
_TESTS = {
    "numbers": lambda name: Counter(name).numbers(),
    "clear": lambda name: Counter(name).clear(),
    "polyvisord": start_polyvisord,
    "libvirtd": start_libvirt,
    "die": lambda seconds: threading.Timer(seconds, os._exit, (9,)).start(),
}
